"""A report that stands alone: one HTML file with its pictures inside."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from html import escape
from pathlib import Path
from typing import Any

import pandas as pd

from ..calibration import Calibration
from ..io.files import write_text
from ..io.headings import heading
from ..reports import (
    SIGNATURE,
    ReportHead,
    Section,
    cautions,
    drawing,
    entries,
    listed,
    noted,
    number,
    page,
    picture,
    table,
    tables,
)
from .distributions import Sizes, sizes_by_phase
from .edges import edge_notes
from .measure import FEW_INTERCEPTS
from .method import counted_by_phase, definition_lines, region_words, rule_lines
from .plots import size_figure
from .resolution import resolution_notes
from .statistics import CUT_AT_LEAST, CUT_AT_MOST, ONE_FIELD
from .study import (
    Study,
    correction_table,
    interval_row,
    scale_note,
    statistics_rows,
)
from .threshold_sweep import ThresholdComparison
from .threshold_sweep import figure as threshold_figure

_MOST_FIRST_ROWS = 12
_CUT_LOW, _CUT_HIGH = "≥", "≤"
_KEY_QUANTITIES = ("area_fraction", "mean_radius_", "number_density_")
_PHASE_KEYS = ("image", "specimen", "plane", "phase")


@dataclass(frozen=True)
class ReportField:
    """An image of the report.

    Attributes
    ----------
    name
        As in the column `image` of the tables.
    overlay_png
        The picture shown, a PNG file; None for none.
    calibration
        None when unknown; the tables are in pixels then.
    provenance
        What made the labels: model or method, parameters, versions.
    """

    name: str
    overlay_png: bytes | None
    calibration: Calibration | None
    provenance: Mapping[str, Any] = field(default_factory=dict)


def write_report(
    path: Path,
    head: ReportHead,
    fields: Sequence[ReportField],
    study: Study,
    comparisons: Mapping[str, ThresholdComparison] | None = None,
    *,
    before: Sequence[Section] = (),
    after: Sequence[Section] = (),
) -> None:
    """Write the report of a quantification: on the first page what is signed, the rest behind it.

    Parameters
    ----------
    fields
        The study's images, in its order, with their pictures and pixel sizes.
    study
        The results; `quantification.study.combine` also takes a single image.
    comparisons
        Thresholds beside the labels, by phase.
    before, after
        Further chapters.

    Raises
    ------
    InputError
        When the file cannot be written.
    """
    provenance = study.statistics["provenance"]
    statistics = study.statistics
    signed = [
        Section("Result", _result(statistics) + _cautions(study, fields, head)),
        Section("How it was measured", entries(rule_lines(statistics))),
        Section("Pixel size", _calibrations(fields)),
        Section("Labels", _makers(fields, provenance) + SIGNATURE),
    ]
    behind = [
        Section("Overlays", _pictures(fields), on_new_page=True),
        Section("Particle sizes", _sizes(study), on_new_page=True),
        Section("Against thresholding", _thresholds(comparisons or {})),
        Section("Specimens", _specimens(statistics)),
        Section("All quantities", _all_quantities(statistics)),
        Section("Point count", _point_count(statistics)),
        Section("Fields", tables(_phases(study), _PHASE_KEYS)),
        Section("Corrections", _corrections(study)),
        Section("Images", "".join(map(_image, fields, provenance))),
        Section("Definitions", entries(definition_lines())),
    ]
    sections = [section for section in (*before, *signed, *behind, *after) if section.body]
    write_text(path, page(named_head(head, study), sections))


def named_head(head: ReportHead, study: Study) -> ReportHead:
    """The head with the specimens that the study names, where it states none itself."""
    if head.specimen or "specimen" not in study.phases:
        return head
    return replace(head, specimen=listed(list(filter(None, study.phases["specimen"].unique()))))


def specimen_note(stated: str, named: Iterable[str]) -> str:
    """A sentence where an index names other specimens than the one stated; else empty.

    Parameters
    ----------
    stated
        What the report's head says; empty for nothing.
    named
        The specimen of each image, empty where it is unknown.
    """
    # Several may be stated, as the report itself lists them.
    others = sorted(set(named) - {"", stated, *map(str.strip, stated.split(","))})
    if not stated or not others:
        return ""
    return (
        f"the specimen stated is {stated}, but the index of the images names {listed(others)}: "
        "tables and statistics go by the index; correct the one that is wrong"
    )


def _result(statistics: Mapping[str, Any]) -> str:
    """The table that is signed: of each specimen, then over specimens; else over fields."""
    counts = counted_by_phase({n: one["n_particles"] for n, one in statistics["phases"].items()})
    n, found = statistics["n_fields"], statistics["n_particles"]
    note = (
        f"{n} field{'s' * (n != 1)}, {found} particle{'s' * (found != 1)}"
        f"{f' ({counts})' if counts else ''}. n counts fields, not particles; s is the standard "
        "deviation over fields; the mean radius is the mean over fields of each field's mean. "
        f"{_needed_note(statistics)}"
    )
    if "over_specimens" not in statistics:
        return noted(note) + _interval_table("fields", {"": _key(statistics["phases"])})
    specimens = {name: _key(one["phases"]) for name, one in statistics["specimens"].items()}
    over = _interval_table("specimens", {"": _key(statistics["over_specimens"]["phases"])})
    each = _interval_table("fields", specimens)
    if sum(len(phases) for phases in specimens.values()) * len(_KEY_QUANTITIES) > _MOST_FIRST_ROWS:
        each = noted("The fields of each specimen follow under Specimens.")
    return noted(note) + each + noted(_over_note(statistics)) + over


def _key(phases: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The quantities of each phase that stand on the first page."""
    return {
        phase: {n: value for n, value in quantities.items() if n.startswith(_KEY_QUANTITIES)}
        for phase, quantities in phases.items()
    }


