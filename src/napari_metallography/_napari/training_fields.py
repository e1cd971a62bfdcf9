"""What a training starts from, its recipe, and where it is computed, as fields of a form."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from html import escape
from pathlib import Path
from typing import Any

import torch
from magicgui.types import FileDialogMode
from magicgui.widgets import CheckBox, ComboBox, FileEdit, FloatSpinBox, Label, Widget
from magicgui.widgets.bases import ValueWidget

from ..classes import PhaseClass, named_classes
from ..devices import Precision, choose_device, precisions
from ..errors import InputError
from ..models.card import Network
from ..segmentation.networks import ARCHITECTURES, ENCODERS
from ..segmentation.segment import SegmentParameters
from ..training.fine_tuning import (
    OriginOf,
    kept_and_new,
    origin_of_model,
    origin_of_network,
)
from ..training.recipe import RECIPES, SegmentationRecipe
from .device_choice import devices
from .form import parameter_fields, read, show_all, wrap
from .model_choice import ModelChoice

_MODEL, _NEW = "model", "new"
_FILE = "file"
_NAMES = {
    "32-true": "32 bits",
    "bf16-mixed": "bfloat16, mixed",
    "16-mixed": "16 bits, mixed",
}
_READY = [
    ("quick, for a few strokes", "fine-tune"),
    ("thorough, for whole images", "adamw"),
    ("Ma and Yu's: SGD, poly, focal loss", "paper"),
]
_RECIPE = "sets all fields below; what is changed there counts"
_ADVANCED = (
    "batch_size",
    "crop",
    "validate_every",
    "preview_every",
    "loss",
    "optimiser",
    "schedule",
    "augmentation",
    "freeze_normalisation",
    "seed",
)
_WEIGHTS = "Weights (*.safetensors *.pt *.pth)"
_CROP_STEP = 32
_RATE_STEP = 0.0005


class StartFields:
    """A model, or a new network: `widgets`."""

    def __init__(self) -> None:
        self.kind = ComboBox(
            choices=[("a trained model", _MODEL), ("a new network", _NEW)],
            label="Start from",
            value=_MODEL,
        )
        self.model = ModelChoice("segmentation", SegmentParameters().model)
        self.architecture = ComboBox(choices=list(ARCHITECTURES), label="Network", value="unet")
        self.encoder = ComboBox(choices=list(ENCODERS), label="Encoder")
        self.weights = ComboBox(
            choices=[("ImageNet", "imagenet"), ("random", "random"), ("from a file", _FILE)],
            label="Its weights",
        )
        self.weights_file = FileEdit(
            mode=FileDialogMode.EXISTING_FILE,
            label="File",
            filter=_WEIGHTS,
        )
        self.classes_kept = Label(value="", label="")
        wrap(self.classes_kept)
        self._of_new: list[Widget] = [
            self.architecture,
            self.encoder,
            self.weights,
            self.weights_file,
        ]
        self.widgets: list[Widget] = [
            self.kind,
            self.model.combo,
            self.classes_kept,
            *self._of_new,
        ]
        self.remembered: dict[str, ValueWidget[Any]] = {
            "start": self.kind,
            "architecture": self.architecture,
            "encoder": self.encoder,
            "weights": self.weights,
        }
        self._parent: tuple[PhaseClass, ...] = ()
        self.kind.changed.connect(self.show)
        self.weights.changed.connect(self.show)

    @property
    def is_new(self) -> bool:
        """Whether a new network is chosen."""
        return bool(self.kind.value == _NEW)

    def show(self, *_: object) -> None:
        """Show the fields that count."""
        is_new = self.is_new
        show_all([self.model.combo, self.classes_kept], not is_new)
        show_all(self._of_new, is_new)
        self.weights_file.visible = is_new and self.weights.value == _FILE

    def classes(self) -> tuple[PhaseClass, ...]:
        """Those of the chosen model; two to be named, where there is none."""
        return self._parent or named_classes(["matrix", "phase"])

    def read_parent(self) -> None:
        """Note the classes of the chosen model, which takes reading its file."""
        card = self.model.chosen_card() if self.kind.value == _MODEL else None
        self._parent = card.classes if card else ()

    def show_kept(self, names: Sequence[str]) -> None:
        """Say which classes keep what the model has learnt."""
        parent = [phase.name for phase in self._parent]
        self.classes_kept.value = kept_html(parent, names) if parent else ""

    def origin(self) -> OriginOf:
        """What the fields say; `InputError` when something is missing."""
        if self.kind.value == _MODEL:
            return partial(origin_of_model, self.model.value)
        network = Network(architecture=self.architecture.value, encoder=self.encoder.value)
        return partial(origin_of_network, network, self._weights())

    def _weights(self) -> str:
        if self.weights.value != _FILE:
            return str(self.weights.value)
        path = Path(str(self.weights_file.value))
        if not path.is_file():
            raise InputError("choose the file of the encoder's weights")
        return str(path)


class RecipeFields:
    """A ready recipe, iterations, and the rest behind *Advanced*: `widgets`."""

    def __init__(self) -> None:
        self.ready = ComboBox(choices=_READY, label="Recipe", tooltip=_RECIPE, value="fine-tune")
        names = ("iterations", *_ADVANCED)
        self.fields = parameter_fields(SegmentationRecipe, names, {"crop": "Crop (px)"})
        self.fields["crop"].native.setSingleStep(_CROP_STEP)
        self.learning_rate = FloatSpinBox(
            min=_RATE_STEP / 100,
            max=1,
            step=_RATE_STEP,
            label="Learning rate",
        )
        self.learning_rate.native.setDecimals(6)
        self.advanced = CheckBox(value=False, label="", text="Advanced")
        self._behind: list[Widget] = [
            self.learning_rate,
            *(self.fields[name] for name in _ADVANCED),
        ]
        self.widgets: list[Widget] = [
            self.ready,
            self.fields["iterations"],
            self.advanced,
            *self._behind,
        ]
        # The ready one first, as it sets the others.
        self.remembered: dict[str, ValueWidget[Any]] = {
            "recipe": self.ready,
            **self.fields,
            "learning_rate": self.learning_rate,
        }
        self.ready.changed.connect(self._fill)
        self.advanced.changed.connect(self.show)
        self._fill()

    def show(self, *_: object) -> None:
        """Show what is behind *Advanced*, or hide it."""
        show_all(self._behind, self.advanced.value)

    def recipe(self) -> SegmentationRecipe:
        """What the fields say; `InputError` for a value that is not possible."""
        shown = {*self.fields, "learning_rate"}
        return read(
            SegmentationRecipe,
            self.fields,
            **self._chosen.model_dump(exclude=shown),
            learning_rate=self.learning_rate.value,
        )

    @property
    def _chosen(self) -> SegmentationRecipe:
        return RECIPES[self.ready.value]

    def _fill(self, *_: object) -> None:
        """Show the ready recipe's values."""
        for name, field in self.fields.items():
            field.value = getattr(self._chosen, name)
        self.learning_rate.value = self._chosen.learning_rate


