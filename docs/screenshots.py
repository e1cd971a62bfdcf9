"""Takes the README's pictures from the real window:  xvfb-run -a python docs/screenshots.py"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import napari
import numpy as np
from PIL import Image
from qtpy.QtWidgets import QApplication

from napari_metallography.synthesis.structures import StructureParameters, structure

IMAGES = Path(__file__).resolve().parent / "images"
PLUGIN = "napari-metallography"


def wait(until: Callable[[], bool], seconds: float = 300) -> None:
    """Let the window live until a condition holds."""
    end = time.monotonic() + seconds
    while time.monotonic() < end and not until():
        QApplication.processEvents()
        time.sleep(0.01)


def settle() -> None:
    """Let the window draw itself."""
    end = time.monotonic() + 1.5
    wait(lambda: time.monotonic() > end)


def shoot(viewer: Any, name: str, colours: int = 256) -> None:
    """Save the whole window, with few colours: the repository stays small."""
    settle()
    picture = Image.fromarray(viewer.window.screenshot(canvas_only=False)).convert("RGB")
    picture.quantize(colours).save(IMAGES / f"{name}.png", optimize=True)


def run(form: Any) -> None:
    """Press a form's button and wait for its result."""
    form.controls.run_button.native.click()
    wait(lambda: not form.controls.is_running)
    print(form.controls.status.value)


def strokes(layer: Any, truth: Any) -> None:
    """Paint some short strokes as a user would, with the true phases in place of an eye."""
    random = np.random.default_rng(0)
    for row, column in random.integers(8, np.subtract(truth.data.shape, (16, 40)), (40, 2)):
        where = np.mgrid[row : row + 6, column : column + 24].reshape(2, -1)
        layer.data_setitem(tuple(where), truth.data[tuple(where)])


def fine_tune() -> None:
    """Paint on the carbide sample and train for twenty iterations."""
    viewer = napari.Viewer()
    viewer.window._qt_window.resize(1500, 950)
    viewer.open_sample(PLUGIN, "carbides-truth")
    truth = viewer.layers[1]
    truth.visible = False
    _, form = viewer.window.add_plugin_dock_widget(PLUGIN, "Fine-tune")
    form.set.new_button.native.click()
    strokes(form.set.pairs[0].labels, truth)
    viewer.layers.remove(truth)
    form.recipe.fields["iterations"].value = 20
    form.recipe.learning_rate.value = 0.001
    form.recipe.fields["validate_every"].value = 5
    run(form)
    viewer.reset_view()
    shoot(viewer, "fine-tune")
    viewer.close()


def grain_size() -> None:
    """Grade the etched steel by all methods, the line network too."""
    viewer = napari.Viewer()
    viewer.window._qt_window.resize(1500, 950)
    viewer.open_sample(PLUGIN, "grains")
    _, form = viewer.window.add_plugin_dock_widget(PLUGIN, "Grade grain size")
    form.methods["network"].value = True
    run(form)
    viewer.reset_view()
    shoot(viewer, "grain-size", 96)
    viewer.close()


def drawn(viewer: Any, name: str, variant: str, seed: int, called: str) -> Any:
    """A synthetic structure as a layer."""
    side = {"height_px": 360, "width_px": 360, "pixel_size_um": 0.02}
    image = structure(StructureParameters(name=name, variant=variant, **side), seed).image
    return viewer.add_image(image, name=called, scale=(0.02, 0.02), units=("um", "um"))


def learn_structures() -> None:
    """Learn four structures from three images each; name them in another steel, and two others."""
    known = ("network", "pearlite-fine", "spheroidite-fine", "ferrite-martensite")
    viewer = napari.Viewer()
    viewer.window._qt_window.resize(1600, 1000)
    _, form = viewer.window.add_plugin_dock_widget(PLUGIN, "Learn structures")
    form.model.choose("microstructure-resnet18")
    for name in known:
        for seed in range(3):
            form.image.value = drawn(viewer, name, "a", seed, f"{name} {seed}")
            form.panel.name.value = name
            form.panel.add_image_button.native.click()
    viewer.layers.clear()
    others = [(name, "b") for name in known] + [("widmanstatten", "a"), ("polycrystal", "a")]
    for number, (name, variant) in enumerate(others):
        drawn(viewer, name, variant, 100 + number, f"{name} of another steel")
    form.extent.value = "selected"
    viewer.layers.selection = set(viewer.layers)
    run(form)
    viewer.canvas.grid.enabled = True
    viewer.reset_view()
    shoot(viewer, "learn-structures", 96)
    viewer.close()


def main() -> None:
    """Segment, quantify, compare and fine-tune on the carbide sample."""
    IMAGES.mkdir(exist_ok=True)
    viewer = napari.Viewer()
    viewer.window._qt_window.resize(1500, 950)
    viewer.open_sample(PLUGIN, "carbides-truth")
    image, truth = viewer.layers
    truth.visible = False
    dock, segment = viewer.window.add_plugin_dock_widget(PLUGIN, "Segment phases")
    run(segment)
    viewer.reset_view()
    shoot(viewer, "segment")
    phases = viewer.layers[f"{image.name} phases"]
    viewer.window.remove_dock_widget(dock)
    dock, quantify = viewer.window.add_plugin_dock_widget(PLUGIN, "Quantify")
    quantify.phase_layer.value = phases
    quantify.image.value = image
    # Smaller ones are mostly noise, as the form says.
    quantify.parameters["smallest_area_px"].value = 12
    run(quantify)
    viewer.reset_view()
    shoot(viewer, "quantify")
    viewer.window.remove_dock_widget(dock)
    for layer in viewer.layers[1:]:
        layer.visible = False
    dock, compare = viewer.window.add_plugin_dock_widget(PLUGIN, "Compare with truth")
    compare.predicted.value, compare.truth.value, compare.phase.value = phases, truth, 2
    run(compare)
    viewer.reset_view()
    shoot(viewer, "compare")
    viewer.window.remove_dock_widget(dock)
    viewer.layers.remove(viewer.layers[-1])
    viewer.layers.selection.active = image
    viewer.reset_view()
    viewer.window.add_plugin_dock_widget(PLUGIN, "Calibrate")
    shoot(viewer, "calibrate")
    viewer.close()
    fine_tune()
    grain_size()
    learn_structures()


if __name__ == "__main__":
    import os

    with tempfile.TemporaryDirectory() as folder:
        os.environ["NAPARI_METALLOGRAPHY_CONFIG"] = folder
        main()
