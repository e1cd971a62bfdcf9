"""Result layers: where they lie, and when a new run may replace an old one."""

from __future__ import annotations

import hashlib
import json
import math

import numpy as np
from napari.components import ViewerModel
from napari.layers import Image, Layer

from ..regions import Field

PARTICLES_OF = "particles_of"
"""Key of the metadata of a layer of single particles: the name of the layer they are from."""

_DIGEST = "computed_digest"
_ORIGIN = "computed_from"
_WORDS = 1024
# Odd, so that a change of one word always changes the sum.
_WEIGHTS = 2 * np.random.default_rng(0).integers(0, 2**62, _WORDS, np.uint64) + np.uint64(1)


def mark_computed(layer: Layer, origin: str = "") -> None:
    """Note what the layer holds now, so that a later edit shows, and what it was made from."""
    layer.metadata = {**layer.metadata, _DIGEST: _digest(layer), _ORIGIN: origin}


def mark_copy(layer: Layer) -> None:
    """Note that the layer shows another one once more; no run takes it for a result to replace."""
    layer.metadata = {**layer.metadata, _DIGEST: ""}


def is_computed(layer: Layer) -> bool:
    """Whether a layer is a result, such as a map made from an image."""
    return _DIGEST in layer.metadata


def is_untouched(layer: Layer) -> bool:
    """Whether a layer is a result that nobody has edited since."""
    return is_computed(layer) and layer.metadata[_DIGEST] == _digest(layer)


def remove_untouched(viewer: ViewerModel, name: str, origin: str = "") -> None:
    """Remove the earlier results of a name and an origin.

    Edited ones, and those made from something else, stay: napari then numbers the new one.
    """
    for layer in list(viewer.layers):
        if _is_named(layer, name) and _is_from(layer, origin) and is_untouched(layer):
            viewer.layers.remove(layer)


def origin_of(image: Image, measured: Field) -> str:
    """What tells results of one image and region from those of another; the data bar does not.

    A layer's `unique_id` holds for the session, as result layers do.
    """
    return f"{image.unique_id} {json.dumps(measured.to_dict()['region'])}"


def centre_on(viewer: ViewerModel, layer: Layer, position: tuple[float, ...]) -> None:
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


def _is_from(layer: Layer, origin: str) -> bool:
    return bool(layer.metadata.get(_ORIGIN, "") == origin)


def _digest(layer: Layer) -> str:
    """A digest of weighted sums: some ten times as fast as one of all bytes, as the window waits.

    Source: multilinear hashing, Carter and Wegman, J. Comput. Syst. Sci. 18 (1979) 143.
    """
    content = np.ascontiguousarray(layer.data).reshape(-1).view(np.uint8)
    end = content.size - content.size % (8 * _WORDS)
    words = content[:end].view(np.uint64).reshape(-1, _WORDS)
    digest = hashlib.blake2b(np.einsum("ij,j->i", words, _WEIGHTS), digest_size=16)
    digest.update(content[end:].data)
    return digest.hexdigest()
