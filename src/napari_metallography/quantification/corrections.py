"""Particles corrected by hand: deleted, merged, split or given another phase, with a trail.

A correction works on class indices and on particle numbers at once. A trail of them, replayed on
what they began with, gives the corrected labels bit for bit.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import chain, pairwise
from typing import Any, Literal, get_args

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import cKDTree
from skimage.draw import line as pixels_between

from ..classes import UNLABELLED, PhaseClass
from ..errors import InputError
from .runs import row_blocks
from .splitting import halves

Action = Literal["delete", "merge", "split", "reclassify"]

MATRIX = 0
"""Class index that deleted particles get unless another is chosen."""

_WIDEST_LINE_PX = 99

Ids = NDArray[np.int32]
Indices = NDArray[np.uint8]
Mask = NDArray[np.bool_]
Places = NDArray[np.int64]


@dataclass(frozen=True)
class Correction:
    """One correction, as asked for and, once made, with what it did.

    Attributes
    ----------
    action
        "delete": the pixels get the class `to_class` and no particle. "merge": the particles
        become one with the lowest of their numbers; those that do not touch are joined, shortest
        gap first, by straight lines `width_px` wide. "split": the particle is cut along `line`,
        or at its narrowest neck without one; the first part keeps its number, and no pixel is
        lost. "reclassify": the pixels get the class `to_class` and the particle a new number.
    plane
        Which plane of a stack, from 0.
    particles
        Their numbers.
    to_class
        Class index; 255 makes deleted particles unlabelled. Not used by merging and splitting.
    line
        (row, column) vertices in pixels.
    width_px
        Width of the lines that merging draws.
    pixel_aspect
        Height of a pixel over its width, which the narrowest neck depends on.
    made
        When, ISO 8601; whoever corrects says it.
    from_classes
        Class indices that the particles had.
    created
        New particle numbers.
    pixels_changed
        How many pixels got another class or particle.
    """

    action: Action
    particles: tuple[int, ...]
    plane: int = 0
    to_class: int = MATRIX
    line: tuple[tuple[float, float], ...] = ()
    width_px: int = 3
    pixel_aspect: float = 1.0
    made: str = ""
    from_classes: tuple[int, ...] = ()
    created: tuple[int, ...] = ()
    pixels_changed: int = 0

    def to_dict(self) -> dict[str, Any]:
        """JSON form."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Correction:
        """Inverse of `to_dict`.

        Raises
        ------
        InputError
            When an entry is missing or is none of a correction's.
        """
        try:
            tuples = ("particles", "from_classes", "created")
            numbers = {name: tuple(int(n) for n in data[name]) for name in tuples}
            line = tuple((float(row), float(column)) for row, column in data["line"])
            single = {name: _whole(data[name]) for name in ("plane", "to_class", "width_px")}
            correction = cls(**{**data, **numbers, **single, "line": line})
            if correction.action not in get_args(Action):
                raise ValueError(correction.action)
            if not all(map(math.isfinite, chain.from_iterable(line))):
                raise ValueError("line")
            if not 0 < float(correction.pixel_aspect) < math.inf:
                raise ValueError("pixel_aspect")
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise InputError(
                f"a correction is damaged ({error}); correct the labels anew"
            ) from None
        return correction


@dataclass(frozen=True, eq=False)
class Change:
    """What a correction does to the pixels of a plane.

    Attributes
    ----------
    correction
        With what it did filled in.
    rows, columns
        Shape (n,): the pixels that change.
    ids_before, ids_after, classes_before, classes_after
        Shape (n,): their particle numbers and class indices.
    """

    correction: Correction
    rows: Places
    columns: Places
    ids_before: Ids
    ids_after: Ids
    classes_before: Indices
    classes_after: Indices

    def apply(self, indices: Indices, ids: Ids) -> None:
        """Make the change, in place; both arrays (Y, X)."""
        indices[self.rows, self.columns] = self.classes_after
        ids[self.rows, self.columns] = self.ids_after

    def revert(self, indices: Indices, ids: Ids) -> None:
        """Take the change back, in place; both arrays (Y, X)."""
        indices[self.rows, self.columns] = self.classes_before
        ids[self.rows, self.columns] = self.ids_before

    def is_made(self, ids: Ids) -> bool:
        """Whether the particles (Y, X) are as after the change, where it changes anything."""
        return bool((ids[self.rows, self.columns] == self.ids_after).all())

    def is_taken_back(self, ids: Ids) -> bool:
        """Whether they are as before it."""
        return bool((ids[self.rows, self.columns] == self.ids_before).all())


