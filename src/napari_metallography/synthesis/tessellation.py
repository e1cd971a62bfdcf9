"""Plane-filling cells with exact lengths and counts: the geometry of synthetic grains."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import ConvexHull

from ..errors import InputError

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

_PADDING = 0.15
_FEWEST_AROUND = 12
_TOLERANCE_G = 0.002
_ROUNDS = 8
_RIM_PX = 16


@dataclass(frozen=True)
class Tessellation:
    """Convex cells whose straight boundaries meet three at a time, on a field and around it.

    Lengths are in pixels; the field reaches from (0, 0) to its shape, so that the first pixel's
    centre is at (½, ½).

    Attributes
    ----------
    shape
        Height and width of the field.
    vertices
        (n, 2) y and x of the triple points.
    edges
        (m, 2) first and last vertex of each boundary.
    neighbours
        (m, 2) cells on both sides of each boundary.
    cells
        Vertices of each closed cell in order around it.
    """

    shape: tuple[int, int]
    vertices: Floats
    edges: Integers
    neighbours: Integers
    cells: tuple[Integers, ...]

    @cached_property
    def boundary_length(self) -> float:
        """Length of all boundaries within the field."""
        return float(lengths_inside(self.vertices[self.edges], self.shape).sum())

    @cached_property
    def triple_points(self) -> int:
        """Number of triple points within the field."""
        return int(((self.vertices >= 0) & (self.vertices <= self.shape)).all(1).sum())

    @property
    def mean_intercept(self) -> float:
        """ℓ̄ = π A / (2 L): exact for test lines of all places and directions in the field."""
        return math.pi * self.shape[0] * self.shape[1] / (2 * self.boundary_length)

    @property
    def mean_area(self) -> float:
        """A mean grain's area: each has two triple points to itself."""
        return 2 * self.shape[0] * self.shape[1] / max(self.triple_points, 1)


def laguerre(
    shape: tuple[int, int],
    mean_intercept_px: float,
    sigma_ln: float,
    rng: np.random.Generator,
) -> Tessellation:
    """Laguerre cells (a power diagram) with log-normal sizes and a wanted mean intercept.

    Parameters
    ----------
    sigma_ln
        Standard deviation of the logarithm of the areas that the cells' generating discs have.

    Raises
    ------
    InputError
        When the field holds no boundary: the grains are larger than the field.

    Source: Fan, Wu, Zhang et al., Computational Materials Science 29 (2004) 133-153; Aurenhammer,
    SIAM Journal on Computing 16 (1987) 78-96, for the diagram as a convex hull.
    """
    margin = max(_PADDING * max(shape), _FEWEST_AROUND * mean_intercept_px)
    lengths = np.array(shape) + 2 * margin
    # Of cells of one size, with room for those that come out larger or smaller.
    mean_area = 1.2 * mean_intercept_px**2
    n = math.ceil(lengths.prod() / mean_area)
    areas = mean_area * np.exp(sigma_ln * rng.standard_normal(n) - sigma_ln**2 / 2)
    places = _spread(lengths, n, rng) - lengths / 2
    middle = np.array(shape) / 2
    scale = 1.0
    for _ in range(_ROUNDS):
        found = power_diagram(middle + scale * places, scale**2 * areas / math.pi, shape)
        if not found.boundary_length:
            raise InputError(
                "the field is smaller than a grain; enlarge the image or choose smaller grains"
            )
        change = mean_intercept_px / found.mean_intercept
        if abs(2 * math.log2(change)) < _TOLERANCE_G:
            break
        scale *= change
    return _around_the_field(found)


def power_diagram(seeds: Floats, weights: Floats, shape: tuple[int, int]) -> Tessellation:
    """Cells of the points to which |p − seed|² − weight is smallest; seeds (n, 2) are y and x."""
    lifted = np.column_stack([seeds, (seeds**2).sum(1) - weights])
    hull = ConvexHull(lifted)
    lower = np.flatnonzero(hull.equations[:, 2] < 0)
    normals = hull.equations[lower]
    vertices = -normals[:, :2] / (2 * normals[:, 2:3])
    renumbered = np.full(len(hull.simplices), -1)
    renumbered[lower] = np.arange(len(lower))
    triangles = hull.simplices[lower].astype(np.int64)
    beside = renumbered[hull.neighbors[lower]]
    edges, neighbours = _edges(triangles, beside)
    return Tessellation(
        shape, vertices, edges, neighbours, _cells(vertices, triangles, beside, len(seeds))
    )


