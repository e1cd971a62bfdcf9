"""`grain-size`: the ASTM grain-size number of images."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import InputError, validated
from . import terminal
from .options import (
    Index,
    Output,
    PixelSize,
    box,
    each,
    fail_if,
    option_of,
    pixel_sizes,
)

if TYPE_CHECKING:
    from ..grains.files import GradedImage


class GrainMethod(StrEnum):
    """How the grain size is measured."""

    lines = "lines"
    circles = "circles"
    planimetric = "planimetric"
    automatic = "automatic"


class TestArea(StrEnum):
    """What grains are counted in."""

    __test__ = False

    rectangle = "rectangle"
    circle = "circle"


def grain_size(
    images: Annotated[list[Path], typer.Argument(help="Images or folders of images.")],
    output: Output,
    method: Annotated[
        list[GrainMethod] | None,
        typer.Option(
            help="lines (default), circles, planimetric or automatic; several compare them, and "
            "the first one's G is the result."
        ),
    ] = None,
    boundaries: Annotated[
        Path | None,
        typer.Option(
            help="Mask of boundaries or numbered grains, or a folder with one for each image; "
            "default: found in the image."
        ),
    ] = None,
    area: Annotated[
        TestArea, typer.Option(help="Test area of the planimetric method.")
    ] = TestArea.rectangle,
    line_spacing: Annotated[
        float | None, typer.Option(help="Distance of test lines in pixels; default: as needed.")
    ] = None,
    smallest_area: Annotated[
        int | None, typer.Option(help="Smallest grain in pixels; smaller spots are no grains.")
    ] = None,
    groove: Annotated[
        float | None, typer.Option(help="Width of an etched boundary in pixels.")
    ] = None,
    contrast: Annotated[
        float | None,
        typer.Option(help="Weakest boundary, as a part of a well etched one, 0 to 1."),
    ] = None,
    shown: Annotated[
        float | None, typer.Option(help="Part of a boundary that must show, 0 to 1.")
    ] = None,
    wanted_accuracy: Annotated[
        float, typer.Option(help="Relative accuracy in %, to tell the fields needed for it.")
    ] = 10.0,
    keep_data_bar: Annotated[bool, typer.Option(help="Measure the data bar too.")] = False,
    region: Annotated[
        str | None, typer.Option(help="Only this box: TOP,LEFT,BOTTOM,RIGHT in pixels.")
    ] = None,
    pixel_size: PixelSize = None,
    index: Index = None,
) -> None:
    """Measure grain sizes; write grain_size.json and <stem>_<method>.png for each image."""
    from ..grains.etched import EtchedParameters
    from ..grains.files import grade_file, write_grain_sizes
    from ..grains.grading import GradingParameters, Method
    from ..inputs import image_files, require_distinct_stems

    if not wanted_accuracy > 0:
        raise InputError(f"--wanted-accuracy {wanted_accuracy}: it is larger than 0 %")
    if smallest_area is not None and smallest_area < 1:
        raise InputError(f"--smallest-area {smallest_area}: a grain has one pixel at least")
    chosen: list[Method] = [one.value for one in dict.fromkeys(method or [GrainMethod.lines])]
    rules = validated(
        GradingParameters, {"area": area.value, "line_spacing_px": line_spacing}, option_of
    )
    etched = {"groove_px": groove, "contrast": contrast, "shown": shown}
    found_by = validated(
        EtchedParameters, {k: v for k, v in etched.items() if v is not None}, option_of
    )
    files = image_files(images)
    require_distinct_stems(files)
    if boundaries is not None and boundaries.is_file() and len(files) > 1:
        raise InputError(
            f"--boundaries {boundaries}: one file for {len(files)} images; name a folder"
        )
    sizes, only = pixel_sizes(pixel_size, index), box(region)

    def work(path: Path) -> GradedImage:
        running = grade_file(
            path,
            chosen,
            rules,
            sizes=sizes,
            boundaries=boundaries,
            smallest_area_px=smallest_area,
            etched=found_by,
            keep_data_bar=keep_data_bar,
            region=only,
        )
        return terminal.follow(running, path.name)

    graded, code = each(files, work)
    if graded:
        found = write_grain_sizes(output, graded, wanted_accuracy)
        for note in found["notes"]:
            terminal.notice(note)
        terminal.done(f"{_said(found)}; grain_size.json and overlays in {output}")
    fail_if(code)


def _said(found: Mapping[str, Any]) -> str:
    """The result in a line."""
    interval = found["ci95"]
    sure = f"95 % CI {interval[0]:.2f} to {interval[1]:.2f}" if interval else found["reason"]
    n = found["n_fields"]
    return f"G {found['G']:.2f} by {found['method']} ({n} field{'s' * (n != 1)}, {sure})"
