"""A report that stands alone: one HTML file with its pictures inside."""

from __future__ import annotations

import base64
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from html import escape
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image

from .. import __version__
from ..calibration import Calibration
from ..io.files import write_text
from ..io.headings import heading
from .distributions import Sizes, fit_lognormal, sizes_by_phase
from .plots import size_figure
from .resolution import RESOLVABLE_AREA_PX
from .study import Study, interval_row, statistics_rows
from .threshold_sweep import ThresholdComparison
from .threshold_sweep import figure as threshold_figure

_LONGEST_SIDE_PX = 1400
_MOST_COLUMNS = 7
_SAME_PIXEL_SIZE = 1.001
_PHASE_KEYS = ("image", "specimen", "plane", "phase")
_EDGE_RULES = {
    "all": "every particle counts, also those that touch the border of the field, so that numbers "
    "per area come out too large; sizes of cut ones are of what shows",
    "exclude-border": "particles that touch the border of the field are left out; large ones touch "
    "it more often, so mean sizes and numbers come out too small",
    "miles-lantuejoul": "particles that touch the border of the field are left out, and each other "
    "one is weighted by the inverse of its chance of not touching it",
    "guard-frame": "particles that touch either of two exclusion edges of the field are left "
    "out, so that each is counted in one field only; sizes of cut ones are of what shows",
}
_SPLITS = {
    "none": "touching particles of a phase count as one",
    "distance": "cut apart at necks narrower by a share of {depth} or more than the largest circle "
    "in the smaller part",
    "intensity": "cut apart where the contrast to the other phases falls by a share of {depth} or "
    "more between them",
}
_ROLLING = {
    "horizontal": "horizontal, along the rows: bands are taken to lie along it",
    "vertical": "vertical, along the columns: bands are taken to lie along it",
}

_STYLE = """
body { font: 15px/1.45 system-ui, "Segoe UI", "DejaVu Sans", sans-serif; color: #1a1a1a;
  max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.6rem; margin-bottom: 0.2rem; }
h2 { font-size: 1.2rem; border-bottom: 1px solid #bbb; margin-top: 2rem; }
h3 { font-size: 1rem; margin-bottom: 0.3rem; }
table { border-collapse: collapse; margin: 0.6rem 0; font-size: 0.87rem; }
th, td { border: 1px solid #ccc; padding: 0.25rem 0.55rem; text-align: left; vertical-align: top; }
th { background: #f1f1f1; }
td:first-child { white-space: nowrap; }
.entries td { overflow-wrap: anywhere; white-space: normal; }
td.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
.wide { overflow-x: auto; }
img { max-width: 100%; height: auto; }
figure { margin: 0.8rem 0; }
figcaption, .note { color: #555; font-size: 0.87rem; }
.caution { border-left: 4px solid #d55e00; background: #fdf1e7; padding: 0.4rem 0.8rem; }
@media print {
  @page { margin: 15mm; }
  body { max-width: none; margin: 0; font-size: 10pt; }
  table { font-size: 8pt; }
  .wide { overflow: visible; }
  h2, h3 { break-after: avoid; }
  tr, figure { break-inside: avoid; }
}
"""


@dataclass(frozen=True)
class ReportField:
    """An image of the report.

    Attributes
    ----------
    name
        As in the column `image` of the tables.
    overlay_rgb
        Shape (Y, X, 3), 8-bit: the picture shown; None for none.
    calibration
        None when unknown; the tables are in pixels then.
    provenance
        What made the labels: model or method, parameters, versions.
    """

    name: str
    overlay_rgb: NDArray[np.uint8] | None
    calibration: Calibration | None
    provenance: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class ReportHead:
    """What stands above the results; empty entries are left out.

    Attributes
    ----------
    standard
        The standard the laboratory reports by.
    day
        None means today.
    laboratory
        Who answers for the results.
    """

    title: str
    specimen: str = ""
    operator: str = ""
    standard: str = ""
    day: date | None = None
    laboratory: str = ""


@dataclass(frozen=True)
class Section:
    """A chapter of a report: its title as text, its body as HTML."""

    title: str
    body: str


def write_report(
    path: Path,
    head: ReportHead,
    fields: Sequence[ReportField],
    study: Study,
    comparisons: Mapping[str, ThresholdComparison] | None = None,
) -> None:
    """Write the report of a quantification.

    Parameters
    ----------
    fields
        The study's images, in its order, with their pictures and pixel sizes.
    study
        The results; `quantification.study.combine` also takes a single image.
    comparisons
        Thresholds beside the labels, by phase.

    Raises
    ------
    InputError
        When the file cannot be written.
    """
    provenance = study.statistics["provenance"]
    images = [_image(image, made) for image, made in zip(fields, provenance, strict=True)]
    cautions = _cautions(fields, provenance)
    sections = [
        Section("Statistics over fields", cautions + _statistics(study.statistics)),
        Section("Specimens", _specimens(study.statistics)),
        Section("Point count", _point_count(study.statistics)),
        Section("Phases", tables(_phases(study), _PHASE_KEYS)),
        Section("Particle sizes", _sizes(study)),
        Section("Against thresholding", _thresholds(comparisons or {})),
        Section("How it was measured", entries(rule_lines(study.statistics))),
        Section("Corrections", _corrections(fields, provenance)),
        Section("Images", "".join(images)),
    ]
    write_text(path, page(head, [section for section in sections if section.body]))


