"""The report of a grain size: one HTML file with its pictures inside, the first page to sign."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from html import escape
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from ..calibration import Calibration
from ..io.files import write_text
from ..io.headings import heading
from ..io.overlays import reduced
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
from .distribution import SizeDistribution, together
from .grading import QUANTITIES, Method
from .plots import size_figure
from .study import FEWEST_FIELDS, GradedField, interval_words

_FEW_PICTURES, _LONGEST_PX, _LONGEST_OF_MANY_PX = 8, 1600, 800
_JPEG_QUALITY = 80

_COUNTED: Mapping[Method, str] = {
    "lines": "intersections of grain boundaries with parallel test lines (Heyn)",
    "circles": "intersections of grain boundaries with three concentric circles (Abrams)",
    "planimetric": "grains inside a test area, and half of those that its edge cuts (Jeffries)",
    "automatic": "areas of the grains that the edge of the field does not cut, each weighted by "
    "its chance not to be cut",
    "network": "rows and columns of grey values, graded by a line network without boundaries",
}
_NO_STANDARD = "no standard"
_CLAUSES: Mapping[Method, tuple[str, str]] = {
    "lines": ("ASTM E112-13", ", clause 13"),
    "circles": ("ASTM E112-13", ", clause 14"),
    "planimetric": ("ASTM E112-13", ", clause 11"),
    "automatic": ("ASTM E1382-97", ""),
    "network": (_NO_STANDARD, ""),
}
_KINDS = {
    "uniform": "uniform: one population of sizes",
    "as large as": "single grains are far larger than the rest (ALA)",
    "wide range": "a wide range of sizes",
    "bimodal": "bimodal: two populations of sizes",
}
_COUNTS: Mapping[Method, str] = {
    "lines": "intersections",
    "circles": "intersections",
    "planimetric": "grains",
    "automatic": "whole grains",
    "network": "independent lines",
}
_OF_FIELDS = (
    "mean_intercept_um",
    "anisotropy_index",
    "G_geometric_mean",
    "spread_of_lines_G",
    "mean_grain_area_um2",
    "grains_in_field",
    "twins_left_out",
)


def write_report(
    path: Path,
    found: Mapping[str, Any],
    fields: Sequence[GradedField],
    pictures: Mapping[str, bytes],
    wanted_accuracy_percent: float,
) -> None:
    """Write the report of a grain size: on the first page what is signed, the rest behind it.

    Parameters
    ----------
    found
        What `study.grain_size_of` gives of the fields.
    pictures
        PNG files of what was counted, by caption; large ones are made smaller.
    wanted_accuracy_percent
        For which `found` tells the fields still needed.

    Raises
    ------
    InputError
        When the file cannot be written.
    """
    sections = report_sections(found, fields, pictures, wanted_accuracy_percent)
    write_text(path, page(_head(found, _all_sizes(fields)), sections))


def report_sections(
    found: Mapping[str, Any],
    fields: Sequence[GradedField],
    pictures: Mapping[str, bytes],
    wanted_accuracy_percent: float,
    *,
    of: str = "",
    signature: str = SIGNATURE,
) -> list[Section]:
    """The chapters of a report; parameters as for `write_report`.

    Parameters
    ----------
    of
        Begins their titles.
    signature
        Ends the page that is signed.
    """
    sizes = _all_sizes(fields)
    signed = [
        Section("Result", _result(found, wanted_accuracy_percent) + cautions(_notes(found))),
        Section("How it was measured", _rules(found) + _sources(found) + signature),
    ]
    behind = [
        Section("What was counted", _pictures(pictures), on_new_page=True),
        Section("Fields", tables(_field_table(found["fields"]), ("image", "specimen"))),
        Section("Sizes of the grains", _sizes(sizes) if sizes else ""),
        Section("Images", "".join(map(_image, found["fields"]))),
    ]
    return [
        replace(section, title=f"{of}{section.title}")
        for section in (*signed, *behind)
        if section.body
    ]


def _head(found: Mapping[str, Any], sizes: SizeDistribution | None) -> ReportHead:
    clauses = [_CLAUSES[method][0] for method in _by_method(found)]
    standards = [one for one in clauses if one != _NO_STANDARD]
    known = dict.fromkeys(one["specimen"] for one in found["fields"] if "specimen" in one)
    beside = ["ISO 643 (number beside)", *(["ASTM E930, E1181 (sizes)"] if sizes else [])]
    followed = [*dict.fromkeys(standards), *beside] if standards else []
    return ReportHead("Grain size", specimen=listed([*known]), standard=", ".join(followed))


def _by_method(found: Mapping[str, Any]) -> dict[Method, Mapping[str, Any]]:
    """The numbers over fields, or of a field, by method."""
    return dict(found.get("methods") or {found["method"]: found})


# --- the page that is signed -----------------------------------------------------------------


def _result(found: Mapping[str, Any], wanted: float) -> str:
    methods = _by_method(found)
    n = found["n_fields"]
    stated = f"<p><b>{escape(_stated(found))}</b>, n = {n} field{'s' * (n != 1)}.</p>"
    rows = [_result_row(method, one) for method, one in methods.items()]
    measured = [one for one in methods.values() if one["n_fields"]]
    reasons = [*dict.fromkeys(one["reason"] for one in measured if one["reason"])]
    why = noted(f"No confidence interval: {'; '.join(reasons)}.") if reasons else ""
    note = (
        "n counts fields, not grains. G is that of the mean over fields of what was counted; %RA "
        f"is the relative accuracy of this mean. Fields still needed are those for {number(wanted)}"
        f" %, and for the {FEWEST_FIELDS} that ASTM E112 asks for at least: "
        f"{', '.join(map(_needed, measured))}."
    )
    over = _over_specimens(found)
    return f"{stated}{table(pd.DataFrame(rows, dtype=object))}{over}{why}{noted(note)}"


def _needed(one: Mapping[str, Any]) -> str:
    """Both numbers of fields still needed, by a method."""
    by_accuracy = number(one[QUANTITIES[one["method"]]]["fields_still_needed"])
    by_standard = max(0, FEWEST_FIELDS - one["n_fields"])
    return f"by {one['method']} {by_accuracy} and {by_standard}"


def _over_specimens(found: Mapping[str, Any]) -> str:
    """A row a specimen, and one over the means of the specimens; empty where there is only one."""
    if "over_specimens" not in found:
        return ""
    rows = [_specimen_row(name, one, one["n_fields"]) for name, one in found["specimens"].items()]
    over = found["over_specimens"]
    rows.append(_specimen_row("over specimens", over, over["n_specimens"]))
    said = noted(
        f"By {found['method']}; n counts the fields of a specimen, and over specimens their means, "
        "since fields of one specimen are not independent of each other."
    )
    return f"{table(pd.DataFrame(rows, dtype=object))}{said}"


def _specimen_row(name: str, one: Mapping[str, Any], n: int) -> dict[str, Any]:
    return {
        "specimen": name,
        "n": n,
        "G": _grade(one["G"]),
        "95 % CI": _interval(one["ci95"]),
        "%RA": _short(one["relative_accuracy_percent"]),
    }


def _short(value: Any) -> Any:
    """Three significant digits of what is measured, not of counts: more would be no surer."""
    return float(f"{value:.3g}") if isinstance(value, float) else value


def _stated(found: Mapping[str, Any]) -> str:
    interval = f" (95 % confidence: {_interval(found['ci95'])})" if found["ci95"] else ""
    return f"G {_grade(found['G'])}{interval} by {found['method']}"


def _result_row(method: Method, one: Mapping[str, Any]) -> dict[str, Any]:
    quantity = QUANTITIES[method]
    return {
        "method": method,
        "G": _grade(one["G"]),
        "95 % CI": _interval(one["ci95"]),
        "G, ISO 643": _grade(one["G_iso_643"]),
        "%RA": _short(one["relative_accuracy_percent"]),
        "n_fields": one["n_fields"],
        "still needed": one["fields_still_needed"],
        "counted": f"{one['count']:g} {_COUNTS[method]}",
        "quantity": heading(quantity),
        "mean": _short(one[quantity]["mean"]),
        "s": _short(one[quantity]["s"]),
    }


def _grade(value: float | None) -> str:
    return "–" if value is None or not math.isfinite(value) else f"{value:.2f}"


def _interval(ends: Sequence[float | None] | None) -> str:
    return "–" if ends is None else interval_words(ends)


def _notes(found: Mapping[str, Any]) -> list[str]:
    """What the reader should know: of all fields, and of each with the names of its fields."""
    images: dict[str, list[str]] = {}
    for one in found["fields"]:
        methods = _by_method(one)
        said = [f"{method}: {note}" for method, by in methods.items() for note in by["notes"]]
        known = {note for by in methods.values() for note in by["notes"]}
        for note in (*(note for note in one["notes"] if note not in known), *said):
            images.setdefault(note, []).append(one["image"])
    each = [f"{listed(names)}: {note}" for note, names in images.items()]
    return [*found["notes"], *each]


def _rules(found: Mapping[str, Any]) -> str:
    fields = found["fields"]
    rules: dict[str, Any] = {
        method: f"{_COUNTED[method]}{_chosen(method, fields)}; {''.join(_CLAUSES[method])}"
        for method in _by_method(found)
    }
    twins = _twins(fields)
    return entries({**rules, "twins": twins} if twins else rules)


def _twins(fields: Sequence[Mapping[str, Any]]) -> str:
    """What was left out; empty where no twins were looked for."""
    counts = [(_known(one, "twins_left_out"), _known(one, "grains_in_field")) for one in fields]
    known = [(left_out, grains) for left_out, grains in counts if left_out is not None]
    if not known:
        return ""
    left_out, regions = sum(one for one, _ in known), sum(map(sum, known))
    of = "" if len(known) == len(fields) else f" in {len(known)} of {len(fields)} fields"
    return (
        f"left out{of}: {left_out:,} of {regions:,} regions, crumbs beside twins included, are "
        "joined to others across straight boundaries, and each grain counts once"
    )


def _known(one: Mapping[str, Any], name: str) -> Any:
    """A number of a field, by the first method that has it."""
    return next((by[name] for by in _by_method(one).values() if by.get(name) is not None), None)


def _chosen(method: Method, fields: Sequence[Mapping[str, Any]]) -> str:
    """What was chosen of a method's rules, to follow its description."""
    grading = fields[0]["provenance"].get("grading", {})
    if method == "planimetric" and "area" in grading:
        return f"; the test area is {_AREAS[grading['area']]}"
    if method != "lines" or "directions_deg" not in grading:
        return ""
    directions = ", ".join(f"{number(one)}°" for one in grading["directions_deg"])
    return f" in the directions {directions}, {_spacing(fields)}"


