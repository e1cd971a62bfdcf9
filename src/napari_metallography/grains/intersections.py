"""Where test lines and circles cross grain boundaries."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from .partition import Partition

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

CIRCLE_DIAMETERS = (79.58, 53.05, 26.53)
"""Of the three concentric circles of ASTM E112, whose lengths sum to 500 mm."""

_FILL = 0.98
_STEP_PX = 0.5
_NEAR_PX = 0.51
"""Crossings nearer than this, half a pixel, to a triple point cannot be told from it."""

_END_PX = 0.75


@dataclass(frozen=True)
class TestLine:
    """A straight test line or a circle, in pixels; (0, 0) is the centre of the first pixel.

    Attributes
    ----------
    path
        (n, 2) y and x: both ends of a straight line, points half a pixel apart on a circle.
    length_px
        Of the line.
    closed
        Whether it is a circle.
    direction_deg
        0 along rows, counter-clockwise for the eye; NaN for a circle.
    """

    __test__ = False

    path: Floats
    length_px: float
    closed: bool
    direction_deg: float


@dataclass(frozen=True)
class Intersections:
    """What the test lines of a field count.

    Attributes
    ----------
    points
        (n, 2) y and x.
    weights
        (n,): 1; ½ where a line ends on a boundary; 1½ at a triple point, 2 where four meet.
    line
        (n,) the number of the test line, from 0.
    lines
        The test lines.
    """

    points: Floats
    weights: Floats
    line: Integers
    lines: tuple[TestLine, ...]

    @property
    def count(self) -> float:
        """Sum of the weights."""
        return float(self.weights.sum())

    @property
    def length_px(self) -> float:
        """Of all lines together."""
        return math.fsum(line.length_px for line in self.lines)

    @property
    def mean_intercept_px(self) -> float:
        """Length of line an intersection; infinite where there is none."""
        return self.length_px / self.count if self.count else math.inf

    def in_direction(self, direction_deg: float) -> Intersections:
        """Those on the lines of one direction."""
        chosen = [i for i, one in enumerate(self.lines) if one.direction_deg == direction_deg]
        kept = np.isin(self.line, chosen)
        renumbered = np.searchsorted(chosen, self.line[kept])
        lines = tuple(self.lines[i] for i in chosen)
        return Intersections(self.points[kept], self.weights[kept], renumbered, lines)


def straight_lines(
    shape: tuple[int, int], spacing_px: float, directions_deg: tuple[float, ...] = (0, 45, 90, 135)
) -> tuple[TestLine, ...]:
    """Parallel lines from edge to edge of a field, evenly spaced, in each direction."""
    found: list[TestLine] = []
    for direction in directions_deg:
        turn = math.radians(direction)
        along = np.array([-math.sin(turn), math.cos(turn)])
        across = np.array([along[1], -along[0]])
        middle = (np.array(shape) - 1) / 2
        half = float(np.abs(across) @ (np.array(shape) - 1)) / 2
        count = max(1, math.floor(2 * half / spacing_px))
        for number in range(count):
            offset = (number + 0.5) * 2 * half / count - half
            ends = _ends(middle + offset * across, along, shape)
            if ends is not None:
                found.append(straight_line(*ends, direction))
    return tuple(found)


def straight_line(start: Floats, end: Floats, direction_deg: float) -> TestLine:
    """A test line between two points (y, x)."""
    length = math.hypot(*(end - start))
    return TestLine(np.stack([start, end]), length, False, direction_deg)


def three_circles(shape: tuple[int, int]) -> tuple[TestLine, ...]:
    """The concentric circles of ASTM E112 (Abrams), as large as the field allows."""
    middle = (np.array(shape) - 1) / 2
    scale = _FILL * (min(shape) - 1) / CIRCLE_DIAMETERS[0]
    return tuple(circle(middle, scale * diameter / 2) for diameter in CIRCLE_DIAMETERS)


def circle(middle: Floats, radius_px: float) -> TestLine:
    """A test circle."""
    length = 2 * math.pi * radius_px
    turn = np.linspace(0, 2 * math.pi, max(8, math.ceil(length / _STEP_PX)), endpoint=False)
    path = middle + radius_px * np.column_stack([np.sin(turn), np.cos(turn)])
    return TestLine(path, length, True, math.nan)


def intersect(partition: Partition, lines: tuple[TestLine, ...]) -> Intersections:
    """Where test lines cross boundaries, counted as ASTM E112 (13.3 and 14.3) says.

    Crossings that cannot be told from a triple point count 1½ together: near it a line crosses
    one boundary as often as two.
    """
    walk = _walk(partition.grains, lines)
    runs = _runs(walk)
    runs = _without_steps(runs, _is_shallow(runs, walk, partition.grains, lines))
    crossed = runs.grain != runs.grain[runs.next]
    line = runs.line[crossed]
    last, first = runs.last[crossed], runs.first[runs.next[crossed]]
    places = (_places(walk, lines, line, last) + _places(walk, lines, line, first)) / 2
    weights = _end_weights(places, line, lines)
    return _with_triple_points(Intersections(places, weights, line, lines), partition)


def nearest_line(points: Floats, lines: tuple[TestLine, ...]) -> Integers:
    """The number (n,) of the test line nearest to each point (n, 2), y and x."""
    apart = np.array([_distance(points, line) for line in lines])
    return np.asarray(apart.argmin(0), np.int64)


def _distance(points: Floats, line: TestLine) -> Floats:
    if line.closed:
        radius = line.length_px / (2 * math.pi)
        return np.asarray(np.abs(np.hypot(*(points - line.path.mean(0)).T) - radius), float)
    start, along = line.path[0], line.path[-1] - line.path[0]
    part = np.clip((points - start) @ along / (along @ along), 0, 1)
    return np.asarray(np.hypot(*(points - start - part[:, None] * along).T), float)


@dataclass(frozen=True)
class _Walk:
    """Test lines, one after the other, in steps of half a pixel or less.

    Attributes
    ----------
    met
        (n,) the grain at each step.
    starts, lengths
        (lines,) first step of each line, and number of its steps.
    closed
        (lines,) whether it is a circle.
    """

    met: NDArray[np.int32]
    starts: Integers
    lengths: Integers
    closed: NDArray[np.bool_]


@dataclass(frozen=True)
class _Runs:
    """Stretches of lines through one grain.

    Attributes
    ----------
    grain, line
        (n,) which.
    first, last
        (n,) steps of the walk.
    previous, next
        (n,) the runs before and after on the same line; itself at the end of a straight one.
    of_line
        (n,) the first run of the line.
    """

    grain: NDArray[np.int32]
    line: Integers
    first: Integers
    last: Integers
    previous: Integers
    next: Integers
    of_line: Integers


def _walk(grains: NDArray[np.int32], lines: tuple[TestLine, ...]) -> _Walk:
    lengths = np.array([_steps(line) for line in lines])
    starts = np.cumsum(lengths) - lengths
    met = np.empty(lengths.sum(), np.int32)
    for line, start, length in zip(lines, starts, lengths, strict=True):
        y, x = (np.rint(one).astype(np.intp) for one in _path(line, length))
        met[start : start + length] = grains[y, x]
    return _Walk(met, starts, lengths, np.array([line.closed for line in lines]))


def _steps(line: TestLine) -> int:
    return len(line.path) if line.closed else max(2, math.ceil(line.length_px / _STEP_PX) + 1)


def _path(line: TestLine, length: int) -> tuple[Floats, Floats]:
    """y and x of every step."""
    if line.closed:
        return line.path[:, 0], line.path[:, 1]
    start, end = line.path
    return np.linspace(start[0], end[0], length), np.linspace(start[1], end[1], length)


def _places(walk: _Walk, lines: tuple[TestLine, ...], line: Integers, step: Integers) -> Floats:
    """(n, 2) y and x of steps of the walk, each on its line."""
    begin, end = (np.array([one.path[at] for one in lines])[line] for at in (0, -1))
    on_line = step - walk.starts[line]
    places = begin + (on_line / (walk.lengths[line] - 1))[:, None] * (end - begin)
    for number in np.flatnonzero(walk.closed):
        own = line == number
        places[own] = lines[number].path[on_line[own]]
    return np.asarray(places, float)


def _runs(walk: _Walk) -> _Runs:
    is_first = np.empty(len(walk.met), bool)
    np.not_equal(walk.met[1:], walk.met[:-1], out=is_first[1:])
    is_first[walk.starts] = True
    first = np.flatnonzero(is_first)
    starts = np.searchsorted(first, walk.starts)
    ends = np.append(starts[1:], len(first)) - 1
    line = np.repeat(np.arange(len(starts)), ends - starts + 1)
    previous, following = np.arange(len(first)) - 1, np.arange(len(first)) + 1
    previous[starts] = np.where(walk.closed, ends, starts)
    following[ends] = np.where(walk.closed, starts, ends)
    last = np.append(first[1:], len(walk.met)) - 1
    return _Runs(walk.met[first], line, first, last, previous, following, starts[line])


def _is_shallow(
    runs: _Runs, walk: _Walk, grains: NDArray[np.int32], lines: tuple[TestLine, ...]
) -> NDArray[np.bool_]:
    """Which runs leave a grain and come back to it without getting a pixel away from it."""
    numbers = np.arange(len(runs.grain))
    at_end = (runs.previous == numbers) | (runs.next == numbers)
    before = runs.grain[runs.previous]
    back = np.flatnonzero((before == runs.grain[runs.next]) & ~at_end)
    middle = (runs.first[back] + runs.last[back]) // 2
    y, x = np.rint(_places(walk, lines, runs.line[back], middle)).astype(int).T
    near = np.zeros(len(back), bool)
    for down, right in ((1, 0), (-1, 0), (0, 1), (0, -1)):
        rows = np.clip(y + down, 0, grains.shape[0] - 1)
        columns = np.clip(x + right, 0, grains.shape[1] - 1)
        near |= grains[rows, columns] == before[back]
    shallow = np.zeros(len(numbers), bool)
    shallow[back[near]] = True
    return shallow


def _without_steps(runs: _Runs, is_step: NDArray[np.bool_]) -> _Runs:
    """Runs of lines that meet a boundary's pixel steps once each, not to and fro."""
    numbers = np.arange(len(runs.grain))
    before = runs.grain[runs.previous]
    # Of two steps in a row the first goes: to and fro becomes one crossing.
    last_other = np.maximum.accumulate(np.where(is_step, -1, numbers))
    is_step = is_step & ((numbers - np.maximum(last_other, runs.of_line - 1)) % 2 == 1)
    return replace(runs, grain=np.where(is_step, before, runs.grain))


