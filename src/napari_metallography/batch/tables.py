"""The results of a batch put together: one tidy table, a study, a grain size, and a report."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd

from ..calibration import Calibration
from ..errors import InputError
from ..grains.grade_numbers import numbers_of, restored
from ..grains.study import GradedField
from ..quantification.files import MeasuredImage
from ..quantification.measured_files import read_measured
from .items import Item
from .run import Batch
from .work import RESULT, item_folder

TABLE = "results.csv"

PROBABILITY = "probability_"
"""Begins the columns of classes."""
_OF_PHASES_NOT = {"plane", "phase", "class_index", "label_value"}


@dataclass(frozen=True)
class ItemResult:
    """What was found of an item.

    Attributes
    ----------
    told
        What `item.json` says.
    measured
        By `quantify`, of the one plane; else None.
    graded
        By `grain_size`; else None.
    """

    item: Item
    told: Mapping[str, Any]
    measured: MeasuredImage | None
    graded: GradedField | None


def read_item(
    folder: Path, item: Item, steps: Sequence[str], *, with_picture: bool = True
) -> ItemResult:
    """Read what was found of an item that is done, by the steps of a recipe.

    Raises
    ------
    InputError
        When a file is missing or damaged.
    """
    own = item_folder(folder, item.key)
    try:
        told = json.loads((own / RESULT).read_text(encoding="utf-8"))
        grading = told["steps"].get("grain_size")
    except (OSError, ValueError, KeyError) as error:
        raise InputError(f"{own}: is missing or damaged; go on with --resume") from error
    # Its name depends on what else there is, which may have changed since it was measured.
    name = item.source.name
    measured = None
    if "quantify" in steps:
        measured = replace(read_measured(own, with_picture=with_picture), name=name)
    return ItemResult(item, told, measured, _graded(grading, item.name) if grading else None)


def _graded(told: Mapping[str, Any], name: str) -> GradedField:
    grades = {method: restored(one) for method, one in told["by_method"].items()}
    return GradedField(
        name,
        grades,
        told["specimen"],
        told["provenance"],
        tuple(told["notes"]),
        told["left_out"],
    )


def tidy_table(batch: Batch, results: Sequence[ItemResult]) -> pd.DataFrame:
    """One row a number, of all items and steps.

    Returns
    -------
    `image`, `plane`, `specimen`, `pixel_size_um`, `calibration`; `step`, `of` (the phase, the
    method, or the class that an answer names), `quantity` with its unit, `value`; `model`,
    `model_digest`, `source_sha256`, `version`.
    """
    rows = [row for one in results for row in _rows(batch, one)]
    columns = [
        *("image", "plane", "specimen", "pixel_size_um", "calibration"),
        *("step", "of", "quantity", "value"),
        *("model", "model_digest", "source_sha256", "version"),
    ]
    return pd.DataFrame(rows, columns=columns)


def _rows(batch: Batch, one: ItemResult) -> Iterator[dict[str, Any]]:
    known = one.told["calibration"]
    size = Calibration.from_dict(known) if known else None
    about = {
        "image": one.item.source.name,
        "plane": one.item.plane,
        "specimen": one.told["specimen"],
        "pixel_size_um": size.mean_um if size else None,
        "calibration": size.source if size else None,
        "source_sha256": one.told["source"]["sha256"],
        "version": batch.run.version,
    }
    if one.measured is not None:
        made = one.measured.labels.provenance
        model = {"model": made.get("model"), "model_digest": made.get("model_digest")}
        for of, quantity, value in _of_phases(one.measured.result.phases):
            yield _row(about, "quantify", of, quantity, value) | model
    for method, grade in (one.graded.by_method if one.graded else {}).items():
        for quantity, value in numbers_of(grade).items():
            if isinstance(value, int | float):
                yield _row(about, "grain_size", method, quantity, value)
    for step in ("classify_structure", "classify_defects"):
        if (told := one.told["steps"].get(step)) is not None:
            yield from _answers(about, step, told)


def _row(about: Mapping[str, Any], step: str, of: str, quantity: str, value: Any) -> dict[str, Any]:
    return {**about, "step": step, "of": of, "quantity": quantity, "value": value}


def _of_phases(phases: pd.DataFrame) -> Iterator[tuple[str, str, Any]]:
    for row in phases.to_dict("records"):
        for name, value in row.items():
            if name not in _OF_PHASES_NOT and not pd.isna(value):
                yield str(row["phase"]), str(name), value


def _answers(
    about: Mapping[str, Any], step: str, told: Mapping[str, Any]
) -> Iterator[dict[str, Any]]:
    """The answer with its probability, and the probability of every class."""
    row, made = told["row"], told["provenance"]
    model = {"model": made.get("model"), "model_digest": made.get("model_digest")}
    answer = str(row["answer"])
    named = {k.removeprefix(PROBABILITY): v for k, v in row.items() if k.startswith(PROBABILITY)}
    yield _row(about, step, answer, "answer", named.get(answer)) | model
    for name, value in named.items():
        yield _row(about, step, name, "probability", value) | model
