"""Takes the pictures of the page on fine-tuning:  xvfb-run -a python docs/fine_tuning_series.py"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import napari
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QFileDialog
from screenshots import IMAGES, PLUGIN, run, settle, wait

SIZE = (1440, 880)
COLOURS = 128
BRUSH = 2
GAP = 8
IMAGE = "UHCS carbides"
# Grey strokes on grey would not be seen.
MATRIX = "#8a6fe8"


def shot(viewer: Any) -> Image.Image:
    """The whole window."""
    settle()
    return Image.fromarray(viewer.window.screenshot(canvas_only=False)).convert("RGB")


def keep(picture: Image.Image, name: str) -> None:
    """Save a picture with few colours: the repository stays small."""
    few = picture.quantize(COLOURS, kmeans=1, dither=Image.Dither.NONE)
    few.save(IMAGES / f"fine-tuning-{name}.png", optimize=True)


def stroke(
    layer: Any, truth: NDArray[np.uint8], start: tuple[int, int], random: np.random.Generator
) -> None:
    """A short stroke as by hand; it stays within the particle or area it begins in."""
    label = truth[start]
    _, pieces = cv2.connectedComponents((truth == label).astype(np.uint8))
    inside = pieces == pieces[start]
    drawn = np.zeros_like(truth)
    angles = random.uniform(0, 2 * np.pi) + np.cumsum(random.normal(0, 0.3, 5))
    steps = 6 * np.stack([np.cos(angles), np.sin(angles)], 1)
    points = np.round(np.array(start[::-1]) + np.cumsum(steps, 0)).astype(np.int32)
    cv2.polylines(drawn, [np.vstack([start[::-1], points])], False, 1, 2 * BRUSH + 1)
    # A particle is dabbed.
    cv2.circle(drawn, start[::-1], 3 * BRUSH, 1, -1)
    layer.data_setitem(np.nonzero((drawn > 0) & inside), 1 if label == 1 else 2)


def first_strokes(layer: Any, truth: NDArray[np.uint8]) -> None:
    """Some strokes on the matrix and on each of the carbides."""
    random = np.random.default_rng(1)
    for label, count in ((1, 12), (2, 4), (3, 8), (4, 3)):
        places = np.argwhere(cv2.erode((truth == label).astype(np.uint8), np.ones((5, 5))))
        for place in random.choice(places, count):
            stroke(layer, truth, tuple(place), random)


def strokes_where_unsure(
    layer: Any, truth: NDArray[np.uint8], unsure: NDArray[np.float32], count: int
) -> None:
    """Strokes in the brightest spots of the map, each in another spot."""
    random = np.random.default_rng(2)
    left = cv2.GaussianBlur(unsure, (0, 0), 4)
    left[truth == 0] = 0
    for _ in range(count):
        row, column = np.unravel_index(left.argmax(), left.shape)
        stroke(layer, truth, (int(row), int(column)), random)
        cv2.circle(left, (int(column), int(row)), 30, 0.0, -1)


@contextmanager
def only(viewer: Any, *names: str) -> Iterator[None]:
    """Show the image and these layers alone."""
    before = {layer: layer.visible for layer in viewer.layers}
    for layer in viewer.layers:
        layer.visible = layer is viewer.layers[0] or layer.name in names
    yield
    for layer, visible in before.items():
        layer.visible = visible


def canvas(viewer: Any, name: str) -> Image.Image:
    """One layer over the image, without the window around it and the black margins."""
    with only(viewer, name):
        settle()
        pixels = viewer.window.screenshot(canvas_only=True)[..., :3]
    rows, columns = (np.flatnonzero(pixels.any(axis=(2, axis))) for axis in (1, 0))
    return Image.fromarray(pixels[rows[0] : rows[-1], columns[0] : columns[-1]])


def side_by_side(parts: Sequence[Image.Image]) -> Image.Image:
    """Pictures of one size in a row."""
    width, height = parts[0].size
    whole = Image.new("RGB", (width * len(parts) + GAP * (len(parts) - 1), height), "white")
    for number, part in enumerate(parts):
        whole.paste(part, (number * (width + GAP), 0))
    return whole.resize((whole.width * 3 // 4, whole.height * 3 // 4))


def painted(viewer: Any) -> tuple[Any, NDArray[np.uint8]]:
    """The form with strokes on the carbide sample, whose three carbides count as one phase."""
    viewer.open_sample(PLUGIN, "carbides-truth")
    labels = viewer.layers[1]
    truth = np.asarray(labels.data).astype(np.uint8)
    viewer.layers.remove(labels)
    dock, form = viewer.window.add_plugin_dock_widget(PLUGIN, "Fine-tune")
    viewer.window._qt_window.resizeDocks([dock], [420], Qt.Orientation.Horizontal)
    while len(form.table.rows) > 2:
        form.table.remove_button.native.click()
    form.table.rows[0].paint(MATRIX)
    form.table.rows[1].name_edit.value = "carbide"
    form.set.new_button.native.click()
    first_strokes(form.set.pairs[0].labels, truth)
    return form, truth


def rounds(viewer: Any) -> None:
    """Two rounds of the loop, with pictures."""
    form, truth = painted(viewer)
    strokes = form.set.pairs[0].labels
    settle()
    viewer.reset_view()
    keep(shot(viewer), "1-paint")

    form.recipe.fields["iterations"].value = 40
    form.recipe.fields["preview_every"].value = 5
    form.recipe.fields["validate_every"].value = 10
    form.controls.run_button.native.click()
    wait(lambda: form.controls.progress.value >= 32)
    keep(shot(viewer), "2-train")
    wait(lambda: not form.controls.is_running)
    print(form.controls.status.value)

    unsure = viewer.layers[f"{IMAGE} where to paint next"]
    with only(viewer, unsure.name, strokes.name):
        keep(shot(viewer), "3-where-to-paint-next")
    panels = [canvas(viewer, f"{IMAGE} {when}") for when in ("before", "after")]
    keep(side_by_side(panels), "4-before-after")
    strokes_where_unsure(strokes, truth, np.asarray(unsure.data, np.float32), 40)
    form.training.continue_button.native.click()
    wait(lambda: not form.controls.is_running)
    print(form.controls.status.value)
    save(viewer, form)


def save(viewer: Any, form: Any) -> None:
    """Save the model, and use it in *Segment phases*."""
    QFileDialog.getSaveFileName = lambda *_, **__: (str(Path("models/my-steel")), "")
    form.training.save_button.native.click()
    wait(lambda: not form.controls.is_running)
    print(form.controls.status.value)
    viewer.window.remove_dock_widget(form.native)
    for layer in list(viewer.layers)[1:]:
        viewer.layers.remove(layer)
    _, segment = viewer.window.add_plugin_dock_widget(PLUGIN, "Segment phases")
    segment.by_model.model.choose("my-steel")
    settle()
    viewer.reset_view()
    run(segment)
    keep(shot(viewer), "5-save")


def main() -> None:
    """Take the series in a window of its own."""
    viewer = napari.Viewer()
    viewer.window._qt_window.resize(*SIZE)
    rounds(viewer)
    viewer.close()


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        # The paths in the pictures are those of nobody's machine.
        os.chdir(folder)
        os.environ["NAPARI_METALLOGRAPHY_CONFIG"] = "settings"
        os.environ["NAPARI_METALLOGRAPHY_MODELS"] = "models"
        main()
