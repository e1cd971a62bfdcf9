"""The triplet network: a crop and its magnification to a point in a plane.

Larmuseau, Sluydts, Theuwissen, Duprez, Dhaene and Cottenier, Race against the machine, Scripta
Materialia 193 (2021) 33: crops of one structure come to lie close together, those of others apart.
Hermans, Beyer and Leibe, In defense of the triplet loss (2017), for the hardest triplets.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from .backbone import Backbone

DIMENSIONS = 2
TEXTURES = 256

_HIDDEN = 64
_SAY = 0.5
_LEAST_SQUARE = 1e-12


class TripletNetwork(nn.Module):
    """Normalised grey crops (B, 1, S, S) and their magnification (B,) to descriptors (B, 2).

    Parameters
    ----------
    magnification
        Whether the standardised logarithm of the pixels per µm goes into the last layers; without
        it the network is the control that sees pixels alone.
    """

    def __init__(self, *, magnification: bool) -> None:
        super().__init__()
        self.magnification = magnification
        self.encoder = Backbone("resnet18")
        first = nn.Linear(self.encoder.features + int(magnification), _HIDDEN)
        if magnification:
            # As one of 513 inputs it would take thousands of steps to be heard beside the others.
            nn.init.normal_(first.weight[:, -1], std=_SAY)
        self.head = nn.Sequential(first, nn.ReLU(), nn.Linear(_HIDDEN, DIMENSIONS))

    def features(self, crops: Tensor) -> Tensor:
        """What the encoder sees in crops, (B, 512)."""
        seen: Tensor = self.encoder(crops)
        return seen

    def forward(self, crops: Tensor, magnifications: Tensor) -> Tensor:
        """Descriptors (B, 2); the magnifications are left aside by the control."""
        return self.place(self.features(crops), magnifications)

    def described(self, crops: Tensor, magnifications: Tensor) -> tuple[Tensor, Tensor]:
        """Descriptors (B, 2), and the textures (B, 256) that crops have.

        The latter are mean and standard deviation, over each crop, of what the first layers see.
        They know what the later layers forget as no class differs in it, so that strange images
        stand out (Lee et al., NeurIPS 2018, take the distances of all layers for that reason).
        """
        begun = self.encoder.begun(crops)
        textures = torch.cat([begun.mean((2, 3)), begun.std((2, 3))], 1)
        return self.place(self.encoder.summed_up(begun), magnifications), textures

    def place(self, features: Tensor, magnifications: Tensor) -> Tensor:
        """Descriptors (B, 2) of what the encoder saw, (B, 512), at some magnifications (B,)."""
        if self.magnification:
            features = torch.cat([features, magnifications[:, None]], 1)
        descriptors: Tensor = self.head(features)
        return descriptors


def distances(descriptors: Tensor) -> Tensor:
    """Distances (B, B) between descriptors (B, d), not squared, with gradients also at zero."""
    apart = descriptors[:, None] - descriptors[None]
    return apart.square().sum(2).clamp(min=_LEAST_SQUARE).sqrt()


def hardest_triplets(descriptors: Tensor, classes: Tensor, margin: float) -> Tensor:
    """Mean of max(0, ‖a − p‖ − ‖a − n‖ + margin) over anchors a of descriptors (B, d).

    p is the farthest crop of the anchor's class, n the nearest one of another class.
    """
    apart = distances(descriptors)
    same = classes[:, None] == classes
    farthest = torch.where(same, apart, -torch.inf).amax(1)
    nearest = torch.where(same, torch.inf, apart).amin(1)
    return functional.relu(farthest - nearest + margin).mean()


def all_triplets(descriptors: Tensor, classes: Tensor, margin: float) -> Tensor:
    """Mean of the same over all triplets that do not fulfil the margin yet."""
    apart = distances(descriptors)
    same = classes[:, None] == classes
    others = same & ~torch.eye(len(classes), dtype=torch.bool, device=classes.device)
    valid = others[:, :, None] & ~same[:, None, :]
    missing = functional.relu(apart[:, :, None] - apart[:, None, :] + margin) * valid
    return missing.sum() / (missing > 0).sum().clamp(min=1)


LOSSES = {"hardest": hardest_triplets, "all": all_triplets}
"""By what a recipe calls them."""