def page(head: ReportHead, sections: Iterable[Section]) -> str:
    """A whole HTML page."""
    title = escape(head.title)
    chapters = "".join(f"<section><h2>{escape(s.title)}</h2>{s.body}</section>" for s in sections)
    return (
        f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        f"<style>{_STYLE}</style></head>\n<body><h1>{title}</h1>{entries(head_lines(head))}{chapters}"
        "</body></html>\n"
    )


def table(frame: pd.DataFrame) -> str:
    """An HTML table titled by `heading`; numbers to four digits, missing ones as a dash."""
    titles = "".join(f"<th>{escape(heading(str(name)))}</th>" for name in frame.columns)
    columns = [frame[name].tolist() for name in frame.columns]
    rows = "".join(
        f"<tr>{''.join(map(_table_cell, row))}</tr>" for row in zip(*columns, strict=True)
    )
    return (
        f'<div class="wide"><table><thead><tr>{titles}</tr></thead>'
        f"<tbody>{rows}</tbody></table></div>"
    )


def entries(pairs: Mapping[str, Any]) -> str:
    """A two-column HTML table of names, as `heading` writes them, and values."""
    rows = "".join(
        f"<tr><th>{escape(name)}</th><td>{escape(number(value))}</td></tr>"
        for name, value in titled(pairs)
    )
    return (
        f'<table class="entries">{rows}</table>'
        if rows
        else '<p class="note">Nothing is recorded.</p>'
    )


def tables(frame: pd.DataFrame, keys: Sequence[str]) -> str:
    """A table with many columns as several that fit a page, each with the columns of `keys`."""
    first = [name for name in keys if name in frame]
    rest = [name for name in frame.columns if name not in first]
    parts = [rest[start : start + _MOST_COLUMNS] for start in range(0, len(rest), _MOST_COLUMNS)]
    return "".join(table(frame[[*first, *part]]) for part in parts)


def picture(rgb: NDArray[np.uint8], caption: str) -> str:
    """An embedded PNG of an image (Y, X, 3), reduced where it is longer than 1400 px."""
    image = Image.fromarray(rgb)
    image.thumbnail((_LONGEST_SIDE_PX, _LONGEST_SIDE_PX), Image.Resampling.BOX)
    buffer = BytesIO()
    image.save(buffer, "PNG", optimize=True)
    return _embedded(buffer.getvalue(), caption)


def drawing(figure: Figure, caption: str) -> str:
    """An embedded PNG of a matplotlib figure."""
    buffer = BytesIO()
    figure.savefig(buffer, format="png", dpi=150)
    return _embedded(buffer.getvalue(), caption)


def number(value: Any) -> str:
    """A value as a report shows it: four significant digits, a dash for a missing number."""
    if isinstance(value, list):
        return ", ".join(map(number, value)) or "–"
    if value is None or value is pd.NA or (isinstance(value, float) and math.isnan(value)):
        return "–"
    if not isinstance(value, float):
        return str(value)
    return f"{value:.0f}" if 1000 <= abs(value) < 1e9 else f"{value:.4g}"


def titled(pairs: Mapping[str, Any], above: str = "") -> Iterable[tuple[str, Any]]:
    """Names, as `heading` writes them, and values; a nested mapping's names follow its own."""
    for name, value in pairs.items():
        if isinstance(value, Mapping):
            yield from titled(value, f"{above}{heading(name)}: ")
        else:
            yield f"{above}{heading(name)}", value


def head_lines(head: ReportHead) -> dict[str, str]:
    """What stands above the results, by its title; empty entries left out."""
    lines = {
        "Specimen": head.specimen,
        "Laboratory": head.laboratory,
        "Operator": head.operator,
        "Standard": head.standard,
        "Date": (head.day or date.today()).isoformat(),
        "Software": f"napari-metallography {__version__}",
    }
    return {name: text for name, text in lines.items() if text}


def _statistics(statistics: Mapping[str, Any]) -> str:
    counts = ", ".join(
        f"{phase}: {quantities['n_particles']}"
        for phase, quantities in statistics["phases"].items()
        if quantities["n_particles"] is not None
    )
    note = (
        f"{statistics['n_fields']} field(s), {statistics['n_particles']} particle(s)"
        f"{f' ({counts})' if counts else ''}. n counts fields, not particles; s is the standard "
        "deviation over fields; the mean radius is the mean over fields of each field's mean. "
        f"{_needed_note(statistics, 'Fields')}"
    )
    return _noted(note) + _interval_table(statistics["phases"], "fields")


