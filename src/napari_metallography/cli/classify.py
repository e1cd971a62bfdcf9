"""`classify`: what an image shows, as one of several classes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..errors import validated
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


def classify_defects(
    images: Annotated[list[Path], typer.Argument(help="Images or folders of images.")],
    output: Output,
    model: Annotated[str, typer.Option(help="Name or file of a model.")] = "xsdd-pdmsnet",
    risk: Annotated[
        float, typer.Option(help="Share of wrong answers to put up with; the rest is 'unsure'.")
    ] = 0.02,
    scan: Annotated[
        bool, typer.Option(help="Look at windows of large images; also write a defect map each.")
    ] = False,
    pixel_size: PixelSize = None,
    index: Index = None,
    device: Device = DeviceName.auto,
) -> None:
    """Name surface defects; write classes.csv with a probability a class."""
    from ..inputs import image_files, require_distinct_stems, table_names

    files = image_files(images, terminal.notice)
    if scan:
        require_distinct_stems(files)
    # Only now: these take seconds to import.
    from ..classification.defect_parameters import DefectParameters, counted
    from ..classification.defects import Classifier, provenance
    from ..classification.files import Tables, name_file, write_tables
    from ..classification.model import load_defect_model
    from ..devices import choose_device

    values = {"model": model, "device": device.value, "risk": risk, "scan": scan}
    parameters = validated(DefectParameters, values)
    sizes = pixel_sizes(pixel_size, index)
    classifier = Classifier(load_defect_model(model), choose_device(device.value), risk)

    names = dict(zip(files, table_names(files), strict=True))

    def work(path: Path) -> Tables:
        running = name_file(path, output, classifier, parameters, sizes, names[path])
        return terminal.follow(running, path.name)

    failed: list[str] = []
    results, code = each(files, work, failed)
    if results:
        told = provenance(classifier.model, parameters, classifier.least_probability)
        write_tables(output, [*results, Tables(skipped=failed)], told)
        rows = [row for one in results for row in one.planes]
        terminal.done(f"{counted(rows)}; classes.csv in {output}")
    fail_if(code)
