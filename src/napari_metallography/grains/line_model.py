"""Models of the line network: the network with its card."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from ..errors import InputError
from ..models import registry
from ..models.card import LineInput, ModelCard, Normalisation
from ..models.file import write_model
from .line_network import LineNetwork

_SMALLEST_STD = 0.5


@dataclass(frozen=True)
class LineModel:
    """A line network ready for use; `digest` is the SHA-256 of the file it came from."""

    card: ModelCard
    network: LineNetwork
    digest: str

    @property
    def lines(self) -> LineInput:
        """What lines it is shown."""
        if self.card.lines is None:
            raise InputError(f"model {self.card.name}: its card does not say what lines it grades")
        return self.card.lines

    @property
    def prepare(self) -> Preparation:
        """What is done to lines before the network."""
        return Preparation(self.card.normalisation, self.lines.each_line)


@dataclass(frozen=True)
class Preparation:
    """Grey values (B, 1376) on the scale 0 to 255 to what the network takes.

    Attributes
    ----------
    each_line
        By each line's own mean and standard deviation, not those of `normalisation`.
    """

    normalisation: Normalisation
    each_line: bool

    def __call__(self, lines: Tensor) -> Tensor:
        """The lines normalised; an even line becomes zero."""
        if not self.each_line:
            return (lines - self.normalisation.mean[0]) / self.normalisation.std[0]
        std, mean = torch.std_mean(lines, dim=1, keepdim=True)
        return (lines - mean) / std.clamp(min=_SMALLEST_STD)


def load_line_model(name_or_file: str) -> LineModel:
    """Load a line network by name or path.

    Raises
    ------
    InputError
        When there is no such model, or the file is not a grain-size model.
    """
    made = registry.load_network(name_or_file, "grain-size", lambda c: LineNetwork(len(c.classes)))
    model = LineModel(*made)
    if len(model.lines.grades) != len(model.card.classes):
        raise InputError(f"{name_or_file}: its card does not say the G of each class")
    return model


def save_line_model(path: Path, card: ModelCard, network: LineNetwork) -> None:
    """Write a line network whole or not at all."""
    write_model(path, card, network.state_dict())
