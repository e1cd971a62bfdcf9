"""Annealing twins are no grains: regions parted by twin boundaries are joined."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from .partition import Partition, numbered

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Flags = NDArray[np.bool_]

_NEVER = -np.inf
_TRIPLE_POINT_DEG = 60.0
_TRIPLE_POINT_SD_DEG = 30.0
"""How much two boundaries bend where a third meets them, and its spread between grains."""

_MOST_AGAINST, _MOST_FOR = -6.0, 3.0
_LEAST_REACH_PX = 8.0
_CRUMB_PX = 10
"""Areas below it are crumbs between drawn lines that cross at small angles."""

_SHORTEST_PX = 4.0
_NARROWEST_PX = 2.0
_PARTNERS = 4


class TwinParameters(BaseModel):
    """What is taken for a twin boundary.

    Evidence is the logarithm of how many times likelier a boundary's shape is on a twin.

    Attributes
    ----------
    scatter_px
        Error of a boundary's place.
    bend_deg
        Standard deviation of the angle by which a grain boundary bends where a twin ends on it,
        and by which the two sides of a twin are not parallel.
    bow_px, bow_of_length
        Largest residual of the line through a twin boundary; the larger counts.
    reach_of_grain
        How far from a junction boundaries are followed, by the root of the regions' mean area.
    least_of_end
        Least evidence of the two ends of each side of a band.
    least_of_band
        Least evidence of two parallel boundaries together.
    least_of_single
        Least evidence of a boundary that has no parallel one, as of a twin at a grain's rim.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    scatter_px: float = Field(default=0.7, gt=0)
    bend_deg: float = Field(default=4.0, gt=0)
    bow_px: float = Field(default=0.8, ge=0)
    bow_of_length: float = Field(default=0.03, ge=0)
    reach_of_grain: float = Field(default=0.5, gt=0)
    least_of_end: float = -4.0
    least_of_band: float = 2.0
    least_of_single: float = 4.0

    def for_enlarged(self, times: float) -> TwinParameters:
        """The same where one side of the pixels was enlarged so many times.

        Boundaries then have steps as long as the pixels were: places are as much less sure on the
        mean of both directions.
        """
        coarser = (1 + times) / 2
        lengths = {"scatter_px": self.scatter_px * coarser, "bow_px": self.bow_px * coarser}
        return self.model_copy(update=lengths)


def without_twins(grains: Partition, parameters: TwinParameters | None = None) -> Partition:
    """Grains whose twins are joined to them; the same partition when it shows none.

    A twin boundary is straight, and where it ends on a grain boundary this runs on past it: the
    three angles are not those of a triple point. Two parallel ones beside a region are a band; one
    alone must show both ends more clearly. Boundaries of other grains look so by chance: in
    polycrystals without twins about one in a hundred grains is lost.

    Source: ASTM E112, by which a grain counts as one whatever twins it has; the bends at both ends
    and the angle of parallel sides are weighed as independent evidence (naive Bayes).
    """
    rules = parameters or TwinParameters()
    if grains.n < 3:
        return grains
    seams, junctions = _network(grains)
    if not len(junctions.arms):
        return grains
    is_crumb = np.concatenate([[False], grains.areas < _CRUMB_PX])
    ends = _ends(seams, junctions, is_crumb, _reach(grains, rules), rules)
    twins = _chosen(_evidence(seams, ends, is_crumb, rules), junctions)
    if not twins.any():
        return grains
    crumbs = _crumbs(seams.sides, ends, twins, is_crumb)
    return _joined(grains, np.concatenate([seams.sides[twins], crumbs]))


def _reach(grains: Partition, rules: TwinParameters) -> float:
    across = math.sqrt(grains.grains.size / grains.n)
    return max(_LEAST_REACH_PX, rules.reach_of_grain * across)


# --- boundaries and where they meet -----------------------------------------------------------


