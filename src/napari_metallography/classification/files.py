"""Answers of a classification as files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ..classes import indices_to_layer, named_classes
from ..events import Events
from ..inputs import PixelSizes, measured_field, read_image
from ..io.files import together
from ..io.images import Micrograph
from ..io.labels import LabelImage, write_labels
from ..io.overlays import overlay, with_legend, write_png
from ..io.tables import write_csv, write_json
from ..plane import Plane, planes_of
from .defects import (
    UNSURE,
    UNSURE_NAME,
    Answers,
    Classifier,
    DefectParameters,
    PlaneAnswer,
    defect_map,
    name_plane,
    pixel_size_notices,
    provenance,
)

Row = dict[str, Any]


@dataclass(frozen=True)
class Tables:
    """Rows of `classes.csv`, and of `windows.csv` where images were scanned."""

    planes: list[Row]
    windows: list[Row]


def name_file(
    path: Path,
    folder: Path,
    classifier: Classifier,
    parameters: DefectParameters,
    sizes: PixelSizes,
) -> Events[Tables]:
    """Name every plane of an image; a scanned one leaves its defect map in the folder.

    Yields
    ------
    Progress, Notice
        Of each plane; what the user should know of its pixel size.

    Raises
    ------
    InputError
        When the image cannot be used or a file cannot be written.
    """
    micrograph = read_image(path, sizes)
    yield from pixel_size_notices(classifier.model.card, micrograph.calibration)
    tables = Tables([], [])
    maps = []
    for number, plane in enumerate(_planes(micrograph)):
        found = yield from name_plane(
            plane, classifier, micrograph.calibration, scan=parameters.scan
        )
        tables.planes.append(answer_row(path.name, number, found.answer, 0, classifier.model.names))
        if parameters.scan:
            tables.windows.extend(_window_rows(path, number, found, classifier.model.names))
            maps.append(defect_map(found, plane.shape))
    if maps:
        _write_map(folder, micrograph, np.stack(maps), classifier, parameters)
    return tables


def write_tables(folder: Path, tables: Sequence[Tables], told: dict[str, Any]) -> None:
    """Write `classes.csv`, `windows.csv` where images were scanned, and `classes.json`.

    Parameters
    ----------
    told
        As `defects.provenance` gives it.
    """
    windows = [row for one in tables for row in one.windows]
    names = ("classes.csv", "classes.json", *(("windows.csv",) if windows else ()))
    with together(*(folder / name for name in names)):
        planes = pd.DataFrame([row for one in tables for row in one.planes])
        write_csv(folder / "classes.csv", planes)
        if windows:
            write_csv(folder / "windows.csv", pd.DataFrame(windows))
        write_json(folder / "classes.json", told)


def _planes(micrograph: Micrograph) -> Iterator[Plane]:
    return planes_of(
        micrograph.pixels,
        rgb=micrograph.rgb,
        name=str(micrograph.source),
        measured=measured_field(micrograph),
        may_be_constant=True,
    )


def answer_row(image: str, plane: int, answers: Answers, place: int, names: Sequence[str]) -> Row:
    """A row of `classes.csv`: the answer at a place among several."""
    given = int(answers.given[place])
    probabilities = answers.probabilities[place]
    return {
        "image": image,
        "plane": plane,
        "answer": UNSURE_NAME if given == UNSURE else names[given],
        "most_probable": names[int(answers.probable[place])],
        "strangeness": float(answers.strangeness[place]),
        **{
            f"probability_{name}": float(value)
            for name, value in zip(names, probabilities, strict=True)
        },
    }


def _window_rows(path: Path, plane: int, found: PlaneAnswer, names: Sequence[str]) -> list[Row]:
    rows = []
    for place, box in enumerate(found.windows):
        answered = answer_row(path.name, plane, found.by_window, place, names)
        corners = zip(("top_px", "left_px", "bottom_px", "right_px"), box.to_list(), strict=True)
        rows.append({"image": answered.pop("image"), "plane": plane, **dict(corners), **answered})
    return rows


def _write_map(
    folder: Path,
    micrograph: Micrograph,
    maps: NDArray[np.uint8],
    classifier: Classifier,
    parameters: DefectParameters,
) -> None:
    """`<stem>_defects.tif`, labels, and `<stem>_defects.png`, a picture of the first plane."""
    classes = classifier.model.card.classes
    told = provenance(classifier.model, parameters, classifier.least_probability)
    indices = maps if len(maps) > 1 else maps[0]
    labels = LabelImage(indices, classes, micrograph.calibration, measured_field(micrograph), told)
    stem = micrograph.source.stem
    table, picture = folder / f"{stem}_defects.tif", folder / f"{stem}_defects.png"
    rows, columns = micrograph.shape
    rgb = next(_planes(micrograph)).rgb8(slice(0, rows), slice(0, columns))
    # What is unsure takes the matrix's place, which stays untinted.
    legend = named_classes([UNSURE_NAME]) + classes
    tinted = overlay(rgb, indices_to_layer(maps[0]), legend)
    with together(table, picture):
        write_labels(table, labels)
        write_png(picture, with_legend(tinted, legend[1:]), micrograph.calibration)
