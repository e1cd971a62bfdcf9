"""Answers for the planes of an image, and the classes somebody confirmed, in its metadata."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from napari.components import ViewerModel
from napari.layers import Image

from ..classification.stacks import NamedPlane
from .painting import image_shape
from .results import is_computed


class LayerAnswers:
    """What one form notes of image layers; nothing is known of data of another shape.

    Parameters
    ----------
    key
        Of the metadata: `provenance`, `answers` and `confirmed` by plane, `shape` of the data.
    """

    def __init__(self, key: str) -> None:
        self._key = key

    def note(self, image: Image, planes: Iterable[NamedPlane], provenance: dict[str, Any]) -> None:
        """Keep answers; those of other planes stay if they were had alike."""
        before = self._noted(image)
        kept = before.get("answers", {}) if before.get("provenance") == provenance else {}
        rows = {one.number: {k: v for k, v in one.row.items() if k != "image"} for one in planes}
        self._note(image, provenance=provenance, answers={**kept, **rows})

    def confirm(self, image: Image, names: Mapping[int, str]) -> None:
        """Note the classes of planes that somebody confirmed; "" takes one back."""
        merged = {**self.confirmed(image), **names}
        self._note(image, confirmed={number: name for number, name in merged.items() if name})

    def confirmed(self, image: Image) -> dict[int, str]:
        """Classes by plane that somebody confirmed."""
        found: dict[int, str] = self._noted(image).get("confirmed", {})
        return found

    def forget(self, image: Image) -> bool:
        """Take away what is noted, as of data that were replaced; tells whether there was any."""
        if self._key not in image.metadata:
            return False
        image.metadata = {k: v for k, v in image.metadata.items() if k != self._key}
        return True

    def confirmed_layers(self, viewer: ViewerModel) -> list[Image]:
        """The micrographs with confirmed answers."""
        images = [x for x in viewer.layers if isinstance(x, Image) and not is_computed(x)]
        return [image for image in images if self.confirmed(image)]

    def _noted(self, image: Image) -> dict[str, Any]:
        noted: dict[str, Any] = image.metadata.get(self._key, {})
        return noted if noted and noted["shape"] == image_shape(image) else {}

    def _note(self, image: Image, **values: Any) -> None:
        noted = {**self._noted(image), **values, "shape": image_shape(image)}
        image.metadata = {**image.metadata, self._key: noted}
