"""Takes the pictures of docs/quantify.md:  xvfb-run -a python docs/quantify_pictures.py"""

from __future__ import annotations

import os
import tempfile
from typing import Any

import napari
from qtpy.QtCore import QPoint
from screenshots import PLUGIN, run, settle, shoot, wait


def scroll_to(form: Any, widget: Any) -> None:
    """Bring a part of the form into view."""
    area = form.fields.native.parent().parent()
    top = widget.native.mapTo(form.fields.native, QPoint(0, 0)).y()
    area.verticalScrollBar().setValue(top - 10)


def main() -> None:
    """Measure the sample, go to a particle, colour, correct, plot, and collect a field."""
    viewer = napari.Viewer()
    viewer.window._qt_window.resize(1280, 860)
    viewer.open_sample(PLUGIN, "carbides-truth")
    image, phases = viewer.layers
    _, form = viewer.window.add_plugin_dock_widget(PLUGIN, "Quantify")
    form.phase_layer.value, form.image.value = phases, image
    form.parameters["smallest_area_px"].value = 12
    run(form)
    phases.visible = False
    particles = viewer.layers[f"{phases.name} particles"]
    viewer.reset_view()
    form.results.features.native.click()
    settle()
    largest = form._current.measured.result.particles.nlargest(12, "area_px")["particle"]
    particles.selected_label = int(largest.iloc[-1])
    camera = getattr(viewer, "scene", viewer).camera
    camera.zoom *= 3
    settle()
    scroll_to(form, form.results)
    shoot(viewer, "quantify-1-table")
    for name in list(viewer.window.dock_widgets):
        if "Features table" in name:
            viewer.window.remove_dock_widget(viewer.window.dock_widgets[name])
    form.colours.column.value = "equivalent_radius_um"
    form.results.plots.native.click()
    wait(lambda: form.is_settled)
    viewer.reset_view()
    settle()
    scroll_to(form, form.colours)
    shoot(viewer, "quantify-2-sizes")
    form.corrections.particles.value = str(largest.iloc[0])
    form.corrections.split.native.click()
    form.corrections.particles.value = "5"
    form.corrections.delete.native.click()
    wait(lambda: form.is_settled)
    form.study.add.native.click()
    viewer.window.remove_dock_widget(form.plots)
    particles.selected_label = 9
    viewer.reset_view()
    settle()
    scroll_to(form, form.colours)
    shoot(viewer, "quantify-3-corrections")
    viewer.close()


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        os.environ["NAPARI_METALLOGRAPHY_CONFIG"] = folder
        main()
