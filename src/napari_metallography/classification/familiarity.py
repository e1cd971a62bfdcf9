"""How strange an image is to a network: how far its features lie from those of the training.

Source: Lee et al., A simple unified framework for detecting out-of-distribution samples, NeurIPS
2018 (Mahalanobis distance to the nearest class); the covariance is that of probabilistic principal
components (Tipping and Bishop, J. R. Stat. Soc. B 61, 1999), as there are few training images.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

COMPONENTS = 48

_FEWEST_JUDGED = 10
_IMAGES_PER_COMPONENT = 4
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

    def fit(self, features: Tensor, classes: Tensor, components: int) -> None:
        """Learn from features (n, F) of classes (n,), with so many components."""
        features = features.double()
        means = torch.stack([features[classes == c].mean(0) for c in range(len(self.means))])
        within = features - means[classes]
        values, vectors = torch.linalg.eigh(within.T @ within / max(1, len(within) - len(means)))
        kept = min(components, len(values) - 1)
        rest = values[: len(values) - kept].mean().clamp(min=_LEAST_VARIANCE)
        self.means.copy_(means)
        self.rest.copy_(rest)
        self.axes.zero_()
        self.variances.fill_(1)
        self.axes[:kept] = vectors.T[len(values) - kept :].float()
        self.variances[:kept] = values[len(values) - kept :].clamp(min=_LEAST_VARIANCE).float()

    def strangeness(self, features: Tensor) -> Tensor:
        """Root mean square distance (n,) of features (n, F) to the nearest class.

        In standard deviations within a class: about 1 for what the network was trained on.
        """
        return self.squares(features[:, None]).amin(1).sqrt()

    def squares(self, features: Tensor) -> Tensor:
        """Mean square distances (..., m) of features (..., m or 1, F) to the m classes."""
        apart = features - self.means
        along = apart @ self.axes.T
        aside = (apart.square().sum(-1) - along.square().sum(-1)).clamp(min=0)
        return ((along.square() / self.variances).sum(-1) + aside / self.rest) / apart.shape[-1]


def components_of(images: Tensor) -> int:
    """How many are worth learning from views of images of these numbers (n,)."""
    return min(COMPONENTS, int(images.bincount().count_nonzero()) // _IMAGES_PER_COMPONENT)


def of_unseen(features: Tensor, classes: Tensor, images: Tensor) -> Tensor:
    """Strangeness (k,) of features (n, F), each to what was learnt without its image.

    What was learnt from looks more familiar than new images do, by far where there are fewer of
    them than features. A class of which a fold leaves nothing is not judged there.

    Parameters
    ----------
    classes, images
        (n,): the class of each, and the number of the image it is a view of.
    """
    # As many as of all images: more would make what is not learnt from stranger.
    components = components_of(images)

    def judged(learnt: Tensor, of: Tensor, others: Tensor) -> Tensor:
        familiarity = Familiarity(int(of.max()) + 1, features.shape[1])
        familiarity.fit(features[learnt], of, components)
        return familiarity.strangeness(features[others])

    found = by_folds(classes, images, judged)
    return found[~found.isnan()]


def limit_of(strangeness: Tensor, share: float, slack: float) -> float | None:
    """So many times what a share of images (n,) stays below; None for fewer than ten images."""
    if len(strangeness) < _FEWEST_JUDGED:
        return None
    return slack * float(strangeness.quantile(share))


def by_folds(
    classes: Tensor, images: Tensor, judged: Callable[[Tensor, Tensor, Tensor], Tensor]
) -> Tensor:
    """What is judged (n,) in five folds of images, of which every class has about a fifth.

    An image is in one fold, of whatever classes its views are. NaN where a fold leaves nothing of
    a class to learn from.

    Parameters
    ----------
    classes, images
        (n,): the class of each view, and the number of its image.
    judged
        Called with a mask (n,) of the views to learn from, their classes (l,), counted without
        those of which none is left, and a mask (n,) of the views to judge.
    """
    folds = _folds(classes, images)
    found = torch.full((len(classes),), torch.nan)
    for fold in range(_FOLDS):
        learnt = folds != fold
        known = classes[learnt].bincount().nonzero().flatten()
        others = ~learnt & torch.isin(classes, known)
        if others.any():
            found[others] = judged(learnt, torch.searchsorted(known, classes[learnt]), others)
    return found


def _folds(classes: Tensor, images: Tensor) -> Tensor:
    """A fold (n,) for each view: those of one image together, the images of a class spread."""
    _, first, places = np.unique(images.numpy(), return_index=True, return_inverse=True)
    of_images = classes.numpy()[first]
    folds = np.empty(len(first), np.int64)
    for number in np.unique(of_images):
        own = of_images == number
        folds[own] = np.arange(own.sum()) % _FOLDS
    return torch.from_numpy(folds[places])
