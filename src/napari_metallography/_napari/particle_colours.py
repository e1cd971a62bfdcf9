"""Particles coloured by a column of their table."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from magicgui.widgets import ComboBox, Container, FloatSpinBox, Label, Widget
from napari.utils.colormaps import DirectLabelColormap, label_colormap
from numpy.typing import NDArray
from qtpy.QtCore import Qt
from qtpy.QtGui import QImage, QPixmap

from ..io.headings import heading
from .form import keep_narrow
from .particle_table import numeric_columns

DISTINCT = "distinct colours"

_COLOURMAP = "viridis"
_COLOURS = 49  # as many as napari's own
_STEPS = 256
_LARGEST = 1e9
_DIGITS = 4
_MOST_DECIMALS = 15
_LEGEND_PX = (220, 14)
_NOT_COUNTED = np.array([0.5, 0.5, 0.5, 0.35])


class ParticleColours(Container[Widget]):
    """Choice of a column, its limits and a legend.

    Parameters
    ----------
    on_change
        Called when the particles are to be coloured anew.
    """

    def __init__(self, on_change: Callable[[], None]) -> None:
        self._on_change = on_change
        self._particles = pd.DataFrame()
        self.column = ComboBox(choices=self._choices, label="Colour particles by")
        self.low, self.high = (
            FloatSpinBox(label=text, min=-_LARGEST, max=_LARGEST, step=0.1, visible=False)
            for text in ("Darkest at", "Brightest at")
        )
        self.legend = Label(label="", visible=False)
        self.legend.native.setPixmap(_gradient())
        super().__init__(widgets=[self.column, self.legend, self.low, self.high])
        self.margins = (0, 0, 0, 0)
        keep_narrow(self.column)
        self.column.changed.connect(self._column_chosen)
        for limit in (self.low, self.high):
            limit.changed.connect(self._limits_changed)

    def offer(self, particles: pd.DataFrame) -> None:
        """Offer the columns of a table; one chosen before stays, with its limits."""
        self._particles = particles
        former = self.column.value
        names = numeric_columns(particles)
        with self.column.changed.blocked():
            self.column.reset_choices()
            self.column.value = former if former in names else ""
        if former != self.column.value:
            self._column_chosen()

    def _choices(self, _: object) -> list[tuple[str, str]]:
        names = numeric_columns(self._particles)
        return [(DISTINCT, ""), *((heading(name), name) for name in names)]

    def maker(self, highest: int) -> Callable[[], Any]:
        """What makes the colours of particles up to a number; it may be called in any thread.

        By the chosen column, where particles that do not count are grey; else distinct ones.
        """
        name = self.column.value
        if not name or name not in self._particles:
            return partial(label_colormap, _COLOURS, seed=0.5, background_value=0)
        numbers = self._particles["particle"].tolist()
        values = self._particles[name].to_numpy(float)
        return partial(_by_value, numbers, values, self.low.value, self.high.value, highest)

    def _column_chosen(self, _: object = None) -> None:
        name = self.column.value
        for widget in (self.low, self.high, self.legend):
            widget.visible = bool(name)
        if name and name in self._particles:
            low, high = limits(self._particles[name].to_numpy(float))
            with self.low.changed.blocked(), self.high.changed.blocked():
                for limit, value in ((self.low, low), (self.high, high)):
                    limit.native.setDecimals(decimals(low, high))
                    limit.native.setSingleStep(10.0 ** -max(decimals(low, high) - 2, 0))
                    limit.value = value
        self._on_change()

    def _limits_changed(self, _: object = None) -> None:
        if self.column.value:
            self._on_change()


def limits(values: NDArray[np.float64]) -> tuple[float, float]:
    """The 1 % and 99 % quantile of what is known; 0 and 1 where nothing is."""
    known = values[np.isfinite(values)]
    if not len(known):
        return 0.0, 1.0
    low, high = np.quantile(known, [0.01, 0.99])
    return float(low), float(high)


def decimals(low: float, high: float) -> int:
    """How many decimals tell values between the limits apart."""
    span = high - low or abs(high) or 1.0
    return int(np.clip(_DIGITS - np.floor(np.log10(span)), 0, _MOST_DECIMALS))


def value_colours(values: NDArray[np.float64], low: float, high: float) -> NDArray[np.float64]:
    """RGBA (n, 4) of values, dark at the lower and bright at the upper limit; NaN is grey."""
    table = mpl.colormaps[_COLOURMAP](np.linspace(0, 1, _STEPS))
    span = high - low if high > low else 1.0
    place = np.nan_to_num(np.clip((values - low) / span, 0, 1))
    colours = table[np.round(place * (_STEPS - 1)).astype(int)]
    colours[~np.isfinite(values)] = _NOT_COUNTED
    return np.asarray(colours, float)


def _by_value(
    numbers: list[int], values: NDArray[np.float64], low: float, high: float, highest: int
) -> DirectLabelColormap:
    colours: dict[int | None, Any] = dict.fromkeys(range(1, highest + 1), _NOT_COUNTED)
    colours |= {None: _NOT_COUNTED, 0: np.zeros(4)}
    colours |= dict(zip(numbers, value_colours(values, low, high), strict=True))
    return DirectLabelColormap(color_dict=colours)


def _gradient() -> QPixmap:
    width, height = _LEGEND_PX
    row = value_colours(np.linspace(0, 1, width), 0, 1)[:, :3]
    pixels = np.ascontiguousarray(np.tile((255 * row).astype(np.uint8), (height, 1, 1)))
    image = QImage(pixels.tobytes(), width, height, 3 * width, QImage.Format.Format_RGB888)
    return QPixmap.fromImage(image.copy()).scaled(
        width, height, Qt.AspectRatioMode.IgnoreAspectRatio
    )