def _end_weights(places: Floats, line: Integers, lines: tuple[TestLine, ...]) -> Floats:
    """½ where a straight line ends on a boundary, else 1."""
    weights = np.ones(len(places))
    for end in (0, -1):
        ends = np.array([np.full(2, np.inf) if one.closed else one.path[end] for one in lines])
        apart = places - ends[line]
        weights[np.hypot(apart[:, 0], apart[:, 1]) <= _END_PX] = 0.5
    return weights


def _with_triple_points(found: Intersections, partition: Partition) -> Intersections:
    """Crossings of one line near one triple point become one, of its weight."""
    triples, meeting = partition.triple_points_near(found.points, _NEAR_PX)
    if not len(triples):
        return found
    apart, nearest = cKDTree(triples).query(found.points, distance_upper_bound=_NEAR_PX)
    near = np.isfinite(apart) & (found.weights == 1)
    pairs = np.column_stack([found.line[near], nearest[near]])
    unique = np.unique(pairs, axis=0) if len(pairs) else np.zeros((0, 2), np.int64)
    points = np.concatenate([found.points[~near], triples[unique[:, 1]]])
    weights = np.concatenate([found.weights[~near], meeting[unique[:, 1]] / 2])
    line = np.concatenate([found.line[~near], unique[:, 0]])
    order = np.argsort(line, kind="stable")
    return Intersections(points[order], weights[order], line[order], found.lines)


def _ends(through: Floats, along: Floats, shape: tuple[int, int]) -> tuple[Floats, Floats] | None:
    """Where a line enters and leaves the field; None when it does not."""
    low, high = -math.inf, math.inf
    for axis, length in enumerate(shape):
        if abs(along[axis]) < 1e-12:
            if not 0 <= through[axis] <= length - 1:
                return None
            continue
        cuts = sorted((edge - through[axis]) / along[axis] for edge in (0.0, length - 1.0))
        low, high = max(low, cuts[0]), min(high, cuts[1])
    return (through + low * along, through + high * along) if high > low else None
