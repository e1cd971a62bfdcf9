"""The dock of the descriptor map: training crops, how likely each place is, an image's crops."""

from __future__ import annotations

from typing import TYPE_CHECKING

import napari.viewer
from matplotlib.backends.backend_qtagg import FigureCanvasQTAgg
from qtpy.compat import isalive
from qtpy.QtWidgets import QLabel, QSizePolicy, QVBoxLayout, QWidget

from .docks_below import dock_below

if TYPE_CHECKING:
    from ..classification.descriptor_map import DescriptorMap

_LEAST_SIDES = (420, 300)
_TITLE = "Descriptor map"
_READ = (
    "Dots: training crops. Crosses: this image's crops; stars: those of none of the classes. "
    "Black line: the threshold beyond which a crop is none of them."
)


class DescriptorDock(QWidget):
    """A map and what it is of."""

    def __init__(self) -> None:
        super().__init__()
        self.title = QLabel("")
        self.title.setWordWrap(True)
        self.title.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Maximum)
        self.canvas: FigureCanvasQTAgg | None = None
        self._layout = QVBoxLayout(self)
        self._layout.setContentsMargins(4, 0, 4, 4)
        self._layout.addWidget(self.title)

    def show_map(self, shown: DescriptorMap, place: str) -> None:
        """Draw a map in place of the former one."""
        # It needs torch, which the form does without until it computes.
        from ..classification.descriptor_map import descriptor_figure

        if self.canvas is not None:
            self._layout.removeWidget(self.canvas)
            self.canvas.deleteLater()
        self.title.setText(f"{place}. {_READ}")
        self.canvas = FigureCanvasQTAgg(descriptor_figure(shown))  # type: ignore[no-untyped-call]
        self.canvas.setMinimumSize(*_LEAST_SIDES)
        self._layout.addWidget(self.canvas, 1)


class DescriptorDocks:
    """Opens the dock when there is something to show; without a window shows nothing."""

    def __init__(self, viewer: napari.viewer.Viewer) -> None:
        # A viewer without a window has no such attribute.
        self._window = getattr(viewer, "window", None)
        self._dock: DescriptorDock | None = None

    @property
    def dock(self) -> DescriptorDock | None:
        """None while it is not there, also after the user closed it."""
        there = self._dock is not None and isalive(self._dock) and self._dock.parent() is not None  # type: ignore[no-untyped-call]
        return self._dock if there else None

    def show_map(self, shown: DescriptorMap, place: str) -> None:
        """Show a map, in the dock that is there or a new one."""
        if self._window is None:
            return
        if self.dock is None:
            self._dock = DescriptorDock()
            dock_below(self._window, self._dock, _TITLE)
        if self._dock is not None:
            self._dock.show_map(shown, place)

    def remove(self) -> None:
        """Close the dock."""
        if self._window is not None and self.dock is not None:
            self._window.remove_dock_widget(self.dock)
        self._dock = None
