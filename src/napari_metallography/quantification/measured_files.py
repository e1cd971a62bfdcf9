"""A measured image in a folder of its own, from which a study is put together later."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ..calibration import Calibration
from ..classes import PhaseClass
from ..errors import InputError
from ..io.files import write_bytes, write_text
from ..io.frames import FRAME, read_frame, write_frame
from ..io.labels import LabelImage
from ..regions import Field
from .correctable import CORRECTIONS
from .cut_apart import CUT_APART
from .files import MeasuredImage, Picture
from .measure import Quantification
from .statistics import number_of_fields, statistics_over_fields

MEASURED = "quantify.json"
"""Written last: where it is, the rest is there."""

_PICTURE = "overlay_small.png"
_TABLES = ("phases", "particles", "points")


def write_measured(folder: Path, image: MeasuredImage) -> None:
    """Write what `files.without_pixels` leaves of an image; the folder is made.

    Raises
    ------
    InputError
        When a file cannot be written.
    """
    tables = dict(
        zip(_TABLES, (image.result.phases, image.result.particles, image.points), strict=True)
    )
    kept = {name: frame for name, frame in tables.items() if frame is not None}
    for name, frame in kept.items():
        write_frame(folder / f"{name}{FRAME}", frame)
    labels = image.labels
    told = {
        "name": image.name,
        "specimen": image.specimen,
        "tables": [*kept],
        "statistics": image.result.statistics,
        "classes": [phase.model_dump() for phase in labels.classes],
        "calibration": labels.calibration.to_dict() if labels.calibration else None,
        "shape": labels.measured.shape,
        "field": labels.measured.to_dict(),
        "provenance": labels.provenance,
        "assumed": labels.assumed,
    }
    if image.picture is not None:
        write_bytes(folder / _PICTURE, image.picture.small)
    write_text(folder / MEASURED, json.dumps(told))


def read_measured(folder: Path, *, with_picture: bool = True) -> MeasuredImage:
    """Inverse of `write_measured`, bit for bit; the picture, if wanted, is the small one.

    Raises
    ------
    InputError
        When a file is missing or damaged.
    """
    try:
        told = json.loads((folder / MEASURED).read_text(encoding="utf-8"))
        tables = {name: read_frame(folder / f"{name}{FRAME}") for name in told["tables"]}
        picture = folder / _PICTURE
        small = picture.read_bytes() if with_picture and picture.exists() else None
        return _image(told, tables, small)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{folder}: what was measured is missing or damaged; measure it again"
        ) from error


def planes_together(planes: Mapping[int, MeasuredImage]) -> MeasuredImage:
    """The planes of one image, measured one by one, as if it had been measured as a stack.

    Parameters
    ----------
    planes
        By their numbers, in order; those that could not be measured are missing.
    """
    first = next(iter(planes.values()))
    if [*planes] == [0]:
        return first

    def together(tables: Mapping[int, pd.DataFrame]) -> pd.DataFrame:
        return pd.concat([one.assign(plane=n) for n, one in tables.items()], ignore_index=True)

    phases = together({n: one.result.phases for n, one in planes.items()})
    particles = together({n: one.result.particles for n, one in planes.items()})
    particles["particle"] = np.arange(1, len(particles) + 1)
    points = {n: one.points for n, one in planes.items() if one.points is not None}
    statistics = _statistics(planes, phases, particles)
    return replace(
        first,
        result=Quantification(phases, particles, first.result.ids, statistics),
        points=together(points) if points else None,
    )


def _statistics(
    planes: Mapping[int, MeasuredImage], phases: pd.DataFrame, particles: pd.DataFrame
) -> dict[str, Any]:
    told = [one.result.statistics for one in planes.values()]
    are_fields = bool(told[0]["parameters"]["planes_are_fields"])
    excluded = phases.groupby("phase", sort=False)["n_excluded"].sum(min_count=1).dropna()
    corrections = [row for one in told for row in one["provenance"].get(CORRECTIONS, ())]
    cut = [one["provenance"][CUT_APART] for one in told if CUT_APART in one["provenance"]]
    return {
        **told[0],
        "n_fields": number_of_fields(phases, ["plane"]),
        "n_particles": len(particles),
        "n_excluded": {str(phase): int(n) for phase, n in excluded.items()},
        "phases": statistics_over_fields(phases, particles, planes_are_fields=are_fields),
        "provenance": {
            **told[0]["provenance"],
            **({CUT_APART: sum(cut)} if cut else {}),
            **({CORRECTIONS: corrections} if corrections else {}),
            "notes": _notes(planes),
        },
    }


def _notes(planes: Mapping[int, MeasuredImage]) -> list[str]:
    """What is to be known of all planes, and of some, with their numbers."""
    of = {number: one.result.statistics["provenance"]["notes"] for number, one in planes.items()}
    said = [
        note if all(note in others for others in of.values()) else f"plane {number}: {note}"
        for number, notes in of.items()
        for note in notes
    ]
    return [*dict.fromkeys(said)]


def _image(
    told: dict[str, Any], tables: dict[str, pd.DataFrame], small: bytes | None
) -> MeasuredImage:
    calibration = told["calibration"]
    labels = LabelImage(
        np.zeros((0, 0), np.uint8),
        tuple(PhaseClass.model_validate(one) for one in told["classes"]),
        Calibration.from_dict(calibration) if calibration else None,
        Field.from_dict(tuple(told["shape"]), told["field"]),
        told["provenance"],
        told["assumed"],
    )
    nothing = np.zeros((0, 0), np.int32)
    result = Quantification(tables["phases"], tables["particles"], nothing, told["statistics"])
    picture = None if small is None else Picture(b"", small)
    return MeasuredImage(
        told["name"], labels, result, picture, told["specimen"], None, tables.get("points")
    )
