"""`models`: what models there are, their cards, and ONNX."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import InputError
from . import terminal
from .options import Device, DeviceName, results_file

if TYPE_CHECKING:
    from ..models.card import Task

Model = Annotated[str, typer.Argument(help="Name or file of a model.")]


def list_models(
    as_json: Annotated[bool, typer.Option("--json", help="Cards as JSON lines.")] = False,
    device: Device = DeviceName.auto,
) -> None:
    """List shipped and own models."""
    from rich.table import Column, Table

    from ..models.registry import cards

    found = cards()
    if as_json:
        for card in found.values():
            print(card.model_dump_json())
        return
    # However narrow the terminal: a name that is cut cannot be typed.
    name_column = Column("name", min_width=max(map(len, found), default=0), no_wrap=True)
    table = Table(name_column, "task", "classes", "pixel size (µm)", "licence of the data")
    for name, card in found.items():
        sizes = "any" if card.pixel_size_um is None else "{:.3g}–{:.3g}".format(*card.pixel_size_um)
        classes = ", ".join(phase.name for phase in card.classes)
        table.add_row(name, card.task, classes, sizes, card.data.licence)
    from rich.console import Console

    Console().print(table)


def model_info(model: Model, device: Device = DeviceName.auto) -> None:
    """Print a model's card as JSON."""
    from ..models.file import read_card
    from ..models.registry import model_path

    print(json.dumps(json.loads(read_card(model_path(model)).model_dump_json()), indent=1))


def export(
    model: Model,
    output: Annotated[
        Path, typer.Option("-o", "--output", help="ONNX file to write.", callback=results_file)
    ],
    device: Device = DeviceName.auto,
) -> None:
    """Export a model of segmentation or of surface defects to ONNX."""
    from ..models.file import read_card
    from ..models.registry import model_path

    if output.suffix != ".onnx":
        raise InputError(f"{output}: the name of an ONNX file ends in .onnx")
    if output.exists():
        raise InputError(f"{output}: exists already; choose another name")
    _write_onnx(output, model, read_card(model_path(model)).task)
    terminal.done(f"written to {output}")


def _write_onnx(output: Path, model: str, task: Task) -> None:
    if task == "defects":
        from ..classification.export import write_defects_onnx
        from ..classification.model import load_defect_model

        return write_defects_onnx(output, load_defect_model(model))
    from ..segmentation.export import write_onnx
    from ..segmentation.model import load_model

    return write_onnx(output, load_model(model))