@dataclass(frozen=True)
class _Seams:
    """Boundaries between two regions, each from one junction to the next.

    `sides` (n, 2) are the two regions, `points` (m, 2) the places between two pixels that a
    boundary parts, y and x, and `of` (m,) the boundary of each.
    """

    sides: Integers
    points: Floats
    of: Integers

    @cached_property
    def count(self) -> Integers:
        return np.bincount(self.of, minlength=len(self.sides))

    @cached_property
    def middle(self) -> Floats:
        return _sums(self.of, self.points, len(self.sides)) / self.count[:, None]

    @cached_property
    def axes(self) -> tuple[Floats, Floats]:
        """Variances of the points across and along the line through them, and its direction."""
        off = self.points - self.middle[self.of]
        products = (off[:, :, None] * off[:, None, :]).reshape(-1, 4)
        spread = _sums(self.of, products, len(self.sides)) / self.count[:, None]
        variances, directions = np.linalg.eigh(spread.reshape(-1, 2, 2))
        return np.maximum(variances, 0), directions[:, :, 1]

    @property
    def bow(self) -> Floats:
        return np.sqrt(self.axes[0][:, 0])

    @property
    def length(self) -> Floats:
        return np.sqrt(12 * self.axes[0][:, 1])

    @property
    def direction(self) -> Floats:
        """Unit vectors (n, 2)."""
        return self.axes[1]


@dataclass(frozen=True)
class _Junctions:
    """Where three regions meet: `places` (n, 2) y and x, `arms` (n, 3) the three boundaries."""

    places: Floats
    arms: Integers


def _sums(groups: Integers, values: Floats, count: int) -> Floats:
    """Sums (count, k) of the rows of values (m, k) by group."""
    return np.stack([np.bincount(groups, one, count) for one in values.T], 1)


def _steps(grains: NDArray[np.int32]) -> tuple[Integers, Integers, Floats]:
    """Pairs of neighbouring pixels of two regions: the regions, the corners between, the place."""
    width = grains.shape[1] + 1
    y, x = np.nonzero(grains[:, 1:] != grains[:, :-1])
    v, u = np.nonzero(grains[1:] != grains[:-1])
    regions = np.concatenate(
        [
            np.column_stack([grains[y, x], grains[y, x + 1]]),
            np.column_stack([grains[v, u], grains[v + 1, u]]),
        ]
    )
    first = np.concatenate([y * width + x + 1, (v + 1) * width + u])
    second = np.concatenate([(y + 1) * width + x + 1, (v + 1) * width + u + 1])
    places = np.concatenate([np.column_stack([y, x + 0.5]), np.column_stack([v + 0.5, u])])
    return np.sort(regions.astype(np.int64), 1), np.column_stack([first, second]), places


def _network(grains: Partition) -> tuple[_Seams, _Junctions]:
    regions, corners, points = _steps(grains.grains)
    pairs, pair = np.unique(regions @ [grains.n + 1, 1], return_inverse=True)
    # A knot is a corner of pixels on the boundary of two regions.
    knots, knot = np.unique(corners * len(pairs) + pair[:, None], return_inverse=True)
    knot = knot.reshape(corners.shape)
    links = coo_matrix((np.ones(len(knot), bool), tuple(knot.T)), shape=(len(knots),) * 2)
    count, seam_of_knot = connected_components(links, directed=False)
    of = seam_of_knot[knot[:, 0]].astype(np.int64)
    sides = np.zeros((count, 2), np.int64)
    sides[of] = regions
    is_end = np.bincount(knot.ravel(), minlength=len(knots)) == 1
    return _Seams(sides, points, of), _junctions(
        knots // len(pairs), is_end, seam_of_knot, grains.shape[1] + 1
    )


def _junctions(corner: Integers, is_end: Flags, seam: Integers, width: int) -> _Junctions:
    """Corners at which three boundaries end and none passes; knots come sorted by corner."""
    corners, first, knots = np.unique(corner, return_index=True, return_counts=True)
    three = np.flatnonzero(knots == 3)
    around = first[three, None] + np.arange(3)
    kept = is_end[around].all(1)
    places = np.column_stack(np.divmod(corners[three[kept]], width)) - 0.5
    return _Junctions(places, seam[around[kept]].astype(np.int64))


# --- evidence ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Ends:
    """Of each end of a boundary: the boundary, the region beyond, and the evidence of a twin."""

    seam: Integers
    beyond: Integers
    evidence: Floats


