"""How a study was measured and what its quantities are, in words."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from ..regions import Polygon
from ..reports import number
from .cut_apart import cut_apart_note
from .particles import CONNECTIVITY
from .resolution import RESOLVABLE_AREA_PX

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

_MOST_VERTICES = 8

_ROLLING = {
    "horizontal": "horizontal, along the rows: bands are taken to lie along it",
    "vertical": "vertical, along the columns: bands are taken to lie along it",
}


def rule_lines(statistics: Mapping[str, Any]) -> dict[str, str]:
    """How a study was measured, by title, in words; what does not apply left out."""
    rule = statistics["edge_rule"]
    lines = {
        "Region of interest": _regions(statistics["provenance"]),
        "Edge rule": f"{rule}: {_EDGE_RULES[rule]}" if rule in _EDGE_RULES else rule,
        "Smallest particle": f"{statistics['smallest_area_px']} px",
        "Measured as particles": _measured_classes(statistics),
        "Touching particles": _splitting(statistics["parameters"]) + _cut_apart(statistics),
        "Rolling direction": _ROLLING[statistics["parameters"]["rolling_direction"]],
        "Left out by the edge rule": counted_by_phase(statistics.get("n_excluded", {})),
    }
    return {name: text for name, text in lines.items() if text}


def definition_lines() -> dict[str, str]:
    """What the measured quantities are, by title; the same for all studies."""
    connectivity = {4: "share a side", 8: "share a side or a corner"}[CONNECTIVITY]
    return {
        "Particles": f"{CONNECTIVITY}-connected regions of a phase: their pixels {connectivity}",
        "Radius": "equivalent-circle radius √(area/π)",
        "Area fraction": "of the labelled part of the field, every pixel of the phase counted",
        "95 % confidence interval": "mean ± t·s/√n over n fields, cut at what is possible",
        "Fields needed": "least n with t·s/√n within the wanted share of the mean, t that of n "
        "fields (ASTM E562 takes the t of the fields measured)",
        "Perimeter": "Crofton, sixteen directions, with the tips of corners allowed for",
        "Circularity": f"4π·area/perimeter², of particles from {RESOLVABLE_AREA_PX} px on",
        "Solidity": "area over that of the convex hull of the particle's pixels",
    }


def region_words(region: Sequence[Polygon]) -> str:
    """Where a region of interest lies, in pixels of the image."""
    return "; ".join(map(_polygon_words, region))


def _regions(provenance: Sequence[Mapping[str, Any]]) -> str:
    """The regions that were measured, with the images that each is of; nothing without any."""
    images: dict[str, list[str]] = {}
    for made in provenance:
        where = region_words(made["field"]["region"]) or "whole image"
        images.setdefault(where, []).append(made["image"])
    if list(images) == ["whole image"]:
        return ""
    if len(images) == 1:
        return f"{next(iter(images))} of each image"
    return "; ".join(f"{', '.join(names)}: {where}" for where, names in images.items())


def _polygon_words(polygon: Polygon) -> str:
    rows, columns = zip(*polygon, strict=True)
    # The centres of its pixels lie inside.
    (top, bottom), (left, right) = (
        (math.ceil(min(along)), math.floor(max(along))) for along in (rows, columns)
    )
    extent = f"rows {top} to {bottom}, columns {left} to {right}"
    if len(polygon) == 4 and len(set(rows)) == len(set(columns)) == 2:
        return extent
    if len(polygon) > _MOST_VERTICES:
        return f"a shape of {len(polygon)} vertices within {extent}"
    vertices = ", ".join(f"({number(row)}, {number(column)})" for row, column in polygon)
    return f"the polygon with the vertices (row, column) {vertices}"


def _measured_classes(statistics: Mapping[str, Any]) -> str:
    measured = [n for n, one in statistics["phases"].items() if one["n_particles"] is not None]
    return ", ".join(measured) or "no phase"


def _splitting(parameters: Mapping[str, Any]) -> str:
    method = parameters["split"]
    return f"{method}: {_SPLITS[method]}".format(depth=number(parameters["split_depth"]))


def _cut_apart(statistics: Mapping[str, Any]) -> str:
    note = cut_apart_note(statistics["provenance"], statistics["n_particles"])
    return f"; {note}" if note else ""


def counted_by_phase(by_phase: Mapping[str, int | None]) -> str:
    """Numbers by phase; phases that were not measured as particles have none."""
    known = {phase: count for phase, count in by_phase.items() if count is not None}
    return ", ".join(f"{phase}: {count}" for phase, count in known.items())
