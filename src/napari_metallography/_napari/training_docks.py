"""The docks below the image that a training fills: its curve, and the gains of a search."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeVar

import napari.viewer
from qtpy.compat import isalive
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QDockWidget, QMainWindow, QWidget

from ..events import TrainingStep
from ..training.search import Search
from .docks_below import dock_below
from .search_gains import SearchGains
from .training_curve import TrainingCurve, as_low_as_possible

Docked = TypeVar("Docked", bound=QWidget)


class TrainingDocks:
    """Opens the docks when there is something to show; without a window shows nothing.

    Attributes
    ----------
    curve, gains
        None while the dock is not there, also after the user closed it.
    """

    def __init__(self, viewer: napari.viewer.Viewer) -> None:
        # A viewer without a window has no such attribute.
        self._window = getattr(viewer, "window", None)
        self._curve: TrainingCurve | None = None
        self._gains: SearchGains | None = None

    @property
    def curve(self) -> TrainingCurve | None:
        """The curve."""
        return self._curve if _is_there(self._curve) else None

    @property
    def gains(self) -> SearchGains | None:
        """The gains of the last search."""
        return self._gains if _is_there(self._gains) else None

    def begin(self, *, anew: bool) -> None:
        """Get ready for a training: a new one, or one that goes on."""
        self._remove_gains()
        if self.curve is None:
            self._curve = self._docked(TrainingCurve, "Training curve")
        elif anew:
            self.curve.clear()

    def add(self, step: TrainingStep) -> None:
        """Take a step of the training."""
        if self.curve is not None:
            self.curve.add(step)

    def show_gains(self, found: Search) -> None:
        """Show what a search found."""
        self._remove_gains()
        self._gains = self._docked(partial(SearchGains, found), "Gains over the baseline")

    def remove(self) -> None:
        """Close the docks."""
        self._remove(self.curve)
        self._curve = None
        self._remove_gains()

    def _remove_gains(self) -> None:
        self._remove(self.gains)
        self._gains = None

    def _docked(self, make: Callable[[], Docked], name: str) -> Docked | None:
        if self._window is None:
            return None
        widget = make()
        as_low_as_possible(dock_below(self._window, widget, name))
        _share_the_width([one for one in (self.curve, widget) if one is not None])
        return widget

    def _remove(self, widget: QWidget | None) -> None:
        if widget is not None and self._window is not None:
            self._window.remove_dock_widget(widget)


def _share_the_width(widgets: Sequence[QWidget]) -> None:
    docks = [dock for widget in widgets if isinstance(dock := widget.parent(), QDockWidget)]
    window = docks[0].parent() if docks else None
    if isinstance(window, QMainWindow):
        shares = [window.width() // len(docks)] * len(docks)
        window.resizeDocks(docks, shares, Qt.Orientation.Horizontal)


def _is_there(widget: QWidget | None) -> bool:
    return widget is not None and bool(isalive(widget))  # type: ignore[no-untyped-call]
