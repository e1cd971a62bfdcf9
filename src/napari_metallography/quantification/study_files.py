"""What is worked out of measured images, and the files of a study."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from .. import __version__
from ..classes import UNLABELLED
from ..errors import InputError
from ..io.files import write_bytes
from ..io.images import IMAGE_SUFFIXES
from ..io.tables import write_csv, write_json, write_or_rename, write_parquet, write_xlsx
from ..reports import ReportHead, Section, head_lines
from ..segmentation.thresholding import ThresholdParameters
from .distributions import size_table
from .earlier_files import FILES, digests_of, files_of_run, remove_earlier
from .files import MeasuredImage, points_of, provenance_table
from .method import definition_lines, rule_lines
from .point_count import PointGrid, point_statistics
from .report import ReportField, named_head, write_report
from .statistics import WANTED_ACCURACY_PERCENT, without_intervals
from .study import (
    Study,
    combine,
    correction_table,
    field_table,
    point_table,
    pooled_table,
    statistics_table,
)
from .threshold_sweep import GreyField, ThresholdComparison, compare, count_masks

REPORT = "report.html"

_PHASES, _PARTICLES = "phases.csv", "particles.csv"
_STATISTICS, _WORKBOOK = "statistics.json", "study.xlsx"
STUDY_FILES = (_PHASES, _PARTICLES, _STATISTICS, _WORKBOOK, REPORT)
"""What every study has."""

_MOST_SHEET_ROWS = 200_000
"""A workbook of more takes minutes to write and to open."""
_COUNTED = "connected pieces: touching particles as one, those at the edge included"
"""What thresholds are compared by, which is not what `particles.csv` counts."""


@dataclass(frozen=True)
class StudyParameters:
    """What is worked out of measured images, and how it is written.

    Attributes
    ----------
    wanted_accuracy_percent
        The relative accuracy for which the fields needed are told.
    grid
        Of the simulated point count.
    decimal, separator
        Of the CSV files.
    parquet
        Write phases.parquet and particles.parquet too.
    """

    wanted_accuracy_percent: float = WANTED_ACCURACY_PERCENT
    grid: PointGrid = field(default_factory=PointGrid)
    decimal: str = "."
    separator: str = ","
    parquet: bool = False


def study_of(images: Sequence[MeasuredImage], parameters: StudyParameters | None = None) -> Study:
    """The study of measured images: grouped by specimen, with a point count on their labels."""
    parameters = parameters or StudyParameters()
    wanted = parameters.wanted_accuracy_percent
    study = combine(
        [(image.name, image.result) for image in images],
        {image.name: image.specimen for image in images},
        wanted,
    )
    points = pd.concat([points_of(image, parameters.grid) for image in images], ignore_index=True)
    counted = point_statistics(points, parameters.grid, wanted)
    if reason := study.statistics.get("pooled"):
        counted |= without_intervals({"phases": counted["phases"]}, reason)
    return replace(study, statistics={**study.statistics, "point_count": counted})


def write_study(
    folder: Path,
    images: Sequence[MeasuredImage],
    *,
    head: ReportHead | None = None,
    parameters: StudyParameters | None = None,
    comparisons: Mapping[str, ThresholdComparison] | None = None,
    missing: Sequence[str] = (),
    before: Sequence[Section] = (),
    after: Sequence[Section] = (),
) -> list[str]:
    """Write phases.csv, particles.csv, statistics.json, study.xlsx, report.html and overlays.

    The overlays, `<stem>_overlay.png`, are as large as the images, with a scale bar where the
    pixel size is known and a legend; only images have one that are at hand. Where two images share
    a stem, the later one has "<stem> (2)". What an earlier run wrote into the folder, and this one
    does not, is removed, unless somebody changed it since.

    Parameters
    ----------
    comparisons
        As `threshold_comparisons` gives them; they are written to thresholds.csv too.
    missing
        Names of files that were to be measured and could not be; report, workbook and statistics
        say so.
    before, after
        Further chapters of the report.

    Returns
    -------
    A sentence for each file that another program held open and that has a new name therefore, and
    for each of an earlier run that stays.

    Raises
    ------
    InputError
        When a file cannot be written, or only some images have a pixel size.
    """
    parameters = parameters or StudyParameters()
    study = _telling_missing(study_of(images, parameters), missing, len(images))
    comparisons = comparisons or {}
    head = head or ReportHead("Phases and particles")
    head = replace(head, day=head.day or date.today())
    sheets = study_sheets(study, images, head)
    writers = _table_writers(study, sheets, parameters, comparisons) | _overlay_writers(images)
    fields = [_report_field(image) for image in images]
    writers[REPORT] = lambda path: write_report(
        path, head, fields, study, comparisons, before=before, after=after
    )
    stated = _stated(study, named_head(head, study), comparisons)
    earlier = files_of_run(folder / _STATISTICS)
    written = {name: write_or_rename(folder / name, write) for name, write in writers.items()}
    # Last, as they tell of the others.
    files = digests_of(folder, [path.name for path in written.values()])
    told = write_or_rename(
        folder / _STATISTICS, lambda path: write_json(path, stated | {FILES: files})
    )
    renamed = [
        f"{folder / name} is open in another program; written as {path.name}"
        for name, path in {**written, _STATISTICS: told}.items()
        if path.name != name
    ]
    return renamed + remove_earlier(folder, earlier, {*written, *files})


def _telling_missing(study: Study, missing: Sequence[str], n_measured: int) -> Study:
    """The study, whose statistics and notes name the files that are missing from it."""
    if not missing:
        return study
    note = (
        f"{n_measured} of {n_measured + len(missing)} files measured; missing, as they could not "
        f"be: {', '.join(missing)}"
    )
    stated = {"not_measured": list(missing), "notes": [note, *study.statistics["notes"]]}
    return replace(study, statistics={**study.statistics, **stated})


def _overlay_writers(images: Sequence[MeasuredImage]) -> dict[str, Callable[[Path], None]]:
    """What writes each overlay, by the name of its file."""
    return {
        name: partial(write_bytes, content=image.picture.png)
        for image, name in zip(images, _overlay_names(images), strict=True)
        if image.picture is not None and image.picture.png
    }


def _overlay_names(images: Sequence[MeasuredImage]) -> list[str]:
    """File names, each its own, also where upper and lower case are one."""
    taken: set[str] = set()
    names = []
    for image in images:
        stem = name = _file_stem(image.name)
        number = 1
        while name.casefold() in taken:
            number += 1
            name = f"{stem} ({number})"
        taken.add(name.casefold())
        names.append(f"{name}_overlay.png")
    return names


def _file_stem(name: str) -> str:
    """An image's name as a part of a file's name; whole where it has no ending, as "0.5 h"."""
    ending = Path(name).suffix
    stem = name.removesuffix(ending) if ending.lower() in IMAGE_SUFFIXES else name
    return re.sub(r'[/\\:*?"<>|]', "_", stem)


def threshold_comparisons(images: Sequence[MeasuredImage]) -> dict[str, ThresholdComparison]:
    """Single thresholds beside the labels, by phase that was measured as particles.

    Parameters
    ----------
    images
        Measured with `keep_grey`. What is brighter than a threshold is the phase when the labels'
        phase is brighter than the rest in the mean.
    """
    fields = [field for image in images for field in _grey_fields(image)]
    planes = [plane for image in images for plane in image.labels.planes]
    counted = images[0].result.phases.drop_duplicates("phase")
    measured = counted[counted["n_particles"].notna()]
    smallest = images[0].result.statistics["smallest_area_px"]
    found = {}
    for name, index in zip(measured["phase"], measured["class_index"], strict=True):
        masks = [plane == index for plane in planes]
        reference = count_masks(masks, fields, smallest)
        if reference.n_particles:
            sides = ThresholdParameters(phase=_side(fields, masks), smallest_area_px=smallest)
            found[str(name)] = compare(fields, reference, phase=sides)
    return found


def _for_a_sheet(particles: pd.DataFrame) -> pd.DataFrame:
    if len(particles) <= _MOST_SHEET_ROWS:
        return particles
    return pd.DataFrame({"note": [f"{len(particles)} particles: they are in particles.csv"]})


def study_sheets(
    study: Study, images: Sequence[MeasuredImage], head: ReportHead
) -> dict[str, pd.DataFrame]:
    """The sheets of a study's workbook; `corrections` where there are any."""
    sheets = {
        "particles": _for_a_sheet(study.particles),
        "phases": study.phases,
        "fields": field_table(study),
        "statistics": statistics_table(study),
        "point count": point_table(study),
        "all particles": pooled_table(study),
        "sizes": size_table(study.particles),
        "method": _method(named_head(head, study), study.statistics),
        "provenance": provenance_table(images),
    }
    corrections = correction_table(study)
    return sheets if corrections.empty else {**sheets, "corrections": corrections}


