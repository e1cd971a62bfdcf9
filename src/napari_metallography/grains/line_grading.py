"""Grain size by the line network: many rows and columns of an image, graded and averaged."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from ..calibration import Calibration, require
from ..devices import device_errors, keep_freed_memory
from ..errors import InputError
from ..events import Events, Notice, Progress
from ..models.card import LineInput
from ..plane import ArrayLike
from ..regions import Field
from .grades import LINE_LENGTH, REFERENCE_UM, STEP, Lines, Scale, scale_of
from .image_lines import (
    SHORTEST_PX,
    Line,
    LineParameters,
    cut_lines,
    grey_values,
    lines_in,
    paper_lines,
)
from .line_model import LineModel, Preparation
from .line_network import LineNetwork
from .standards import intercept_mm_of

Floats = NDArray[np.float64]
Steps = NDArray[np.int64]

PAPER_MODE = (
    "this model was trained in paper mode: the image was resized to 1376 x 1376, and its G holds "
    "only for images of the magnification and field of the training images"
)

_BATCH = 64
_SHRUNK_AT_WILL = 8
_MIDDLES = (8.5, 10.0, 11.5)
_ENLARGE_STEPS, _SHRINK_STEPS = 3, 4
_MOST_ENLARGED, _MOST_SHRUNK = 3, 16
_SHORT_SHARE = 0.2


@dataclass(frozen=True)
class LineVotes:
    """What the network makes of each line.

    Attributes
    ----------
    lines
        n lines.
    grades
        (m,) G of the classes, half a number apart.
    probabilities
        (n, m).
    """

    lines: tuple[Line, ...]
    grades: Floats
    probabilities: Floats

    @property
    def expected(self) -> Floats:
        """(n,) expected G of each line."""
        return np.asarray(self.probabilities @ self.grades)


@dataclass(frozen=True)
class LineGrade:
    """Grain size of an image by the line network.

    Attributes
    ----------
    grain_size
        Expected ASTM G by intercepts over the mean of all lines' probabilities.
    spread
        Standard deviation of the lines' expected G; NaN for a single line.
    most_probable
        G of the class with the largest mean probability. Of classes that share lines between
        them the `nearest` to the expected G is the better answer.
    independent_lines
        As many of the lines as lie at least one mean intercept apart.
    outside
        The answer lies at the end of what the network can grade; the true G lies beyond.
    """

    grain_size: float
    spread: float
    most_probable: float
    independent_lines: int
    outside: bool
    votes: LineVotes

    @property
    def nearest(self) -> float:
        """The half number nearest to the expected G."""
        return round(self.grain_size / STEP) * STEP

    @property
    def mean_probabilities(self) -> Floats:
        """(m,) mean over the lines."""
        return np.asarray(self.votes.probabilities.mean(0))


def grade(
    image: ArrayLike,
    calibration: Calibration | None,
    model: LineModel,
    parameters: LineParameters | None = None,
    *,
    field: Field | None = None,
    name: str = "image",
    device: torch.device | None = None,
) -> Events[LineGrade]:
    """Grade rows and columns of an image (Y, X) or (Y, X, 3 or 4).

    Lines are shown to the network at pixel sizes that are steps of half a number apart: a fourth
    of them at the nearest to their own (at others when its answer lies at an end of the classes),
    the rest so that their grains look like those of three classes in the middle. What the network
    gets wrong at one scale it does not get wrong at all.

    Parameters
    ----------
    calibration
        Pixels may be oblong. A model of paper mode takes no account of it.
    field
        Lines run through its pixels only, each through the longest stretch; None: the image.

    Yields
    ------
    Progress
        Of the lines.
    Notice
        When the answer lies at an end all the same, when lines are short, and of paper mode.

    Raises
    ------
    InputError
        Without a calibration, when the image cannot be used, or when no line is long enough.
    DeviceError
        When the device fails.
    """
    wanted = parameters or LineParameters()
    if not wanted.rows + wanted.columns:
        raise InputError(f"{name}: no rows and no columns are to be graded; choose some of either")
    grey = grey_values(image, name, field)
    field = field or Field(grey.shape)
    network = Grader(model, device or torch.device("cpu"))
    if model.lines.pixel_um is None:
        yield Notice(f"{name}: {PAPER_MODE}")
        cut = paper_lines(grey, field, wanted)
        return _grade(None, (yield from network.votes(*cut)), model.lines)
    known = require(calibration, name)
    places = list(lines_in(field, wanted))
    if not places:
        raise InputError(f"{name}: no line in the field is {SHORTEST_PX} pixels long; enlarge it")
    found = yield from _at_several_scales(grey, known, places, network, model.lines)
    if found.outside:
        yield Notice(_said_outside(name, found))
    if _are_short(places, known, model.lines.pixel_um):
        yield Notice(
            f"{name}: lines are shorter than the network was trained for; compare with a "
            "standard method"
        )
    return found


def _said_outside(name: str, found: LineGrade) -> str:
    beyond = "coarser" if found.most_probable <= found.votes.grades[0] else "finer"
    return (
        f"{name}: G {found.most_probable:g} lies at the end of what the network can grade at this "
        f"pixel size; the grains may be {beyond}; use a standard method, or another magnification"
    )


class Grader:
    """A line network on a device."""

    def __init__(self, model: LineModel, device: torch.device) -> None:
        self._network = model.network
        self._prepare = model.prepare
        self._device = device

    def votes(
        self, lines: Sequence[Line], values: Lines, scales: Sequence[Scale]
    ) -> Events[_Votes]:
        """Votes on lines (n, 1376) that are shown at these scales."""
        found = yield from probabilities(self._network, self._prepare, values, self._device)
        return _Votes(tuple(lines), found, np.array([scale.steps for scale in scales], int))


@dataclass(frozen=True)
class _Votes:
    """Lines, their probabilities (n, classes), and the steps by which they look finer."""

    lines: tuple[Line, ...]
    probabilities: Floats
    steps: Steps

    def joined(self, other: _Votes) -> _Votes:
        """Rows before columns, each in order."""
        lines = (*self.lines, *other.lines)
        order = sorted(range(len(lines)), key=lambda n: (lines[n].direction == "column", lines[n]))
        return _Votes(
            tuple(lines[n] for n in order),
            np.concatenate([self.probabilities, other.probabilities])[order],
            np.concatenate([self.steps, other.steps])[order],
        )


def probabilities(
    network: LineNetwork,
    prepare: Preparation,
    lines: Lines | NDArray[np.uint8],
    device: torch.device,
) -> Events[Floats]:
    """Probabilities (n, classes) of the classes for lines (n, 1376) of grey values."""
    parts = []
    if device.type == "cpu":
        keep_freed_memory()
    with device_errors():
        network.to(device).eval()
    for start in range(0, len(lines), _BATCH):
        with device_errors(), torch.inference_mode():
            part = torch.from_numpy(lines[start : start + _BATCH]).to(device).float()
            parts.append(network(prepare(part)).softmax(1).double().cpu().numpy())
        yield Progress(min(start + _BATCH, len(lines)), len(lines), "lines")
    return np.concatenate(parts)


def _at_several_scales(
    grey: Lines,
    calibration: Calibration,
    places: Sequence[Line],
    network: Grader,
    given: LineInput,
) -> Events[LineGrade]:
    """A fourth of the lines at their own scale; then, when its answer does, the others."""
    hands, pixel_um = 1 + len(_MIDDLES), given.pixel_um or REFERENCE_UM
    votes, first = yield from _at_own_scale(grey, calibration, places[::hands], network, given)
    if first.outside or len(places) == len(votes.lines):
        return first
    looks = first.grain_size + STEP * scale_of(calibration.mean_um, pixel_um).steps
    others = [number for number in range(len(places)) if number % hands]
    enlarged = [_enlargement(looks, _MIDDLES[number % hands - 1]) for number in others]
    rest = [places[number] for number in others]
    cut = cut_lines(grey, calibration, rest, pixel_um, enlarged)
    joined = votes.joined((yield from network.votes(*cut)))
    return replace(_grade(calibration, joined, given), outside=False)


def _enlargement(looks: float, middle: float) -> int:
    """Steps by which grains that look like one G come to look like another, or nearly so."""
    # Boundaries would vanish from lines shrunk further.
    return max(-_SHRUNK_AT_WILL, min(round((looks - middle) / STEP), _MOST_ENLARGED))


def _at_own_scale(
    grey: Lines,
    calibration: Calibration,
    places: Sequence[Line],
    network: Grader,
    given: LineInput,
) -> Events[tuple[_Votes, LineGrade]]:
    """Lines as they are, or larger or smaller until the answer lies inside the classes."""
    enlarged, tried, pixel_um = 0, set[int](), given.pixel_um or REFERENCE_UM
    while True:
        tried.add(enlarged)
        cut = cut_lines(grey, calibration, places, pixel_um, [enlarged] * len(places))
        votes = yield from network.votes(*cut)
        found = _grade(calibration, votes, given)
        change = _change(found)
        following = enlarged + change
        allowed = -_MOST_SHRUNK <= following <= _MOST_ENLARGED
        if not change or not allowed or following in tried:
            return votes, found
        enlarged = following


def _change(found: LineGrade) -> int:
    """Steps by which lines are to be enlarged, or shrunk, for an answer inside the classes."""
    if not found.outside:
        return 0
    return -_SHRINK_STEPS if found.most_probable <= found.votes.grades[0] else _ENLARGE_STEPS


def _grade(calibration: Calibration | None, given_votes: _Votes, given: LineInput) -> LineGrade:
    axis = _on_one_axis(given_votes.probabilities, np.array(given.grades), given_votes.steps)
    votes = LineVotes(given_votes.lines, *axis)
    mean = votes.probabilities.mean(0)
    grain_size = float(mean @ votes.grades)
    best = int(mean.argmax())
    spread = float(votes.expected.std(ddof=1)) if len(votes.lines) > 1 else math.nan
    return LineGrade(
        grain_size,
        spread,
        float(votes.grades[best]),
        _independent(votes.lines, grain_size, calibration),
        calibration is not None and best in (0, len(mean) - 1),
        votes,
    )


def _independent(
    lines: tuple[Line, ...], grain_size: float, calibration: Calibration | None
) -> int:
    """Lines at least a mean intercept apart; all of them where there is no scale."""
    if calibration is None:
        return len(lines)
    apart_um = intercept_mm_of(grain_size) * 1000
    count = 0
    for direction, pixel_um in (("row", calibration.y_um), ("column", calibration.x_um)):
        last = -math.inf
        for place in sorted(line.place for line in lines if line.direction == direction):
            if (place - last) * pixel_um >= apart_um:
                count, last = count + 1, place
    return count


def _on_one_axis(found: Floats, grades: Floats, steps: Steps) -> tuple[Floats, Floats]:
    """Grades (m,) that hold all lines' classes, and the probabilities (n, m) on them."""
    low, high = int(steps.min()), int(steps.max())
    axis = grades[0] - STEP * high + STEP * np.arange(len(grades) + high - low)
    spread = np.zeros((len(found), len(axis)))
    for row, (values, step) in enumerate(zip(found, steps, strict=True)):
        spread[row, high - step : high - step + len(grades)] = values
    return axis, spread


def _are_short(places: list[Line], calibration: Calibration, pixel_um: float) -> bool:
    """Whether most lines have fewer places than any that the network has learnt from."""
    sizes = {"row": calibration.x_um, "column": calibration.y_um}
    shown = [
        (line.last - line.first) * scale_of(sizes[line.direction], pixel_um).ratio
        for line in places
    ]
    return bool(np.median(shown) < _SHORT_SHARE * LINE_LENGTH)
