"""Options that the trainings share, and how a training runs and ends on the command line."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer
from pydantic import BaseModel

from ..errors import validated
from ..events import Events
from . import terminal
from .options import results_file

if TYPE_CHECKING:
    from ..models.card import ModelCard

T = TypeVar("T")
Recipe = TypeVar("Recipe", bound=BaseModel)


class StorageName(StrEnum):
    """Precision of the weights in a model file."""

    float32 = "float32"
    float16 = "float16"
    int8 = "int8"


class Kept(StrEnum):
    """Which weights are the result."""

    best = "best"
    last = "last"


NewModel = Annotated[
    Path,
    typer.Option("-o", "--output", help="Model to write: .safetensors.", callback=results_file),
]
ClassFolders = Annotated[
    Path, typer.Option(help="Folder with a folder a class, or an index.csv with class.")
]
Iterations = Annotated[int | None, typer.Option(help="Steps of gradient descent.")]
LearningRate = Annotated[float | None, typer.Option(help="Largest learning rate.")]
ValidateEvery = Annotated[int | None, typer.Option(help="Iterations between.")]
Keep = Annotated[Kept | None, typer.Option(help="Weights of the best score or the last.")]
Seed = Annotated[int, typer.Option(help="Same seed, same device: same model.")]
Resume = Annotated[bool, typer.Option(help="Go on where a stopped training ended.")]
Storage = Annotated[StorageName, typer.Option(help="Precision of the weights in the file.")]
DataName = Annotated[
    str | None,
    typer.Option(help="Name of the data, for the card; default: that of the folder or table."),
]
Licence = Annotated[str, typer.Option(help="Licence of the data, for the card.")]
Attribution = Annotated[str, typer.Option(help="Whom to name, for the card.")]


def changed(recipe: Recipe, stated: Mapping[str, Any]) -> Recipe:
    """A recipe with the options that were stated; None leaves what it says."""
    values = {name: value for name, value in stated.items() if value is not None}
    return validated(type(recipe), {**recipe.model_dump(), **values})


def follow(running: Events[T], output: Path, *, resume: bool) -> T:
    """Run a training to its end; says so when it is to go on and cannot."""
    from ..training.results import checkpoint_path

    if resume and not checkpoint_path(output).exists():
        terminal.notice("there is no stopped training to go on with; starting anew")
    return terminal.follow(running, "training")


def tell_written(output: Path, card: ModelCard) -> None:
    """Say where a model is, and its scores."""
    scores = ", ".join(f"{name} {value:.4f}" for name, value in card.metrics.items())
    terminal.done(f"written to {output}" + (f"; {scores}" if scores else ""))
