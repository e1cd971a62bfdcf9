"""What happens to particles that the edge of the field cuts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ..errors import InputError
from .parameters import EdgeRule
from .places import bounds, free_places, places_in_rectangle
from .runs import Runs

Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Selection:
    """Which particles count, and for how many.

    Attributes
    ----------
    kept
        Shape (n,): False for particles that the rule leaves out.
    weights
        For how many particles each of those kept stands.
    counted_px
        Area in pixels that number densities are of.
    """

    kept: Mask
    weights: NDArray[np.float64]
    counted_px: int


def select(rule: EdgeRule, particles: pd.DataFrame, runs: Runs, known: Runs) -> Selection:
    """Apply an edge rule.

    "all" keeps every particle. "exclude-border" leaves out those that touch the border.
    "miles-lantuejoul" does too, and weights each of the others by the field's area over the area
    of the places where it would touch no border: W·H / ((W−w−1)(H−h−1)) in a rectangle of pixels,
    as what is flush with the edge touches it; in any other field the places of its own shape, see
    `places.free_places`.
    "guard-frame" leaves out those that touch the lower or right border, and takes the pixels along
    these out of the counted area: in any one direction just one of the two ends of the field
    counts what it cuts. That is unbiased but for one corner, the upper right: what is cut above may
    lie, unseen, to the right of the field too, and would have to be left out (Gundersen draws the
    excluding line on beyond the corner, which takes a margin of image around the frame). Particles
    that slant up to the right come out too many by up to w·h/(2·W·H), others not.

    Parameters
    ----------
    particles
        The columns `touches_border` and `top_px`, `left_px`, `bottom_px`, `right_px`.
    runs
        The particles by row of the table.
    known
        The labelled pixels of the field, as of one particle.

    Raises
    ------
    InputError
        When a guard frame would not be a rectangle, in which alone it holds.

    Source: Miles (1974); Lantuéjoul (1980); Gundersen, Journal of Microscopy 111 (1977) 219-223.
    """
    return _RULES[rule](particles, runs, known)


def is_rectangle(known: Runs) -> bool:
    """Whether the known pixels fill an upright rectangle."""
    top, left, bottom, right = bounds(known)
    return 0 < (bottom - top) * (right - left) == _pixels(known)


def edge_notes(rule: EdgeRule, particles: pd.DataFrame) -> list[str]:
    """What a rule makes of numbers and sizes, where particles that are cut show it.

    Parameters
    ----------
    particles
        Those that count, with the column `touches_border`.
    """
    cut = int(particles["touches_border"].sum())
    if not cut or rule not in _CUT_COUNT:
        return []
    return [f"{cut} of {len(particles)} particles counted touch the border: {_CUT_COUNT[rule]}"]


def touching(ids: NDArray[np.int32], n_particles: int, where: Mask) -> Mask:
    """Whether each particle has a pixel in a mask."""
    found = np.zeros(n_particles + 1, bool)
    found[ids[where]] = True
    return found[1:]


def border_of(known: Mask) -> Mask:
    """Pixels with a neighbour, diagonal ones included, that is not known, or at the image's end."""
    interior = cv2.erode(
        known.view(np.uint8),
        np.ones((3, 3), np.uint8),
        borderType=cv2.BORDER_CONSTANT,
        borderValue=0,
    )
    return np.asarray(interior == 0)


def _pixels(known: Runs) -> int:
    return int(known.lengths.sum())


def _everything(particles: pd.DataFrame, runs: Runs, known: Runs) -> Selection:
    n = len(particles)
    return Selection(np.ones(n, bool), np.ones(n), _pixels(known))


def _uncut(particles: pd.DataFrame, runs: Runs, known: Runs) -> Selection:
    kept = ~particles["touches_border"].to_numpy(bool)
    return Selection(kept, np.ones(kept.sum()), _pixels(known))


def _weighted(particles: pd.DataFrame, runs: Runs, known: Runs) -> Selection:
    uncut = _uncut(particles, runs, known)
    if is_rectangle(known):
        heights, widths = (
            (particles[end] - particles[start]).to_numpy()[uncut.kept]
            for start, end in (("top_px", "bottom_px"), ("left_px", "right_px"))
        )
        places = places_in_rectangle(known, heights, widths)
    else:
        places = free_places(known, runs.of(uncut.kept))
    return Selection(uncut.kept, uncut.counted_px / places, uncut.counted_px)


def _framed(particles: pd.DataFrame, runs: Runs, known: Runs) -> Selection:
    if not is_rectangle(known):
        raise InputError(
            "a guard frame is a rectangle, and the field has slanting or ragged edges or holes "
            "without labels; choose the edge rule miles-lantuejoul"
        )
    top, left, bottom, right = bounds(known)
    reaches = (particles["bottom_px"] == bottom) | (particles["right_px"] == right)
    kept = ~reaches.to_numpy(bool)
    return Selection(kept, np.ones(kept.sum()), (bottom - top - 1) * (right - left - 1))


_CUT_COUNT: dict[EdgeRule, str] = {
    "all": "numbers per area come out too large, and the sizes of those that are cut are of what "
    "shows; the edge rule miles-lantuejoul corrects both",
    "guard-frame": "the sizes of those that are cut are of what shows; numbers per area are "
    "unbiased unless particles are long beside the field and slant up to the right, of which some "
    "too many count",
}
_RULES: dict[EdgeRule, Callable[[pd.DataFrame, Runs, Runs], Selection]] = {
    "all": _everything,
    "exclude-border": _uncut,
    "miles-lantuejoul": _weighted,
    "guard-frame": _framed,
}
