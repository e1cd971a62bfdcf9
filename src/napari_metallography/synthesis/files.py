"""Synthetic micrographs as files: images, masks of the truth, and an index of the exact numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import tifffile
from numpy.typing import NDArray

from ..calibration import Calibration
from ..classes import named_classes
from ..errors import InputError
from ..events import Events, Progress
from ..io.files import replacing
from ..io.labels import LabelImage, labels_path, write_labels
from ..io.mark import SOFTWARE
from ..io.overlays import write_png
from ..io.tables import write_csv
from ..io.tiff import resolution_tags
from ..regions import Field
from .carbides import CarbideParameters, carbide_field
from .polycrystals import PolycrystalParameters, polycrystal
from .structures import StructureParameters, structure

_INDEX = "index.csv"
_WHITE = np.uint8(255)


def write_polycrystals(
    folder: Path, parameters: PolycrystalParameters, count: int, seed: int
) -> Events[None]:
    """Write `polycrystal-<seed>.tif` of `count` seeds, and their truth.

    Beside the images lie index.csv (`pixel_size_um`, `G` of the intercepts, `G_planimetric`,
    `mean_intercept_um`), boundaries/ (masks, without twins), grains/ (numbered) and twins/ when
    there are any.

    Raises
    ------
    InputError
        When the folder holds an index already, or a file cannot be written.
    """
    _require_new(folder)
    rows: list[dict[str, Any]] = []
    for number in range(seed, seed + count):
        yield Progress(number - seed, count, "images")
        made = polycrystal(parameters, number)
        image = folder / f"polycrystal-{number}.tif"
        _write_image(image, made.image, made.calibration)
        _write_mask(
            folder / "boundaries" / f"{image.stem}_boundaries.png",
            made.boundaries,
            made.calibration,
        )
        if made.twins.any():
            _write_mask(folder / "twins" / f"{image.stem}_twins.png", made.twins, made.calibration)
        _write_image(folder / "grains" / f"{image.stem}_grains.tif", made.grains, made.calibration)
        rows.append(
            {
                "image": image.name,
                "pixel_size_um": parameters.pixel_size_um,
                "G": made.intercept_g,
                "G_planimetric": made.planimetric_g,
                "mean_intercept_um": made.mean_intercept_um,
                "seed": number,
            }
        )
    write_csv(folder / _INDEX, pd.DataFrame(rows))


def write_carbides(
    folder: Path, parameters: CarbideParameters, count: int, seed: int
) -> Events[None]:
    """Write `carbides-<seed>.tif` of `count` seeds, and their truth.

    Beside the images lie index.csv (`pixel_size_um`, `number_density_per_mm2`, `mean_radius_um`),
    labels/ (matrix and carbide), particles/ (numbered) and particles.csv with each particle's
    true sizes.

    Raises
    ------
    InputError
        When the folder holds an index already, or a file cannot be written.
    """
    _require_new(folder)
    rows: list[dict[str, Any]] = []
    particles: list[pd.DataFrame] = []
    for number in range(seed, seed + count):
        yield Progress(number - seed, count, "images")
        made = carbide_field(parameters, number)
        image = folder / f"carbides-{number}.tif"
        _write_image(image, made.image, made.calibration)
        labels = LabelImage(
            made.labels,
            named_classes(("matrix", "carbide")),
            made.calibration,
            Field((made.labels.shape[0], made.labels.shape[1])),
            {"method": "synthetic", "seed": number},
        )
        write_labels(labels_path(folder / "labels", image), labels)
        _write_image(folder / "particles" / f"{image.stem}_ids.tif", made.ids, made.calibration)
        particles.append(made.truth.assign(image=image.name))
        rows.append(
            {
                "image": image.name,
                "pixel_size_um": parameters.pixel_size_um,
                "number_density_per_mm2": made.number_density_per_mm2,
                "mean_radius_um": made.mean_radius_um,
                "seed": number,
            }
        )
    write_csv(folder / "particles.csv", pd.concat(particles, ignore_index=True))
    write_csv(folder / _INDEX, pd.DataFrame(rows))


def write_structures(
    folder: Path, parameters: Sequence[StructureParameters], count: int, seed: int
) -> Events[None]:
    """Write `<class>/<class>-<variant>-<seed>.tif` of `count` seeds of each class, and index.csv.

    The index has `image`, `class`, `pixel_size_um`, `specimen` and `variant`; each image is of a
    specimen of its own.

    Parameters
    ----------
    parameters
        The images of a class take theirs in turn from those of its name, so that they differ in
        pixel size.

    Raises
    ------
    InputError
        When the folder holds an index already, an image is smaller than a grain, or a file cannot
        be written.
    """
    _require_new(folder)
    for one in parameters:
        _require_room(one, seed)
    names = list(dict.fromkeys(one.name for one in parameters))
    rows: list[dict[str, Any]] = []
    for name in names:
        own = [one for one in parameters if one.name == name]
        for number in range(count):
            yield Progress(len(rows), count * len(names), "images")
            rows.append(_write_structure(folder, own[number % len(own)], seed + number))
    write_csv(folder / _INDEX, pd.DataFrame(rows))


def _require_room(parameters: StructureParameters, seed: int) -> None:
    """Refuse images that cannot hold a grain before the first of others is written."""
    if parameters.name != "polycrystal":
        return
    try:
        structure(parameters, seed)
    except InputError as error:
        raise InputError(
            f"polycrystal at {parameters.pixel_size_um:g} µm/px: the image is smaller than a "
            "grain; enlarge it, or take larger pixels"
        ) from error


def _write_structure(folder: Path, parameters: StructureParameters, seed: int) -> dict[str, Any]:
    """One image; returns its row of the index."""
    made = structure(parameters, seed)
    specimen = f"{made.name}-{parameters.variant}-{seed}"
    image = Path(made.name) / f"{specimen}.tif"
    _write_image(folder / image, made.image, made.calibration)
    return {
        "image": image.as_posix(),
        "class": made.name,
        "pixel_size_um": parameters.pixel_size_um,
        "specimen": specimen,
        "variant": parameters.variant,
    }


def _require_new(folder: Path) -> None:
    if (folder / _INDEX).exists():
        raise InputError(f"{folder / _INDEX}: exists already; name another folder")


def _write_image(path: Path, pixels: NDArray[Any], calibration: Calibration) -> None:
    kind = np.uint16 if pixels.dtype == np.int32 and pixels.max() < 2**16 else pixels.dtype
    path.parent.mkdir(parents=True, exist_ok=True)
    rgb: Mapping[str, Any] = {"photometric": "rgb"} if pixels.ndim == 3 else {}
    with replacing(path) as beside:
        tifffile.imwrite(
            beside,
            pixels.astype(kind),
            compression="zlib",
            metadata=None,
            software=SOFTWARE,
            **rgb,
            **resolution_tags(calibration),
        )


def _write_mask(path: Path, mask: NDArray[np.bool_], calibration: Calibration) -> None:
    write_png(path, mask * _WHITE, calibration, to_be_measured=True)
