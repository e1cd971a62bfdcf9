"""How near the standard methods come to the true grain size of synthetic polycrystals.

python benchmarks/grain_size_accuracy.py -o benchmarks/results/grain_size_accuracy.json

Three questions. From true boundaries: each method against its own truth, five fields of a grain
size, together more than a thousand grains. From etched images, clean and degraded: the same where
boundaries are found without a network, with twins left out, and by the shipped model. Intervals:
studies of five fields, disjoint windows on large polycrystals whose grain size is known; how many
intervals hold it. And the time of grading a mask of 4096 x 4096 pixels beside one labelling of it
by SciPy.
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage

from hardware import hardware
from napari_metallography.calibration import Calibration
from napari_metallography.errors import InputError
from napari_metallography.events import drain
from napari_metallography.grains.finding import ByEtching, Finding
from napari_metallography.grains.grading import (
    METHODS,
    QUANTITIES,
    FieldGrade,
    GradingParameters,
    Method,
    grade,
)
from napari_metallography.grains.model_boundaries import ByModel, load_boundary_model
from napari_metallography.grains.partition import Partition, from_boundaries, from_labels
from napari_metallography.grains.standards import intercept_mm_of
from napari_metallography.grains.study import over_fields
from napari_metallography.grains.twins import without_twins
from napari_metallography.synthesis.polycrystals import (
    Polycrystal,
    PolycrystalParameters,
    polycrystal,
)

GRADES = (5, 7, 9, 11, 13)
SPREADS = (0.3, 0.6)
INTERCEPT_PX = 24.0
FIELDS = 5

DEGRADED: dict[str, dict[str, Any]] = {
    "clean": {"noise": 2.0, "contrast": 0.5, "illumination": 0.0, "grain_grey": 5.0},
    "uneven light, noise, scratches, pits": {
        "noise": 6.0,
        "contrast": 0.5,
        "illumination": 0.2,
        "scratches": 3,
        "pits": 100.0,
    },
    "faint boundaries": {"noise": 5.0, "contrast": 0.3},
    "5 % of the boundaries missing": {"missing": 0.05},
    "10 % of the boundaries missing": {"missing": 0.1},
    "20 % of the boundaries missing": {"missing": 0.2},
    "twins in a fifth of the grains": {"twinned": 0.2},
    "grains of different tone": {"etch": "grains", "grain_grey": 15.0},
    "colour etch": {"etch": "colour"},
}

LARGE_PX, WINDOW_PX, STUDIES_OF = 3000, 250, 5


def recipe(grain_size: float, **changes: Any) -> PolycrystalParameters:
    pixel_um = 1000 * intercept_mm_of(grain_size) / INTERCEPT_PX
    return PolycrystalParameters(grain_size=grain_size, pixel_size_um=pixel_um, **changes)


def truth_of(method: Method, fields: Iterable[Polycrystal]) -> float:
    """Mean over the fields of the true number that the method is after."""
    by_intercepts = QUANTITIES[method] == QUANTITIES["lines"]
    return statistics.mean(
        one.intercept_g if by_intercepts else one.planimetric_g for one in fields
    )


def from_true_boundaries() -> dict[str, Any]:
    """Error in G of each method by grain size and spread."""
    found: dict[str, Any] = {}
    for number, (grain_size, spread) in enumerate(itertools.product(GRADES, SPREADS)):
        seeds = range(number * FIELDS, (number + 1) * FIELDS)
        made = [polycrystal(recipe(grain_size, sigma_ln=spread), seed) for seed in seeds]
        grains = [from_boundaries(one.boundaries) for one in made]
        errors = {}
        for method in METHODS:
            rules = GradingParameters(method=method)
            graded = [grade(g, one.calibration, rules) for g, one in zip(grains, made, strict=True)]
            errors[method] = over_fields(graded)["G"] - truth_of(method, made)
        found[f"G {grain_size}, spread {spread}"] = {
            "grains": sum(one.n for one in grains),
            "error_G": errors,
        }
    return found


def from_etched_images(finding: Finding, *, twins_left_out: bool = False) -> dict[str, Any]:
    """Error in G of each method where boundaries are found in the image."""
    found: dict[str, Any] = {}
    for name, changes in DEGRADED.items():
        made = [polycrystal(recipe(9, **changes), seed) for seed in range(FIELDS)]
        try:
            grains = [drain(finding.grains(_coloured(one.image), one.calibration)) for one in made]
        except InputError as error:
            found[name] = {"refused": str(error)}
            continue
        grains = [without_twins(one) for one in grains] if twins_left_out else grains
        found[name] = {
            method: over_fields(_graded(grains, made, method))["G"] - truth_of(method, made)
            for method in METHODS
        }
    return found


def _model() -> Finding:
    return ByModel(load_boundary_model("grain-boundaries"), torch.device("cpu"))


def _coloured(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return image if image.ndim == 3 else np.repeat(image[..., None], 3, 2)


def _graded(
    grains: Sequence[Partition], made: Sequence[Polycrystal], method: Method
) -> list[FieldGrade]:
    rules = GradingParameters(method=method)
    return [grade(one, field.calibration, rules) for one, field in zip(grains, made, strict=True)]


def interval_coverage(realisations: int) -> dict[str, Any]:
    """Share of 95 % intervals of studies of five fields that hold the truth, by method."""
    held: dict[Method, list[bool]] = {method: [] for method in METHODS}
    for seed in range(realisations):
        large = polycrystal(recipe(9, height_px=LARGE_PX, width_px=LARGE_PX), seed)
        windows = np.random.default_rng(seed).permutation((LARGE_PX // WINDOW_PX) ** 2)
        graded = {method: [_window(large, int(w), method) for w in windows] for method in METHODS}
        for method, start in itertools.product(
            METHODS, range(0, len(windows) - STUDIES_OF + 1, STUDIES_OF)
        ):
            low, high = over_fields(graded[method][start : start + STUDIES_OF])["ci95"]
            held[method].append(low <= truth_of(method, [large]) <= high)
    return {
        method: {"studies": len(found), "held": sum(found) / len(found)}
        for method, found in held.items()
    }


def _window(large: Polycrystal, number: int, method: Method) -> FieldGrade:
    row, column = divmod(number, LARGE_PX // WINDOW_PX)
    rows = slice(row * WINDOW_PX, (row + 1) * WINDOW_PX)
    columns = slice(column * WINDOW_PX, (column + 1) * WINDOW_PX)
    # Each grain of the large field may come in several pieces through a window's edge; none does,
    # since cells are convex.
    grains = from_labels(np.ascontiguousarray(large.grains[rows, columns]))
    return grade(grains, large.calibration, GradingParameters(method=method))


def speed(runs: int) -> dict[str, Any]:
    """Seconds of planimetric and intercept grading of a mask beside one labelling of it."""
    large = polycrystal(recipe(9, height_px=4096, width_px=4096), 0)
    mask, size = large.boundaries, Calibration.square(0.5, "benchmark")
    seconds: dict[str, list[float]] = {"grading": [], "label": []}
    for _ in range(runs):
        start = time.process_time()
        grains = from_boundaries(mask)
        for method in ("planimetric", "lines"):
            grade(grains, size, GradingParameters(method=method))
        seconds["grading"].append(time.process_time() - start)
        start = time.process_time()
        ndimage.label(~mask)
        seconds["label"].append(time.process_time() - start)
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    return {
        "processor_seconds": seconds,
        "median_seconds": medians,
        "grading_over_label": medians["grading"] / medians["label"],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--realisations", type=int, default=8, help="large polycrystals")
    parser.add_argument("--runs", type=int, default=3)
    options = parser.parse_args()
    options.output.parent.mkdir(parents=True, exist_ok=True)
    report: dict[str, Any] = {"hardware": hardware()}
    parts: dict[str, Callable[[], dict[str, Any]]] = {
        "speed": lambda: speed(options.runs),
        "true_boundaries": from_true_boundaries,
        "etched_images": lambda: from_etched_images(ByEtching()),
        "etched_images_twins_left_out": lambda: from_etched_images(
            ByEtching(), twins_left_out=True
        ),
        "etched_images_by_model": lambda: from_etched_images(_model()),
        "interval_coverage": lambda: interval_coverage(options.realisations),
    }
    for name, measure in parts.items():
        report[name] = measure()
        options.output.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
        print(name, json.dumps(report[name]), flush=True)


if __name__ == "__main__":
    main()
