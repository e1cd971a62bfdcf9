"""`train`: models from labelled images."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from ..errors import InputError
from . import terminal
from .options import Device, DeviceName, Index, PixelSize, pixel_sizes, stems


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
    output: Annotated[Path, typer.Option("-o", "--output", help="Model to write: .safetensors.")],
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
    architecture: Annotated[Architecture, typer.Option(help="Network.")] = Architecture.unet,
    enlargement: Annotated[
        float, typer.Option(help="Resize the input: 2 for fine particles, 0.5 for a wider view.")
    ] = 1.0,
    encoder: Annotated[str, typer.Option(help="Encoder.")] = "efficientnet-lite0",
    encoder_weights: Annotated[
        str, typer.Option(help="imagenet, random or a file of tensors.")
    ] = "imagenet",
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
    from pydantic import ValidationError

    from ..devices import choose_device
    from ..models.card import Network
    from ..segmentation.encoders import encoder_state, normalisation
    from ..segmentation.model import load_model
    from ..training.folders import classes_or_default, read_labelled_folder
    from ..training.recipe import RECIPES, SegmentationRecipe
    from ..training.results import (
        Description,
        checkpoint_path,
        finished,
        require_free,
        write_results,
    )
    from ..training.samples import LabelledImage
    from ..training.segmentation import TrainingJob, train

    require_free(output, resume=resume)
    sizes = pixel_sizes(pixel_size, index)
    training, found = read_labelled_folder(
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
    names = [name.strip() for name in classes.split(",")] if classes else []
    parent = load_model(start_from) if start_from else None
    phases = parent.card.classes if parent else classes_or_default(names, found, training)
    changes = {
        "iterations": iterations,
        "batch_size": batch_size,
        "crop": crop,
        "learning_rate": learning_rate,
        "validate_every": validate_every,
    }
    given = {name: value for name, value in changes.items() if value is not None}
    try:
        network = (
            parent.card.network
            if parent
            else Network(architecture=architecture.value, encoder=encoder, enlargement=enlargement)
        )
        chosen = SegmentationRecipe.model_validate(
            {**RECIPES[recipe.value].model_dump(), **given, "seed": seed}
        )
    except ValidationError as error:
        first = error.errors()[0]
        raise InputError(f"{'.'.join(map(str, first['loc']))}: {first['msg']}") from error
    job = TrainingJob(
        images=training,
        validation=validation,
        network=network,
        classes=len(phases),
        normalisation=parent.card.normalisation if parent else normalisation(encoder),
        recipe=chosen,
        device=choose_device(device.value),
        encoder_state=None if parent else encoder_state(encoder, encoder_weights),
        initial_state=parent.network.state_dict() if parent else None,
        parent=parent.digest if parent else None,
        checkpoint=checkpoint_path(output),
    )
    trained = terminal.follow(train(job, resume=resume), "training")
    description = Description(
        phases, encoder_weights, data_name or images.name, licence, attribution, half
    )
    card = terminal.follow(finished(output.stem, job, trained, description), "validating")
    write_results(output, job, trained, card, description)
    scores = ", ".join(f"{name} {value:.4f}" for name, value in card.metrics.items())
    terminal.done(f"written to {output}" + (f"; {scores}" if scores else ""))
