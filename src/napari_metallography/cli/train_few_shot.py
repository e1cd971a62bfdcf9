"""`train few-shot`: networks that learn new classes from a few images."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from itertools import chain, count
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from . import terminal, training
from .options import Device, DeviceName, PixelSize, pixel_sizes

if TYPE_CHECKING:
    from ..classification.micrographs import ClassifiedMicrographs
    from ..inputs import PixelSizes


class EncoderChoice(StrEnum):
    """Networks that make features of images."""

    resnet18 = "resnet18"
    resnet50 = "resnet50"


class MetricChoice(StrEnum):
    """How features are compared with prototypes."""

    cosine = "cosine"
    euclidean = "euclidean"


class TaskAugmentation(StrEnum):
    """How the images of a task are varied."""

    full = "full"
    none = "none"


Encoder = Annotated[EncoderChoice, typer.Option(help="The network that sees the images.")]


def train_few_shot(
    data: Annotated[
        list[Path],
        typer.Option(
            help="Folder with a folder a class, or an index.csv with class; repeat for several."
        ),
    ],
    val_data: Annotated[
        list[Path], typer.Option(help="Like --data, of other classes, to validate on.")
    ],
    output: training.NewModel,
    encoder: Encoder = EncoderChoice.resnet18,
    encoder_weights: Annotated[
        str, typer.Option(help="random, or name or file of a backbone, or a file of tensors.")
    ] = "random",
    side: Annotated[int, typer.Option(min=32, help="Images are brought to this side.")] = 224,
    scale_free: Annotated[
        bool, typer.Option(help="Show images whole also where all pixel sizes are known.")
    ] = False,
    ways: Annotated[int | None, typer.Option(help="Classes of a task.  [default: 5]")] = None,
    shots: Annotated[
        int | None, typer.Option(help="Images of each class to learn from.  [default: 1]")
    ] = None,
    iterations: Annotated[
        int | None, typer.Option(help="Tasks, a step each.  [default: 10000]")
    ] = None,
    metric: Annotated[
        MetricChoice | None, typer.Option(help="How features are compared with prototypes.")
    ] = None,
    augmentation: Annotated[
        TaskAugmentation | None, typer.Option(help="How the images of a task are varied.")
    ] = None,
    learning_rate: training.LearningRate = None,
    weight_decay: Annotated[float | None, typer.Option(help="Decay of the weights.")] = None,
    tuning_steps: Annotated[
        int | None, typer.Option(help="Steps of the tuning to a task.  [default: 50]")
    ] = None,
    validation_tasks: Annotated[
        int | None, typer.Option(help="Tasks of a validation.  [default: 30]")
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
    device: Device = DeviceName.auto,
) -> None:
    """Train a network that learns new classes from a few images of each."""
    from ..training.results import Description, checkpoint_path, require_free

    require_free(output, resume=resume)
    from ..classification.backbone import encoder_named
    from ..devices import choose_device
    from ..segmentation.encoders import encoder_state
    from ..training.few_shot import FewShotJob
    from ..training.few_shot import train_few_shot as train
    from ..training.few_shot_results import write_few_shot_results
    from ..training.recipe import FewShotRecipe

    changes = {
        "iterations": iterations,
        "ways": ways,
        "shots": shots,
        "metric": metric,
        "augmentation": augmentation,
        "learning_rate": learning_rate,
        "weight_decay": weight_decay,
        "tuning_steps": tuning_steps,
        "validation_tasks": validation_tasks,
        "validate_every": validate_every,
        "keep": keep,
        "seed": seed,
    }
    recipe = training.changed(FewShotRecipe(), changes)
    weights = encoder_state(encoder.value, encoder_weights)
    sizes = pixel_sizes(pixel_size, None) if pixel_size is not None else None
    job = FewShotJob(
        _images(data, sizes),
        _images(val_data, sizes),
        encoder_named(encoder.value),
        recipe,
        choose_device(device.value),
        side,
        scale_free,
        weights,
        Path(encoder_weights).name,
        checkpoint_path(output),
    )
    name = data_name or ", ".join(folder_names(data))
    description = Description(name, licence, attribution, storage.value)
    trained = training.follow(train(job, resume=resume), output, resume=resume)
    training.tell_written(output, write_few_shot_results(output, job, trained, description))


def _images(folders: Sequence[Path], sizes: PixelSizes | None) -> ClassifiedMicrographs:
    """Images of several folders, without outsiders."""
    from ..classification.library import SMALLEST_PX
    from ..classification.micrographs import read_micrographs
    from ..training.episodes import joined

    parts = [
        terminal.follow(
            read_micrographs(folder, smallest_px=SMALLEST_PX, sizes=sizes), "reading images"
        )
        for folder in folders
    ]
    return joined([*zip(folder_names(folders), parts, strict=True)])


def folder_names(folders: Sequence[Path]) -> list[str]:
    """Names of the folders, no two alike: those that occur again with a number."""
    found: list[str] = []
    for folder in folders:
        name = folder.resolve().name
        others = (f"{name} {number}" for number in count(2))
        found.append(next(one for one in chain([name], others) if one not in found))
    return found
