"""Segmentation models: a network with its card."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ..models import registry
from ..models.card import ModelCard
from ..models.file import write_model
from .networks import SegmentationNetwork

TOLERATED_RATIO = 1.5
"""A pixel size this many times outside the trained range is worth a warning."""


@dataclass(frozen=True)
class SegmentationModel:
    """A network ready for use; `digest` is the SHA-256 of the file it came from."""

    card: ModelCard
    network: SegmentationNetwork
    digest: str


def load_model(name_or_file: str) -> SegmentationModel:
    """Load a segmentation model by name or path.

    Raises
    ------
    InputError
        When there is no such model, or the file is not a segmentation model.
    """
    return SegmentationModel(*registry.load_network(name_or_file, "segmentation", _network))


def save_model(path: Path, card: ModelCard, network: SegmentationNetwork) -> None:
    """Write a segmentation model whole or not at all."""
    write_model(path, card, network.state_dict())


def _network(card: ModelCard) -> SegmentationNetwork:
    return SegmentationNetwork(card.network, len(card.classes))


def resampling_factor(card: ModelCard, pixel_size_um: float) -> float:
    """The enlargement that brings an image into the trained range of pixel sizes; 1 inside it."""
    if card.pixel_size_um is None:
        return 1.0
    finest, coarsest = card.pixel_size_um
    return pixel_size_um / min(max(pixel_size_um, finest), coarsest)


def is_far_from_training(card: ModelCard, pixel_size_um: float) -> bool:
    """Whether the pixel size leaves the trained range by more than `TOLERATED_RATIO`."""
    factor = resampling_factor(card, pixel_size_um)
    return not 1 / TOLERATED_RATIO <= factor <= TOLERATED_RATIO
