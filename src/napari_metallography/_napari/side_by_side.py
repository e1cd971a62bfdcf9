"""Two segmentations of the same images beside each other, with one camera for both."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from napari.components import ViewerModel
from napari.experimental import link_layers
from napari.layers import Image, Labels, Layer

from .layers import pixels_of, plane_placement
from .results import mark_copy

_LINKED_IMAGE = ("contrast_limits", "gamma", "colormap", "visible", "opacity")
_LINKED_LABELS = ("colormap", "opacity", "contour")


@dataclass(frozen=True, eq=False)
class Beside:
    """An image, and two segmentations of it: the one on the left, and the one on the right.

    `cover` is a map over the image that is hidden meanwhile, as one half alone would show it.
    """

    image: Image
    left: Labels
    right: Labels
    cover: Layer | None = None

    @property
    def layers(self) -> tuple[Layer, ...]:
        """The image and the two segmentations."""
        return self.image, self.left, self.right


class SideBySide:
    """Shows segmentations beside each other in napari's grid, and takes that back.

    The viewer's layers stay where they are and make up the left half; the right half is copies of
    the images and of the segmentations there, on top of the layer list, which share their pixels.
    """

    def __init__(self, viewer: ViewerModel) -> None:
        self._viewer = viewer
        self._shown: Sequence[Beside] = ()
        self._copies: list[Layer] = []
        self._grid_before: dict[str, Any] = {}
        self._covers: list[Layer] = []
        for event in (viewer.layers.events.inserted, viewer.layers.events.removed):
            event.connect(self._fit)
        viewer.layers.events.reordered.connect(self._fit)

    @property
    def is_on(self) -> bool:
        """Whether they are shown."""
        return bool(self._copies)

    def show(self, shown: Sequence[Beside]) -> None:
        """Show them; what is not open any more is left out."""
        self.hide()
        shown = [one for one in shown if all(x in self._viewer.layers for x in one.layers)]
        copies = [copy for one in shown for copy in _copies(one)]
        self._covers = [one.cover for one in shown if one.cover is not None and one.cover.visible]
        for cover in self._covers:
            cover.visible = False
        for one in shown:
            one.left.visible, one.right.visible = True, False
        add_on_top(self._viewer, copies)
        if copies:
            self._shown, self._copies = shown, copies
            grid = _grid(self._viewer)
            self._grid_before = {n: getattr(grid, n) for n in ("enabled", "shape", "stride")}
            self._fit()

    def hide(self) -> None:
        """Take the right half away and show the segmentation there over the image."""
        shown, self._shown = self._shown, ()
        copies, self._copies = self._copies, []
        for copy in copies:
            if copy in self._viewer.layers:
                self._viewer.layers.remove(copy)
        for one in shown:
            one.left.visible, one.right.visible = False, True
        covers, self._covers = self._covers, []
        for cover in covers:
            cover.visible = True
        if copies:
            _grid(self._viewer).update(self._grid_before)

    def _fit(self, *_: object) -> None:
        """Keep the copies alone on the right, whatever layers come and go."""
        if not self.is_on:
            return
        layers = self._viewer.layers
        needed = [*self._copies, *(layer for one in self._shown for layer in one.layers)]
        if any(layer not in layers for layer in needed):
            self.hide()
            return
        first = len(layers) - len(self._copies)
        if list(layers)[first:] != self._copies:
            with layers.events.reordered.blocker(self._fit):
                for copy in self._copies:
                    layers.move(layers.index(copy), len(layers))
        _grid(self._viewer).update({"stride": first, "shape": (1, 2), "enabled": True})


def add_on_top(viewer: ViewerModel, layers: Sequence[Layer]) -> None:
    """Add layers at the top of the list; the brush stays in the user's hand."""
    active = viewer.layers.selection.active
    for layer in layers:
        viewer.layers.append(layer)
    if active is not None:
        viewer.layers.selection.active = active


def _copies(one: Beside) -> tuple[Layer, Layer]:
    pixels, rgb = pixels_of(one.image)
    image = Image(pixels, rgb=rgb, name=f"{one.image.name} (right)", **_looks(one.image))
    labels = Labels(one.right.data, name=f"{one.right.name} (right)", **_looks(one.right))
    labels.editable = False
    for layer, copy, linked in (
        (one.image, image, _LINKED_IMAGE),
        (one.right, labels, _LINKED_LABELS),
    ):
        mark_copy(copy)
        link_layers([layer, copy], linked)
    return image, labels


def _looks(layer: Image | Labels) -> dict[str, Any]:
    names = _LINKED_IMAGE if isinstance(layer, Image) else _LINKED_LABELS
    return {
        "blending": layer.blending,
        **{name: getattr(layer, name) for name in names if name not in ("visible", "contour")},
        **plane_placement(layer, layer.ndim),
    }


def _grid(viewer: ViewerModel) -> Any:
    # napari 0.9 moved the grid to the canvas.
    return viewer.canvas.grid if hasattr(viewer, "canvas") else viewer.grid
