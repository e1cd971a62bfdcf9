"""How strange an image is to a network: how far its features lie from those of the training.

Source: Lee et al., A simple unified framework for detecting out-of-distribution samples, NeurIPS
2018 (Mahalanobis distance to the nearest class); the covariance is that of probabilistic principal
components (Tipping and Bishop, J. R. Stat. Soc. B 61, 1999), as there are few training images.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

COMPONENTS = 48

_LEAST_VARIANCE = 1e-6
_FOLDS = 5


class Familiarity(nn.Module):
    """Where the features (F) of the classes lie, as tensors of a model file."""

    means: Tensor
    axes: Tensor
    variances: Tensor
    rest: Tensor

    def __init__(self, classes: int, features: int) -> None:
        super().__init__()
        self.register_buffer("means", torch.zeros(classes, features))
        self.register_buffer("axes", torch.zeros(COMPONENTS, features))
        self.register_buffer("variances", torch.ones(COMPONENTS))
        self.register_buffer("rest", torch.ones(1))

    def fit(self, features: Tensor, classes: Tensor) -> None:
        """Learn from features (n, F) of images of classes (n,)."""
        features = features.double()
        count, length = features.shape
        means = torch.stack([features[classes == c].mean(0) for c in range(len(self.means))])
        within = features - means[classes]
        values, vectors = torch.linalg.eigh(within.T @ within / max(1, count - len(means)))
        kept = slice(length - COMPONENTS, length)
        self.means.copy_(means)
        self.axes.copy_(vectors[:, kept].T)
        self.variances.copy_(values[kept].clamp(min=_LEAST_VARIANCE))
        self.rest.copy_(values[: length - COMPONENTS].mean().clamp(min=_LEAST_VARIANCE))

    def strangeness(self, features: Tensor) -> Tensor:
        """Root mean square distance (n,) of features (n, F) to the nearest class.

        In standard deviations within a class: about 1 for what the network was trained on.
        """
        apart = features[:, None] - self.means
        along = apart @ self.axes.T
        aside = (apart.square().sum(2) - along.square().sum(2)).clamp(min=0)
        squares = (along.square() / self.variances).sum(2) + aside / self.rest
        return (squares.amin(1) / features.shape[1]).sqrt()


def of_unseen(features: Tensor, classes: Tensor, images: Tensor) -> Tensor:
    """Strangeness (k,) of features (n, F), each to what was learnt without its image.

    In five folds of images, of which every class has about a fifth. What was learnt from looks
    more familiar than new images do, by far where there are fewer of them than features. A class
    of which a fold leaves nothing is not judged there.

    Parameters
    ----------
    classes, images
        (n,): the class of each, and the number of the image it is a view of.
    """
    folds = _folds(classes, images)
    found = []
    for fold in range(_FOLDS):
        out = folds == fold
        known = classes[~out].bincount().nonzero().flatten()
        judged = out & torch.isin(classes, known)
        if not judged.any():
            continue
        learnt = Familiarity(len(known), features.shape[1])
        learnt.fit(features[~out], torch.searchsorted(known, classes[~out]))
        found.append(learnt.strangeness(features[judged]))
    return torch.cat([features.new_zeros(0), *found])


def _folds(classes: Tensor, images: Tensor) -> Tensor:
    """A fold (n,) for each feature: those of one image together, those of a class spread."""
    folds = torch.zeros_like(classes)
    for number in range(int(classes.max()) + 1):
        own = classes == number
        _, place = np.unique(images[own].numpy(), return_inverse=True)
        folds[own] = torch.from_numpy(place) % _FOLDS
    return folds
