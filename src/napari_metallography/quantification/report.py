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
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray
from PIL import Image

from .. import __version__
from ..calibration import Calibration
from ..io.files import write_text
from ..io.headings import heading
from .study import Study

_LONGEST_SIDE_PX = 1400
_MOST_BINS = 40

_STYLE = """
body { font: 15px/1.45 system-ui, "Segoe UI", "DejaVu Sans", sans-serif; color: #1a1a1a;
  max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.6rem; margin-bottom: 0.2rem; }
h2 { font-size: 1.2rem; border-bottom: 1px solid #bbb; margin-top: 2rem; }
h3 { font-size: 1rem; margin-bottom: 0.3rem; }
table { border-collapse: collapse; margin: 0.6rem 0; font-size: 0.87rem; }
th, td { border: 1px solid #ccc; padding: 0.25rem 0.55rem; text-align: left; vertical-align: top; }
th { background: #f1f1f1; }
.entries td { overflow-wrap: anywhere; }
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
    provenance
        What made the labels: model or method, parameters, versions.
    """

    name: str
    overlay_rgb: NDArray[np.uint8] | None
    calibration: Calibration
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
    """

    title: str
    specimen: str = ""
    operator: str = ""
    standard: str = ""
    day: date | None = None


@dataclass(frozen=True)
class Section:
    """A chapter of a report: its title as text, its body as HTML."""

    title: str
    body: str


def write_report(path: Path, head: ReportHead, fields: Sequence[ReportField], study: Study) -> None:
    """Write the report of a quantification.

    Parameters
    ----------
    fields
        The study's images, in its order, with their pictures and pixel sizes.
    study
        The results; `quantification.study.combine` also takes a single image.

    Raises
    ------
    InputError
        When the file cannot be written.
    """
    provenance = study.statistics["provenance"]
    images = [_image(image, made) for image, made in zip(fields, provenance, strict=True)]
    cautions = _cautions(fields, provenance)
    sections = [
        Section("Statistics over fields", cautions + statistics_table(study.statistics)),
        Section("Phases", table(_phases(study))),
        Section("Particle sizes", _histograms(study)),
        Section("How it was measured", _rules(study.statistics)),
        Section("Images", "".join(images)),
    ]
    write_text(path, page(head, sections))


def page(head: ReportHead, sections: Iterable[Section]) -> str:
    """A whole HTML page."""
    title = escape(head.title)
    chapters = "".join(f"<section><h2>{escape(s.title)}</h2>{s.body}</section>" for s in sections)
    return (
        f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        f"<style>{_STYLE}</style></head>\n<body><h1>{title}</h1>{_head(head)}{chapters}"
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


def size_histogram(radii_um: NDArray[np.float64]) -> Figure:
    """Number-weighted histogram of equivalent-circle radii in µm of all fields together.

    The square root of n sets the number of bins.
    """
    figure = Figure(figsize=(9.0, 3.6), layout="constrained")
    axes = figure.add_subplot()
    axes.hist(radii_um, bins=_bins(len(radii_um)), color="#56b4e9", edgecolor="white", lw=0.5)
    mean = float(radii_um.mean())
    label = f"pooled mean {mean:.4g} µm (n = {len(radii_um)})"
    axes.axvline(mean, color="#d55e00", label=label)
    axes.set(xlabel="equivalent-circle radius √(area/π) in µm", ylabel="number of particles")
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def statistics_table(statistics: Mapping[str, Any]) -> str:
    """An HTML table of a study's statistics: n, mean, s and the interval or why there is none."""
    rows = [
        {
            "phase": phase,
            "quantity": heading(quantity),
            "n fields": values["n_fields"],
            "mean": values["mean"],
            "s": values["s"],
            "95 % confidence interval": _interval(values),
            "relative accuracy (%)": values["relative_accuracy_percent"],
        }
        for phase, quantities in statistics["phases"].items()
        for quantity, values in quantities.items()
        if isinstance(values, Mapping)
    ]
    counts = ", ".join(
        f"{phase}: {quantities['n_particles']}"
        for phase, quantities in statistics["phases"].items()
        if quantities["n_particles"] is not None
    )
    note = (
        f"{statistics['n_fields']} field(s), {statistics['n_particles']} particle(s)"
        f"{f' ({counts})' if counts else ''}. n counts fields, not particles; s is the standard "
        "deviation over fields; the mean radius is the mean over fields of each field's mean."
    )
    return f'<p class="note">{escape(note)}</p>{table(pd.DataFrame(rows, dtype=object))}'


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


