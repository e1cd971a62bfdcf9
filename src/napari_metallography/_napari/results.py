"""Result layers: where they lie, and when a new run may replace an old one."""

from __future__ import annotations

import hashlib
import math

import numpy as np
from napari.components import ViewerModel
from napari.layers import Labels, Layer

_DIGEST = "computed_digest"


def mark_computed(layer: Layer) -> None:
    """Note what the layer holds now, so that a later edit shows."""
    layer.metadata = {**layer.metadata, _DIGEST: _digest(layer)}


def is_untouched(layer: Layer) -> bool:
    """Whether a layer is a result that nobody has edited since."""
    return _DIGEST in layer.metadata and layer.metadata[_DIGEST] == _digest(layer)


def remove_untouched(viewer: ViewerModel, name: str) -> None:
    """Remove the earlier results of a name; edited ones stay, napari then numbers the new one."""
    for layer in list(viewer.layers):
        if _is_named(layer, name) and is_untouched(layer):
            viewer.layers.remove(layer)


def centre_on(viewer: ViewerModel, layer: Labels, position: tuple[float, ...]) -> None:
    """Bring a pixel of a layer to the middle of the view; other planes come up as needed."""
    if not all(map(math.isfinite, position)):
        return
    world = layer.data_to_world(position)
    for axis, value in enumerate(world[:-2], start=viewer.dims.ndim - len(world)):
        viewer.dims.set_point(axis, value)
    # napari 0.9 moved the camera into a scene.
    camera = getattr(viewer, "scene", viewer).camera
    camera.center = (*camera.center[:-2], world[-2], world[-1])


def _is_named(layer: Layer, name: str) -> bool:
    return bool(layer.name == name or layer.name.startswith(f"{name} ["))


def _digest(layer: Layer) -> str:
    return hashlib.blake2b(np.ascontiguousarray(layer.data).data, digest_size=16).hexdigest()
