"""Lines of grey values with their grain-size numbers: what the line network learns from."""

from __future__ import annotations

import hashlib
import io
import math
import multiprocessing
import os
from collections.abc import Sequence
from concurrent.futures import Future, ProcessPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..calibration import require
from ..errors import InputError
from ..events import Events, Notice, Progress
from ..graded import GradedImage
from ..grains.grades import GRADES, LINE_LENGTH, REFERENCE_UM, STEP, at_reference, scale_of
from ..grains.image_lines import LineParameters, cut_lines, grey_values, lines_in, paper_lines
from ..grains.standards import intercept_mm_of
from ..io.files import read_bytes, write_bytes
from ..plane import LUMA
from ..synthesis.polycrystals import PolycrystalParameters, polycrystal

LINES_AN_IMAGE = 48

_PART = 28
_MOST_STEPS = 3
_WITHIN = 0.25
_INTERCEPTS_WIDE = 2.0
_NARROWEST_PX = 128
_DISTRIBUTION = 1
"""Counts the changes of what synthetic images look like: older parts are made anew."""

Floats = NDArray[np.float64]
Bytes = NDArray[np.uint8]


@dataclass(frozen=True)
class Lines:
    """Lines of several images.

    Attributes
    ----------
    values
        (images, lines, 1376) uint8, at the reference pixel size.
    grain_sizes
        (images,) intercept G.
    """

    values: Bytes
    grain_sizes: Floats

    def __len__(self) -> int:
        return len(self.grain_sizes)

    def digest(self) -> str:
        """SHA-256 over values and grain sizes."""
        sha = hashlib.sha256(np.ascontiguousarray(self.values).data)
        sha.update(np.ascontiguousarray(self.grain_sizes).data)
        return sha.hexdigest()

    def split(self, images: int) -> tuple[Lines, Lines]:
        """The first images, and the others."""
        return (
            Lines(self.values[:images], self.grain_sizes[:images]),
            Lines(self.values[images:], self.grain_sizes[images:]),
        )


def joined(parts: Sequence[Lines]) -> Lines:
    """All lines, in order."""
    return Lines(
        np.concatenate([part.values for part in parts]),
        np.concatenate([part.grain_sizes for part in parts]),
    )


def synthetic_lines(
    images: int, seed: int, folder: Path, processes: int | None = None
) -> Events[Lines]:
    """Lines of synthetic micrographs, made in several processes and kept in `folder`.

    What a stop left there is not made again. The classes take turns, so that all have as many
    images; the same for the same seed.

    Yields
    ------
    Progress
        As parts of some images are done.

    Raises
    ------
    InputError
        When the folder cannot be written.
    """
    starts = range(0, images, _PART)
    paths = {start: _part_path(folder, seed, start, images) for start in starts}
    missing = [start for start in starts if not paths[start].exists()]
    yield Progress(images - len(missing) * _PART, images, "images")
    workers = min(processes or os.cpu_count() or 1, max(1, len(missing)))
    # Forked, a process would inherit the locks of this one's threads.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, context) as pool:
        try:
            waiting: set[Future[None]] = {
                pool.submit(_make_part, paths[start], seed, start, min(images, start + _PART))
                for start in missing
            }
            while waiting:
                done, waiting = wait(waiting, return_when="FIRST_COMPLETED")
                for future in done:
                    future.result()
                yield Progress(max(0, images - len(waiting) * _PART), images, "images")
        finally:
            pool.shutdown(cancel_futures=True)
    return joined([_read_part(paths[start]) for start in starts])


def synthetic_image(seed: int, number: int) -> tuple[Bytes, float]:
    """Lines (48, 1376) of the synthetic image of a number, and its intercept G.

    The image is a strip as long as a line: its lines, one beside the other, are as good as those
    of a whole field, and cost less. As structures have no direction, rows do for columns.
    """
    rng = np.random.default_rng([seed, number])
    centre = GRADES[number % len(GRADES)]
    grade = centre + rng.uniform(-_WITHIN, _WITHIN)
    pixel_um = REFERENCE_UM * _magnification(rng)
    parameters = random_parameters(float(grade), float(pixel_um), rng)
    made = polycrystal(parameters, int(rng.integers(2**31)))
    # A strip of few grains does not always reach the wanted one.
    while abs(made.intercept_g - centre) > _WITHIN:
        made = polycrystal(parameters, int(rng.integers(2**31)))
    grey = made.image if made.image.ndim == 2 else np.rint(made.image @ LUMA)
    rows = np.linspace(0, len(grey) - 1, LINES_AN_IMAGE).round().astype(int)
    lines = at_reference(grey[rows].astype(np.float32), pixel_um / REFERENCE_UM)
    return np.rint(lines[:, :LINE_LENGTH]).astype(np.uint8), made.intercept_g


def _magnification(rng: np.random.Generator) -> float:
    """Native pixel size over the reference: within half a step, at times some steps off."""
    steps = int(rng.integers(-3, 4)) if rng.random() < 0.3 else 0
    return float(2 ** (steps / 4 + rng.uniform(-0.125, 0.125)))