def change_of(correction: Correction, indices: Indices, ids: Ids, highest: int = 0) -> Change:
    """What a correction does to a plane; the arrays stay as they are.

    Parameters
    ----------
    indices
        Shape (Y, X): class indices, 255 = unlabelled.
    ids
        Shape (Y, X): particle numbers, 0 elsewhere; of any integer type.
    highest
        The largest number ever given to a particle; new ones get those that follow. Not used
        where the correction says what it `created`.

    Raises
    ------
    InputError
        When a particle is not there, those to merge are of several phases or have another between
        them, the one to split is not cut in two, or `to_class` is no class.
    """
    _require_class(correction)
    box = _box_of(ids, correction)
    near_ids, near_indices = ids[box].astype(np.int32), indices[box]
    new_ids, new_indices = near_ids.copy(), near_indices.copy()
    highest = correction.created[0] - 1 if correction.created else highest
    inside = _corner(box)
    local = replace(
        correction, line=tuple((r - inside[0], c - inside[1]) for r, c in correction.line)
    )
    created = _ACTIONS[correction.action](local, new_indices, new_ids, highest)
    where = np.nonzero((new_ids != near_ids) | (new_indices != near_indices))
    if not len(where[0]):
        raise InputError("nothing would change; choose another phase or other particles")
    made = replace(
        correction,
        from_classes=_classes_of(near_indices, np.isin(near_ids, correction.particles)),
        created=tuple(created),
        pixels_changed=len(where[0]),
    )
    return Change(
        made,
        where[0] + inside[0],
        where[1] + inside[1],
        near_ids[where],
        new_ids[where],
        near_indices[where],
        new_indices[where],
    )


def replayed(
    indices: Indices, ids: Ids, trail: Sequence[Correction]
) -> tuple[Indices, Ids, list[Change]]:
    """The labels after all corrections of a trail, and each change; the arrays stay as they are.

    Parameters
    ----------
    indices, ids
        Shape (Y, X) or (N, Y, X): what the trail began with.

    Raises
    ------
    InputError
        When the trail does not fit the labels.
    """
    indices, ids = indices.copy(), ids.copy()
    changes = []
    for correction in trail:
        plane = plane_at(indices, correction.plane), plane_at(ids, correction.plane)
        change = change_of(correction, *plane)
        if change.correction != correction:
            raise InputError("the corrections were made on other labels than these; correct anew")
        change.apply(*plane)
        changes.append(change)
    return indices, ids, changes


def originals(indices: Indices, ids: Ids, changes: Sequence[Change]) -> tuple[Indices, Ids]:
    """The labels before all changes, as copies; shapes as for `replayed`."""
    indices, ids = indices.copy(), ids.copy()
    for change in reversed(changes):
        plane = change.correction.plane
        change.revert(plane_at(indices, plane), plane_at(ids, plane))
    return indices, ids


def plane_at(array: NDArray[Any], number: int) -> NDArray[Any]:
    """A plane (Y, X), as a view, of an array of one plane or several.

    Raises
    ------
    InputError
        When there is none of that number.
    """
    planes = array.reshape(-1, *array.shape[-2:])
    if not 0 <= number < len(planes):
        raise InputError(f"there is no plane {number}; the corrections belong to other labels")
    plane: NDArray[Any] = planes[number]
    return plane


def require_known_classes(trail: Sequence[Correction], n_classes: int) -> None:
    """Refuse corrections to or from a class that the labels do not have.

    Raises
    ------
    InputError
        When there is one.
    """
    known = {*range(n_classes), UNLABELLED}
    for one in trail:
        _require_class(one)
        strange = {one.to_class, *one.from_classes} - known
        if strange:
            raise InputError(
                f"a correction is damaged (class {min(strange)}); correct the labels anew"
            )


def _require_class(correction: Correction) -> None:
    """Particles can be left without a label, but not become particles of it."""
    highest = {"delete": UNLABELLED, "reclassify": UNLABELLED - 1}.get(correction.action)
    if highest is not None and not 0 <= correction.to_class <= highest:
        raise InputError(
            f"{correction.to_class} is no class that particles can get; choose a phase, or delete "
            "them to leave them without a label"
        )


