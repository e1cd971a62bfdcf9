"""How often the 95 % intervals of `quantify` hold the truth, on simulated studies.

python benchmarks/ci_coverage.py -o benchmarks/results/ci_coverage.json

A study is a number of fields of carbides with known truth, measured from their labels as the
command line does: each five fields are a stack whose planes are fields, stacks are put together to
larger studies. The truth is that of the process which the fields are windows on; where it has no
formula, the mean over all fields simulated stands for it. Beside it, how well the count and the
mean radius of true labels are found, touching carbides included.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from hardware import hardware
from napari_metallography import regions
from napari_metallography.classes import named_classes
from napari_metallography.events import drain
from napari_metallography.quantification.measure import Quantification, quantify
from napari_metallography.quantification.parameters import EdgeRule, QuantifyParameters
from napari_metallography.quantification.point_count import (
    PointGrid,
    count_points,
    point_statistics,
)
from napari_metallography.quantification.strips import LabelledPlane, stretches_of
from napari_metallography.quantification.study import combine
from napari_metallography.synthesis.carbides import CarbideField, CarbideParameters, carbide_field

CARBIDE = "carbide"
CLASSES = named_classes(["matrix", CARBIDE])
STACK = 5
"""Fields of the smallest study."""

PLAIN = {"boundary_spacing_px": 0, "blur_px": 0, "noise": 0, "illumination": 0}
"""No micrograph is needed, only labels."""

SMALL_FIELD = CarbideParameters(
    height_px=256, width_px=256, median_radius_px=3.2, touching_fraction=0, **PLAIN
)
"""About 100 carbides; none touch, as a label image does not tell them apart."""

TOUCHING_FIELD = CarbideParameters(**PLAIN)
RULE: EdgeRule = "miles-lantuejoul"
GRID = PointGrid()
POINTS = "area_fraction by point count"

Stack = tuple[str, Quantification, pd.DataFrame]
Statistics = dict[str, Mapping[str, Any]]


def measured(fields: Sequence[CarbideField], parameters: QuantifyParameters) -> Quantification:
    """Fields, a plane each, as the command line measures a stack of labels."""
    labels = np.stack([field.labels for field in fields])
    whole = regions.Field((labels.shape[1], labels.shape[2]))
    return drain(quantify(labels, CLASSES, fields[0].calibration, whole, parameters))


def stack(number: int, parameters: CarbideParameters, n_fields: int = STACK) -> Stack:
    """Name, result and point counts of some fields; their seeds follow from the number."""
    fields = [carbide_field(parameters, number * n_fields + plane) for plane in range(n_fields)]
    name = f"stack {number}"
    everywhere = stretches_of(regions.Field((parameters.height_px, parameters.width_px)))
    points = [
        count_points(LabelledPlane(field.labels, everywhere, len(CLASSES), name), CLASSES, GRID, n)
        for n, field in enumerate(fields)
    ]
    rules = QuantifyParameters(edge_rule=RULE, planes_are_fields=True)
    # Thousands of fields are held at a time, of which the tables suffice.
    result = replace(measured(fields, rules), ids=np.zeros(0, np.int32))
    return name, result, pd.concat(points, ignore_index=True)


def study_statistics(stacks: Sequence[Stack]) -> Statistics:
    """The carbides' statistics in a study of stacks, by quantity, with those of the point count."""
    study = combine([(name, result) for name, result, _ in stacks])
    points = point_statistics(pd.concat([counted for *_, counted in stacks]), GRID)
    found = {
        name: values
        for name, values in study.statistics["phases"][CARBIDE].items()
        if isinstance(values, Mapping)
    }
    return {**found, POINTS: points["phases"][CARBIDE]}


def process_truth(parameters: CarbideParameters) -> dict[str, float]:
    """What the process has, by formula."""
    field = carbide_field(parameters, 0)
    mean_area = math.pi * (parameters.median_radius_px * parameters.pixel_size_um) ** 2
    mean_area *= math.exp(2 * parameters.sigma_ln**2)
    fraction = field.number_density_per_mm2 * 1e-6 * mean_area
    return {
        "area_fraction": fraction,
        POINTS: fraction,
        "number_density_per_mm2": field.number_density_per_mm2,
        "mean_radius_um": field.mean_radius_um,
    }


