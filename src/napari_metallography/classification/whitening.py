"""Where pictures of one structure lie close together: within-class covariance normalisation.

Hatch, Kajarekar and Stolcke, Within-class covariance normalization for SVM-based speaker
recognition, Interspeech (2006). Each image is taken as a class of its own: what varies among
parts of one image, turned, lit and blurred differently, tells nothing of its structure.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

_SHARE = 0.03
_LEAST_SCALE = 1e-3
_LEAST_SCATTER = 1e-6


class Whitening(nn.Module):
    """Moves and stretches features (d,), so that those of one image scatter alike in every way."""

    mean: Tensor
    matrix: Tensor

    def __init__(self, features: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(features))
        self.register_buffer("matrix", torch.eye(features))

    def forward(self, features: Tensor) -> Tensor:
        """Features (B, d) as they are compared, (B, d)."""
        return (features - self.mean) @ self.matrix

    def fit(self, views: Tensor) -> None:
        """Learn from the features (n, k, d) of k views of each of n images; k is 2 at least.

        3 % of the mean scatter is added in every direction: the least of them are not known well.
        Features that never vary are left aside.
        """
        found = views.double()
        mean, scale = found.mean((0, 1)), found.std((0, 1))
        varying = scale > _LEAST_SCALE
        scale = torch.where(varying, scale, torch.inf)
        standard = (found - mean) / scale
        apart = (standard - standard.mean(1, keepdim=True)).flatten(0, 1)
        images, count, _ = views.shape
        scatter, directions = torch.linalg.eigh(apart.T @ apart / (images * (count - 1)))
        added = (_SHARE * scatter.mean()).clamp(min=_LEAST_SCATTER)
        matrix = directions / (scatter.clamp(min=0) + added).sqrt()
        self.mean.copy_(mean)
        self.matrix.copy_(matrix / scale[:, None])
