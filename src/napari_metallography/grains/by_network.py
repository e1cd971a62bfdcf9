"""The grain size of a field by the line network, as one of the methods."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch

from ..calibration import Calibration
from ..events import Event, Events, Notice, Progress, relayed
from ..models.card import ModelCard
from .finding import Pixels
from .grades import LINE_LENGTH
from .grading import FieldGrade, square_shape
from .image_lines import LineParameters
from .line_grading import LineGrade, grade
from .line_model import LineModel
from .standards import intercept_mm_of
from .voted_lines import VotedLines

LARGEST_SPREAD = 1.0
"""Standard deviation of the lines' G from which on they do not see one grain size."""

_FEWEST_LINES = 8
_MOST_OBLONG = 1.5


@dataclass(frozen=True)
class ByLineNetwork:
    """The line network that grades fields, and how many lines it is shown of each."""

    model: LineModel
    device: torch.device
    parameters: LineParameters = field(default_factory=LineParameters)

    def graded(
        self, pixels: Pixels, calibration: Calibration, name: str = "image"
    ) -> Events[FieldGrade]:
        """Grade a field (Y, X, 3) without looking for boundaries.

        Yields
        ------
        Progress
            Of the lines. What the network has to say otherwise is in the notes of the grade.

        Raises
        ------
        InputError
            When no line is long enough, or the field is of one grey value.
        DeviceError
            When the device fails.
        """
        wanted, said = self.parameters, list[str]()
        count = wanted.rows + wanted.columns
        running = grade(pixels, calibration, self.model, wanted, name=name, device=self.device)
        found = yield from relayed(running, _Hearing(name, count, said))
        # One scale may do, and a field may have room for fewer lines.
        yield Progress(count, count, "lines")
        height, width = pixels.shape[:2]
        in_paper_mode = self.model.lines.pixel_um is None
        shape, pixel_um = square_shape((height, width), calibration)
        lines = VotedLines(
            found.votes.lines,
            found.votes.expected,
            (LINE_LENGTH, LINE_LENGTH) if in_paper_mode else (height, width),
            shape,
        )
        return FieldGrade(
            "network",
            1 / intercept_mm_of(found.grain_size),
            found.independent_lines,
            _measured(found),
            (*said, *_notes(found), *_oblong(calibration), *_unscored(self.model.card)),
            lines,
            None,
            pixel_um,
        )

    def provenance(self) -> dict[str, Any]:
        """Model, its digest, parameters and device."""
        return {
            "line_network": self.model.card.name,
            "line_network_digest": self.model.digest,
            "line_network_lines": self.parameters.model_dump(),
            "line_network_device": self.device.type,
        }


class _Hearing:
    """Keeps what is said, and counts the lines of one round after the other as of one."""

    def __init__(self, name: str, lines: int, said: list[str]) -> None:
        self._name, self._lines, self._said = name, lines, said
        self._round, self._before = Progress(0, 0), 0

    def __call__(self, event: Event) -> Event | None:
        """A notice is kept back, and progress is that of all lines."""
        if isinstance(event, Notice):
            self._said.append(event.message.removeprefix(f"{self._name}: "))
            return None
        if not isinstance(event, Progress):
            return event
        if event.total != self._round.total or event.done <= self._round.done:
            self._before += self._round.done
        self._round = event
        return Progress(min(self._before + event.done, self._lines), self._lines, "lines")


def _measured(found: LineGrade) -> dict[str, Any]:
    mean = zip(found.votes.grades, found.mean_probabilities, strict=True)
    return {
        "mean_intercept_um": 1000 * intercept_mm_of(found.grain_size),
        "spread_of_lines_G": found.spread,
        "most_probable_G": found.most_probable,
        "outside": found.outside,
        "lines": len(found.votes.lines),
        "independent_lines": found.independent_lines,
        "mean_probability_by_G": {f"{g:g}": float(share) for g, share in mean},
    }


def _notes(found: LineGrade) -> list[str]:
    notes = []
    if found.spread > LARGEST_SPREAD:
        notes.append(
            f"the lines differ: their G has a standard deviation of {found.spread:.1f}; grains of "
            "several sizes, or something other than grain boundaries; compare with a standard "
            "method"
        )
    if found.independent_lines < _FEWEST_LINES:
        notes.append(
            f"{found.independent_lines} independent line{'s' * (found.independent_lines != 1)} in "
            "the field: its grains are coarse for it; take more fields or a lower magnification"
        )
    return notes


def _unscored(card: ModelCard) -> list[str]:
    if any("validation" in name for name in card.metrics):
        return []
    return [
        f"the card of {card.name} has no validation score: how exact it is is not known; compare "
        "with a standard method"
    ]


def _oblong(calibration: Calibration) -> list[str]:
    sides = calibration.x_um, calibration.y_um
    times = max(sides) / min(sides)
    if times <= _MOST_OBLONG:
        return []
    return [
        f"one side of the pixels is {times:.3g} times the other: the network takes such grains for "
        "coarser than they are; use a standard method"
    ]
