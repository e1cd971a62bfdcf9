"""Models of surface defects: the network, what is familiar to it, and its card."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ..classes import PhaseClass, named_classes
from ..errors import InputError
from ..models import registry
from ..models.card import DefectInput, ModelCard, Network, Normalisation
from ..models.file import write_model
from .familiarity import Familiarity
from .pdmsnet import DESIGNS, FEATURES, Design, PdmsNet


class DefectNetwork(nn.Module):
    """A network of the family with what is familiar to it."""

    def __init__(self, classes: int, design: Design) -> None:
        super().__init__()
        self.core = PdmsNet(classes, design)
        self.familiarity = Familiarity(classes, FEATURES)

    def forward(self, images: Tensor) -> Tensor:
        """Logits (B, classes) of normalised images (B, 3, H, W)."""
        logits: Tensor = self.core(images)
        return logits


@dataclass(frozen=True)
class DefectModel:
    """A network ready for use; `digest` is the SHA-256 of the file it came from."""

    card: ModelCard
    network: DefectNetwork
    digest: str

    @property
    def input(self) -> DefectInput:
        """What images it is shown."""
        if self.card.defects is None:
            raise InputError(f"model {self.card.name}: its card does not say what images it names")
        return self.card.defects

    @property
    def names(self) -> tuple[str, ...]:
        """Of the classes."""
        return tuple(one.name for one in self.card.classes)


def defect_classes(names: Sequence[str]) -> tuple[PhaseClass, ...]:
    """Classes in colours that are seen on steel; the palette's first is that of the matrix."""
    return named_classes(["unsure", *names])[1:]


def design_of(network: Network, shown: DefectInput) -> Design:
    """The member of the family that a card names.

    Raises
    ------
    InputError
        When this version does not know it.
    """
    if network.architecture not in DESIGNS:
        raise InputError(f"'{network.architecture}' is none of {', '.join(DESIGNS)}")
    ready = DESIGNS[network.architecture]
    return Design(ready.expansion, shown.kernels, shown.spliced)


def load_defect_model(name_or_file: str) -> DefectModel:
    """Load a model of surface defects by name or path.

    Raises
    ------
    InputError
        When there is no such model, or the file is not a defects model.
    """
    model = DefectModel(*registry.load_network(name_or_file, "defects", _network))
    model.network.to(memory_format=torch.channels_last)
    return model


def save_defect_model(path: Path, card: ModelCard, network: DefectNetwork) -> None:
    """Write a model whole or not at all."""
    write_model(path, card, network.state_dict())


def _network(card: ModelCard) -> DefectNetwork:
    design = design_of(card.network, card.defects or DefectInput())
    return DefectNetwork(len(card.classes), design)


def normalised(
    pixels: NDArray[np.uint8] | Tensor, by: Normalisation, device: torch.device
) -> Tensor:
    """Images (B, S, S, 3) uint8 as the network takes them: (B, 3, S, S), channels last."""
    images = torch.as_tensor(pixels).to(device).permute(0, 3, 1, 2).float()
    mean, std = (
        torch.tensor(values, device=device).view(1, 3, 1, 1) for values in (by.mean, by.std)
    )
    return (images - mean) / std
