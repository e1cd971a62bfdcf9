"""The application, its commands and its exit codes."""

from __future__ import annotations

import sys

import typer

from ..errors import DeviceError, InputError
from . import terminal
from .demo import demo
from .evaluate import evaluate_segmentation
from .info import info
from .models import export, list_models, model_info
from .quantify import quantify
from .segment import segment
from .train import train_segmentation

BAD_INPUT = 2
DEVICE_FAILED = 1
INTERRUPTED = 130

app = typer.Typer(
    name="napari-metallography",
    help="Turn steel micrographs into calibrated numbers.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
train = typer.Typer(help="Train a model.", no_args_is_help=True)
evaluate = typer.Typer(help="Score a model against truth.", no_args_is_help=True)
models = typer.Typer(help="Shipped and own models.", no_args_is_help=True)

app.command()(demo)
app.command()(info)
app.command()(segment)
app.command()(quantify)
app.add_typer(train, name="train")
app.add_typer(evaluate, name="evaluate")
app.add_typer(models, name="models")
train.command("segmentation")(train_segmentation)
evaluate.command("segmentation")(evaluate_segmentation)
models.command("list")(list_models)
models.command("info")(model_info)
models.command("export")(export)


@app.callback()
def _commands() -> None:
    """Turn steel micrographs into calibrated numbers."""


@train.callback()
def _train() -> None:
    """Train a model."""


@evaluate.callback()
def _evaluate() -> None:
    """Score a model against truth."""


def main() -> None:
    """Run the command line and exit."""
    try:
        app()
    except InputError as error:
        terminal.error(str(error))
        sys.exit(BAD_INPUT)
    except DeviceError as error:
        terminal.error(str(error))
        sys.exit(DEVICE_FAILED)
    except KeyboardInterrupt:
        terminal.error("stopped")
        sys.exit(INTERRUPTED)
