"""`classify few-shot`: which of the structures of a library an image shows."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from . import terminal
from .options import (
    Device,
    DeviceName,
    Index,
    Output,
    PixelSize,
    each,
    fail_if,
    pixel_sizes,
)


def classify_few_shot(
    images: Annotated[list[Path], typer.Argument(help="Images or folders of images.")],
    output: Output,
    model: Annotated[str, typer.Option(help="Name or file of a few-shot model or a backbone.")],
    examples: Annotated[
        Path,
        typer.Option(help="Folder with a folder a class, examples of none in none, or index.csv."),
    ],
    steps: Annotated[
        int | None,
        typer.Option(min=0, help="Steps of the tuning to the examples; default: the model's."),
    ] = None,
    rate: Annotated[
        float | None,
        typer.Option(min=0, help="Its learning rate, 0 for no tuning; default: the model's."),
    ] = None,
    pixel_size: PixelSize = None,
    index: Index = None,
    device: Device = DeviceName.auto,
) -> None:
    """Name images by a few examples of each class; write classes.csv with a probability a class."""
    from ..inputs import image_files, table_names

    files = image_files(images, terminal.notice)
    names = dict(zip(files, table_names(files), strict=True))
    sizes = pixel_sizes(pixel_size, index)
    # Only now: these take seconds to import.
    from ..classification.images import OUTSIDERS
    from ..classification.library import read_library
    from ..classification.structure_files import write_classes
    from ..devices import choose_device
    from ..training.few_examples import learn
    from ..training.few_files import name_file

    chosen = choose_device(device.value)
    library = terminal.follow(read_library(examples), "reading examples")
    learnt = terminal.follow(learn(model, library, chosen, steps=steps, rate=rate), "learning")

    def work(path: Path) -> list[dict[str, Any]]:
        return terminal.follow(name_file(path, learnt, sizes, names[path]), path.name)

    failed: list[str] = []
    results, code = each(files, work, failed)
    rows = [row for one in results for row in one]
    if rows:
        write_classes(output, rows, {**learnt.provenance(), "failed": failed})
        none = sum(row["answer"] == OUTSIDERS for row in rows)
        terminal.done(f"{len(rows)} named, {none} of them none; classes.csv in {output}")
    fail_if(code)
