"""Answers of a classification as files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ..classes import UNLABELLED, indices_to_layer, named_classes
from ..errors import InputError
from ..events import Event, Events, Notice, relayed
from ..inputs import PixelSizes, measured_field, read_image
from ..io.files import together
from ..io.images import Micrograph
from ..io.labels import LabelImage, write_labels
from ..io.overlays import overlay, with_legend, write_png
from ..io.tables import write_csv, write_json
from .defect_parameters import UNSURE_NAME, DefectParameters
from .defects import (
    Answers,
    Classifier,
    PlaneAnswer,
    defect_map,
    name_plane,
    pixel_size_notices,
    provenance,
)
from .images import skipped_words
from .stacks import Stack

T = TypeVar("T")

Row = dict[str, Any]


@dataclass(frozen=True)
class Tables:
    """Rows of `classes.csv`, of `windows.csv` where images were scanned, and what was skipped."""

    planes: list[Row] = field(default_factory=list)
    windows: list[Row] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)


def name_file(
    path: Path,
    folder: Path,
    classifier: Classifier,
    parameters: DefectParameters,
    sizes: PixelSizes,
    called: str,
) -> Events[Tables]:
    """Name every plane of an image; a scanned one leaves its defect map in the folder.

    A plane that cannot be used is skipped; in the map all of it is unlabelled.

    Parameters
    ----------
    called
        What the tables call the image.

    Yields
    ------
    Progress, Notice
        Of each plane; what the user should know of how they are looked at, and which are skipped.

    Raises
    ------
    InputError
        When no plane of the image can be used or a file cannot be written.
    """
    micrograph = read_image(path, sizes)
    yield from pixel_size_notices(classifier.model.card, micrograph.calibration)
    stack = Stack(str(path), micrograph.pixels, micrograph.rgb, micrograph.calibration)
    tables, maps, names = Tables(), {}, classifier.model.names
    said: set[str] = set()
    for number in stack.numbers:
        try:
            plane = stack.plane(number)
            events = name_plane(plane, classifier, stack.calibration, scan=parameters.scan)
            found = yield from told_once(events, said)
        except InputError as error:
            tables.skipped.append(str(error))
            continue
        tables.planes.append(answer_row(called, number, found.answer, 0, names))
        if parameters.scan:
            tables.windows.extend(_window_rows(called, number, found, names))
            maps[number] = defect_map(found, plane.shape)
    yield from skipped_notices(tables.skipped, len(tables.planes))
    if maps:
        _write_map(folder, micrograph, stack, maps, classifier, parameters)
    return tables


def told_once(events: Events[T], said: set[str], start: str = "") -> Events[T]:
    """Run a part of a computation; of its notices, those that were not said before are told."""

    def change(event: Event) -> Event | None:
        if not isinstance(event, Notice):
            return event
        notice = Notice(f"{start}{event.message}")
        is_new = notice.message not in said
        said.add(notice.message)
        return notice if is_new else None

    return (yield from relayed(events, change))


def skipped_notices(skipped: Sequence[str], used: int) -> Iterator[Notice]:
    """What to say of planes that could not be used, beside so many that could.

    Raises
    ------
    InputError
        When none could be used.
    """
    if skipped and not used:
        others = f"; nor can {len(skipped) - 1} more be used" if len(skipped) > 1 else ""
        raise InputError(f"{skipped[0]}{others}")
    if skipped:
        yield Notice(skipped_words(skipped))


def write_tables(folder: Path, tables: Sequence[Tables], told: dict[str, Any]) -> None:
    """Write `classes.csv`, `windows.csv` where images were scanned, and `classes.json`.

    Parameters
    ----------
    told
        As `defects.provenance` gives it.
    """
    windows = [row for one in tables for row in one.windows]
    skipped = [said for one in tables for said in one.skipped]
    names = ("classes.csv", "classes.json", *(("windows.csv",) if windows else ()))
    with together(*(folder / name for name in names)):
        planes = pd.DataFrame([row for one in tables for row in one.planes])
        write_csv(folder / "classes.csv", planes)
        if windows:
            write_csv(folder / "windows.csv", pd.DataFrame(windows))
        write_json(folder / "classes.json", {**told, "skipped": skipped})


def answer_row(image: str, plane: int, answers: Answers, place: int, names: Sequence[str]) -> Row:
    """A row of `classes.csv`: the answer at a place among several."""
    probabilities = zip(names, answers.probabilities[place], strict=True)
    return {
        "image": image,
        "plane": plane,
        **answers.row(place, names),
        **{f"probability_{name}": float(value) for name, value in probabilities},
    }


def _window_rows(image: str, plane: int, found: PlaneAnswer, names: Sequence[str]) -> list[Row]:
    rows = []
    for place, box in enumerate(found.windows):
        answered = answer_row(image, plane, found.by_window, place, names)
        corners = zip(("top_px", "left_px", "bottom_px", "right_px"), box.to_list(), strict=True)
        rows.append({"image": answered.pop("image"), "plane": plane, **dict(corners), **answered})
    return rows


def _write_map(
    folder: Path,
    micrograph: Micrograph,
    stack: Stack,
    maps: Mapping[int, NDArray[np.uint8]],
    classifier: Classifier,
    parameters: DefectParameters,
) -> None:
    """`<stem>_defects.tif`, labels, and `<stem>_defects.png`, a picture of the first map."""
    classes = classifier.model.card.classes
    told = provenance(classifier.model, parameters, classifier.least_probability)
    indices = np.full((*stack.leading, *micrograph.shape), UNLABELLED, np.uint8)
    for number, one in maps.items():
        indices[stack.index(number)] = one
    whole = indices if len(stack.numbers) > 1 else indices.reshape(micrograph.shape)
    labels = LabelImage(whole, classes, micrograph.calibration, measured_field(micrograph), told)
    stem = micrograph.source.stem
    table, picture = folder / f"{stem}_defects.tif", folder / f"{stem}_defects.png"
    rows, columns = micrograph.shape
    first = min(maps)
    rgb = stack.plane(first).rgb8(slice(0, rows), slice(0, columns))
    # What is unsure takes the matrix's place, which stays untinted.
    legend = named_classes([UNSURE_NAME]) + classes
    tinted = overlay(rgb, indices_to_layer(maps[first]), legend)
    with together(table, picture):
        write_labels(table, labels)
        write_png(picture, with_legend(tinted, legend[1:]), micrograph.calibration)
