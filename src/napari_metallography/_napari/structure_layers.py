"""Answers of *Classify structure* on layers: their metadata, and the map of what lies where."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from napari.components import ViewerModel
from napari.layers import Image

from ..classes import PhaseClass
from ..classification.structure_parameters import SaliencyPicture
from .layer_answers import LayerAnswers
from .looked_at import index_of
from .results import is_computed, mark_computed
from .training_layers import add_above, placement_of_part

STRUCTURES = LayerAnswers("structure")
"""What is noted of images."""

SALIENCY = "saliency"
"""Key of the metadata of a saliency layer: its classes, the windows, and how it was had."""

_OPACITY = 0.7


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
                "image_id": str(image.unique_id),
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
        # By the image itself: its name may change, and another image may take it.
        if told and (told["image_id"], told["plane"]) == (str(image.unique_id), number):
            viewer.layers.remove(layer)


def legend_html(classes: Sequence[PhaseClass]) -> str:
    """Colours of classes for people."""
    marks = [f'<span style="color:{c.colour}">■</span> {escape(c.name)}' for c in classes]
    return ", ".join([*marks, "dark: none of them"])
