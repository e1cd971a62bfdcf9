"""A second generator of polycrystals, to test on what a training cannot have seen.

It shares no code with `napari_metallography.synthesis`: hard-core and relaxed Voronoi cells of
SciPy, grooves from a distance transform, vignetting, multiplicative noise, inclusions, and pixel
sizes that no training uses.

python benchmarks/other_polycrystals.py --images 1400 -o FOLDER
"""

from __future__ import annotations

import argparse
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import Voronoi
from skimage import draw, io

Floats = NDArray[np.float64]

GRADES = tuple(6.5 + 0.5 * index for index in range(14))
PIXEL_SIZES_UM = (0.113, 0.173, 0.229, 0.307, 0.443, 0.661)
SHAPE = (832, 1144)

_INTERCEPT_PX = (14, 140)
_OFF_CENTRE = 0.15
_MARGIN_INTERCEPTS = 6


@dataclass(frozen=True)
class OtherPolycrystal:
    """A micrograph (Y, X) uint8, its pixel size, and its true intercept G."""

    image: NDArray[np.uint8]
    pixel_size_um: float
    grain_size: float


def other_polycrystal(
    number: int, seed: int = 0, shape: tuple[int, int] = SHAPE
) -> OtherPolycrystal:
    """The image of a number; the fourteen classes take turns."""
    rng = np.random.default_rng([seed, number, 77])
    wanted = GRADES[number % len(GRADES)] + rng.uniform(-_OFF_CENTRE, _OFF_CENTRE)
    intercept_um = 1000 * 10 ** (-(wanted + 3.288) / 6.643856)
    low, high = _INTERCEPT_PX
    sizes = [size for size in PIXEL_SIZES_UM if low <= intercept_um / size <= high]
    pixel_um = float(rng.choice(sizes))
    vertices, edges, cells = _cells(shape, intercept_um / pixel_um, rng)
    length_px = clipped_lengths(vertices[edges], shape).sum()
    mean_intercept_mm = math.pi * shape[0] * shape[1] / (2 * length_px) * pixel_um / 1000
    truth = -6.643856 * math.log10(mean_intercept_mm) - 3.288
    return OtherPolycrystal(_rendered(shape, vertices, edges, cells, rng), pixel_um, truth)


def _cells(
    shape: tuple[int, int], intercept_px: float, rng: np.random.Generator
) -> tuple[Floats, NDArray[np.int64], list[list[int]]]:
    """Vertices (y, x), edges and cells; scaled so that the field's mean intercept is as wanted."""
    seeds = _seeds(shape, intercept_px, rng)
    for _ in range(int(rng.integers(0, 3))):
        seeds = _relaxed(seeds)
    found = Voronoi(seeds)
    ridges = np.array(found.ridge_vertices)
    edges = ridges[(ridges >= 0).all(1)]
    vertices, middle = found.vertices, np.array(shape) / 2
    for _ in range(3):
        length = clipped_lengths(vertices[edges], shape).sum()
        now = math.pi * shape[0] * shape[1] / (2 * length)
        vertices = middle + (vertices - middle) * intercept_px / now
    cells = [region for region in found.regions if region and -1 not in region]
    return vertices, edges, cells


def _seeds(shape: tuple[int, int], intercept_px: float, rng: np.random.Generator) -> Floats:
    """Random points around the field's middle, none nearer to another than a hard core."""
    margin = _MARGIN_INTERCEPTS * intercept_px
    lengths = np.array(shape) + 2 * margin
    spacing = 1.22 * intercept_px
    count = round(float(lengths.prod()) / spacing**2)
    core = rng.uniform(0, 0.6) * spacing
    points = rng.uniform(0, 1, (3 * count, 2)) * lengths
    kept = _apart(points, core, count) if core > 0.05 * spacing else points[:count]
    return kept - margin