def _spacing(fields: Sequence[Mapping[str, Any]]) -> str:
    stated = [_by_method(one)["lines"].get("line_spacing_px") for one in fields]
    known = [one for one in stated if one is not None]
    if not known:
        return "which met none"
    shown = list(dict.fromkeys(number(one) for one in (min(known), max(known))))
    return f"{' to '.join(shown)} pixels apart"


def _sources(found: Mapping[str, Any]) -> str:
    """A row for each way in which fields came to be measured."""
    images: dict[str, list[str]] = {}
    for one in found["fields"]:
        images.setdefault(json.dumps(_source(one["provenance"])), []).append(one["image"])
    rows = [{**json.loads(row), "images": listed(names)} for row, names in images.items()]
    return table(pd.DataFrame(rows, dtype=object).dropna(axis="columns", how="all"))


def _source(made: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "boundaries": _boundaries(made),
        "line network": made.get("line_network"),
        **(_pixel_size(Calibration.from_dict(dict(made["calibration"])))),
        "box": _box_words(*made["box"]),
    }


def _boundaries(made: Mapping[str, Any]) -> str | None:
    name = made.get("boundaries")
    if name == "etched":
        return "found in the image, without a network"
    if name == "model":
        return f"found by the model {made['boundaries_model']}"
    return None if name is None else f"given: {name}"


