"""What *Quantify* shows as tables and texts."""

from __future__ import annotations

from typing import Any

import pandas as pd

from ..io.headings import heading
from ..quantification.columns import column
from ..quantification.correctable import by_number
from ..quantification.cut_apart import CUT_APART, cut_apart_note
from ..quantification.edges import edge_notes
from ..quantification.measure import Quantification
from ..quantification.pixel_units import NO_PIXEL_SIZE
from ..quantification.statistics import ONE_FIELD
from .wording import in_window

SLICES = (
    "Each plane is measured as a flat field of its own. Slices of a volume show sections: their "
    "radii are smaller than the particles', and one particle is counted in every slice it reaches."
)


def features_of(particles: pd.DataFrame) -> pd.DataFrame:
    """Features of a layer of particles: row *i* belongs to particle *i*, row 0 to none."""
    highest = int(particles["particle"].max()) if len(particles) else 0
    return by_number(particles, highest)


def phase_table(phases: pd.DataFrame) -> pd.DataFrame:
    """What the form shows of each phase; a row a plane where there are several."""
    shown: dict[str, Any] = {"plane": phases["plane"]} if phases["plane"].nunique() > 1 else {}
    radius = column(phases, "mean_radius")
    shown |= {
        "phase": phases["phase"],
        "area (%)": texts(100 * phases["area_fraction"], "{:.2f}"),
        heading("n_particles"): texts(phases["n_particles"], "{:,.0f}"),
        heading(radius): texts(phases[radius], "{:.4g}"),
    }
    return pd.DataFrame(shown)


def summary_text(result: Quantification) -> str:
    """How many fields and particles, and what that says of the confidence interval."""
    n_fields = result.statistics["n_fields"]
    lines = [f"{n_fields} field{'s' * (n_fields != 1)}, {len(result.particles):,} particles."]
    excluded = sum(result.statistics.get("n_excluded", {}).values())
    if excluded:
        lines.append(f"{excluded:,} more are left out by the edge rule.")
    lines += map(sentence, edge_notes(result.statistics["edge_rule"], result.particles))
    if parts := cut_apart_note([result.statistics["provenance"]], len(result.particles)):
        lines.append(f"{parts}.")
    if result.statistics["provenance"]["calibration"] is None:
        lines.append(sentence(in_window(NO_PIXEL_SIZE)))
    if result.ids.ndim > 2 and len(result.ids) > 1:
        lines.append(SLICES)
    if n_fields == 1:
        lines.append(sentence(ONE_FIELD))
    else:
        lines += interval_texts(result.statistics["phases"])
    return "\n".join(lines)


def count_text(result: Quantification) -> str:
    """How many particles, and how many of them were cut apart, in a few words."""
    parts = result.statistics["provenance"].get(CUT_APART)
    cut = "" if parts is None else f", {parts:,} cut apart from others"
    return f"{len(result.particles):,} particles{cut}"


def interval_texts(phases: dict[str, Any]) -> list[str]:
    """A line a phase: its area fraction with the confidence interval over fields.

    One line for all where they have none, for the same reason.
    """
    reasons = {values["area_fraction"]["reason"] for values in phases.values()}
    if len(reasons) == 1 and (reason := reasons.pop()):
        return [sentence(reason)]
    return [_interval(name, values["area_fraction"]) for name, values in phases.items()]


def sentence(text: str) -> str:
    """A text with a capital and a full stop; nothing of nothing."""
    return text and f"{text[0].upper()}{text[1:]}."


def numeric_columns(particles: pd.DataFrame) -> list[str]:
    """Columns that particles can be coloured by."""
    numbers = particles.select_dtypes("number").columns
    return [str(n) for n in numbers if n not in ("particle", "plane", "class_index", "label_value")]


def texts(values: pd.Series[Any], form: str) -> list[str]:
    """Numbers as texts, a dash for a missing one; magicgui's tables show four decimals always."""
    return ["–" if pd.isna(value) else form.format(float(value)) for value in values]


def _interval(name: str, statistics: dict[str, Any]) -> str:
    if statistics["ci95"] is None:
        return f"{name}: {statistics['reason']}"
    low, high = (100 * limit for limit in statistics["ci95"])
    mean = 100 * statistics["mean"]
    return f"{name}: {mean:.3g} % of the area, 95 % confidence {low:.3g} to {high:.3g} %"