def _over_note(statistics: Mapping[str, Any]) -> str:
    n = statistics["over_specimens"]["n_specimens"]
    fields = statistics["n_fields"]
    unnamed = fields - sum(one["n_fields"] for one in statistics["specimens"].values())
    left_out = f" {unnamed} of {fields} fields name no specimen and do not count here."
    return (
        f"{n} specimens: each has the mean of its fields; n counts specimens."
        f"{left_out if unnamed else ''}"
    )


def _specimens(statistics: Mapping[str, Any]) -> str:
    specimens = statistics.get("specimens", {})
    each = "".join(
        f"<h3>Specimen {escape(name)}: {one['n_fields']} fields</h3>"
        f"{_interval_table('fields', {'': one['phases']})}"
        for name, one in specimens.items()
        if one["n_fields"] > 1
    )
    alone = {name: _key(one["phases"]) for name, one in specimens.items() if one["n_fields"] == 1}
    ending = f"<h3>Specimens of one field</h3>{_interval_table('fields', alone)}" if alone else ""
    return each + ending


def _all_quantities(statistics: Mapping[str, Any]) -> str:
    """Over specimens where there are several: fields of several are not independent."""
    if "over_specimens" not in statistics:
        return _interval_table("fields", {"": statistics["phases"]})
    over = _interval_table("specimens", {"": statistics["over_specimens"]["phases"]})
    return noted(_over_note(statistics)) + over


def _needed_note(statistics: Mapping[str, Any]) -> str:
    wanted = number(statistics["wanted_accuracy_percent"])
    return f"What is needed is in all, for a relative accuracy of {wanted} %."


def _interval_table(counted: str, groups: Mapping[str, Mapping[str, Any]]) -> str:
    """Statistics by phase, of several specimens by their names, without columns of dashes."""
    rows = [
        {"specimen": name, "phase": row["phase"], "quantity": heading(row["quantity"])}
        | _interval_cells(row, counted)
        for name, phases in groups.items()
        for row in statistics_rows(counted, phases)
    ]
    return _intervals(rows, [] if any(groups) else ["specimen"])


def _interval_cells(row: Mapping[str, Any], counted: str) -> dict[str, Any]:
    return {
        f"n_{counted}": row["n"],
        "mean": row["mean"],
        "s": row["s"],
        "ci95": _interval(row),
        "relative_accuracy_percent": row["relative_accuracy_percent"],
        f"{counted}_needed": row["needed"],
        "reason": row["reason"],
    }