class DeviceFields:
    """Device and arithmetic: `widgets`."""

    def __init__(self) -> None:
        self.device = ComboBox(choices=devices(), label="Compute on", value="auto")
        self.precision = ComboBox(choices=self._precisions, label="Arithmetic")
        self.widgets: list[Widget] = [self.device, self.precision]
        self.remembered: dict[str, ValueWidget[Any]] = {"device": self.device}
        self.device.changed.connect(self._reset)
        self._reset()

    def chosen_device(self) -> torch.device:
        """The device."""
        return choose_device(self.device.value)

    def chosen_precision(self) -> Precision:
        """The arithmetic."""
        precision: Precision = self.precision.value
        return precision

    def _precisions(self, _: object) -> list[tuple[str, str]]:
        return [(_NAMES[one], one) for one in precisions(self.chosen_device())]

    def _reset(self, *_: object) -> None:
        # The best for the device comes first.
        self.precision.reset_choices()
        self.precision.value = self.precision.choices[0]
        self.precision.visible = len(self.precision.choices) > 1


def kept_html(parent: Sequence[str], names: Sequence[str]) -> str:
    """Which of the classes are the parent's, and which are learnt anew."""
    kept, new = kept_and_new(parent, names)
    lines = [
        f"<b>{title}:</b> {escape(', '.join(found))}"
        for title, found in (
            ("Known to the model", kept),
            ("Learnt anew", new),
        )
        if found
    ]
    return "<br>".join(lines)