def _apart(points: Floats, core: float, count: int) -> Floats:
    """The first points that keep their distance from those before them."""
    kept: list[Floats] = []
    taken: dict[tuple[int, int], list[Floats]] = {}
    around = [(i, j) for i in (-1, 0, 1) for j in (-1, 0, 1)]
    for point in points:
        y, x = (int(value // core) for value in point)
        near = (other for i, j in around for other in taken.get((y + i, x + j), ()))
        if any(math.dist(point, other) < core for other in near):
            continue
        taken.setdefault((y, x), []).append(point)
        kept.append(point)
        if len(kept) == count:
            break
    return np.array(kept)


def _relaxed(seeds: Floats) -> Floats:
    """Lloyd: each seed at the middle of its cell's corners; seeds of open cells stay."""
    found = Voronoi(seeds)
    moved = seeds.copy()
    low, high = seeds.min(0), seeds.max(0)
    for index, region in enumerate(found.point_region):
        corners = found.regions[region]
        if corners and -1 not in corners:
            moved[index] = np.clip(found.vertices[corners].mean(0), low, high)
    return moved


def clipped_lengths(segments: Floats, shape: tuple[int, int]) -> Floats:
    """Lengths of segments (n, 2 ends, y and x) inside the field, after Liang and Barsky."""
    start, step = segments[:, 0], segments[:, 1] - segments[:, 0]
    enter, leave = np.zeros(len(segments)), np.ones(len(segments))
    for axis in (0, 1):
        for slope, room in (
            (-step[:, axis], start[:, axis]),
            (step[:, axis], shape[axis] - start[:, axis]),
        ):
            with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
                at = room / slope
            enter = np.where(slope < 0, np.maximum(enter, at), enter)
            leave = np.where(slope > 0, np.minimum(leave, at), leave)
            leave = np.where((slope == 0) & (room < 0), -1, leave)
    lengths: Floats = np.hypot(*step.T) * np.clip(leave - enter, 0, None)
    return lengths


def _rendered(
    shape: tuple[int, int],
    vertices: Floats,
    edges: NDArray[np.int64],
    cells: list[list[int]],
    rng: np.random.Generator,
) -> NDArray[np.uint8]:
    base = rng.uniform(110, 200)
    surface = np.full(shape, base)
    tone = rng.uniform(0, 16)
    for cell in cells:
        corners = vertices[cell]
        if (corners.max(0) >= 0).all() and (corners.min(0) < shape).all():
            y, x = _bounded(corners, shape).T
            inside = draw.polygon(y, x, shape)  # type: ignore[no-untyped-call]
            surface[inside] = base + tone * rng.standard_normal()
    surface *= 1 - rng.uniform(0.25, 0.65) * _grooves(shape, vertices[edges], rng)
    _include(surface, rng)
    lit = ndimage.gaussian_filter(surface, rng.uniform(0.5, 1.3)) * _vignetting(shape, rng)
    speckled = lit * (1 + rng.uniform(0, 0.04) * rng.standard_normal(shape))
    noisy = speckled + rng.uniform(1, 7) * rng.standard_normal(shape)
    return np.asarray(np.clip(np.rint(noisy), 0, 255), np.uint8)


def _bounded(places: Floats, shape: tuple[int, int]) -> Floats:
    """Corners of cells at the rim may lie anywhere; far outside is far enough."""
    reach = 4 * max(shape)
    return np.clip(places, -reach, reach)


def _grooves(shape: tuple[int, int], segments: Floats, rng: np.random.Generator) -> Floats:
    """Depth 0 to 1: a bell over the distance from the boundaries that the etchant showed."""
    shown = rng.random(len(segments)) >= rng.uniform(0, 0.1)
    visible = shown & (clipped_lengths(segments, shape) > 0)
    away = np.ones(shape, bool)
    for start, end in np.rint(_bounded(segments[visible], shape) - 0.5).astype(int):
        rows, columns = draw.line(*start, *end)  # type: ignore[no-untyped-call]
        inside = (rows >= 0) & (rows < shape[0]) & (columns >= 0) & (columns < shape[1])
        away[rows[inside], columns[inside]] = False
    distance = ndimage.distance_transform_edt(away)
    width = rng.uniform(0.6, 1.8)
    return np.asarray(np.exp(-((distance / width) ** 2)))


def _include(surface: Floats, rng: np.random.Generator) -> None:
    """Small dark inclusions, in place."""
    for _ in range(rng.poisson(6)):
        (y, x), (height, width) = rng.uniform(0, surface.shape), rng.uniform(1, 5, 2)
        turn = rng.uniform(-math.pi, math.pi)
        rows, columns = draw.ellipse(  # type: ignore[no-untyped-call]
            y, x, height, width, surface.shape, turn
        )
        surface[rows, columns] *= 0.5


def _vignetting(shape: tuple[int, int], rng: np.random.Generator) -> Floats:
    """Brightness that falls off from a place near the middle."""
    y, x = (np.linspace(-1, 1, length) - rng.uniform(-0.3, 0.3) for length in shape)
    return np.asarray(1 - rng.uniform(0, 0.2) * np.minimum(y[:, None] ** 2 + x**2, 1.5))


def write(images: int, seed: int, folder: Path) -> None:
    """Write images, and an `index.csv` with their pixel sizes and true G when all are there.

    What a stop left is not made again.
    """
    folder.mkdir(parents=True, exist_ok=True)
    begun = folder / "index.part.csv"
    if not begun.exists():
        begun.write_text("image,pixel_size_um,G\n", encoding="utf-8")
    for number in range(len(begun.read_text(encoding="utf-8").splitlines()) - 1, images):
        name = f"other{number:05d}.png"
        made = other_polycrystal(number, seed)
        io.imsave(folder / name, made.image, check_contrast=False)
        with begun.open("a", encoding="utf-8") as file:
            file.write(f"{name},{made.pixel_size_um},{made.grain_size:.4f}\n")
    begun.rename(folder / "index.csv")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=1400)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("-o", "--output", type=Path, required=True)
    options = parser.parse_args()
    write(options.images, options.seed, options.output)


if __name__ == "__main__":
    main()