def _ends(
    seams: _Seams, junctions: _Junctions, is_crumb: Flags, reach: float, rules: TwinParameters
) -> _Ends:
    bend, error = _bends(seams, junctions, reach, rules.scatter_px)
    on_twin = _log_normal(bend, 0.0, np.hypot(rules.bend_deg, error))
    elsewhere = _log_normal(bend, _TRIPLE_POINT_DEG, np.hypot(_TRIPLE_POINT_SD_DEG, error))
    evidence = np.clip(on_twin - elsewhere, _MOST_AGAINST, _MOST_FOR)
    sides = seams.sides[junctions.arms]
    # Each of the three regions is a side of two of the three boundaries.
    beyond = sides.sum((1, 2))[:, None] // 2 - sides.sum(2)
    return _Ends(
        junctions.arms.ravel(),
        beyond.ravel(),
        np.where(is_crumb[beyond], 0.0, evidence).ravel(),
    )


def _log_normal(values: Floats, mean: float, deviation: Floats) -> Floats:
    return np.asarray(-0.5 * ((values - mean) / deviation) ** 2 - np.log(deviation))


def _bends(
    seams: _Seams, junctions: _Junctions, reach: float, scatter_px: float
) -> tuple[Floats, Floats]:
    """By how many degrees the other two boundaries bend at a junction, and the standard error.

    Both are (n, 3), one for each boundary that ends there; a bend is never negative.
    """
    arm, off = _near(seams, junctions, reach)
    count = len(junctions.arms)
    number = np.maximum(np.bincount(arm, minlength=3 * count), 1)
    towards = (_sums(arm, off, 3 * count) / number[:, None]).reshape(count, 3, 2)
    found = [_bends_past(stem, arm, off, towards, scatter_px) for stem in range(3)]
    return np.stack([bend for bend, _ in found], 1), np.stack([error for _, error in found], 1)


