"""A training of surface defects that goes on from a model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from ..classification.model import DefectModel, DefectNetwork
from ..models.card import DefectInput, Network, Normalisation
from .start import known_rows, taken_over

_OF_CLASSES = ("core.classifier.weight", "core.classifier.bias", "familiarity.means")


@dataclass(frozen=True)
class DefectStart:
    """First weights, and what a network is shown.

    Attributes
    ----------
    state
        Tensors of the whole network.
    rows
        For each class to learn the parent's that it starts from; None learns it anew.
    parent
        SHA-256 of the model they come from.
    """

    network: Network
    shown: DefectInput
    normalisation: Normalisation
    state: dict[str, Tensor]
    rows: tuple[int | None, ...]
    parent: str

    def apply(self, network: DefectNetwork) -> None:
        """Put the weights into a network of this kind, for the classes to learn."""
        own = network.state_dict()
        fitted = {
            name: taken_over(own[name], tensor, self.rows) if name in _OF_CLASSES else tensor
            for name, tensor in self.state.items()
        }
        network.load_state_dict(fitted)


def from_defect_model(model: DefectModel, names: Sequence[str]) -> DefectStart:
    """Start from a model.

    Parameters
    ----------
    names
        Of the classes to learn; those that the model knows by name keep what it has learnt of
        them.
    """
    return DefectStart(
        network=model.card.network,
        shown=model.input,
        normalisation=model.card.normalisation,
        state=model.network.state_dict(),
        rows=known_rows(names, model.names),
        parent=model.digest,
    )
