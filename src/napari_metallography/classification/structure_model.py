"""Models of structures: the triplet network, the Gaussians of its classes, and its card."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from ..errors import InputError
from ..models import registry
from ..models.card import ModelCard, StructureInput
from ..models.file import write_model
from .crops import Atlas, drawn_crops, drawn_sides
from .descriptors import ClassGaussians
from .texture_familiarity import TextureFamiliarity
from .triplets import TEXTURES, TripletNetwork

ARCHITECTURE = "triplets"
ENCODER = "resnet18"
NONE_NAME = "none"


class StructureNetwork(nn.Module):
    """A triplet network with the Gaussians of its classes, and the textures they have."""

    def __init__(self, classes: int, shown: StructureInput) -> None:
        super().__init__()
        self.core = TripletNetwork(magnification=shown.magnification)
        self.gaussians = ClassGaussians(classes, shown.crops)
        self.familiarity = TextureFamiliarity(classes, TEXTURES)

    def forward(self, crops: Tensor, magnifications: Tensor) -> Tensor:
        """Descriptors (B, 2) of normalised crops (B, 1, S, S) and their magnification (B,)."""
        descriptors: Tensor = self.core(crops, magnifications)
        return descriptors


@dataclass(frozen=True)
class StructureModel:
    """A network ready for use; `digest` is the SHA-256 of the file it came from."""

    card: ModelCard
    network: StructureNetwork
    digest: str

    @property
    def shown(self) -> StructureInput:
        """What crops it is shown."""
        if self.card.structure is None:
            raise InputError(f"model {self.card.name}: its card does not say what crops it takes")
        return self.card.structure

    @property
    def names(self) -> tuple[str, ...]:
        """Of the classes, and of none of them."""
        return (*(one.name for one in self.card.classes), NONE_NAME)


@dataclass(frozen=True)
class CropReader:
    """Crops of images of an atlas as the network takes them.

    Attributes
    ----------
    pixel_sizes_um
        (n,) of the images of the atlas; NaN where unknown.
    grey_mean, grey_std
        By which grey values are normalised.
    """

    atlas: Atlas
    pixel_sizes_um: Tensor
    shown: StructureInput
    grey_mean: float
    grey_std: float

    def sides(self, images: Tensor, random: torch.Generator) -> Tensor:
        """Random sides (B,) of crops of images, as far as these reach.

        Of magnifications that the network was trained on, where crops of the image have any.
        """
        smallest = torch.full((len(images),), float(self.shown.smallest_px))
        largest = self.atlas.shapes[images].amin(1).clamp(max=self.shown.largest_px).float()
        if self.shown.px_per_um is not None:
            coarsest, finest = (
                (self.shown.side / (scale * self.pixel_sizes_um[images])).float()
                for scale in self.shown.px_per_um
            )
            known = torch.maximum(smallest, finest), torch.minimum(largest, coarsest)
            has_any = known[0] <= known[1]
            smallest = torch.where(has_any, known[0], smallest)
            largest = torch.where(has_any, known[1], largest)
        return drawn_sides(smallest, largest, random)

    def px_per_um(self, images: Tensor, sides: Tensor) -> Tensor:
        """Pixels per µm (B,) of crops as the network sees them."""
        return self.shown.side / (sides * self.pixel_sizes_um[images])

    def magnifications(self, images: Tensor, sides: Tensor) -> Tensor:
        """Their standardised logarithm (B,); zeros for a network that does not take it."""
        if not self.shown.magnification:
            return torch.zeros(len(images))
        logarithms = self.px_per_um(images, sides).log2()
        return ((logarithms - self.shown.mean) / self.shown.std).float()

    def draw(
        self, images: Tensor, random: torch.Generator, *, turned: bool = True
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Random crops (B, 1, S, S), 0 to 255, their magnification (B,) and sides (B,) in px."""
        sides = self.sides(images, random)
        crops = drawn_crops(images, self.atlas.shapes[images], sides, random, turned=turned)
        pixels = self.atlas.cut(crops, self.shown.side)
        return pixels, self.magnifications(images, sides).to(pixels.device), sides

    def normalised(self, crops: Tensor) -> Tensor:
        """Crops (B, 1, S, S), 0 to 255, as the network takes them."""
        return ((crops - self.grey_mean) / self.grey_std).contiguous(
            memory_format=torch.channels_last
        )


def magnification_scale(
    shown: StructureInput, shorter_sides: Tensor, pixel_sizes_um: Tensor
) -> StructureInput:
    """What crops are shown, with mean, deviation and range of the magnification of some images.

    Exact for crops whose sides are log-uniform from the smallest to what each image allows.

    Parameters
    ----------
    shorter_sides, pixel_sizes_um
        (n,) of the images.
    """
    if not shown.magnification:
        return shown
    low = math.log2(shown.smallest_px)
    high = shorter_sides.double().clamp(max=shown.largest_px).log2()
    offset = math.log2(shown.side) - pixel_sizes_um.double().log2()
    means = offset - (low + high) / 2
    variance = ((high - low).square() / 12).mean() + means.var(correction=0)
    coarsest, finest = float((offset - high).min()), float((offset - low).max())
    update = {
        "mean": float(means.mean()),
        "std": max(float(variance.sqrt()), 1e-3),
        "px_per_um": (2**coarsest, 2**finest),
    }
    return shown.model_copy(update=update)


def load_structure_model(name_or_file: str) -> StructureModel:
    """Load a model of structures by name or path.

    Raises
    ------
    InputError
        When there is no such model, or the file is not a structure model.
    """
    model = StructureModel(*registry.load_network(name_or_file, "structure", _network))
    model.network.core.to(memory_format=torch.channels_last)
    return model


def save_structure_model(path: Path, card: ModelCard, network: StructureNetwork) -> None:
    """Write a model whole or not at all."""
    write_model(path, card, network.state_dict())


def _network(card: ModelCard) -> StructureNetwork:
    return StructureNetwork(len(card.classes), card.structure or StructureInput())
