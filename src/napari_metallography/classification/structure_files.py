"""Structures of images as files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

from ..classes import UNLABELLED
from ..errors import InputError
from ..events import Events
from ..inputs import PixelSizes, measured_field, read_image
from ..io.files import together
from ..io.images import Micrograph
from ..io.labels import LabelImage, write_labels
from ..io.overlays import with_legend, write_png
from ..io.tables import write_csv, write_json
from .descriptor_map import descriptor_figure, descriptor_map
from .files import skipped_notices
from .grey_stacks import grey_plane
from .micrographs import grey_planes
from .saliency import Saliency, saliency_map
from .stacks import Stack
from .structure import StructureAnswer, classify_plane, provenance
from .structure_model import StructureModel
from .structure_parameters import SaliencyParameters

Row = dict[str, Any]

_DPI = 150


def name_file(
    path: Path,
    model: StructureModel,
    device: torch.device,
    sizes: PixelSizes,
    called: str,
    crops: int | None = None,
    map_folder: Path | None = None,
) -> Events[list[Row]]:
    """Name the structure of every plane of an image; a row of `classes.csv` each.

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
        As `structure.classify_plane`; which planes were skipped, and why.

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
    stack = Stack(str(path), micrograph.pixels, micrograph.rgb, calibration)
    rows: list[Row] = []
    skipped: list[str] = []
    for number in stack.numbers:
        try:
            plane, _ = grey_plane(stack, number)
            found = yield from classify_plane(
                plane, calibration, model, device, name=str(path), crops=crops
            )
        except InputError as error:
            skipped.append(str(error))
            continue
        if map_folder is not None and not rows:
            figure = descriptor_figure(descriptor_map(model, found.descriptors))
            write_png(map_folder / f"{path.stem}_descriptors.png", _drawn(figure))
        rows.append({"image": called, "plane": number, **answer_row(found, size, model.names)})
    yield from skipped_notices(skipped, len(rows))
    return rows


def map_file(
    path: Path,
    folder: Path,
    model: StructureModel,
    device: torch.device,
    sizes: PixelSizes,
    parameters: SaliencyParameters,
) -> Events[None]:
    """Write what structure lies where in an image, on every plane.

    `<stem>_saliency.tif` holds labels, 255 where none is the most probable and on the data bar;
    `<stem>_saliency.png` is a picture of the first plane.

    Yields
    ------
    Progress, Notice
        As `saliency.saliency_map`.

    Raises
    ------
    InputError
        When the image cannot be used, is smaller than a window, its pixel size is needed and not
        known, or a file cannot be written.
    """
    micrograph = read_image(path, sizes)
    model.network.core.to(device)
    maps = []
    for plane in grey_planes(micrograph):
        found = yield from saliency_map(
            plane, micrograph.calibration, model, device, parameters, name=str(path)
        )
        maps.append(found)
    told = {**provenance(model, None), "parameters": parameters.model_dump(mode="json")}
    told["window_px"] = maps[0].window_px
    _write_maps(folder, micrograph, maps, model, told)


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
    """What a row of `classes.csv` says of an answer."""
    return {
        "answer": names[found.answer],
        "spread": float(found.spread[found.answer]),
        "crops": found.crops,
        "outside": found.outside,
        "pixel_size_um": pixel_size_um,
        **{
            f"probability_{name}": float(value)
            for name, value in zip(names, found.probabilities, strict=True)
        },
    }


def _write_maps(
    folder: Path,
    micrograph: Micrograph,
    maps: Sequence[Saliency],
    model: StructureModel,
    told: dict[str, Any],
) -> None:
    measured = measured_field(micrograph)
    indices = np.full((len(maps), *micrograph.shape), UNLABELLED, np.uint8)
    for plane, found in zip(indices, maps, strict=True):
        plane[measured.frame().slices] = found.labels()
    whole = indices if len(maps) > 1 else indices[0]
    classes = model.card.classes
    labels = LabelImage(whole, classes, micrograph.calibration, measured, told)
    stem = micrograph.source.stem
    table, picture = (folder / f"{stem}_saliency.{ending}" for ending in ("tif", "png"))
    with together(table, picture):
        write_labels(table, labels)
        legend = with_legend(maps[0].picture(classes), classes)
        write_png(picture, legend, micrograph.calibration)


def _drawn(figure: Figure) -> NDArray[np.uint8]:
    figure.set_dpi(_DPI)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()  # type: ignore[no-untyped-call]
    rgba = np.asarray(canvas.buffer_rgba())  # type: ignore[no-untyped-call]
    return rgba[..., :3].copy()
