"""`quantify`: calibrated numbers from labels."""

from __future__ import annotations

import re
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import InputError, validated
from ..quantification.parameters import QuantifyParameters
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
    option_of,
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
    miles_lantuejoul = "miles-lantuejoul"
    guard_frame = "guard-frame"


class Split(StrEnum):
    """How touching particles are cut apart."""

    none = "none"
    distance = "distance"
    intensity = "intensity"


class Direction(StrEnum):
    """Along the rows or the columns of the image."""

    horizontal = "horizontal"
    vertical = "vertical"


_VALUE = re.compile(r"class \d+")
_RULES = QuantifyParameters()
_EDGE_RULE = EdgeRule(_RULES.edge_rule)
_SPLIT = Split(_RULES.split)
_DIRECTION = Direction(_RULES.rolling_direction)


def quantify(
    labels: Annotated[list[Path], typer.Argument(help="Label images or folders of them.")],
    output: Output,
    classes: Annotated[
        str | None,
        typer.Option(help="Names or indices to measure as particles; default: all but 0."),
    ] = None,
    edge_rule: Annotated[EdgeRule, typer.Option(help="Particles cut by the edge.")] = _EDGE_RULE,
    smallest_area: Annotated[
        int, typer.Option(help="Smallest particle in pixels.")
    ] = _RULES.smallest_area_px,
    split: Annotated[
        Split, typer.Option(help="Cut touching particles apart at necks or where less bright.")
    ] = _SPLIT,
    split_depth: Annotated[
        float, typer.Option(help="Least depth of a neck that is cut, 0.01 to 0.99.")
    ] = _RULES.split_depth,
    rolling_direction: Annotated[
        Direction, typer.Option(help="Along which bands lie.")
    ] = _DIRECTION,
    planes_are_fields: Annotated[
        bool,
        typer.Option(
            "--planes-are-fields",
            help="Each plane of a stack is a field of its own, not a section of one place.",
        ),
    ] = _RULES.planes_are_fields,
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
    laboratory: Annotated[str, typer.Option(help="Laboratory, for the report.")] = "",
    wanted_accuracy: Annotated[
        float, typer.Option(help="Relative accuracy in %, to tell the fields needed for it.")
    ] = 10.0,
    point_grid: Annotated[
        str, typer.Option(help="Points down and across a field of the simulated point count.")
    ] = "10x10",
    compare_thresholds: Annotated[
        bool,
        typer.Option(
            "--compare-thresholds", help="Set single thresholds beside the labels; needs --images."
        ),
    ] = False,
    parquet: Annotated[
        bool, typer.Option("--parquet", help="Write phases.parquet and particles.parquet too.")
    ] = False,
    decimal: Annotated[str, typer.Option(help="Decimal sign in CSV files.")] = ".",
    separator: Annotated[str, typer.Option(help="Column separator in CSV files.")] = ",",
    pixel_size: PixelSize = None,
    index: Index = None,
    device: Device = DeviceName.auto,
) -> None:
    """Measure labels; write phases.csv, particles.csv, statistics.json, study.xlsx, report.html."""
    from ..inputs import label_files
    from ..io.tables import require_parquet
    from ..quantification.files import quantify_file, survey, without_pixels
    from ..quantification.point_count import PointGrid
    from ..quantification.report import specimen_note
    from ..quantification.study_files import (
        StudyParameters,
        threshold_comparisons,
        write_study,
    )
    from ..reports import ReportHead

    rules = {
        "edge_rule": edge_rule.value,
        "smallest_area_px": smallest_area,
        "split": split.value,
        "split_depth": split_depth,
        "rolling_direction": rolling_direction.value,
        "planes_are_fields": planes_are_fields,
    }
    if smallest_area < 1:
        raise InputError(f"--smallest-area {smallest_area}: a particle has one pixel at least")
    if not wanted_accuracy > 0:
        raise InputError(f"--wanted-accuracy {wanted_accuracy}: it is larger than 0 %")
    if compare_thresholds and images is None:
        raise InputError("--compare-thresholds needs the grey values; give --images")
    require_csv_signs(decimal, separator)
    if parquet:
        require_parquet()
    study = StudyParameters(
        wanted_accuracy, PointGrid.parse(point_grid), decimal, separator, parquet
    )
    files = label_files(labels)
    if images is not None and images.is_file() and len(files) > 1:
        raise InputError(f"--images {images}: one image for {len(files)} labels; name its folder")
    sizes = pixel_sizes(pixel_size, index)
    only = box(region)
    known = survey(files, sizes=sizes, images=images)
    for note in known.notes:
        terminal.notice(note)

    missing = [path.name for path in files]

    def work(path: Path) -> MeasuredImage:
        measured = terminal.follow(
            quantify_file(
                path,
                lambda found: validated(
                    QuantifyParameters, {**rules, "classes": _chosen(classes, found)}, option_of
                ),
                sizes=sizes,
                images=images,
                values=known.values,
                colours=known.colours,
                keep_data_bar=keep_data_bar,
                region=only,
                keep_grey=compare_thresholds,
            ),
            path.name,
        )
        missing.remove(path.name)
        return without_pixels(measured, study.grid, keep_labels=compare_thresholds)

    fields, failed = each(files, work)
    if fields:
        _require_phases(fields)
        if note := specimen_note(specimen, [field.specimen for field in fields]):
            terminal.notice(note)
        if note := _parts_note(fields):
            terminal.notice(note)
        head = ReportHead(
            "Phases and particles", specimen, operator, standard, laboratory=laboratory
        )
        compared = threshold_comparisons(fields) if compare_thresholds else None
        notices = write_study(
            output, fields, head=head, parameters=study, comparisons=compared, missing=missing
        )
        for said in notices:
            terminal.notice(said)
        done = f"{len(fields)} of {len(files)}" if missing else f"{len(fields)}"
        terminal.done(f"{done} measured; tables and report.html in {output}")
    fail_if(failed)


def _require_phases(fields: Sequence[MeasuredImage]) -> None:
    """Refuse labels of which nobody knows any phase but the matrix, as their every pixel is 0."""
    from ..io.labels import ALL_MATRIX

    if all(field.labels.assumed == ALL_MATRIX for field in fields):
        raise InputError(
            f"{fields[0].name}: {ALL_MATRIX}; there is no phase to measure: are these the labels "
            "you mean?"
        )


def _parts_note(fields: Sequence[MeasuredImage]) -> str:
    from ..quantification.cut_apart import cut_apart_note

    told = [field.result.statistics for field in fields]
    n = sum(one["n_particles"] for one in told)
    return cut_apart_note([one["provenance"] for one in told], n)


def _chosen(text: str | None, known: tuple[PhaseClass, ...]) -> tuple[int, ...] | None:
    if text is None:
        return None
    names = [phase.name for phase in known]
    return tuple(_index(part.strip(), names) for part in text.split(","))


def _index(part: str, names: list[str]) -> int:
    for name in (part, f"class {part}"):
        if name in names:
            return names.index(name)
    # A class named by its value was found above: "1" is none of matrix, class 2.
    if part.isdigit() and int(part) < len(names) and not _VALUE.fullmatch(names[int(part)]):
        return int(part)
    raise InputError(f"--classes {part}: the classes are {', '.join(names)}")