def require_inside(change: Change, field: Mask) -> None:
    """Refuse a change that would reach out of the field (Y, X).

    Raises
    ------
    InputError
        When pixels outside would become a particle.
    """
    grown = (change.ids_before == 0) & (change.ids_after > 0)
    if not field[change.rows[grown], change.columns[grown]].all():
        raise InputError("the joining line would leave the measured field; merge others")


def audit_rows(trail: Sequence[Correction], classes: Sequence[PhaseClass]) -> list[dict[str, Any]]:
    """The trail for people: one row a correction, phases by name."""
    names = {index: phase.name for index, phase in enumerate(classes)} | {UNLABELLED: "unlabelled"}
    return [
        {
            "plane": one.plane,
            "correction": one.action,
            "particles": ", ".join(map(str, one.particles)),
            "new_particles": ", ".join(map(str, one.created)),
            "phase_before": ", ".join(names[index] for index in one.from_classes),
            "phase_after": names[one.to_class]
            if one.action in ("delete", "reclassify")
            else ", ".join(names[index] for index in one.from_classes),
            "pixels_changed": one.pixels_changed,
            "made": one.made,
        }
        for one in trail
    ]


def _whole(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{value!r} is no whole number")
    return value


# --- the four actions: each changes copies in place and returns the new numbers ---------------


def _delete(correction: Correction, indices: Indices, ids: Ids, highest: int) -> list[int]:
    mask = np.isin(ids, correction.particles)
    indices[mask], ids[mask] = correction.to_class, 0
    return []


def _reclassify(correction: Correction, indices: Indices, ids: Ids, highest: int) -> list[int]:
    # A new number: else the change of phase would leave no trace that an undo could go back by.
    changing = [n for n in correction.particles if (indices[ids == n] != correction.to_class).any()]
    created = list(range(highest + 1, highest + 1 + len(changing)))
    for old, new in zip(changing, created, strict=True):
        mask = ids == old
        indices[mask], ids[mask] = correction.to_class, new
    return created


def _merge(correction: Correction, indices: Indices, ids: Ids, highest: int) -> list[int]:
    mask = np.isin(ids, correction.particles)
    classes = _classes_of(indices, mask)
    if len(set(correction.particles)) < 2:
        raise InputError("choose two particles or more to merge")
    if len(classes) > 1:
        raise InputError("particles of several phases cannot be merged; reclassify them first")
    if not 1 <= correction.width_px <= _WIDEST_LINE_PX:
        raise InputError(f"the joining line is 1 to {_WIDEST_LINE_PX} px wide")
    joined = _bridged(mask, correction.width_px)
    between = sorted(set(np.unique(ids[joined & ~mask]).tolist()) - {0})
    if between:
        raise InputError(f"particle {between[0]} lies between them; merge it too")
    _require_matrix(indices[joined & ~mask], classes[0])
    indices[joined], ids[joined] = classes[0], min(correction.particles)
    return []


def _require_matrix(crossed: Indices, own: int) -> None:
    """A line may run through the matrix and the particles' own phase only."""
    others = set(np.unique(crossed).tolist()) - {MATRIX, own}
    if others:
        what = "unlabelled pixels" if UNLABELLED in others else "another phase"
        raise InputError(f"the joining line would run over {what}; label what lies between first")


def _split(correction: Correction, indices: Indices, ids: Ids, highest: int) -> list[int]:
    if len(correction.particles) != 1:
        raise InputError("choose one particle to split")
    number = correction.particles[0]
    mask = ids == number
    parts = (
        _cut(mask, correction.line) if correction.line else halves(mask, correction.pixel_aspect)
    )
    n = int(parts.max())
    if n < 2:
        how = "has no neck; draw a line across it"
        if correction.line:
            how = "is not cut in two by the line; draw it right across"
        raise InputError(f"particle {number} {how}")
    created = list(range(highest + 1, highest + n))
    for part, new in enumerate(created, start=2):
        ids[parts == part] = new
    return created


_ACTIONS: dict[Action, Callable[[Correction, Indices, Ids, int], list[int]]] = {
    "delete": _delete,
    "merge": _merge,
    "split": _split,
    "reclassify": _reclassify,
}


# --- geometry --------------------------------------------------------------------------------


def _box_of(ids: Ids, correction: Correction) -> tuple[slice, slice]:
    """Where the particles lie, with room for the lines that join them."""
    wanted = set(correction.particles)
    if not wanted or min(wanted) < 1:
        raise InputError("choose a particle first: click it in the image or in the table")
    rows, columns, found = _extent(ids, wanted)
    missing = wanted - found
    if missing:
        raise InputError(f"there is no particle {min(missing)} in this plane; choose another")
    margin = correction.width_px + 1 if correction.action == "merge" else 1
    return _wider(rows, margin), _wider(columns, margin)


def _extent(ids: Ids, wanted: set[int]) -> tuple[slice, slice, set[int]]:
    """Rows and columns of particles, and which there are."""
    low, high, numbers = min(wanted), max(wanted), np.array(sorted(wanted))
    rows, columns, found = [], np.zeros(ids.shape[1], bool), set()
    # In blocks, and most of each let alone: large images are held up to a click.
    for block in row_blocks(ids.shape):
        near = np.flatnonzero(((ids[block] >= low) & (ids[block] <= high)).any(axis=1))
        part = ids[block][near]
        inside = np.isin(part, numbers)
        rows.append(block.start + near[inside.any(axis=1)])
        columns |= inside.any(axis=0)
        found.update(np.unique(part[inside]).tolist())
    return _reach(np.concatenate(rows)), _reach(np.flatnonzero(columns)), found


def _reach(places: Places) -> slice:
    return slice(int(places[0]), int(places[-1]) + 1) if len(places) else slice(0, 0)


def _wider(side: slice, margin: int) -> slice:
    return slice(max(0, side.start - margin), side.stop + margin)


def _corner(box: tuple[slice, slice]) -> tuple[int, int]:
    return int(box[0].start), int(box[1].start)


def _classes_of(indices: Indices, mask: Mask) -> tuple[int, ...]:
    return tuple(int(index) for index in np.unique(indices[mask]))


def _components(mask: Mask) -> tuple[int, Ids]:
    n, parts = cv2.connectedComponents(mask.view(np.uint8), connectivity=8, ltype=cv2.CV_32S)
    return n - 1, np.asarray(parts, np.int32)


def _bridged(mask: Mask, width_px: int) -> Mask:
    """The mask with its pieces joined by lines, each time over the shortest gap from the first."""
    joined = mask.copy()
    n, parts = _components(joined)
    while n > 1:
        first = np.argwhere(parts == 1)
        others = np.argwhere(parts > 1)
        distances, nearest = cKDTree(first).query(others)
        gap = int(np.argmin(distances))
        _draw(joined, first[nearest[gap]], others[gap], width_px)
        n, parts = _components(joined)
    return joined


def _draw(mask: Mask, start: Places, end: Places, width_px: int) -> None:
    thin = np.zeros(mask.shape, bool)
    thin[pixels_between(*start, *end)] = True  # type: ignore[no-untyped-call]
    mask |= ndimage.distance_transform_edt(~thin) <= (width_px - 1) / 2


def _cut(mask: Mask, line: Sequence[tuple[float, float]]) -> Ids:
    """Parts of a particle on the two sides of a line; pixels on it go to the nearest part."""
    barrier = _barrier(mask.shape, line)
    n, parts = _components(mask & ~barrier)
    if n < 2:
        return mask.astype(np.int32)
    nearest = ndimage.distance_transform_edt(
        parts == 0, return_distances=False, return_indices=True
    )
    return np.where(mask, parts[tuple(nearest)], 0).astype(np.int32)


def _barrier(shape: tuple[int, ...], line: Sequence[tuple[float, float]]) -> Mask:
    """Pixels of a polyline, with no diagonal step through which 8-connected pieces would touch."""
    barrier = np.zeros(shape, bool)
    vertices = [(round(row), round(column)) for row, column in line]
    for start, end in pairwise(vertices):
        rows, columns = pixels_between(*start, *end)  # type: ignore[no-untyped-call]
        for r, c in ((rows, columns), (rows[1:], columns[:-1])):
            inside = (r >= 0) & (r < shape[0]) & (c >= 0) & (c < shape[1])
            barrier[r[inside], c[inside]] = True
    return barrier
