"""`train`: models from labelled images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import InputError, validated
from . import terminal
from .options import Device, DeviceName, Index, PixelSize, pixel_sizes, results_file, stems

if TYPE_CHECKING:
    from ..classes import PhaseClass
    from ..labelled import LabelledImage
    from ..training.recipe import SegmentationRecipe
    from ..training.results import Description
    from ..training.segmentation import TrainingJob
    from ..training.start import Start


class Architecture(StrEnum):
    """Networks."""

    unet = "unet"
    unet_plus_plus = "unet++"
    deeplabv3plus = "deeplabv3plus"
    pspnet = "pspnet"


class Recipe(StrEnum):
    """Ready settings."""

    adamw = "adamw"
    paper = "paper"


def train_segmentation(
    images: Annotated[Path, typer.Option(help="Folder of images.")],
    labels: Annotated[Path, typer.Option(help="Folder of labels with the same stems.")],
    output: Annotated[
        Path,
        typer.Option("-o", "--output", help="Model to write: .safetensors.", callback=results_file),
    ],
    val_images: Annotated[Path | None, typer.Option(help="Images for validation.")] = None,
    val_labels: Annotated[Path | None, typer.Option(help="Labels for validation.")] = None,
    split: Annotated[Path | None, typer.Option(help="File that lists the stems to use.")] = None,
    val_split: Annotated[
        Path | None, typer.Option(help="File that lists the stems to validate on.")
    ] = None,
    ignore: Annotated[int | None, typer.Option(help="Label value that means unlabelled.")] = None,
    classes: Annotated[
        str | None, typer.Option(help="Class names from index 0, separated by commas.")
    ] = None,
    architecture: Annotated[
        Architecture | None, typer.Option(help="Network; default: unet.")
    ] = None,
    enlargement: Annotated[
        float | None,
        typer.Option(help="Resize the input: 2 for fine particles, 0.5 for a wider view."),
    ] = None,
    encoder: Annotated[
        str | None, typer.Option(help="Encoder; default: efficientnet-lite0.")
    ] = None,
    encoder_weights: Annotated[
        str | None, typer.Option(help="imagenet (default), random or a file of tensors.")
    ] = None,
    start_from: Annotated[
        str | None, typer.Option(help="Name or file of a model to train further.")
    ] = None,
    recipe: Annotated[Recipe, typer.Option(help="Settings to start from.")] = Recipe.adamw,
    iterations: Annotated[int | None, typer.Option(help="Steps of gradient descent.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Crops a step, two at least.")] = None,
    crop: Annotated[int | None, typer.Option(help="Side of a crop in pixels.")] = None,
    learning_rate: Annotated[float | None, typer.Option(help="Largest learning rate.")] = None,
    validate_every: Annotated[int | None, typer.Option(help="Iterations between.")] = None,
    seed: Annotated[int, typer.Option(help="Same seed, same device: same model.")] = 0,
    resume: Annotated[bool, typer.Option(help="Go on where a stopped training ended.")] = False,
    half: Annotated[bool, typer.Option(help="Store the model in half precision.")] = False,
    data_name: Annotated[
        str | None, typer.Option(help="Name of the data, for the card; default: the folder's.")
    ] = None,
    licence: Annotated[str, typer.Option(help="Licence of the data, for the card.")] = "unstated",
    attribution: Annotated[str, typer.Option(help="Whom to name, for the card.")] = "",
    pixel_size: PixelSize = None,
    index: Index = None,
    device: Device = DeviceName.auto,
) -> None:
    """Train a segmentation model; write it with history.csv and training.json beside it."""
    from ..devices import choose_device
    from ..labelled import read_labelled_folder
    from ..training.results import Description, checkpoint_path, require_free
    from ..training.segmentation import TrainingJob

    require_free(output, resume=resume)
    sizes = pixel_sizes(pixel_size, index)
    training, named = read_labelled_folder(
        images, labels, ignore=ignore, sizes=sizes, stems=stems(split)
    )
    validation: list[LabelledImage] = []
    if val_images or val_labels or val_split:
        validation, _ = read_labelled_folder(
            val_images or images,
            val_labels or labels,
            ignore=ignore,
            sizes=sizes,
            stems=stems(val_split),
        )
    network = _NetworkOptions(classes, architecture, encoder, encoder_weights, enlargement)
    phases, start = network.start(start_from, training, named)
    changes = {
        "iterations": iterations,
        "batch_size": batch_size,
        "crop": crop,
        "learning_rate": learning_rate,
        "validate_every": validate_every,
        "seed": seed,
    }
    job = TrainingJob(
        images=training,
        validation=validation,
        start=start,
        classes=len(phases),
        recipe=_recipe(recipe, changes),
        device=choose_device(device.value),
        checkpoint=checkpoint_path(output),
    )
    description = Description(phases, data_name or images.name, licence, attribution, half)
    _train(job, output, description, resume=resume)


@dataclass(frozen=True)
class _NetworkOptions:
    """What is stated of a new network; None where nothing is."""

    classes: str | None
    architecture: Architecture | None
    encoder: str | None
    encoder_weights: str | None
    enlargement: float | None

    def start(
        self,
        parent: str | None,
        images: Sequence[LabelledImage],
        named: tuple[PhaseClass, ...],
    ) -> tuple[tuple[PhaseClass, ...], Start]:
        """Classes, and the network and weights to start from."""
        if parent:
            return self._from_parent(parent, self._names() or [phase.name for phase in named])
        return self._anew(named, images)

    def _names(self) -> list[str]:
        return [name.strip() for name in self.classes.split(",")] if self.classes else []

    def _from_parent(
        self, parent: str, names: Sequence[str]
    ) -> tuple[tuple[PhaseClass, ...], Start]:
        from ..classes import named_classes
        from ..segmentation.model import load_model
        from ..training.start import from_model

        settled = ("architecture", "encoder", "encoder_weights", "enlargement")
        stated = [name for name in settled if getattr(self, name) is not None]
        if stated:
            option = stated[0].replace("_", "-")
            raise InputError(f"--{option} cannot go with --start-from: the model settles it")
        model = load_model(parent)
        start = from_model(model, names)
        return (named_classes(names) if start.rows else model.card.classes), start

    def _anew(
        self, named: tuple[PhaseClass, ...], images: Sequence[LabelledImage]
    ) -> tuple[tuple[PhaseClass, ...], Start]:
        from ..labelled import classes_or_default
        from ..models.card import Network
        from ..training.start import new_network

        network = {
            "architecture": self.architecture.value if self.architecture else "unet",
            "encoder": self.encoder or "efficientnet-lite0",
            "enlargement": 1.0 if self.enlargement is None else self.enlargement,
        }
        start = new_network(validated(Network, network), self.encoder_weights or "imagenet")
        return classes_or_default(self._names(), named, images), start


def _recipe(name: Recipe, changes: dict[str, Any]) -> SegmentationRecipe:
    from ..training.recipe import RECIPES, SegmentationRecipe

    given = {key: value for key, value in changes.items() if value is not None}
    return validated(SegmentationRecipe, {**RECIPES[name.value].model_dump(), **given})


def _train(job: TrainingJob, output: Path, description: Description, *, resume: bool) -> None:
    from ..training.results import checkpoint_path, finished, write_results
    from ..training.segmentation import train

    if resume and not checkpoint_path(output).exists():
        terminal.notice("there is no stopped training to go on with; starting anew")
    trained = terminal.follow(train(job, resume=resume), "training")
    card, _ = terminal.follow(finished(output.stem, job, trained, description), "validating")
    write_results(output, job, trained, card, description)
    scores = ", ".join(f"{name} {value:.4f}" for name, value in card.metrics.items())
    terminal.done(f"written to {output}" + (f"; {scores}" if scores else ""))
