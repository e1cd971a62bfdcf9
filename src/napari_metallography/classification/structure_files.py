"""Structures of images as files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from ..events import Events
from ..inputs import PixelSizes, read_image
from ..io.files import together
from ..io.tables import write_csv, write_json
from .micrographs import grey_planes
from .structure import StructureAnswer, classify_plane
from .structure_model import StructureModel

Row = dict[str, Any]


def name_file(
    path: Path,
    model: StructureModel,
    device: torch.device,
    sizes: PixelSizes,
    crops: int | None = None,
) -> Events[list[Row]]:
    """Name the structure of every plane of an image; a row of `classes.csv` each.

    Yields
    ------
    Progress, Notice
        As `structure.classify_plane`.

    Raises
    ------
    InputError
        When the image cannot be used, is smaller than a crop, or its pixel size is needed and not
        known.
    """
    micrograph = read_image(path, sizes)
    model.network.core.to(device)
    calibration = micrograph.calibration
    rows = []
    for number, plane in enumerate(grey_planes(micrograph)):
        found = yield from classify_plane(
            plane, calibration, model, device, name=str(path), crops=crops
        )
        size = calibration.mean_um if calibration else None
        rows.append({"image": path.name, "plane": number, **_row(found, size, model.names)})
    return rows


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


def _row(found: StructureAnswer, pixel_size_um: float | None, names: Sequence[str]) -> Row:
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