def _specimens(statistics: Mapping[str, Any]) -> str:
    if "over_specimens" not in statistics:
        return ""
    over = statistics["over_specimens"]
    note = (
        f"{over['n_specimens']} specimens: each has the mean of its fields; n counts specimens. "
        f"{_needed_note(statistics, 'Specimens')}"
    )
    several = {n: one for n, one in statistics["specimens"].items() if one["n_fields"] > 1}
    each = "".join(
        f"<h3>Specimen {escape(name)}: {specimen['n_fields']} field(s)</h3>"
        f"{_interval_table(specimen['phases'], 'fields')}"
        for name, specimen in several.items()
    )
    alone = ", ".join(name for name in statistics["specimens"] if name not in several)
    ending = _noted(f"One field each, so no statistics of their own: {alone}.") if alone else ""
    return f"{_noted(note)}{_interval_table(over['phases'], 'specimens')}{each}{ending}"


def _needed_note(statistics: Mapping[str, Any], counted: str) -> str:
    wanted = statistics["wanted_accuracy_percent"]
    return f"{counted} needed: in all, for a relative accuracy of {number(wanted)} %."


def _interval_table(phases: Mapping[str, Any], counted: str) -> str:
    rows = [
        {
            "phase": row["phase"],
            "quantity": heading(row["quantity"]),
            f"n {counted}": row["n"],
            "mean": row["mean"],
            "s": row["s"],
            "95 % confidence interval": _interval(row),
            "relative accuracy (%)": row["relative_accuracy_percent"],
            f"{counted} needed": row["needed"],
        }
        for row in statistics_rows(counted, phases)
    ]
    return table(pd.DataFrame(rows, dtype=object))


def _point_count(statistics: Mapping[str, Any]) -> str:
    if "point_count" not in statistics:
        return ""
    counted = statistics["point_count"]
    rows, columns = counted["grid"]
    note = (
        f"Simulated on the labels (ASTM E562): {rows} × {columns} points a field, "
        f"{number(counted['points_per_field'])} of them on it in the mean; {counted['rule']}. "
        f"Beside it what all pixels give. {_needed_note(statistics, 'Fields')}"
    )
    lines = []
    for phase, points in counted["phases"].items():
        area = statistics["phases"][phase]["area_fraction"]
        for method, values in (("points", points), ("all pixels", area)):
            lines.append(
                {
                    "phase": phase,
                    "counted": method,
                    "n fields": values["n_fields"],
                    "area fraction": values["mean"],
                    "s": values["s"],
                    "95 % confidence interval": _interval(interval_row(values)),
                    "relative accuracy (%)": values["relative_accuracy_percent"],
                    "fields needed": values["fields_needed"],
                }
            )
    return _noted(note) + table(pd.DataFrame(lines, dtype=object))


def _thresholds(comparisons: Mapping[str, ThresholdComparison]) -> str:
    return "".join(
        f"<h3>{escape(phase)}</h3>{_noted(comparison.sentence)}"
        f"{drawing(threshold_figure(comparison), f'{phase}: single thresholds')}"
        f"{table(comparison.methods)}"
        for phase, comparison in comparisons.items()
    )


def _corrections(fields: Sequence[ReportField], provenance: Sequence[Mapping[str, Any]]) -> str:
    rows = [
        {"image": image.name, **correction}
        for image, made in zip(fields, provenance, strict=True)
        for correction in made.get("corrections", ())
    ]
    if not rows:
        return ""
    note = f"{len(rows)} correction(s) by hand, in the order in which they were made."
    return _noted(note) + table(pd.DataFrame(rows, dtype=object))


def _noted(text: str) -> str:
    return f'<p class="note">{escape(text)}</p>'


def rule_lines(statistics: Mapping[str, Any]) -> dict[str, str]:
    """How a study was measured, by title, in words; what does not apply left out."""
    rule = statistics["edge_rule"]
    lines = {
        "Edge rule": f"{rule}: {_EDGE_RULES[rule]}" if rule in _EDGE_RULES else rule,
        "Smallest particle": f"{statistics['smallest_area_px']} px",
        "Measured as particles": _measured_classes(statistics),
        "Touching particles": _splitting(statistics["parameters"]),
        "Rolling direction": _ROLLING[statistics["parameters"]["rolling_direction"]],
        "Left out by the edge rule": _counted(statistics.get("n_excluded", {})),
        "Particles": f"{statistics['connectivity']}-connected regions of a phase",
        "Radius": "equivalent-circle radius √(area/π)",
        "Area fraction": "of the labelled part of the field, every pixel of the phase counted",
        "95 % confidence interval": "mean ± t·s/√n over n fields, cut at what is possible",
        "Fields needed": "least n with t·s/√n within the wanted share of the mean, t that of n "
        "fields (ASTM E562 takes the t of the fields measured)",
        "Perimeter": "Crofton, sixteen directions, with the tips of corners allowed for",
        "Circularity": f"4π·area/perimeter², of particles from {RESOLVABLE_AREA_PX} px on",
        "Solidity": "area over that of the convex hull of the particle's pixels",
    }
    return {name: text for name, text in lines.items() if text}


