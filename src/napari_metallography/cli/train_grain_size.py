"""`train grain-size`: line networks from images of known grain size."""

from __future__ import annotations

import shutil
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import InputError
from . import terminal, training
from .options import Device, DeviceName

if TYPE_CHECKING:
    from ..training.grain_lines import Lines


class GrainSizeRecipeName(StrEnum):
    """Ready settings of a line network."""

    adamw = "adamw"
    paper = "paper"


class LineLoss(StrEnum):
    """Losses of a line network."""

    cross_entropy = "cross-entropy"
    focal = "focal"


def train_grain_size(
    output: training.NewModel,
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
    iterations: training.Iterations = None,
    batch_size: Annotated[int | None, typer.Option(help="Lines a step, two at least.")] = None,
    learning_rate: training.LearningRate = None,
    validate_every: training.ValidateEvery = None,
    seed: training.Seed = 0,
    resume: training.Resume = False,
    processes: Annotated[
        int | None, typer.Option(min=1, help="That make synthetic images; default: all cores.")
    ] = None,
    lines: Annotated[
        Path | None,
        typer.Option(help="Folder that keeps lines of synthetic images for further trainings."),
    ] = None,
    storage: training.Storage = training.StorageName.float32,
    data_name: training.DataName = None,
    licence: training.Licence = "unstated",
    attribution: training.Attribution = "",
    device: Device = DeviceName.auto,
) -> None:
    """Train the line network on graded images; write it with history.csv and training.json."""
    from ..devices import choose_device
    from ..training.grain_results import LineDescription, write_line_results
    from ..training.grain_size import GrainSizeJob, train_lines
    from ..training.recipe import GRAIN_SIZE_RECIPES
    from ..training.results import checkpoint_path, require_free

    require_free(output, resume=resume)
    if (data is None) == (synthetic is None):
        raise InputError("give the images by --data TABLE.csv, or a number of --synthetic ones")
    if synthetic and paper_mode:
        raise InputError("--paper-mode needs images of one magnification; give them by --data")
    changes = {
        "loss": loss,
        "iterations": iterations,
        "batch_size": batch_size,
        "learning_rate": learning_rate,
        "validate_every": validate_every,
        "seed": seed,
    }
    settings = training.changed(GRAIN_SIZE_RECIPES[recipe.value], changes)
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
    trained = training.follow(train_lines(job, resume=resume), output, resume=resume)
    training.tell_written(output, write_line_results(output, job, trained, description))
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
