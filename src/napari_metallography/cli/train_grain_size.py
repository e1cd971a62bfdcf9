"""`train grain-size`: line networks from images of known grain size."""

from __future__ import annotations

import shutil
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import InputError, validated
from . import terminal
from .options import Device, DeviceName, results_file

if TYPE_CHECKING:
    from ..training.grain_lines import Lines
    from ..training.grain_results import LineDescription
    from ..training.grain_size import GrainSizeJob


class GrainSizeRecipeName(StrEnum):
    """Ready settings of a line network."""

    adamw = "adamw"
    paper = "paper"


class LineLoss(StrEnum):
    """Losses of a line network."""

    cross_entropy = "cross-entropy"
    focal = "focal"


class StorageName(StrEnum):
    """Precision of the weights in a model file."""

    float32 = "float32"
    float16 = "float16"
    int8 = "int8"


def train_grain_size(
    output: Annotated[
        Path,
        typer.Option("-o", "--output", help="Model to write: .safetensors.", callback=results_file),
    ],
    data: Annotated[
        Path | None,
        typer.Option(help="Table with the columns image, pixel_size_um, G and perhaps specimen."),
    ] = None,
    synthetic: Annotated[
        int | None, typer.Option(min=14, help="Learn from this many synthetic images instead.")
    ] = None,
    paper_mode: Annotated[
        bool,
        typer.Option(help="Resize images to 1376 x 1376 of one magnification, without a scale."),
    ] = False,
    recipe: Annotated[
        GrainSizeRecipeName, typer.Option(help="Settings to start from.")
    ] = GrainSizeRecipeName.adamw,
    loss: Annotated[LineLoss | None, typer.Option(help="Loss; default: the recipe's.")] = None,
    iterations: Annotated[int | None, typer.Option(help="Steps of gradient descent.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Lines a step, two at least.")] = None,
    learning_rate: Annotated[float | None, typer.Option(help="Largest learning rate.")] = None,
    validate_every: Annotated[int | None, typer.Option(help="Iterations between.")] = None,
    seed: Annotated[int, typer.Option(help="Same seed, same device: same model.")] = 0,
    resume: Annotated[bool, typer.Option(help="Go on where a stopped training ended.")] = False,
    processes: Annotated[
        int | None, typer.Option(min=1, help="That make synthetic images; default: all cores.")
    ] = None,
    lines: Annotated[
        Path | None,
        typer.Option(help="Folder that keeps lines of synthetic images for further trainings."),
    ] = None,
    storage: Annotated[
        StorageName, typer.Option(help="Precision of the weights in the file.")
    ] = StorageName.float32,
    data_name: Annotated[
        str | None, typer.Option(help="Name of the data, for the card; default: the table's.")
    ] = None,
    licence: Annotated[str, typer.Option(help="Licence of the data, for the card.")] = "unstated",
    attribution: Annotated[str, typer.Option(help="Whom to name, for the card.")] = "",
    device: Device = DeviceName.auto,
) -> None:
    """Train the line network on graded images; write it with history.csv and training.json."""
    from ..devices import choose_device
    from ..training.grain_results import LineDescription
    from ..training.grain_size import GrainSizeJob
    from ..training.recipe import GRAIN_SIZE_RECIPES, GrainSizeRecipe
    from ..training.results import checkpoint_path, require_free

    require_free(output, resume=resume)
    if (data is None) == (synthetic is None):
        raise InputError("give the images by --data TABLE.csv, or a number of --synthetic ones")
    if synthetic and paper_mode:
        raise InputError("--paper-mode needs images of one magnification; give them by --data")
    changes = {
        "loss": loss.value if loss else None,
        "iterations": iterations,
        "batch_size": batch_size,
        "learning_rate": learning_rate,
        "validate_every": validate_every,
        "seed": seed,
    }
    given = {key: value for key, value in changes.items() if value is not None}
    ready = GRAIN_SIZE_RECIPES[recipe.value].model_dump()
    settings = validated(GrainSizeRecipe, {**ready, **given})
    own = lines or output.with_name(f"{output.stem}.lines")
    if synthetic and lines is None and own.exists() and not resume:
        raise InputError(
            f"{own}: exists already; use its lines with --lines {own}, or name another model"
        )
    # Lines that this training made, or made before it was stopped, are its own to remove.
    is_own = lines is None and (not own.exists() or checkpoint_path(output).exists())
    parts: tuple[Lines, Lines | None]
    learnt_from: tuple[str, ...] = ()
    if data is not None:
        parts, learnt_from = _table_lines(data, paper_mode=paper_mode)
    else:
        parts = _synthetic_lines(synthetic or 0, seed, own, processes)
    job = GrainSizeJob(*parts, settings, choose_device(device.value), checkpoint_path(output))
    description = LineDescription(
        data_name or (data.name if data else f"{synthetic} synthetic polycrystals"),
        licence,
        attribution,
        storage.value,
        learnt_from,
        paper_mode,
    )
    _train_lines(job, output, description, resume=resume)
    if synthetic and is_own:
        shutil.rmtree(own, ignore_errors=True)


def _synthetic_lines(
    images: int, seed: int, folder: Path, processes: int | None
) -> tuple[Lines, Lines]:
    """Lines to learn from, and those of a tenth more images to validate on."""
    from ..training.grain_lines import synthetic_lines

    held_out = max(14, images // 10)
    events = synthetic_lines(images + held_out, seed, folder, processes)
    return terminal.follow(events, "making images").split(images)


def _table_lines(
    table: Path, *, paper_mode: bool
) -> tuple[tuple[Lines, Lines | None], tuple[str, ...]]:
    """Lines of the images to learn from and of those to validate on; names of the former."""
    from itertools import compress

    from ..graded import held_out, read_graded_table
    from ..training.grain_lines import lines_of_images

    images = read_graded_table(table)
    chosen = held_out(images)

    def lines_where(is_held_out: bool) -> tuple[Lines, tuple[str, ...]]:
        wanted = compress(images, (held == is_held_out for held in chosen))
        events = lines_of_images(list(wanted), paper_mode=paper_mode)
        return terminal.follow(events, "reading images")

    lines, names = lines_where(False)
    if any(chosen):
        return (lines, lines_where(True)[0]), names
    terminal.notice(
        "too few images or specimens to hold some out: no score tells how good the model is"
    )
    return (lines, None), names


def _train_lines(
    job: GrainSizeJob, output: Path, description: LineDescription, *, resume: bool
) -> None:
    from ..training.grain_results import write_line_results
    from ..training.grain_size import train_lines

    if resume and not (job.checkpoint and job.checkpoint.exists()):
        terminal.notice("there is no stopped training to go on with; starting anew")
    trained = terminal.follow(train_lines(job, resume=resume), "training")
    card = write_line_results(output, job, trained, description)
    scores = ", ".join(f"{name} {value:.4f}" for name, value in card.metrics.items())
    terminal.done(f"written to {output}" + (f"; {scores}" if scores else ""))