def grouped(stacks: Sequence[Stack], n_fields: int) -> Iterator[Sequence[Stack]]:
    """Studies of a number of fields that share none."""
    per_study = n_fields // STACK
    for first in range(0, len(stacks) - per_study + 1, per_study):
        yield stacks[first : first + per_study]


def coverage(studies: Sequence[Statistics], truth: Mapping[str, float]) -> dict[str, Any]:
    """Share of the studies whose interval holds the truth, and the mean half width, by quantity."""
    rows: dict[str, Any] = {}
    for name, true in truth.items():
        intervals = np.array([one[name]["ci95"] for one in studies if one[name]["ci95"]], float)
        held = (intervals[:, 0] <= true) & (true <= intervals[:, 1])
        rows[name] = {
            "studies": len(intervals),
            "covered_percent": 100 * float(held.mean()),
            "truth_too_low_percent": 100 * float((true < intervals[:, 0]).mean()),
            "truth_too_high_percent": 100 * float((true > intervals[:, 1]).mean()),
            "mean_half_width": float(np.ptp(intervals, axis=1).mean()) / 2,
        }
    return rows


def long_run(stacks: Sequence[Stack]) -> dict[str, float]:
    """Mean of each quantity over all fields."""
    return {name: float(values["mean"]) for name, values in study_statistics(stacks).items()}


def intervals(n_studies: int, sizes: Sequence[int]) -> dict[str, Any]:
    """Coverage by the number of fields, for at least `n_studies` studies of each."""
    stacks = [stack(number, SMALL_FIELD) for number in range(n_studies * max(sizes) // STACK)]
    formula, means = process_truth(SMALL_FIELD), long_run(stacks)
    truth = {**means, **formula}
    return {
        "parameters": SMALL_FIELD.model_dump(),
        "edge_rule": RULE,
        "fields": len(stacks) * STACK,
        "particles": int(sum(len(result.particles) for _, result, _ in stacks)),
        "truth": truth,
        "truth_by_formula": list(formula),
        "mean_of_all_fields_off_percent": {
            name: 100 * (means[name] / true - 1) for name, true in formula.items()
        },
        "by_fields": {
            str(size): coverage([study_statistics(one) for one in grouped(stacks, size)], truth)
            for size in sizes
        },
    }


def from_true_labels(n_fields: int) -> dict[str, Any]:
    """Errors of count and mean radius in fields of touching carbides, and by edge rule."""
    fields = [carbide_field(TOUCHING_FIELD, seed) for seed in range(n_fields)]
    radii = np.concatenate([true_radii_um(field) for field in fields])
    errors = {}
    for split in ("none", "distance"):
        rules = QuantifyParameters(split=split, planes_are_fields=True)
        found = measured(fields, rules).particles["equivalent_radius_um"]
        errors[f"split {split}"] = {
            "count_error_percent": 100 * (len(found) / len(radii) - 1),
            "radius_error_percent": 100 * (float(found.mean()) / float(radii.mean()) - 1),
        }
    return {
        "parameters": TOUCHING_FIELD.model_dump(),
        "fields": n_fields,
        "carbides": len(radii),
        **errors,
        "against_the_process": {rule: by_rule(fields, rule) for rule in ("all", RULE)},
    }


def true_radii_um(field: CarbideField) -> NDArray[np.float64]:
    """Equivalent radii of the true instances as they show."""
    areas = np.bincount(field.ids.ravel())[1:] * field.calibration.pixel_area_um2
    return np.asarray(np.sqrt(areas / np.pi), float)


def by_rule(fields: Sequence[CarbideField], rule: EdgeRule) -> dict[str, float]:
    """How far the means over fields are from the process, which no field's edge cuts."""
    rules = QuantifyParameters(edge_rule=rule, split="distance", planes_are_fields=True)
    found = measured(fields, rules).statistics["phases"][CARBIDE]
    return {
        "number_density_error_percent": 100
        * (found["number_density_per_mm2"]["mean"] / fields[0].number_density_per_mm2 - 1),
        "mean_radius_error_percent": 100
        * (found["mean_radius_um"]["mean"] / fields[0].mean_radius_um - 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-o", "--output", type=Path)
    parser.add_argument("--studies", type=int, default=200)
    options = parser.parse_args()
    report = {
        "hardware": hardware(),
        "from_true_labels": from_true_labels(40),
        "intervals": intervals(options.studies, (STACK, 2 * STACK, 6 * STACK)),
    }
    text = json.dumps(report, indent=1)
    print(text)
    if options.output:
        options.output.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
