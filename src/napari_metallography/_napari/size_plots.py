"""The dock of size distributions: number- and area-weighted, and both summed up."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_qtagg import FigureCanvasQTAgg
from qtpy.QtWidgets import QComboBox, QHBoxLayout, QLabel, QSizePolicy, QVBoxLayout, QWidget

from ..quantification.distributions import Sizes, sizes_by_phase
from ..quantification.plots import size_figure

_LEAST_SIDES = (600, 210)
"""Width and height in pixels below which the three plots could not be read."""

_TEXT_PT = 8
_MOST_TICKS = 5
_MOST_POINTS = 1000


class SizePlots(QWidget):
    """Plots of the particles of one phase at a time."""

    def __init__(self) -> None:
        super().__init__()
        self.phase = QComboBox()
        # Below the image there is room for the longest name.
        self.phase.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToContents)
        self.phase.setSizePolicy(QSizePolicy.Policy.Minimum, QSizePolicy.Policy.Fixed)
        self.fit = QLabel("")
        self.fit.setWordWrap(True)
        self.canvas: FigureCanvasQTAgg | None = None
        self._sizes: dict[str, Sizes] = {}
        self._layout = QVBoxLayout(self)
        self._layout.setContentsMargins(4, 0, 4, 4)
        above = QHBoxLayout()
        above.addWidget(self.phase)
        above.addWidget(self.fit, 1)
        self._layout.addLayout(above)
        self.phase.currentTextChanged.connect(self._draw)

    def show_particles(self, particles: pd.DataFrame, smallest_area_px: int = 1) -> None:
        """Draw a table of particles, those of fewer pixels left out; the phase stays if it can."""
        self._sizes = sizes_by_phase(particles, smallest_area_px)
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
        fit = sizes.fit()
        self.fit.setText(fit.sentence)
        figure = size_figure(sizes, fit)
        for axes in figure.axes:
            _fit_a_dock(axes)
        self.canvas = FigureCanvasQTAgg(figure)  # type: ignore[no-untyped-call]
        self.canvas.setMinimumSize(*_LEAST_SIDES)
        self._layout.addWidget(self.canvas, 1)


def _fit_a_dock(axes: Axes) -> None:
    """Small texts, few ticks, and no more points than there are pixels, as it is drawn often."""
    axes.locator_params(nbins=_MOST_TICKS)
    axes.tick_params(labelsize=_TEXT_PT)
    for line in axes.lines:
        step = 1 + np.size(line.get_xdata()) // _MOST_POINTS
        # From the last backwards, so that a curve reaches its end.
        x, y = (np.asarray(values)[::-step][::-1] for values in line.get_data())
        line.set_data(x, y)
    legend = axes.get_legend()
    texts = [axes.xaxis.label, axes.yaxis.label, *(legend.get_texts() if legend else ())]
    for text in texts:
        text.set_fontsize(_TEXT_PT)
