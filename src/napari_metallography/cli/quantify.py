"""`quantify`: calibrated numbers from labels."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import InputError
from . import terminal
from .options import (
    Device,
    DeviceName,
    Index,
    Output,
    PixelSize,
    box,
    each,
    fail_if,
    pixel_sizes,
    require_csv_signs,
)

if TYPE_CHECKING:
    from ..classes import PhaseClass
    from ..quantification.files import MeasuredImage


class EdgeRule(StrEnum):
    """What happens to particles cut by the edge of the field."""

    all = "all"
    exclude_border = "exclude-border"


def quantify(
    labels: Annotated[list[Path], typer.Argument(help="Label images or folders of them.")],
    output: Output,
    classes: Annotated[
        str | None,
        typer.Option(help="Names or indices to measure as particles; default: all but 0."),
    ] = None,
    edge_rule: Annotated[EdgeRule, typer.Option(help="Particles cut by the edge.")] = EdgeRule.all,
    smallest_area: Annotated[int, typer.Option(help="Smallest particle in pixels.")] = 1,
    images: Annotated[
        Path | None,
        typer.Option(
            help="Folder of the images: for grey values, overlays, and the data bar where the "
            "labels state no field."
        ),
    ] = None,
    keep_data_bar: Annotated[bool, typer.Option(help="Measure the data bar too.")] = False,
    region: Annotated[
        str | None, typer.Option(help="Only this box: TOP,LEFT,BOTTOM,RIGHT in pixels.")
    ] = None,
    specimen: Annotated[str, typer.Option(help="Specimen, for the report.")] = "",
    operator: Annotated[str, typer.Option(help="Who measured, for the report.")] = "",
    standard: Annotated[str, typer.Option(help="Standard that the report names.")] = "",
    decimal: Annotated[str, typer.Option(help="Decimal sign in CSV files.")] = ".",
    separator: Annotated[str, typer.Option(help="Column separator in CSV files.")] = ",",
    pixel_size: PixelSize = None,
    index: Index = None,
    device: Device = DeviceName.auto,
) -> None:
    """Measure labels; write phases.csv, particles.csv, statistics.json, study.xlsx, report.html."""
    from ..inputs import label_files
    from ..quantification.files import (
        pooled_specimens,
        quantify_file,
        unnamed_classes,
        write_study,
    )
    from ..quantification.parameters import QuantifyParameters
    from ..quantification.report import ReportHead

    if smallest_area < 1:
        raise InputError(f"--smallest-area {smallest_area}: a particle has one pixel at least")
    require_csv_signs(decimal, separator)
    files = label_files(labels)
    if images is not None and images.is_file() and len(files) > 1:
        raise InputError(f"--images {images}: one image for {len(files)} labels; name its folder")
    sizes = pixel_sizes(pixel_size, index)
    only = box(region)
    unnamed = unnamed_classes(files)

    def work(path: Path) -> MeasuredImage:
        return terminal.follow(
            quantify_file(
                path,
                lambda known: QuantifyParameters(
                    classes=_chosen(classes, known),
                    edge_rule=edge_rule.value,
                    smallest_area_px=smallest_area,
                ),
                sizes=sizes,
                images=images,
                unnamed=unnamed,
                keep_data_bar=keep_data_bar,
                region=only,
            ),
            path.name,
        )

    fields, failed = each(files, work)
    if fields:
        head = ReportHead("Phases and particles", specimen, operator, standard)
        write_study(output, fields, head=head, decimal=decimal, separator=separator)
        if pooled := pooled_specimens(fields):
            terminal.notice(
                f"means and confidence intervals pool the specimens {', '.join(pooled)}; measure "
                "each on its own to judge it"
            )
        terminal.done(f"{len(fields)} measured; tables and report.html in {output}")
    fail_if(failed)


def _chosen(text: str | None, known: tuple[PhaseClass, ...]) -> tuple[int, ...] | None:
    if text is None:
        return None
    names = [phase.name for phase in known]
    return tuple(_index(part.strip(), names) for part in text.split(","))


def _index(part: str, names: list[str]) -> int:
    if part in names:
        return names.index(part)
    if part.isdigit() and int(part) < len(names):
        return int(part)
    raise InputError(f"--classes {part}: the classes are {', '.join(names)}")