def _head(head: ReportHead) -> str:
    lines = {
        "Specimen": head.specimen,
        "Operator": head.operator,
        "Standard": head.standard,
        "Date": (head.day or date.today()).isoformat(),
        "Software": f"napari-metallography {__version__}",
    }
    return entries({name: text for name, text in lines.items() if text})


def _rules(statistics: Mapping[str, Any]) -> str:
    edges = {
        "all": "every particle counts, also those that touch the border of the field",
        "exclude-border": "particles that touch the border of the field are left out",
    }
    lines = {
        "Edge rule": f"{statistics['edge_rule']}: {edges[statistics['edge_rule']]}",
        "Smallest particle": f"{statistics['smallest_area_px']} px",
        "Particles": f"{statistics['connectivity']}-connected regions of a phase",
        "Radius": "equivalent-circle radius √(area/π)",
        "Area fraction": "of the labelled part of the field, every pixel of the phase counted",
        "95 % confidence interval": "mean ± t·s/√n over n fields, cut at what is possible",
    }
    return entries(lines)


def _cautions(fields: Sequence[ReportField], provenance: Sequence[Mapping[str, Any]]) -> str:
    return "".join(
        f'<p class="caution">{escape(f"{image.name}: {note}")}</p>'
        for image, made in zip(fields, provenance, strict=True)
        for note in made["notes"]
    )


def _phases(study: Study) -> pd.DataFrame:
    """The phases without what tells a reader nothing: indices, the plane of single images."""
    single = not study.phases["plane"].any()
    return study.phases.drop(columns=["class_index", "plane"] if single else "class_index")


def _image(image: ReportField, made: Mapping[str, Any]) -> str:
    size = image.calibration
    uncertainty = size.relative_uncertainty
    lines = {
        "Pixel size": f"{size.x_um:.6g} µm × {size.y_um:.6g} µm (x × y)",
        "Source of the pixel size": size.source,
        "Relative uncertainty of it": "not stated" if uncertainty is None else uncertainty,
        **_field_lines(made["field"]),
        **image.provenance,
    }
    shown = "" if image.overlay_rgb is None else picture(image.overlay_rgb, image.name)
    return f"<h3>{escape(image.name)}</h3>{shown}{entries(lines)}"


def _field_lines(measured: Mapping[str, Any]) -> dict[str, str]:
    bar, region = measured["data_bar"], measured["region"]
    return {
        "Data bar": f"rows {bar[0]} to {bar[2] - 1} left out" if bar else "none left out",
        "Region": f"{len(region)} region(s) of interest" if region else "whole image",
    }


def _histograms(study: Study) -> str:
    radii = study.particles.groupby("phase")["equivalent_radius_um"]
    parts = [
        f"<h3>{escape(phase)}</h3>{_histogram(radii.get_group(phase).to_numpy(float))}"
        for phase in study.statistics["phases"]
        if phase in radii.groups
    ]
    return "".join(parts) or '<p class="note">No particle was measured.</p>'


def _histogram(radii_um: NDArray[np.float64]) -> str:
    caption = f"{len(radii_um)} particle(s); each counts once (number-weighted)"
    return drawing(size_histogram(radii_um), caption)


def _bins(n: int) -> int:
    return min(_MOST_BINS, max(1, math.ceil(math.sqrt(n))))


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


def _interval(values: Mapping[str, Any]) -> str:
    if values["ci95"] is None:
        return f"none: {values['reason']}"
    low, high = values["ci95"]
    return f"{number(low)} to {number(high)}"