def random_parameters(
    grade: float, pixel_um: float, rng: np.random.Generator
) -> PolycrystalParameters:
    """What a strip of a wanted grain size looks like: as different as micrographs are."""
    intercept_px = intercept_mm_of(grade) * 1000 / pixel_um
    widest = min(4.5, 0.25 * intercept_px)
    etch = rng.choice(["boundaries", "grains", "colour"], p=[0.5, 0.4, 0.1])
    return PolycrystalParameters(
        height_px=max(_NARROWEST_PX, round(_INTERCEPTS_WIDE * intercept_px)),
        width_px=math.ceil(LINE_LENGTH * REFERENCE_UM / pixel_um) + 2,
        pixel_size_um=pixel_um,
        grain_size=grade,
        sigma_ln=rng.uniform(0, 0.8),
        etch=etch,
        boundary_px=rng.uniform(0.8, widest),
        contrast=float(np.exp(rng.uniform(math.log(0.18), math.log(0.8)))),
        missing=_at_times(rng, 0.5, 0.2),
        grain_grey=rng.uniform(0, 25),
        twinned=_at_times(rng, 0.3, 0.3),
        scratches=int(rng.poisson(1.5)),
        pits=_at_times(rng, 0.5, 120),
        blur_px=rng.uniform(0.3, min(2.2, 0.12 * intercept_px)),
        illumination=rng.uniform(0, 0.3),
        noise=rng.uniform(0.5, 12),
    )


def _at_times(rng: np.random.Generator, share: float, most: float) -> float:
    return float(rng.uniform(0, most)) if rng.random() < share else 0.0


# --- images of a table ------------------------------------------------------------------------


def lines_of_images(
    images: Sequence[GradedImage], *, paper_mode: bool = False
) -> Events[tuple[Lines, tuple[str, ...]]]:
    """Lines of images of known grain size, half of them rows and half columns.

    Images whose grains no class fits, also when they are shown larger or smaller, are left out.

    Returns
    -------
    The lines, and the names of the images they are of.

    Yields
    ------
    Progress
        Of the images.
    Notice
        How many are left out.

    Raises
    ------
    InputError
        When an image cannot be used, has no pixel size (but in paper mode), or all are left out.
    """
    parts, taken, left_out = [], [], []
    for number, image in enumerate(images):
        part = _paper_part(image) if paper_mode else _part_of(image)
        if part is None:
            left_out.append(image.path.name)
        else:
            parts.append(part)
            taken.append(image.path.name)
        yield Progress(number + 1, len(images), "images")
    if left_out:
        yield Notice(
            f"{len(left_out)} images are left out, such as {left_out[0]}: their G is none of the "
            "network's classes at their pixel size"
        )
    if not parts:
        raise InputError("no image has a G that the network knows; see its classes, 6.5 to 13")
    return joined(parts), tuple(taken)


def _part_of(image: GradedImage) -> Lines | None:
    pixels, known, field = image.read()
    calibration = require(known, str(image.path))
    x, y = (scale_of(size).steps for size in (calibration.x_um, calibration.y_um))
    enlarged = _enlargement(image.grain_size + STEP * x)
    if enlarged is None:
        return None
    half = LINES_AN_IMAGE // 2
    # Columns that fall into another class would need a G of their own.
    wanted = LineParameters(rows=half, columns=half if x == y else 0)
    grey = grey_values(pixels, str(image.path), field)
    places = list(lines_in(field, wanted))
    if not places:
        raise InputError(f"{image.path}: no line of the image is long enough; leave it out")
    steps = [enlarged] * len(places)
    _, values, scales = cut_lines(grey, calibration, places, REFERENCE_UM, steps)
    return _as_lines(values, image.grain_size + STEP * scales[0].steps)


def _paper_part(image: GradedImage) -> Lines | None:
    if _enlargement(image.grain_size) != 0:
        return None
    pixels, _, field = image.read()
    half = LINES_AN_IMAGE // 2
    grey = grey_values(pixels, str(image.path), field)
    _, values, _ = paper_lines(grey, field, LineParameters(rows=half, columns=half))
    return _as_lines(values, image.grain_size)


def _enlargement(nominal: float) -> int | None:
    """Steps that bring a G, as the lines look, into the classes; None where they are too many."""
    low, high = GRADES[0] - STEP / 2, GRADES[-1] + STEP / 2
    steps = max(0, math.ceil((nominal - high) / STEP)) - max(0, math.ceil((low - nominal) / STEP))
    return steps if -_MOST_STEPS <= steps <= _MOST_STEPS else None


def _as_lines(values: NDArray[np.float32], grain_size: float) -> Lines:
    """Of an image with fewer lines some stand twice."""
    repeated = np.resize(np.arange(len(values)), LINES_AN_IMAGE)
    return Lines(np.rint(values[repeated]).astype(np.uint8)[None], np.array([grain_size]))


# --- parts -----------------------------------------------------------------------------------


def _part_path(folder: Path, seed: int, start: int, images: int) -> Path:
    end = min(images, start + _PART)
    return folder / f"v{_DISTRIBUTION}-seed{seed}-{start:06d}-{end:06d}.npz"


def _make_part(path: Path, seed: int, start: int, end: int) -> None:
    made = [synthetic_image(seed, number) for number in range(start, end)]
    content = io.BytesIO()
    np.savez_compressed(
        content,
        values=np.stack([values for values, _ in made]),
        grain_sizes=np.array([g for _, g in made]),
    )
    write_bytes(path, content.getvalue())


def _read_part(path: Path) -> Lines:
    try:
        with np.load(io.BytesIO(read_bytes(path))) as part:
            return Lines(part["values"], part["grain_sizes"])
    except (ValueError, KeyError, OSError) as error:
        raise InputError(f"{path}: not a part of a line bank; delete it") from error
