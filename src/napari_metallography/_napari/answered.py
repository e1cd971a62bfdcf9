"""Answers of the forms that name planes: for which layers they are, and the buttons meanwhile."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from magicgui.widgets import ComboBox, Widget
from napari.components import ViewerModel
from napari.layers import Image, Layer
from qtpy.compat import isalive
from qtpy.QtWidgets import QWidget

from ..classification.stacks import Named, NamedPlane
from .form import RunControls
from .looked_at import index_of, place_at

P = TypeVar("P")


@dataclass(frozen=True)
class Answered:
    """An answer, the layer it is for, and where its plane lies along the axes before the rows."""

    image: Image
    plane: NamedPlane
    index: tuple[int, ...]

    @property
    def place(self) -> str:
        """The layer's name as it is now, and the plane where there are several."""
        return place_at(self.image, self.index)

    @property
    def row(self) -> dict[str, Any]:
        """As of `classes.csv`, with the layer's name as it is now."""
        return {**self.plane.row, "image": self.image.name}


class Asked(Generic[P]):
    """What answers were asked for, and those that are there so far.

    Parameters
    ----------
    images
        Layers to look at.
    parameters
        How they were asked for.
    """

    def __init__(self, images: Sequence[Image], parameters: P) -> None:
        self.parameters = parameters
        self.parts: list[Named] = []
        self._images = {image.name: image for image in images}
        self._replaced: set[Image] = set()
        for image in images:
            image.events.data.connect(self._data_changed)

    def taken(self, viewer: ViewerModel) -> tuple[dict[Image, list[NamedPlane]], list[str]]:
        """Answers by the layers that are still there, and of which layers data were replaced."""
        found: dict[Image, list[NamedPlane]] = {}
        replaced = []
        for name, image in self._images.items():
            planes = [one for part in self.parts for one in part.planes if one.stack == name]
            if image in viewer.layers and image not in self._replaced:
                found[image] = planes
            elif planes and image in viewer.layers:
                replaced.append(f"{name}: its data were replaced meanwhile; classify it again")
        return found, replaced

    def _data_changed(self, event: Any) -> None:
        self._replaced.add(event.source)


def with_answers(
    answered: Sequence[Answered], image: Image, planes: Sequence[NamedPlane]
) -> list[Answered]:
    """Answers with new ones for planes of an image, which take the place of earlier ones."""
    anew = {plane.number for plane in planes}
    kept = [one for one in answered if one.image is not image or one.plane.number not in anew]
    return kept + [Answered(image, one, index_of(image, one.number)) for one in planes]


def keep_chosen(choice: ComboBox) -> None:
    """Offer layers by the names they have now; the chosen one stays chosen."""
    layer = choice.value
    choice.reset_choices()
    if layer is not None:
        choice.value = layer


class FollowedLayers:
    """Tells a form of layers that go, whose data are replaced, or that get another name.

    Parameters
    ----------
    form
        Its native widget; nothing is told once it is gone.
    on_gone, on_replaced, on_renamed
        Called with the layer.
    """

    def __init__(
        self,
        viewer: ViewerModel,
        form: QWidget,
        *,
        on_gone: Callable[[Layer], None],
        on_replaced: Callable[[Layer], None],
        on_renamed: Callable[[Layer], None],
    ) -> None:
        self._form = form
        self._on_gone, self._on_replaced, self._on_renamed = on_gone, on_replaced, on_renamed
        for layer in viewer.layers:
            self._follow(layer)
        viewer.layers.events.inserted.connect(self._added)
        viewer.layers.events.removed.connect(self._removed)

    def _follow(self, layer: Layer) -> None:
        layer.events.data.connect(self._data_changed)
        layer.events.name.connect(self._name_changed)

    def _added(self, event: Any) -> None:
        if isalive(self._form):  # type: ignore[no-untyped-call]
            self._follow(event.value)

    def _removed(self, event: Any) -> None:
        if isalive(self._form):  # type: ignore[no-untyped-call]
            self._on_gone(event.value)

    def _data_changed(self, event: Any) -> None:
        if isalive(self._form):  # type: ignore[no-untyped-call]
            self._on_replaced(event.source)

    def _name_changed(self, event: Any) -> None:
        if isalive(self._form):  # type: ignore[no-untyped-call]
            self._on_renamed(event.source)


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