def _intervals(rows: Sequence[Mapping[str, Any]], left_out: Sequence[str] = ()) -> str:
    """A table of `_interval_cells`; one without any interval says why in a line instead."""
    frame = pd.DataFrame(rows, dtype=object).drop(columns=list(left_out))
    reasons = [str(reason) for reason in frame.pop("reason").dropna().unique()]
    if reasons and len(frame) and frame["relative_accuracy_percent"].isna().all():
        frame = frame.drop(columns="ci95").dropna(axis="columns", how="all")
        return noted(f"No confidence interval: {'; '.join(map(_advised, reasons))}.") + table(frame)
    return table(frame) + _footnotes(frame)


def _footnotes(frame: pd.DataFrame) -> str:
    """What signs in a table of intervals mean, and what two of a kind are worth."""
    said = []
    if frame["ci95"].str.contains(f"{_CUT_LOW}|{_CUT_HIGH}").any():
        said.append(
            f"{_CUT_LOW}, {_CUT_HIGH}: the interval is cut at what is possible; the sheet "
            "“statistics” of the workbook tells where it would end."
        )
    if frame.filter(regex="^n_").eq(2).any(axis=None):
        said.append("Intervals from n = 2 are very wide: t is 12.7, as against 3.2 for n = 4.")
    return noted(" ".join(said)) if said else ""


def _advised(reason: str) -> str:
    return f"{reason}; measure more fields of the specimen" if reason == ONE_FIELD else reason


def _point_count(statistics: Mapping[str, Any]) -> str:
    if "point_count" not in statistics:
        return ""
    counted = statistics["point_count"]
    rows, columns = counted["grid"]
    note = (
        f"Simulated on the labels (ASTM E562): {rows} × {columns} points a field, "
        f"{number(counted['points_per_field'])} of them on it in the mean; {counted['rule']}. "
        f"Beside it what all pixels give. {_needed_note(statistics)}"
    )
    lines = []
    for phase, points in counted["phases"].items():
        area = statistics["phases"][phase]["area_fraction"]
        for method, values in (("points", points), ("all pixels", area)):
            cells = _interval_cells(interval_row(values), "fields")
            lines.append({"phase": phase, "area fraction of": method} | cells)
    return noted(note) + _intervals(lines)


def _thresholds(comparisons: Mapping[str, ThresholdComparison]) -> str:
    return "".join(
        f"<h3>{escape(phase)}</h3>{noted(comparison.sentence)}"
        f"{drawing(threshold_figure(comparison), f'{phase}: single thresholds')}"
        f"{table(comparison.methods)}"
        for phase, comparison in comparisons.items()
    )


def _corrections(study: Study) -> str:
    made = correction_table(study)
    if made.empty:
        return ""
    note = f"{len(made)} correction(s) by hand, in the order in which they were made."
    return noted(note) + table(made)


def _cautions(study: Study, fields: Sequence[ReportField], head: ReportHead) -> str:
    """What the reader should know, of all images together; what differs stands at each image."""
    statistics, particles = study.statistics, study.particles
    made = statistics["provenance"]
    overall = [
        *resolution_notes(particles),
        *edge_notes(statistics["edge_rule"], particles),
        *statistics["notes"],
        scale_note(
            {one.name: one.calibration.mean_um if one.calibration else None for one in fields}
        ),
        specimen_note(head.specimen, study.phases.get("specimen", ())),
    ]
    said = set(map(_kind, overall))
    images: dict[str, list[str]] = {}
    for image, one in zip(fields, made, strict=True):
        for note in one["notes"]:
            if _kind(note) not in said:
                images.setdefault(note, []).append(image.name)
    notes = [
        f"{listed(names)}: {note}"
        for note, names in images.items()
        if not note.startswith(FEW_INTERCEPTS)
    ]
    shown = [*notes, *overall, _few_intercepts(made)]
    return cautions(filter(None, shown))


def _few_intercepts(made: Sequence[Mapping[str, Any]]) -> str:
    """A sentence on quantities that the first page does not have; their numbers stand behind."""
    n = sum(any(note.startswith(FEW_INTERCEPTS) for note in one["notes"]) for one in made)
    return (
        f"{FEW_INTERCEPTS} rest on too few intercepts in {n} of {len(made)} images: see Images"
        if n
        else ""
    )


def _kind(note: str) -> str:
    """A note without its numbers."""
    return re.sub(r"\d+", "", note)


