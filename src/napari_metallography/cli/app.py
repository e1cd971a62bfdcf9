"""The application, its commands and its exit codes."""

from __future__ import annotations

import sys
from typing import Any

import typer

from . import terminal
from .batch import batch
from .classify import classify_defects
from .classify_few_shot import classify_few_shot
from .demo import demo
from .evaluate import evaluate_boundaries, evaluate_grain_size, evaluate_segmentation
from .evaluate_defects import evaluate_defects
from .few_shot import evaluate_few_shot
from .grain_size import grain_size
from .info import info
from .models import export, list_models, model_info
from .quantify import quantify
from .segment import segment
from .structure import classify_structure, evaluate_structure
from .synthesize import synthesize_carbides, synthesize_polycrystal, synthesize_structure
from .terminal import BAD_INPUT, INTERRUPTED
from .train import train_segmentation
from .train_backbone import train_backbone
from .train_defects import train_defects
from .train_few_shot import train_few_shot
from .train_grain_size import train_grain_size
from .train_structure import train_structure

app = typer.Typer(
    name="napari-metallography",
    help="Turn steel micrographs into calibrated numbers.",
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    add_completion=False,
)
train = typer.Typer(help="Train a model.", rich_markup_mode=None)
classify = typer.Typer(help="Name what images show.", rich_markup_mode=None)
evaluate = typer.Typer(help="Score a model against truth.", rich_markup_mode=None)
synthesize = typer.Typer(help="Make micrographs with exact truth.", rich_markup_mode=None)
models = typer.Typer(help="Shipped and own models.", rich_markup_mode=None)

app.command()(demo)
app.command()(info)
app.command()(segment)
app.command()(quantify)
app.command("grain-size")(grain_size)
app.command()(batch)
app.add_typer(classify, name="classify")
app.add_typer(train, name="train")
app.add_typer(evaluate, name="evaluate")
app.add_typer(synthesize, name="synthesize")
app.add_typer(models, name="models")
train.command("segmentation")(train_segmentation)
train.command("grain-size")(train_grain_size)
train.command("defects")(train_defects)
train.command("structure")(train_structure)
train.command("few-shot")(train_few_shot)
train.command("backbone")(train_backbone)
evaluate.command("boundaries")(evaluate_boundaries)
classify.command("defects")(classify_defects)
classify.command("structure")(classify_structure)
classify.command("few-shot")(classify_few_shot)
evaluate.command("defects")(evaluate_defects)
evaluate.command("grain-size")(evaluate_grain_size)
evaluate.command("segmentation")(evaluate_segmentation)
evaluate.command("structure")(evaluate_structure)
evaluate.command("few-shot")(evaluate_few_shot)
synthesize.command("polycrystal")(synthesize_polycrystal)
synthesize.command("carbides")(synthesize_carbides)
synthesize.command("structure")(synthesize_structure)
models.command("list")(list_models)
models.command("info")(model_info)
models.command("export")(export)


def _show_help(context: typer.Context) -> None:
    if context.invoked_subcommand is None:
        print(context.get_help())


for group in (app, classify, train, evaluate, synthesize, models):
    group.callback(invoke_without_command=True)(_show_help)

# What Click raises for a command line that is wrong; Typer brings its own Click from some version
# on and gives this class no name.
_USAGE_ERROR: type[Any] = typer.BadParameter.__bases__[0]


def main() -> None:
    """Run the command line and exit."""
    sys.exit(_exit_code())


def _exit_code() -> int:
    try:
        # Without its own mode Typer leaves errors and the exit code to the caller.
        code = app(standalone_mode=False) or 0
    except typer.Exit as ended:
        code = ended.exit_code
    except (KeyboardInterrupt, typer.Abort):
        code = INTERRUPTED
    except terminal.FAILURES as error:
        return _failed(*terminal.failure(error))
    except _USAGE_ERROR as error:
        return _failed(error.format_message(), BAD_INPUT)
    return _failed("stopped", INTERRUPTED) if code == INTERRUPTED else int(code)


def _failed(message: str, code: int) -> int:
    terminal.error(message)
    return code
