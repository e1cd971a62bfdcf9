"""Answers of the forms that name planes: for which layers they are, and the buttons meanwhile."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from magicgui.widgets import Widget
from napari.components import ViewerModel
from napari.layers import Image

from ..classification.stacks import Named, NamedPlane
from .form import RunControls
from .painting import image_shape

P = TypeVar("P")


@dataclass(frozen=True)
class Answered:
    """An answer and the layer it is for."""

    image: Image
    plane: NamedPlane


@dataclass(frozen=True)
class Asked(Generic[P]):
    """What answers were asked for, and those that are there so far.

    Attributes
    ----------
    images
        Layers by the names they had.
    shapes
        Of their data.
    parameters
        How they were asked for.
    """

    images: Mapping[str, Image]
    shapes: Mapping[str, tuple[int, ...]]
    parameters: P
    parts: list[Named] = field(default_factory=list)

    @classmethod
    def of(cls, images: Sequence[Image], parameters: P) -> Asked[P]:
        """Nothing is answered yet."""
        shapes = {image.name: image_shape(image) for image in images}
        return cls({image.name: image for image in images}, shapes, parameters)

    def taken(self, viewer: ViewerModel) -> tuple[dict[Image, list[NamedPlane]], list[str]]:
        """Answers by the layers that are still there, and of which layers data were replaced."""
        found: dict[Image, list[NamedPlane]] = {}
        replaced = []
        for name, image in self.images.items():
            planes = [one for part in self.parts for one in part.planes if one.stack == name]
            if image in viewer.layers and image_shape(image) == self.shapes[name]:
                found[image] = planes
            elif planes and image in viewer.layers:
                replaced.append(f"{name}: its data were replaced meanwhile; classify it again")
        return found, replaced


def with_answers(
    answered: Sequence[Answered], image: Image, planes: Sequence[NamedPlane]
) -> list[Answered]:
    """Answers with new ones for planes of an image, which take the place of earlier ones."""
    anew = {plane.number for plane in planes}
    kept = [one for one in answered if one.image is not image or one.plane.number not in anew]
    return kept + [Answered(image, plane) for plane in planes]


class ClassifyControls(RunControls):
    """Run and Cancel; meanwhile buttons that would begin something else wait.

    Parameters
    ----------
    waiting
        Those buttons.
    on_ended
        Called last with the line that says how a run ended; "" after success.
    """

    def __init__(self, waiting: Sequence[Widget], on_ended: Callable[[str], None]) -> None:
        super().__init__("Classify")
        self._waiting, self._on_ended = tuple(waiting), on_ended

    def _end(self, message: str) -> None:
        super()._end(message)
        self._on_ended(message)

    def _set_running(self, running: bool) -> None:
        super()._set_running(running)
        for button in self._waiting:
            button.enabled = not running
