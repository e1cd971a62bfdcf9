"""What a training starts from: a new network, or a model that is trained further."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..models.card import Network, Normalisation, TrainingRound
from ..segmentation.encoders import encoder_state, normalisation
from ..segmentation.model import SegmentationModel
from ..segmentation.networks import HEAD, SegmentationNetwork, load_encoder


@dataclass(frozen=True)
class PastRound:
    """A training that is over: what the card tells of it, and its history, a row a step."""

    told: TrainingRound
    history: Sequence[dict[str, Any]]


@dataclass(frozen=True)
class Start:
    """The network and its first weights.

    Attributes
    ----------
    encoder_weights
        What they are called, for the record.
    encoder_state
        Tensors of the encoder; None leaves it random.
    state
        Tensors of the whole network; None where only the encoder is known.
    rows
        For each class the row of the parent's last layer that it starts from; None learns it
        anew. Empty where the classes are the parent's.
    parent
        SHA-256 of the model they come from.
    rounds
        The trainings that made them out of the parent, in order.
    """

    network: Network
    normalisation: Normalisation = field(default_factory=Normalisation)
    encoder_weights: str = "random"
    encoder_state: dict[str, Tensor] | None = None
    state: dict[str, Tensor] | None = None
    rows: tuple[int | None, ...] = ()
    parent: str | None = None
    rounds: tuple[PastRound, ...] = ()

    @cached_property
    def digest(self) -> str:
        """SHA-256 over names and tensors of the weights; what is random has none."""
        whole = hashlib.sha256()
        for part, tensors in (("encoder", self.encoder_state), ("network", self.state)):
            for name, tensor in sorted((tensors or {}).items()):
                whole.update(f"{part}.{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
                whole.update(_content(tensor))
        return whole.hexdigest()

    def apply(self, network: SegmentationNetwork) -> None:
        """Put the weights into a network of this kind."""
        if self.encoder_state is not None:
            load_encoder(network, self.encoder_state)
        if self.state is not None:
            network.load_state_dict(self._fitted(network, self.state))

    def _fitted(self, network: SegmentationNetwork, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """The tensors, with those of the last layer in the order of the network's classes."""
        if not self.rows:
            return state
        own = network.state_dict()
        return {
            name: taken_over(own[name], tensor, self.rows) if name.startswith(HEAD) else tensor
            for name, tensor in state.items()
        }


def _content(tensor: Tensor) -> bytes:
    """The tensor's bytes, of any type of number."""
    flat = tensor.detach().cpu().contiguous().flatten()
    return flat.view(torch.uint8).numpy().tobytes()


def taken_over(own: Tensor, parents: Tensor, rows: Sequence[int | None]) -> Tensor:
    """A copy of a tensor, with rows of the parent's; where None says so, with its own."""
    tensor = own.clone()
    for index, row in enumerate(rows):
        if row is not None:
            tensor[index] = parents[row]
    return tensor


def new_network(network: Network, encoder_weights: str) -> Start:
    """A new network; the weights its encoder starts from are as of `encoders.encoder_state`.

    Raises
    ------
    InputError
        When the weights cannot be found or do not fit.
    """
    return Start(
        network=network,
        normalisation=normalisation(network.encoder, encoder_weights),
        encoder_weights=Path(encoder_weights).name,
        encoder_state=encoder_state(network.encoder, encoder_weights),
    )


def from_model(model: SegmentationModel, names: Sequence[str] = ()) -> Start:
    """A model that is trained further.

    Parameters
    ----------
    names
        Of the classes to learn, where they are not the model's: those it knows by name keep what
        it has learnt of them.
    """
    known = [phase.name for phase in model.card.classes]
    same = not names or list(names) == known
    return Start(
        network=model.card.network,
        normalisation=model.card.normalisation,
        encoder_weights="those of the parent model",
        state=model.network.state_dict(),
        rows=() if same else known_rows(names, known),
        parent=model.digest,
    )


def known_rows(names: Sequence[str], known: Sequence[str]) -> tuple[int | None, ...]:
    """For each name its place among those that are known; None for a new one."""
    return tuple(known.index(name) if name in known else None for name in names)