def _pixel_size(size: Calibration) -> dict[str, Any]:
    square = size.x_um == size.y_um
    shown = f"{size.x_um:.6g} µm" if square else f"{size.x_um:.6g} × {size.y_um:.6g} µm (x × y)"
    return {"pixel size": shown, "known from": size.source}


def _box_words(top: int, left: int, bottom: int, right: int) -> str:
    return f"rows {top} to {bottom - 1}, columns {left} to {right - 1}"


# --- behind it -------------------------------------------------------------------------------


def _pictures(pictures: Mapping[str, bytes]) -> str:
    longest = _LONGEST_PX if len(pictures) <= _FEW_PICTURES else _LONGEST_OF_MANY_PX
    return "".join(
        picture(_small(png, longest), caption, "jpeg") for caption, png in pictures.items()
    )


def _small(png: bytes, longest_px: int) -> bytes:
    rgb = np.array(Image.open(BytesIO(png)).convert("RGB"))
    buffer = BytesIO()
    # Thin coloured lines would fade with colours of half the resolution.
    small = Image.fromarray(reduced(rgb, longest_px))
    small.save(buffer, "JPEG", quality=_JPEG_QUALITY, subsampling=0)
    return buffer.getvalue()


def _field_table(fields: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """A row a field; what no field has is left out."""
    frame = pd.DataFrame(list(map(_field_row, fields)), dtype=object)
    return frame.dropna(axis="columns", how="all")


def _field_row(one: Mapping[str, Any]) -> dict[str, Any]:
    methods = _by_method(one)
    return {
        "image": one["image"],
        "specimen": one.get("specimen"),
        **{f"G by {method}": _grade(by["G"]) for method, by in methods.items()},
        **{name: _short(_known(one, name)) for name in _OF_FIELDS},
        "pixel_size_um": _known(one, "pixel_size_um"),
        "largest grain, G": _short((one["size_distribution"] or {}).get("largest_grain_G")),
    }


def _all_sizes(fields: Sequence[GradedField]) -> SizeDistribution | None:
    """Of all fields together; None where no grain is known."""
    known = [one.sizes for one in fields if one.sizes is not None and len(one.sizes.areas_um2)]
    return together(known) if known else None


def _sizes(sizes: SizeDistribution) -> str:
    stated = sizes.to_dict()
    low, high = stated["diameter_um_p10_p90"]
    lines = {
        "Whole grains": stated["whole_grains"],
        "Mean area (µm²)": _short(stated["mean_area_um2"]),
        "Median equivalent diameter (µm)": _short(stated["median_diameter_um"]),
        "10 % and 90 % quantile (µm)": f"{low:.3g} and {high:.3g}",
        "Largest grain, G (ASTM E930)": _grade(stated["largest_grain_G"]),
        "Distribution (ASTM E1181)": _KINDS[stated["distribution"]],
    }
    caption = (
        f"{stated['whole_grains']} whole grains of all fields together, each weighted by its "
        "chance not to be cut by the edge: the area they take by their ASTM number, and summed up"
    )
    return drawing(size_figure(sizes), caption) + entries(lines)


def _image(one: Mapping[str, Any]) -> str:
    return f"<h3>{escape(one['image'])}</h3>{entries(one['provenance'])}"


_AREAS = {"rectangle": "the whole field", "circle": "the largest circle in the field"}
