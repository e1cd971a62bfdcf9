"""The training set: images, each with the labels layer painted on it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from magicgui.widgets import Container, Label, PushButton, Select, Widget
from napari.components import ViewerModel
from napari.layers import Image, Labels

from ..classes import PhaseClass, layer_to_indices, require_same_classes
from ..errors import InputError
from ..plane import ArrayLike
from ..regions import Field
from ..training.fine_tuning import Painted
from .form import button_row, wrap
from .layers import labels_as_indices, layer_calibration, snapshot, stated_names
from .painting import lay_on, require_fit
from .results import is_computed

FieldOf = Callable[[Image], Field]

_EMPTY = "none yet: select an image and its labels, press Add; or press New labels layer"
_ROWS_SHOWN = 3
_ROW_HEIGHT = 22


@dataclass(frozen=True)
class Pair:
    """An image layer and the labels layer painted on it."""

    image: Image
    labels: Labels

    def holds(self, layer: object) -> bool:
        """Whether a layer is one of the two."""
        return layer is self.image or layer is self.labels


class TrainingSet(Container[Widget]):
    """The list of pairs, and buttons to add and to remove.

    Parameters
    ----------
    changed
        Called after pairs came or went.
    """

    def __init__(self, changed: Callable[[], None]) -> None:
        self._pairs: list[Pair] = []
        self._on_change = changed
        self.list = Select(choices=self._offered, tooltip="select a row to remove it")
        self.list.native.setMaximumHeight(_ROWS_SHOWN * _ROW_HEIGHT)
        self.hint = Label(value=_EMPTY)
        wrap(self.hint)
        self.add_button = PushButton(
            text="Add", tooltip="adds the selected labels layer with its image"
        )
        self.new_button = PushButton(
            text="New labels layer", tooltip="an empty one on the chosen image, ready to paint"
        )
        self.remove_button = PushButton(text="Remove")
        # Three in a row would widen the dock.
        buttons = button_row(self.add_button, self.remove_button)
        super().__init__(
            widgets=[self.list, self.hint, self.new_button, buttons], labels=False, label="Painted"
        )
        self.margins = (0, 0, 0, 0)
        self.remove_button.changed.connect(self._remove_chosen)
        self._show()

    @property
    def pairs(self) -> tuple[Pair, ...]:
        """The pairs, in the order they were added."""
        return tuple(self._pairs)

    def labels_of(self, image: Image) -> Labels | None:
        """The labels layer of an image in the set."""
        return next((pair.labels for pair in self._pairs if pair.image is image), None)

    def holds(self, layer: object) -> bool:
        """Whether a layer belongs to the set."""
        return any(pair.holds(layer) for pair in self._pairs)

    def add(self, pair: Pair) -> None:
        """Add a pair.

        Raises
        ------
        InputError
            When the labels do not lie on the image, or one of the two is in the set already.
        """
        if self.holds(pair.image) or self.holds(pair.labels):
            raise InputError(
                f"{pair.image.name} with {pair.labels.name}: one of the two is in the training "
                "set already; paint on the layer that is, or remove it first"
            )
        lay_on(pair.image, pair.labels)
        require_fit(pair.image, pair.labels)
        self._pairs.append(pair)
        self._show()
        self._on_change()

    def discard(self, layer: object) -> bool:
        """Take out the pair that a layer belongs to; whether there was one."""
        kept = [pair for pair in self._pairs if not pair.holds(layer)]
        if len(kept) == len(self._pairs):
            return False
        self._pairs = kept
        self._show()
        self._on_change()
        return True

    def _offered(self, _: object) -> list[tuple[str, int]]:
        return [(_described(pair), index) for index, pair in enumerate(self._pairs)]

    def _remove_chosen(self) -> None:
        chosen = self.list.value or ([0] if len(self._pairs) == 1 else [])
        for pair in [self._pairs[index] for index in chosen]:
            self.discard(pair.labels)

    def _show(self) -> None:
        self.list.reset_choices()
        self.list.visible = bool(self._pairs)
        self.hint.visible = not self._pairs
        self.remove_button.enabled = bool(self._pairs)


def selected_pair(viewer: ViewerModel, image: Image | None) -> Pair:
    """The labels layer selected in the viewer, with the image it lies on.

    Parameters
    ----------
    image
        Taken where no image is selected too.

    Raises
    ------
    InputError
        When it is not clear which two are meant.
    """
    selection = list(viewer.layers.selection)
    labels = [layer for layer in selection if isinstance(layer, Labels)]
    images = [x for x in selection if isinstance(x, Image) and not is_computed(x)]
    if len(labels) != 1 or len(images) > 1:
        raise InputError(
            "select one labels layer in the layer list (and its image), then press Add; or press "
            "'New labels layer'"
        )
    image = images[0] if images else image
    if image is None:
        raise InputError("open an image first, then choose it here")
    return Pair(image, labels[0])


def require_known_classes(labels: Labels, classes: Sequence[PhaseClass]) -> None:
    """Refuse labels of other classes than those of the form."""
    require_same_classes(
        stated_names(labels),
        [phase.name for phase in classes],
        first_of=labels.name,
        second_of="this form",
    )
    values = np.asarray(labels.data)
    highest = int(values.max(initial=0))
    if highest > len(classes):
        raise InputError(
            f"{labels.name}: label {highest} is painted, but there are only the classes 1 to "
            f"{len(classes)}; add classes or repaint it"
        )


def painted(pairs: Sequence[Pair], field_of: FieldOf) -> list[Painted]:
    """Snapshots of the painted planes; call on the GUI thread."""
    return [one for pair in pairs for one in _planes(pair, field_of)]


def pixel_sizes(pairs: Sequence[Pair]) -> list[float | None]:
    """Pixel sizes of the images in µm, None where unknown."""
    return [_pixel_size(pair.image) for pair in pairs]


def plane_indices(pair: Pair) -> list[tuple[int, ...]]:
    """Leading indices of the planes with paint on them; all of a set without any paint."""
    values = np.asarray(pair.labels.data)
    every = list(np.ndindex(values.shape[:-2]))
    return [index for index in every if values[index].any()] or every[:1]


def plane_name(image: Image, index: tuple[int, ...]) -> str:
    """Name of one plane of an image."""
    return ", plane ".join([image.name, *map(str, index)])


def _described(pair: Pair) -> str:
    image, labels = pair.image.name, pair.labels.name
    return labels if labels.startswith(f"{image} ") else f"{labels} on {image}"


def _planes(pair: Pair, field_of: FieldOf) -> Iterator[Painted]:
    array, _ = snapshot(pair.image)
    indices = _indices(pair.labels)
    measured = field_of(pair.image)
    for index in plane_indices(pair):
        yield Painted(
            name=plane_name(pair.image, index),
            array=_plane(array, index),
            labels=indices[index].copy(),
            measured=measured,
            pixel_size_um=_pixel_size(pair.image),
            # Planes of one stack are not independent: one side of the split has them all.
            group=pair.image.name,
        )


def _indices(labels: Labels) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    if not np.asarray(labels.data).any():
        return layer_to_indices(np.zeros(labels.data.shape, np.uint8))
    return labels_as_indices(labels)[0]


def _plane(array: ArrayLike, index: tuple[int, ...]) -> ArrayLike:
    plane: ArrayLike = array[index] if index else array
    return plane


def _pixel_size(image: Image) -> float | None:
    calibration = layer_calibration(image)
    return calibration.mean_um if calibration else None
