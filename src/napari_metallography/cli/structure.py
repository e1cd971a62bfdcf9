"""`classify structure` and `evaluate structure`: which structure an image shows."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..errors import InputError, validated
from . import terminal
from .options import (
    Device,
    DeviceName,
    Index,
    Output,
    PixelSize,
    each,
    fail_if,
    option_of,
    pixel_sizes,
    results_file,
)

Crops = Annotated[
    int | None,
    typer.Option(min=1, help="Crops an image; default: as many as it takes, up to 1000."),
]


def classify_structure(
    images: Annotated[list[Path], typer.Argument(help="Images or folders of images.")],
    output: Output,
    model: Annotated[str, typer.Option(help="Name or file of a structure model.")],
    crops: Crops = None,
    saliency: Annotated[
        bool, typer.Option(help="Also write what lies where, a map and a picture an image.")
    ] = False,
    window: Annotated[
        float | None,
        typer.Option(
            help="Side in pixels of the windows of that map; default: twice the smallest crop of "
            "the training, or what comes closest at magnifications that the model knows."
        ),
    ] = None,
    stride: Annotated[
        float | None, typer.Option(help="How far these are apart, in pixels; default: 20.")
    ] = None,
    descriptor_map: Annotated[
        bool, typer.Option(help="Also draw where each image's crops lie among the training's.")
    ] = False,
    pixel_size: PixelSize = None,
    index: Index = None,
    device: Device = DeviceName.auto,
) -> None:
    """Name the structure of images; write classes.csv with a probability a class and 'none'."""
    from ..inputs import distinct_files, image_files, require_distinct_stems, table_names

    files = distinct_files(image_files(images, terminal.notice))
    names = dict(zip(files, table_names(files), strict=True))
    if saliency or descriptor_map:
        require_distinct_stems(files)
    # Only now: these take seconds to import.
    from ..classification.files import told_once
    from ..classification.structure import provenance
    from ..classification.structure_files import FileAnswers, map_file, name_file, write_classes
    from ..classification.structure_model import load_structure_model
    from ..classification.structure_parameters import SaliencyParameters
    from ..devices import choose_device

    asked = {"window_px": window, "stride_px": stride}
    given = {name: value for name, value in asked.items() if value is not None}
    if given and not saliency:
        raise InputError(f"{option_of(next(iter(given)))}: for the saliency map; add --saliency")
    windows = validated(SaliencyParameters, given, option_of)
    loaded = load_structure_model(model)
    chosen = choose_device(device.value)
    sizes = pixel_sizes(pixel_size, index)

    found: list[FileAnswers] = []

    def work(path: Path) -> None:
        maps = output if descriptor_map else None
        running = name_file(path, loaded, chosen, sizes, names[path], crops, maps)
        said: set[str] = set()
        answers = terminal.follow(told_once(running, said), path.name)
        # These are kept even where there can be no map.
        found.append(answers)
        if saliency:
            strange = answers.strange_planes
            mapping = map_file(path, output, loaded, chosen, sizes, windows, strange=strange)
            side = terminal.follow(told_once(mapping, said), f"{path.name}, saliency")
            answers.told["saliency_window_px"] = side

    failed: list[str] = []
    _, code = each(files, work, failed)
    rows = [row for one in found for row in one.rows]
    if rows:
        told = {
            **provenance(loaded, crops),
            "saliency": windows.model_dump(mode="json") if saliency else None,
            "images": [one.told for one in found],
            "skipped": [*(said for one in found for said in one.skipped), *failed],
        }
        write_classes(output, rows, told)
        none = sum(row["answer"] == loaded.names[-1] for row in rows)
        terminal.done(f"{len(rows)} named, {none} of them none; classes.csv in {output}")
    fail_if(code)


def evaluate_structure(
    model: Annotated[str, typer.Option(help="Name or file of a structure model.")],
    data: Annotated[
        Path,
        typer.Option(help="Folder with a folder a class, outsiders in none, or an index.csv."),
    ],
    output: Annotated[
        Path,
        typer.Option("-o", "--output", help="JSON file to write.", callback=results_file),
    ],
    crops: Crops = None,
    outsider: Annotated[
        list[str] | None,
        typer.Option(help="Class of the data to take as outsiders; repeat for several."),
    ] = None,
    pixel_size: PixelSize = None,
    index: Index = None,
    device: Device = DeviceName.auto,
) -> None:
    """Score a structure model; write accuracy, macro F1, confusion and rejected outsiders."""
    from ..classification.structure import provenance
    from ..classification.structure_model import load_structure_model
    from ..devices import choose_device
    from ..evaluation.structure import evaluate_structure as evaluate
    from ..io.tables import write_json

    loaded = load_structure_model(model)
    running = evaluate(
        loaded,
        data,
        choose_device(device.value),
        crops=crops,
        outsiders=outsider or (),
        sizes=pixel_sizes(pixel_size, index),
    )
    result = terminal.follow(running, "evaluating")
    write_json(output, {**result, "provenance": provenance(loaded, crops)})
    rejected = result["outsiders_rejected"]
    print(
        f"accuracy {result['accuracy']:.4f}, macro F1 {result['macro_f1']:.4f}, falsely rejected "
        f"{result['falsely_rejected']:.4f} on {result['n']} images"
        + (
            ""
            if rejected is None
            else f"; {rejected:.4f} of {result['outsiders']} outsiders rejected"
        )
    )
    terminal.done(f"written to {output}")
