"""`train backbone`: networks that learn to see from micrographs without classes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from . import terminal, training
from .options import Device, DeviceName
from .train_few_shot import Encoder, EncoderChoice, folder_names


def train_backbone(
    data: Annotated[
        list[Path],
        typer.Option(help="Folder of images, which folders in it may hold; repeat for several."),
    ],
    output: training.NewModel,
    encoder: Encoder = EncoderChoice.resnet18,
    encoder_weights: Annotated[
        str, typer.Option(help="random, or name or file of a backbone, or a file of tensors.")
    ] = "random",
    side: Annotated[
        int, typer.Option(min=32, help="The large parts of an image are brought to this side.")
    ] = 224,
    iterations: Annotated[
        int | None,
        typer.Option(help="Steps of gradient descent; 0 keeps --encoder-weights as they are."),
    ] = None,
    batch_size: Annotated[int | None, typer.Option(help="Images a step, two at least.")] = None,
    local_crops: Annotated[
        int | None, typer.Option(help="Small parts of each image, beside two large ones.")
    ] = None,
    learning_rate: training.LearningRate = None,
    weight_decay: Annotated[float | None, typer.Option(help="Decay of the weights.")] = None,
    outputs: Annotated[
        int | None, typer.Option(help="Outputs that student and teacher compare.")
    ] = None,
    views: Annotated[
        int | None, typer.Option(help="Views of the images, by which textures are whitened.")
    ] = None,
    validate_every: training.ValidateEvery = None,
    seed: training.Seed = 0,
    resume: training.Resume = False,
    storage: training.Storage = training.StorageName.float32,
    data_name: training.DataName = None,
    licence: training.Licence = "unstated",
    attribution: training.Attribution = "",
    device: Device = DeviceName.auto,
) -> None:
    """Train a backbone without classes (DINO); other trainings take it as --encoder-weights."""
    from ..training.results import Description, checkpoint_path, require_free

    require_free(output, resume=resume)
    from ..classification.backbone import encoder_named
    from ..classification.library import SMALLEST_PX
    from ..devices import choose_device
    from ..segmentation.encoders import encoder_state, own_model
    from ..training.dino import BackboneJob
    from ..training.dino import train_backbone as train
    from ..training.dino_results import write_backbone_results
    from ..training.recipe import BackboneRecipe
    from ..training.unlabelled import read_micrographs_below

    changes = {
        "iterations": iterations,
        "batch_size": batch_size,
        "local_crops": local_crops,
        "learning_rate": learning_rate,
        "weight_decay": weight_decay,
        "outputs": outputs,
        "views": views,
        "validate_every": validate_every,
        "seed": seed,
    }
    recipe = training.changed(BackboneRecipe(), changes)
    # Refused before the images are read, which takes long.
    weights = encoder_state(encoder.value, encoder_weights)
    job = BackboneJob(
        terminal.follow(read_micrographs_below(data, SMALLEST_PX), "reading images"),
        encoder_named(encoder.value),
        recipe,
        choose_device(device.value),
        side,
        weights,
        Path(encoder_weights).name,
        own_model(encoder_weights),
        checkpoint_path(output),
    )
    name = data_name or ", ".join(folder_names(data))
    description = Description(name, licence, attribution, storage.value)
    trained = training.follow(train(job, resume=resume), output, resume=resume)
    training.tell_written(output, write_backbone_results(output, job, trained, description))