def _around_the_field(found: Tessellation) -> Tessellation:
    """Without the boundaries and cells that do not show, of which those at the rim are huge."""
    segments = found.vertices[found.edges]
    shown = _reaches_in(segments.min(1), segments.max(1), found.shape)
    corners = [found.vertices[cell] for cell in found.cells]
    low = np.array([places.min(0) for places in corners])
    high = np.array([places.max(0) for places in corners])
    cells = itertools.compress(found.cells, _reaches_in(low, high, found.shape))
    return replace(
        found, edges=found.edges[shown], neighbours=found.neighbours[shown], cells=tuple(cells)
    )


def _reaches_in(low: Floats, high: Floats, shape: tuple[int, int]) -> NDArray[np.bool_]:
    """Whether boxes, given by their corners (n, 2), come as near as a groove is wide."""
    near = (high >= -_RIM_PX) & (low <= np.array(shape) + _RIM_PX)
    return np.asarray(near.all(1))


def lengths_inside(segments: Floats, shape: tuple[int, int]) -> Floats:
    """Length of the part of each segment (n, 2 ends, y and x) that lies in the field."""
    start, along = segments[:, 0], segments[:, 1] - segments[:, 0]
    first, last = np.zeros(len(segments)), np.ones(len(segments))
    for axis, length in enumerate(shape):
        with np.errstate(divide="ignore", invalid="ignore"):
            cuts = np.stack([-start[:, axis], length - start[:, axis]]) / along[:, axis]
        # Along the edge of the field: inside all the way, or nowhere.
        level = along[:, axis] == 0
        within = (start[:, axis] >= 0) & (start[:, axis] <= length)
        cuts[:, level] = np.where(within[level], [[-np.inf], [np.inf]], np.inf)
        first, last = np.maximum(first, cuts.min(0)), np.minimum(last, cuts.max(0))
    return np.asarray(np.hypot(*along.T) * np.clip(last - first, 0, None))


def _spread(lengths: Floats, n: int, rng: np.random.Generator) -> Floats:
    """Random points (n, 2), no more than one in each square of a grid as far as they go."""
    side = math.sqrt(float(lengths.prod()) / n)
    rows, columns = (max(1, int(length // side)) for length in lengths)
    squares = rng.permutation(rows * columns)[:n]
    corners = np.column_stack([squares // columns, squares % columns])
    within = (corners + rng.uniform(0, 1, corners.shape)) * (lengths / [rows, columns])
    anywhere = rng.uniform(0, 1, (n - len(squares), 2)) * lengths
    return np.concatenate([within, anywhere])


def _edges(triangles: Integers, beside: Integers) -> tuple[Integers, Integers]:
    """Boundaries between triple points, and the cells they part."""
    vertex, corner = np.nonzero(beside > np.arange(len(triangles))[:, None])
    ends = np.column_stack([vertex, beside[vertex, corner]])
    cells = np.column_stack(
        [triangles[vertex, (corner + 1) % 3], triangles[vertex, (corner + 2) % 3]]
    )
    return ends, cells


def _cells(vertices: Floats, triangles: Integers, beside: Integers, n: int) -> tuple[Integers, ...]:
    """Vertices around each seed that has a closed cell, in order."""
    owner, vertex = triangles.ravel(), np.repeat(np.arange(len(triangles)), 3)
    count = np.bincount(owner, minlength=n)
    centre = np.stack(
        [np.bincount(owner, vertices[vertex, axis], n) / np.maximum(count, 1) for axis in (0, 1)], 1
    )
    angle = np.arctan2(*(vertices[vertex] - centre[owner]).T)
    order = np.lexsort((angle, owner))
    # The two cells at an edge of the diagram that leads nowhere are open.
    vertex_at_end, corner = np.nonzero(beside < 0)
    is_open = np.zeros(n, bool)
    for turn in (1, 2):
        is_open[triangles[vertex_at_end, (corner + turn) % 3]] = True
    groups = np.split(vertex[order], np.cumsum(count)[:-1])
    return tuple(
        group for group, opened in zip(groups, is_open, strict=True) if len(group) and not opened
    )
