"""The dock of size distributions: number- and area-weighted, and both summed up."""

from __future__ import annotations

import pandas as pd
from matplotlib.backends.backend_qtagg import FigureCanvasQTAgg
from qtpy.QtWidgets import QComboBox, QLabel, QVBoxLayout, QWidget

from ..quantification.distributions import Sizes, fit_lognormal, sizes_by_phase
from ..quantification.plots import size_figure

_LEAST_HEIGHT = 260


class SizePlots(QWidget):
    """Plots of the particles of one phase at a time."""

    def __init__(self) -> None:
        super().__init__()
        self.phase = QComboBox()
        self.fit = QLabel("")
        self.fit.setWordWrap(True)
        self.canvas: FigureCanvasQTAgg | None = None
        self._sizes: dict[str, Sizes] = {}
        self._layout = QVBoxLayout(self)
        for widget in (self.phase, self.fit):
            self._layout.addWidget(widget)
        self.setMinimumHeight(_LEAST_HEIGHT)
        self.phase.currentTextChanged.connect(self._draw)

    def show_particles(self, particles: pd.DataFrame) -> None:
        """Draw a table of particles; the phase stays where it is there still."""
        self._sizes = sizes_by_phase(particles)
        former = self.phase.currentText()
        self.phase.blockSignals(True)
        self.phase.clear()
        self.phase.addItems(list(self._sizes))
        self.phase.setCurrentText(former)
        self.phase.blockSignals(False)
        self._draw(self.phase.currentText())

    def _draw(self, phase: str) -> None:
        if self.canvas is not None:
            self._layout.removeWidget(self.canvas)
            self.canvas.deleteLater()
            self.canvas = None
        if phase not in self._sizes:
            self.fit.setText("There is no particle to draw.")
            return
        sizes = self._sizes[phase]
        fit = fit_lognormal(sizes.radii, sizes.weights)
        self.fit.setText(fit.sentence)
        self.canvas = FigureCanvasQTAgg(size_figure(sizes, fit))  # type: ignore[no-untyped-call]
        self._layout.insertWidget(1, self.canvas, 1)
