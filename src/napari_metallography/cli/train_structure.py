"""`train structure`: triplet networks that tell structures by a crop and its magnification."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import InputError
from . import terminal, training
from .options import Device, DeviceName, Index, PixelSize, pixel_sizes

if TYPE_CHECKING:
    from ..classification.micrographs import ClassifiedMicrographs


class Triplets(StrEnum):
    """Which triplets are learnt from."""

    hardest = "hardest"
    all = "all"


class StructureAugmentation(StrEnum):
    """How crops are varied."""

    full = "full"
    none = "none"


def train_structure(
    data: training.ClassFolders,
    output: training.NewModel,
    scale_free: Annotated[
        bool, typer.Option(help="Train the control that sees pixels alone, without a scale.")
    ] = False,
    without: Annotated[
        list[str] | None, typer.Option(help="Class of the data to leave out; repeat for several.")
    ] = None,
    held_out: Annotated[
        float, typer.Option(min=0, max=0.9, help="Share of the specimens to validate on.")
    ] = 0.2,
    side: Annotated[int, typer.Option(min=32, help="Crops are brought to this side.")] = 200,
    smallest_crop: Annotated[
        int, typer.Option(min=16, help="Smallest side of a crop in pixels of the image.")
    ] = 100,
    largest_crop: Annotated[
        int, typer.Option(min=16, help="Largest side of a crop in pixels of the image.")
    ] = 1000,
    encoder_weights: Annotated[
        str, typer.Option(help="random, or name or file of a ResNet18 backbone, or its tensors.")
    ] = "random",
    iterations: training.Iterations = None,
    classes_per_batch: Annotated[int | None, typer.Option(help="Classes in a step.")] = None,
    crops_per_class: Annotated[int | None, typer.Option(help="Crops of each of them.")] = None,
    learning_rate: training.LearningRate = None,
    margin: Annotated[float | None, typer.Option(help="How far classes shall be apart.")] = None,
    triplets: Annotated[
        Triplets | None, typer.Option(help="Which triplets are learnt from.")
    ] = None,
    augmentation: Annotated[
        StructureAugmentation | None, typer.Option(help="How crops are varied.")
    ] = None,
    quantile: Annotated[
        float | None, typer.Option(help="Share of known crops that 'none' may take.")
    ] = None,
    validate_every: training.ValidateEvery = None,
    keep: training.Keep = None,
    seed: training.Seed = 0,
    resume: training.Resume = False,
    storage: training.Storage = training.StorageName.float32,
    data_name: training.DataName = None,
    licence: training.Licence = "unstated",
    attribution: training.Attribution = "",
    pixel_size: PixelSize = None,
    index: Index = None,
    device: Device = DeviceName.auto,
) -> None:
    """Train a network that names structures; write it with history.csv and training.json."""
    from ..training.results import Description, checkpoint_path, require_free

    require_free(output, resume=resume)
    if largest_crop < smallest_crop:
        raise InputError(
            f"--largest-crop {largest_crop}: is smaller than --smallest-crop {smallest_crop}"
        )
    from ..classification.images import OUTSIDER
    from ..classification.micrographs import read_micrographs
    from ..devices import choose_device
    from ..models.card import StructureInput
    from ..segmentation.encoders import encoder_state
    from ..training.recipe import StructureRecipe
    from ..training.structure import StructureJob
    from ..training.structure import train_structure as train
    from ..training.structure_results import write_structure_results

    changes = {
        "iterations": iterations,
        "classes_per_batch": classes_per_batch,
        "crops_per_class": crops_per_class,
        "learning_rate": learning_rate,
        "margin": margin,
        "triplets": triplets,
        "augmentation": augmentation,
        "quantile": quantile,
        "validate_every": validate_every,
        "keep": keep,
        "seed": seed,
    }
    recipe = training.changed(StructureRecipe(), changes)
    shown = StructureInput(
        side=side,
        smallest_px=smallest_crop,
        largest_px=largest_crop,
        magnification=not scale_free,
    )
    encoder = encoder_state("resnet18", encoder_weights)
    reading = read_micrographs(
        data,
        smallest_px=smallest_crop,
        without=without or (),
        sizes=pixel_sizes(pixel_size, index),
    )
    images = terminal.follow(reading, "reading images")
    if (outsiders := int((images.classes == OUTSIDER).sum())) > 0:
        terminal.notice(f"{outsiders} images of the folder none are left out; they test, not teach")
    job = StructureJob(
        *_parts(images, held_out, seed),
        shown,
        recipe,
        choose_device(device.value),
        encoder,
        Path(encoder_weights).name,
        checkpoint_path(output),
    )
    description = Description(data_name or data.name, licence, attribution, storage.value)
    trained = training.follow(train(job, resume=resume), output, resume=resume)
    training.tell_written(output, write_structure_results(output, job, trained, description))


def _parts(
    images: ClassifiedMicrographs, share: float, seed: int
) -> tuple[ClassifiedMicrographs, ClassifiedMicrographs | None]:
    """Images to learn from, and to validate on."""
    from ..classification.images import OUTSIDER
    from ..classification.micrographs import held_out_specimens

    known = images.where(images.classes != OUTSIDER)
    chosen = held_out_specimens(known, share, seed)
    if not chosen.any():
        terminal.notice(
            "nothing is held out: no score tells how good the model is, and its threshold for "
            "'none' is that of images it has seen"
        )
        return known, None
    return known.where(~chosen), known.where(chosen)