def _method(head: ReportHead, statistics: Mapping[str, Any]) -> pd.DataFrame:
    """Who measured what, and how, as in the report."""
    notes = {"Note": " ".join(statistics["notes"])} if statistics["notes"] else {}
    lines = {**head_lines(head), **rule_lines(statistics), **notes, **definition_lines()}
    return pd.DataFrame(lines.items(), columns=["what", "value"], dtype=object)


def _stated(
    study: Study, head: ReportHead, comparisons: Mapping[str, ThresholdComparison]
) -> dict[str, Any]:
    """The statistics with what the workbook tells beside them."""
    compared = {phase: _said(one).to_dict("records") for phase, one in comparisons.items()}
    thresholds = {"thresholds": compared} if compared else {}
    about = {"version": __version__, "head": {**asdict(head), "day": str(head.day)}}
    return {**study.statistics, **thresholds, **about}


def _said(comparison: ThresholdComparison) -> pd.DataFrame:
    return comparison.methods.assign(counted=_COUNTED)


def _table_writers(
    study: Study,
    sheets: Mapping[str, pd.DataFrame],
    parameters: StudyParameters,
    comparisons: Mapping[str, ThresholdComparison],
) -> dict[str, Callable[[Path], None]]:
    """What writes each table, by the name of its file."""

    def csv(frame: pd.DataFrame) -> Callable[[Path], None]:
        return lambda path: write_csv(path, frame, parameters.decimal, parameters.separator)

    def parquet(frame: pd.DataFrame) -> Callable[[Path], None]:
        return lambda path: write_parquet(path, frame)

    writers = {_PHASES: csv(study.phases), _PARTICLES: csv(study.particles)}
    if parameters.parquet:
        writers["phases.parquet"] = parquet(study.phases)
        writers["particles.parquet"] = parquet(study.particles)
    if comparisons:
        rows = [_said(one).assign(phase=phase) for phase, one in comparisons.items()]
        writers["thresholds.csv"] = csv(pd.concat(rows, ignore_index=True))
        sheets = {**sheets, "thresholds": pd.concat(rows, ignore_index=True)}
    writers[_WORKBOOK] = lambda path: write_xlsx(path, sheets)
    return writers


def _grey_fields(image: MeasuredImage) -> list[GreyField]:
    grey = image.grey
    if grey is None:
        raise InputError(f"{image.name}: a threshold needs the image; name its folder by --images")
    mask, planes = image.labels.measured.mask(), image.labels.planes
    size = image.labels.calibration.mean_um if image.labels.calibration else None
    return [
        GreyField(values, mask & (np.asarray(plane) != UNLABELLED), size)
        for values, plane in zip(grey.reshape(-1, *mask.shape), planes, strict=True)
    ]


def _side(
    fields: Sequence[GreyField], masks: Sequence[NDArray[np.bool_]]
) -> Literal["bright", "dark"]:
    """Whether a phase is brighter than the rest of the fields."""
    inside, outside = (
        np.concatenate(
            [f.grey[f.inside & (mask == wanted)] for f, mask in zip(fields, masks, strict=True)]
        )
        for wanted in (True, False)
    )
    return "bright" if not outside.size or inside.mean() >= outside.mean() else "dark"


def _report_field(image: MeasuredImage) -> ReportField:
    labels = image.labels
    small = image.picture.small if image.picture else None
    return ReportField(image.name, small, labels.calibration, labels.provenance)
