"""Docks below the image."""

from __future__ import annotations

import napari.window
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QDockWidget, QMainWindow, QWidget


def dock_below(
    window: napari.window.Window, widget: QWidget, name: str, *, tabify: bool = False
) -> QDockWidget:
    """Dock a widget below the image alone: forms at the right keep the height of the window.

    Parameters
    ----------
    tabify
        Behind the docks that are there, so that the image keeps its room.
    """
    dock: QDockWidget = window.add_dock_widget(widget, name=name, area="bottom", tabify=tabify)
    main = dock.parent()
    if isinstance(main, QMainWindow):
        main.setCorner(Qt.Corner.BottomRightCorner, Qt.DockWidgetArea.RightDockWidgetArea)
    return dock
