"""Classes told by their prototypes: the means of what a network sees in a few examples of each.

Snell, Swersky and Zemel, Prototypical networks for few-shot learning, NeurIPS (2017); Hu, Li,
Stühmer, Kim and Hospedales, Pushing the limits of simple pipelines for few-shot learning, CVPR
(2022), for cosines and their scale.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

Metric = Literal["cosine", "euclidean"]

FIRST_SCALE = 10.0


def prototypes(features: Tensor, classes: Tensor, count: int) -> Tensor:
    """Means (count, d) of the features (n, d) of each class; of classes (n,) each has one."""
    shares = functional.one_hot(classes, count).to(features.dtype)
    return (shares / shares.sum(0)).T @ features


def cosines(features: Tensor, centres: Tensor) -> Tensor:
    """Cosines (n, m) of the angles between features (n, d) and centres (m, d)."""
    return functional.normalize(features, dim=1) @ functional.normalize(centres, dim=1).T


def squared_distances(features: Tensor, centres: Tensor) -> Tensor:
    """Squared Euclidean distances (n, m) of features (n, d) from centres (m, d)."""
    return (features[:, None] - centres[None]).square().sum(2)


class PrototypeHead(nn.Module):
    """Logits of classes that a few examples of each define.

    Parameters
    ----------
    metric
        "cosine": a learnable scale, at first 10, times the cosine. "euclidean": the negative
        squared distance.
    """

    def __init__(self, metric: Metric) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(FIRST_SCALE)) if metric == "cosine" else None

    def forward(self, features: Tensor, centres: Tensor) -> Tensor:
        """Logits (n, m) of features (n, d) under prototypes (m, d)."""
        if self.scale is None:
            return -squared_distances(features, centres)
        return self.scale * cosines(features, centres)
