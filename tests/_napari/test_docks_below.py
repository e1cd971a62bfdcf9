from __future__ import annotations

from qtpy.QtWidgets import QApplication, QWidget

from napari_metallography._napari.docks_below import dock_below


def test_a_form_at_the_right_keeps_its_height(viewer) -> None:
    main = viewer.window._qt_window
    main.resize(1400, 900)
    main.show()
    form = viewer.window.add_dock_widget(QWidget(), name="form", area="right")
    below = dock_below(viewer.window, QWidget(), "below")
    behind = dock_below(viewer.window, QWidget(), "behind", tabify=True)
    QApplication.processEvents()
    assert below.geometry().right() < form.geometry().left()
    assert form.geometry().bottom() >= below.geometry().bottom()
    assert main.tabifiedDockWidgets(below) == [behind]
