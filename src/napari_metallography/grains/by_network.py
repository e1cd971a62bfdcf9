"""The grain size of a field by the line network, as one of the methods."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch

from ..calibration import Calibration
from ..events import Event, Events, Notice, relayed
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
        said: list[str] = []

        def keep(event: Event) -> Event | None:
            if not isinstance(event, Notice):
                return event
            said.append(event.message.removeprefix(f"{name}: "))
            return None

        running = grade(
            pixels, calibration, self.model, self.parameters, name=name, device=self.device
        )
        found = yield from relayed(running, keep)
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
            None,
            (*said, *_notes(found)),
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


def _measured(found: LineGrade) -> dict[str, Any]:
    mean = zip(found.votes.grades, found.mean_probabilities, strict=True)
    return {
        "mean_intercept_um": 1000 * intercept_mm_of(found.grain_size),
        "spread_of_lines_G": found.spread,
        "most_probable_G": found.most_probable,
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
