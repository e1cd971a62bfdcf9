"""What a training starts from: a new network, or a model that is trained further."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from torch import Tensor

from ..models.card import Network, Normalisation
from ..segmentation.encoders import encoder_state, normalisation
from ..segmentation.model import SegmentationModel
from ..segmentation.networks import SegmentationNetwork, load_encoder


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
    parent
        SHA-256 of the model they come from.
    """

    network: Network
    normalisation: Normalisation = field(default_factory=Normalisation)
    encoder_weights: str = "random"
    encoder_state: dict[str, Tensor] | None = None
    state: dict[str, Tensor] | None = None
    parent: str | None = None

    def apply(self, network: SegmentationNetwork) -> None:
        """Put the weights into a network of this kind."""
        if self.encoder_state is not None:
            load_encoder(network, self.encoder_state)
        if self.state is not None:
            network.load_state_dict(self.state)


def new_network(network: Network, encoder_weights: str) -> Start:
    """A new network whose encoder starts from "imagenet", "random" or a file of tensors.

    Raises
    ------
    InputError
        When the weights cannot be found or do not fit.
    """
    return Start(
        network=network,
        normalisation=normalisation(network.encoder),
        encoder_weights=Path(encoder_weights).name,
        encoder_state=encoder_state(network.encoder, encoder_weights),
    )


def from_model(model: SegmentationModel) -> Start:
    """A model that is trained further."""
    return Start(
        network=model.card.network,
        normalisation=model.card.normalisation,
        encoder_weights="those of the parent model",
        state=model.network.state_dict(),
        parent=model.digest,
    )
