"""Answers of *Classify structure* on layers: their metadata, and the map of what lies where."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from typing import Any

from napari.components import ViewerModel
from napari.layers import Image

from ..classes import PhaseClass
from ..classification.structure_parameters import NamedStructure, SaliencyPicture
from .looked_at import index_of
from .results import is_computed, mark_computed
from .training_layers import add_above, placement_of_part

ANSWERS = "structure"
"""Key of an image layer's metadata: `provenance` and `answers`, by plane."""

SALIENCY = "saliency"
"""Key of the metadata of a saliency layer: its classes, the windows, and how it was had."""

_OPACITY = 0.7


def note_structures(
    image: Image, planes: Iterable[NamedStructure], provenance: dict[str, Any]
) -> None:
    """Keep answers in the layer's metadata; those of other planes stay if they were had alike."""
    before = image.metadata.get(ANSWERS, {})
    kept = before.get("answers", {}) if before.get("provenance") == provenance else {}
    rows = {one.number: {k: v for k, v in one.row.items() if k != "image"} for one in planes}
    noted = {"provenance": provenance, "answers": {**kept, **rows}}
    image.metadata = {**image.metadata, ANSWERS: noted}


def add_saliency(viewer: ViewerModel, image: Image, number: int, found: SaliencyPicture) -> Image:
    """Show what lies where on a plane of an image, over that plane only.

    An earlier map of the plane makes way.
    """
    remove_saliency(viewer, image, number)
    index = index_of(image, number)
    layer = Image(
        found.rgb[(None,) * len(index)],
        rgb=True,
        name=f"{image.name} {SALIENCY}",
        opacity=_OPACITY,
        blending="translucent",
        metadata={
            SALIENCY: {
                "image": image.name,
                "plane": number,
                "window_px": found.window_px,
                "classes": [one.model_dump() for one in found.classes],
                "provenance": found.provenance,
            }
        },
        **placement_of_part(image, index, found.box, found.rgb.shape[:2]),
    )
    mark_computed(layer)
    add_above(viewer, image, layer)
    return layer


def remove_saliency(viewer: ViewerModel, image: Image, number: int) -> None:
    """Take the map of a plane away."""
    for layer in list(viewer.layers):
        told = layer.metadata.get(SALIENCY, {}) if is_computed(layer) else {}
        if told and (told["image"], told["plane"]) == (image.name, number):
            viewer.layers.remove(layer)


def legend_html(classes: Sequence[PhaseClass]) -> str:
    """Colours of classes for people."""
    marks = [f'<span style="color:{c.colour}">■</span> {escape(c.name)}' for c in classes]
    return ", ".join([*marks, "dark: none of them"])
