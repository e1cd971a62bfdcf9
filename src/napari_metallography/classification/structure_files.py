"""Structures of images as files."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

from ..classes import UNLABELLED, PhaseClass
from ..errors import InputError
from ..events import Event, Events, Notice, relayed
from ..inputs import PixelSizes, measured_field, read_image
from ..io.files import together
from ..io.images import Micrograph
from ..io.labels import LabelImage, write_labels
from ..io.overlays import with_legend, write_png
from ..io.tables import write_csv, write_json
from ..regions import Box
from .descriptor_map import descriptor_figure, descriptor_map
from .files import skipped_notices, told_once
from .grey_stacks import grey_plane
from .saliency import Saliency, saliency_map
from .stacks import Stack
from .structure import StructureAnswer, classify_plane, outside_words, provenance
from .structure_model import StructureModel
from .structure_parameters import SaliencyParameters, extrapolation_note

Row = dict[str, Any]

_DPI = 150
_DIGITS = 6
_DARK = PhaseClass(name="the darker, the more likely none", colour="#000000")
_STRANGE = PhaseClass(name="the image as a whole: none", colour="#ffffff")


@dataclass(frozen=True)
class FileAnswers:
    """What is known of the planes of an image.

    Attributes
    ----------
    rows
        Of `classes.csv`.
    told
        Of the image in `classes.json`: `image`, `pixel_size_from`, and `note`, what the user should
        know.
    skipped
        Which planes could not be used, and why.
    strange_planes
        Numbers of those that are none of the classes as a whole.
    """

    rows: list[Row]
    told: dict[str, Any]
    skipped: list[str]
    strange_planes: list[int]


def name_file(
    path: Path,
    model: StructureModel,
    device: torch.device,
    sizes: PixelSizes,
    called: str,
    crops: int | None = None,
    map_folder: Path | None = None,
) -> Events[FileAnswers]:
    """Name the structure of every plane of an image.

    A plane that cannot be used is skipped.

    Parameters
    ----------
    called
        What the table calls the image.
    map_folder
        Where to write `<stem>_descriptors.png`, the descriptor map of the first plane that can be
        used, if at all.

    Yields
    ------
    Progress, Notice
        Of the crops; once, whether magnifications lie outside the trained range; which planes were
        skipped, and why.

    Raises
    ------
    InputError
        When no plane can be used: it is smaller than a crop, or its pixel size is needed and not
        known; or when the map cannot be written.
    """
    micrograph = read_image(path, sizes)
    model.network.core.to(device)
    calibration = micrograph.calibration
    size = calibration.mean_um if calibration else None
    stack = _stack(micrograph)
    rows: list[Row] = []
    skipped: list[str] = []
    strange: list[int] = []
    for number in stack.numbers:
        try:
            plane, _ = grey_plane(stack, number)
            events = classify_plane(plane, calibration, model, device, name=str(path), crops=crops)
            found = yield from relayed(events, _without_notices)
        except InputError as error:
            skipped.append(str(error))
            continue
        row = {"image": called, "plane": number, **answer_row(found, size, model.names)}
        if map_folder is not None and not rows:
            figure = descriptor_figure(
                descriptor_map(model, found.descriptors), _map_title(row, model)
            )
            write_png(map_folder / f"{path.stem}_descriptors.png", _drawn(figure))
        rows.append(row)
        strange += [number] if found.is_strange else []
    note = _extrapolation(path, rows, size, model)
    if note:
        yield Notice(note)
    yield from skipped_notices(skipped, len(rows))
    whence = calibration.source if calibration else None
    told = {"image": called, "pixel_size_from": whence, "note": note}
    return FileAnswers(rows, told, skipped, strange)


def _map_title(row: Row, model: StructureModel) -> str:
    """Of what the map is, and below it what else than the descriptors told the answer."""
    size = row["pixel_size_um"]
    parts = [row["image"], model.card.name, *([f"{size:.3g} µm/px"] if size else ())]
    return "\n".join([" · ".join(parts), *row["note"].split("; ")]).strip()


def map_file(
    path: Path,
    folder: Path,
    model: StructureModel,
    device: torch.device,
    sizes: PixelSizes,
    parameters: SaliencyParameters,
    *,
    strange: Collection[int] = (),
) -> Events[float]:
    """Write what structure lies where in an image, on every plane that can be used.

    `<stem>_saliency.tif` holds labels, 255 where none is the most probable, on the data bar and on
    planes that cannot be used; `<stem>_saliency.png` is a picture of the first plane that can.

    Parameters
    ----------
    strange
        Numbers of the planes that are none of the classes as a whole: their windows do not know,
        and the picture says so.

    Returns
    -------
    float
        Side of the windows, of the first plane that can be used, in pixels.

    Yields
    ------
    Progress, Notice
        As `saliency.saliency_map`; which planes were skipped, and why.

    Raises
    ------
    InputError
        When no plane of the image can be used, is as large as a window, or has the pixel size that
        is needed; when a file cannot be written.
    """
    micrograph = read_image(path, sizes)
    model.network.core.to(device)
    stack = _stack(micrograph)
    maps: dict[int, tuple[Saliency, Box]] = {}
    skipped: list[str] = []
    said: set[str] = set()
    for number in stack.numbers:
        try:
            plane, box = grey_plane(stack, number)
            events = saliency_map(
                plane, stack.calibration, model, device, parameters, name=str(path)
            )
            maps[number] = (yield from told_once(events, said)), box
        except InputError as error:
            skipped.append(str(error))
    yield from skipped_notices(skipped, len(maps))
    window = maps[min(maps)][0].window_px
    told = {**provenance(model, None), "parameters": parameters.model_dump(mode="json")}
    if strange:
        yield Notice(f"{path}: none as a whole; its saliency map shows what comes nearest")
    told |= {"window_px": window, "strange_planes": sorted(strange)}
    _write_maps(folder, micrograph, stack, maps, model, told)
    return window


def write_classes(folder: Path, rows: Sequence[Row], told: dict[str, Any]) -> None:
    """Write `classes.csv`, and what made it as `classes.json`.

    Raises
    ------
    InputError
        When they cannot be written.
    """
    table, report = folder / "classes.csv", folder / "classes.json"
    with together(table, report):
        write_csv(table, pd.DataFrame(rows))
        write_json(report, told)


def answer_row(found: StructureAnswer, pixel_size_um: float | None, names: Sequence[str]) -> Row:
    """What a row of `classes.csv` says of an answer; no spread where the image is strange."""
    row = {
        "answer": names[found.answer],
        # Of an image that is none as a whole the crops may agree on something else.
        "spread": None if found.is_strange else round(float(found.spread[found.answer]), _DIGITS),
        "crops": found.crops,
        "outside": round(found.outside, _DIGITS),
        "pixel_size_um": pixel_size_um,
        "strangeness": round(found.strangeness, _DIGITS),
        "strangeness_limit": (
            round(found.most_strange, _DIGITS) if math.isfinite(found.most_strange) else None
        ),
        **{
            f"probability_{name}": round(float(value), _DIGITS)
            for name, value in zip(names, found.probabilities, strict=True)
        },
    }
    unsettled = "" if found.settled else f"not settled after {found.crops} crops"
    strange = (
        f"unlike the training images: strangeness {found.strangeness:.3g}, limit "
        f"{found.most_strange:.3g}"
        if found.is_strange
        else ""
    )
    notes = [strange, extrapolation_note(row), unsettled]
    return {**row, "note": "; ".join(note for note in notes if note)}


def _stack(micrograph: Micrograph) -> Stack:
    path = str(micrograph.source)
    return Stack(path, micrograph.pixels, micrograph.rgb, micrograph.calibration)


def _without_notices(event: Event) -> Event | None:
    """What they say of each plane is told once, of all."""
    return None if isinstance(event, Notice) else event


def _extrapolation(
    path: Path, rows: Sequence[Row], size_um: float | None, model: StructureModel
) -> str:
    share = float(np.mean([row["outside"] for row in rows])) if rows else 0.0
    return outside_words(str(path), size_um, share, model) if share and size_um else ""


def _write_maps(
    folder: Path,
    micrograph: Micrograph,
    stack: Stack,
    maps: Mapping[int, tuple[Saliency, Box]],
    model: StructureModel,
    told: dict[str, Any],
) -> None:
    indices = np.full((*stack.leading, *micrograph.shape), UNLABELLED, np.uint8)
    for number, (found, box) in maps.items():
        indices[stack.index(number)][box.slices] = found.labels()
    whole = indices if len(stack.numbers) > 1 else indices.reshape(micrograph.shape)
    classes = model.card.classes
    measured = measured_field(micrograph)
    labels = LabelImage(whole, classes, micrograph.calibration, measured, told)
    stem = micrograph.source.stem
    table, picture = (folder / f"{stem}_saliency.{ending}" for ending in ("tif", "png"))
    shown = min(maps)
    first, _ = maps[shown]
    more = (_DARK, _STRANGE) if shown in told["strange_planes"] else (_DARK,)
    with together(table, picture):
        write_labels(table, labels)
        legend = with_legend(first.picture(classes), (*classes, *more))
        write_png(picture, legend, micrograph.calibration)


def _drawn(figure: Figure) -> NDArray[np.uint8]:
    figure.set_dpi(_DPI)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()  # type: ignore[no-untyped-call]
    rgba = np.asarray(canvas.buffer_rgba())  # type: ignore[no-untyped-call]
    return rgba[..., :3].copy()