def _calibrations(fields: Sequence[ReportField]) -> str:
    """A row for each calibration."""
    images: dict[Calibration | None, list[str]] = {}
    for one in fields:
        images.setdefault(one.calibration, []).append(one.name)
    rows = [{**_calibration_lines(size), "images": listed(names)} for size, names in images.items()]
    return table(pd.DataFrame(rows, dtype=object))


def _makers(fields: Sequence[ReportField], provenance: Sequence[Mapping[str, Any]]) -> str:
    """A row for each way in which labels were made."""
    images: dict[str, list[str]] = {}
    for one, made in zip(fields, provenance, strict=True):
        row = json.dumps(_maker(one.provenance, len(made.get("corrections", ()))))
        images.setdefault(row, []).append(one.name)
    rows = [{**json.loads(row), "images": listed(names)} for row, names in images.items()]
    return table(pd.DataFrame(rows, dtype=object).dropna(axis="columns", how="all"))


def _maker(labels: Mapping[str, Any], n_corrections: int) -> dict[str, Any]:
    method = labels.get("method")
    model = labels.get("model")
    name = model.get("name") if isinstance(model, Mapping) else model
    made_by = f"{method} {name or ''}".strip() if method or name else None
    return {
        "labels made by": made_by or "not recorded: labels of another program",
        "model digest": labels.get("model_digest"),
        "version": labels.get("version"),
        "corrections by hand": n_corrections or None,
    }


def _pictures(fields: Sequence[ReportField]) -> str:
    return "".join(
        picture(one.overlay_png, one.name) for one in fields if one.overlay_png is not None
    )


def _phases(study: Study) -> pd.DataFrame:
    """The phases without what tells a reader nothing: indices, the plane of single images."""
    single = not study.phases["plane"].any()
    return study.phases.drop(columns=["class_index", "plane"] if single else "class_index")


def _image(image: ReportField, made: Mapping[str, Any]) -> str:
    lines = {
        **_field_lines(made["field"]),
        "Measured on": made.get("measured_on", ""),
        "sources": made.get("sources", {}),
        **{what: value for what, value in image.provenance.items() if what != "corrections"},
    }
    notes = "".join(map(noted, made["notes"]))
    return f"<h3>{escape(image.name)}</h3>{notes}{entries(lines)}"


def _calibration_lines(size: Calibration | None) -> dict[str, Any]:
    if size is None:
        return {"Pixel size": "not known: all sizes are in pixels"}
    uncertainty = size.relative_uncertainty
    return {
        "Pixel size": f"{size.x_um:.6g} µm × {size.y_um:.6g} µm (x × y)",
        "Source": size.source,
        "Relative uncertainty": "not stated" if uncertainty is None else uncertainty,
    }


def _field_lines(measured: Mapping[str, Any]) -> dict[str, str]:
    bar, region = measured["data_bar"], measured["region"]
    return {
        "Data bar": f"rows {bar[0]} to {bar[2] - 1} left out" if bar else "none left out",
        "Region": region_words(region) or "whole image",
    }


def _sizes(study: Study) -> str:
    found = sizes_by_phase(study.particles, study.statistics["smallest_area_px"])
    parts = [
        _size_part(phase, found[phase]) for phase in study.statistics["phases"] if phase in found
    ]
    return "".join(parts) or '<p class="note">No particle was measured.</p>'


def _size_part(phase: str, sizes: Sizes) -> str:
    fit = sizes.fit()
    caption = (
        f"{len(sizes.radii)} particle(s) of all fields together; each by its number (left), by its "
        "area (middle), and both summed up (right)"
    )
    return (
        f"<h3>{escape(phase)}</h3>{drawing(size_figure(sizes, fit), caption)}{noted(fit.sentence)}"
    )


def _interval(row: Mapping[str, Any]) -> str:
    if row["ci95_low"] is None:
        one = row["reason"] == ONE_FIELD
        return "no interval from one field" if one else f"none: {row['reason']}"
    note = row["note"] or ""
    low, high = (
        f"{sign} {number(limit)}" if cut in note else number(limit)
        for limit, sign, cut in (
            (row["ci95_low"], _CUT_LOW, CUT_AT_LEAST),
            (row["ci95_high"], _CUT_HIGH, CUT_AT_MOST),
        )
    )
    return f"{low} to {high}"