def _measured_classes(statistics: Mapping[str, Any]) -> str:
    measured = [n for n, one in statistics["phases"].items() if one["n_particles"] is not None]
    return ", ".join(measured) or "no phase"


def _splitting(parameters: Mapping[str, Any]) -> str:
    method = parameters["split"]
    return f"{method}: {_SPLITS[method]}".format(depth=number(parameters["split_depth"]))


def _counted(by_phase: Mapping[str, int]) -> str:
    return ", ".join(f"{phase}: {count}" for phase, count in by_phase.items())


def _cautions(fields: Sequence[ReportField], provenance: Sequence[Mapping[str, Any]]) -> str:
    images: dict[str, list[str]] = {}
    for image, made in zip(fields, provenance, strict=True):
        for note in made["notes"]:
            images.setdefault(note, []).append(image.name)
    notes = [f"{', '.join(names)}: {note}" for note, names in images.items()]
    sizes = [image.calibration.mean_um for image in fields if image.calibration]
    if sizes and max(sizes) > _SAME_PIXEL_SIZE * min(sizes):
        notes.append(
            f"the pixel sizes reach from {number(min(sizes))} to {number(max(sizes))} µm: the "
            "smallest particle that can be seen differs between fields"
        )
    return "".join(f'<p class="caution">{escape(note)}</p>' for note in notes)


def _phases(study: Study) -> pd.DataFrame:
    """The phases without what tells a reader nothing: indices, the plane of single images."""
    single = not study.phases["plane"].any()
    return study.phases.drop(columns=["class_index", "plane"] if single else "class_index")


def _image(image: ReportField, made: Mapping[str, Any]) -> str:
    lines = {
        **_calibration_lines(image.calibration),
        **_field_lines(made["field"]),
        **{what: value for what, value in image.provenance.items() if what != "corrections"},
    }
    shown = "" if image.overlay_rgb is None else picture(image.overlay_rgb, image.name)
    return f"<h3>{escape(image.name)}</h3>{shown}{entries(lines)}"


def _calibration_lines(size: Calibration | None) -> dict[str, Any]:
    if size is None:
        return {"Pixel size": "not known: all sizes are in pixels"}
    uncertainty = size.relative_uncertainty
    return {
        "Pixel size": f"{size.x_um:.6g} µm × {size.y_um:.6g} µm (x × y)",
        "Source of the pixel size": size.source,
        "Relative uncertainty of it": "not stated" if uncertainty is None else uncertainty,
    }


def _field_lines(measured: Mapping[str, Any]) -> dict[str, str]:
    bar, region = measured["data_bar"], measured["region"]
    return {
        "Data bar": f"rows {bar[0]} to {bar[2] - 1} left out" if bar else "none left out",
        "Region": f"{len(region)} region(s) of interest" if region else "whole image",
    }


def _sizes(study: Study) -> str:
    found = sizes_by_phase(study.particles)
    parts = [
        _size_part(phase, found[phase]) for phase in study.statistics["phases"] if phase in found
    ]
    return "".join(parts) or '<p class="note">No particle was measured.</p>'


def _size_part(phase: str, sizes: Sizes) -> str:
    fit = fit_lognormal(sizes.radii, sizes.weights)
    caption = (
        f"{len(sizes.radii)} particle(s) of all fields together; each by its number (left), by its "
        "area (middle), and both summed up (right)"
    )
    return (
        f"<h3>{escape(phase)}</h3>{drawing(size_figure(sizes, fit), caption)}{_noted(fit.sentence)}"
    )


def _embedded(png: bytes, caption: str) -> str:
    text = escape(caption)
    data = base64.b64encode(png).decode()
    return (
        f'<figure><img alt="{text}" src="data:image/png;base64,{data}">'
        f"<figcaption>{text}</figcaption></figure>"
    )


def _table_cell(value: Any) -> str:
    kind = "" if isinstance(value, str) else ' class="number"'
    return f"<td{kind}>{escape(number(value))}</td>"


def _interval(row: Mapping[str, Any]) -> str:
    if row["ci95_low"] is None:
        return f"none: {row['reason']}"
    return f"{number(row['ci95_low'])} to {number(row['ci95_high'])}"