def _near(seams: _Seams, junctions: _Junctions, reach: float) -> tuple[Integers, Floats]:
    """Points of the boundaries at junctions: the number of the arm, and the way from there."""
    order = np.argsort(seams.of, kind="stable")
    starts = np.cumsum(seams.count) - seams.count
    slots = junctions.arms.ravel()
    lengths = seams.count[slots]
    arm = np.repeat(np.arange(len(slots)), lengths)
    within = np.arange(len(arm)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    off = seams.points[order[starts[slots][arm] + within]] - junctions.places[arm // 3]
    near = (off**2).sum(1) <= reach**2
    return arm[near], off[near]


def _bends_past(
    stem: int, arm: Integers, off: Floats, towards: Floats, scatter_px: float
) -> tuple[Floats, Floats]:
    """Fit a line with a kink, a + b t + c |t|, to the two arms besides the stem."""
    one, other = (side for side in range(3) if side != stem)
    along = towards[:, other] - towards[:, one]
    along /= np.maximum(np.hypot(*along.T), 1e-9)[:, None]
    used = arm % 3 != stem
    at, way = arm[used] // 3, off[used]
    t = (way * along[at]).sum(1)
    across = way[:, 0] * along[at, 1] - way[:, 1] * along[at, 0]
    terms = np.stack([np.ones_like(t), t, np.abs(t)], 1)
    products = (terms[:, :, None] * terms[:, None, :]).reshape(-1, 9)
    normal = _sums(at, products, len(towards)).reshape(-1, 3, 3)
    # Too few points leave the kink as unknown as it is beforehand, within some 45 degrees.
    normal += np.diag([1e-6, 1e-6, scatter_px**2])
    inverse = np.linalg.inv(normal)
    right = _sums(at, terms * across[:, None], len(towards))
    _, slope, kink = np.einsum("nij,nj->in", inverse, right)
    bend = np.abs(np.arctan(slope + kink) - np.arctan(slope - kink))
    return np.degrees(bend), np.degrees(2 * scatter_px * np.sqrt(inverse[:, 2, 2]))


def _evidence(seams: _Seams, ends: _Ends, is_crumb: Flags, rules: TwinParameters) -> Floats:
    """By how much the evidence of each boundary exceeds what a twin needs; −∞ for none."""
    count = len(seams.sides)
    known = np.bincount(ends.seam, minlength=count)
    evidence = _sums(ends.seam, ends.evidence[:, None], count)[:, 0]
    possible = (
        (seams.bow <= np.maximum(rules.bow_px, rules.bow_of_length * seams.length))
        & (seams.length >= _SHORTEST_PX)
        & (evidence > rules.least_of_end)
        & (known > 0)
        & ~is_crumb[seams.sides].any(1)
    )
    single = np.where(known == 2, evidence - rules.least_of_single, _NEVER)
    band = _of_bands(seams, evidence, np.flatnonzero(possible), rules) - rules.least_of_band
    return np.where(possible, np.maximum(single, band), _NEVER)


def _of_bands(seams: _Seams, evidence: Floats, possible: Integers, rules: TwinParameters) -> Floats:
    """Evidence of each boundary with the best of those parallel to it beside the same region."""
    turn = np.arctan2(*seams.direction.T) % math.pi
    error = rules.scatter_px * np.sqrt(12 / seams.count) / np.maximum(seams.length, 1)
    best = np.full(len(seams.sides), _NEVER)
    for one, other in _beside_one_region(seams, turn, possible):
        apart = seams.middle[one] - seams.middle[other]
        away = np.abs(_cross(apart, seams.direction[one])) >= _NARROWEST_PX
        one, other = one[away], other[away]
        between = np.degrees(
            np.abs((turn[one] - turn[other] + math.pi / 2) % math.pi - math.pi / 2)
        )
        spread = np.hypot(rules.bend_deg, np.degrees(np.hypot(error[one], error[other])))
        # Against any angle up to 90 degrees, of some three pairs of sides in a grain.
        parallel = _log_normal(between, 0.0, spread) + math.log(2 * 90 / math.sqrt(2 * math.pi) / 3)
        together = evidence[one] + evidence[other] + np.maximum(parallel, _MOST_AGAINST)
        np.maximum.at(best, one, together)
        np.maximum.at(best, other, together)
    return best


def _cross(one: Floats, other: Floats) -> Floats:
    return np.asarray(one[:, 0] * other[:, 1] - one[:, 1] * other[:, 0])


def _beside_one_region(
    seams: _Seams, turn: Floats, possible: Integers
) -> list[tuple[Integers, Integers]]:
    """Pairs of boundaries of a region, of those next in direction."""
    # Directions go round: each comes again half a turn on.
    seam = np.tile(possible, 4)
    region = np.tile(seams.sides[possible].T.ravel(), 2)
    angle = turn[seam] + math.pi * (np.arange(len(seam)) >= 2 * len(possible))
    order = np.lexsort((angle, region))
    seam, region = seam[order], region[order]
    found = []
    for step in range(1, _PARTNERS + 1):
        one, other = seam[:-step], seam[step:]
        paired = (region[:-step] == region[step:]) & (one != other)
        found.append((one[paired], other[paired]))
    return found


def _chosen(evidence: Floats, junctions: _Junctions) -> Flags:
    """Twin boundaries: of the three that meet in a junction, one at most."""
    strongest = np.full(len(evidence), _NEVER)
    here = evidence[junctions.arms].max(1)
    np.maximum.at(strongest, junctions.arms.ravel(), np.repeat(here, 3))
    return (evidence > 0) & (evidence >= strongest)


# --- joining ----------------------------------------------------------------------------------


def _crumbs(sides: Integers, ends: _Ends, twins: Flags, is_crumb: Flags) -> Integers:
    """Crumbs at the ends of twin boundaries, each with a region that the boundary parts."""
    at = twins[ends.seam] & is_crumb[ends.beyond]
    return np.column_stack([sides[ends.seam[at], 0], ends.beyond[at]])


def _joined(grains: Partition, pairs: Integers) -> Partition:
    size = grains.n + 1
    graph = coo_matrix((np.ones(len(pairs), bool), tuple(pairs.T)), shape=(size, size))
    return numbered(connected_components(graph, directed=False)[1][grains.grains])
