"""What descriptors say: a Gaussian a class, and from where on none of the classes is meant."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from .triplets import DIMENSIONS

REGULARISATION = 1e-3


class ClassGaussians(nn.Module):
    """Where the descriptors of each class lie, as tensors of a model file.

    Attributes
    ----------
    means, covariances
        (m, 2) and (m, 2, 2).
    threshold
        (1,) least log-likelihood, under the best class, of a crop that is of a class at all.
    descriptors, classes
        (n, 2) and (n,) of the crops they were learnt from, for the map.
    """

    means: Tensor
    covariances: Tensor
    threshold: Tensor
    descriptors: Tensor
    classes: Tensor

    def __init__(self, classes: int, crops: int = 0) -> None:
        super().__init__()
        self.register_buffer("means", torch.zeros(classes, DIMENSIONS))
        self.register_buffer("covariances", torch.eye(DIMENSIONS).repeat(classes, 1, 1))
        self.register_buffer("threshold", torch.full((1,), -math.inf))
        self.register_buffer("descriptors", torch.zeros(crops, DIMENSIONS))
        self.register_buffer("classes", torch.zeros(crops, dtype=torch.int64))

    def fit(
        self,
        descriptors: Tensor,
        classes: Tensor,
        specimens: Tensor,
        quantile: float,
        held_out: Tensor | None = None,
    ) -> Tensor:
        """Learn from descriptors (n, 2) of crops of specimens (n,) of known classes (n,).

        The threshold is a quantile of what the crops of each specimen would have got, had the
        Gaussians been learnt without it. Of a class with crops that are `held_out` (n,), which the
        network has not seen, these count alone; every class counts as much as any other.

        Returns
        -------
        Tensor
            (m,) share of the crops that counted which the threshold refuses, by class.
        """
        count = len(self.means)
        found = [gaussian(descriptors[classes == number]) for number in range(count)]
        self.means = torch.stack([mean for mean, _ in found]).float()
        self.covariances = torch.stack([covariance for _, covariance in found]).float()
        self.descriptors, self.classes = descriptors.float(), classes
        without = leave_one_specimen_out(descriptors, classes, specimens, count)
        judged = [without[_counting(classes == number, held_out)] for number in range(count)]
        self.threshold = balanced_quantile(judged, quantile).float().view(1)
        refused = [(own < self.threshold.double()).double().mean() for own in judged]
        return torch.stack(refused)

    def log_likelihoods(self, descriptors: Tensor) -> Tensor:
        """Of descriptors (n, 2) under each class, (n, m)."""
        return log_densities(descriptors.double(), self.means.double(), self.covariances.double())

    def probabilities(self, descriptors: Tensor) -> Tensor:
        """(n, m + 1), classes as likely as each other beforehand; the last is none of them.

        A crop below the threshold is none of them for certain, one above it certainly one.
        """
        likelihoods = self.log_likelihoods(descriptors)
        is_none = (likelihoods.amax(1) < self.threshold.double()).double()[:, None]
        return torch.cat([likelihoods.softmax(1) * (1 - is_none), is_none], 1)


def gaussian(descriptors: Tensor) -> tuple[Tensor, Tensor]:
    """Mean (2,) and covariance (2, 2) of the largest likelihood, the latter with a small circle.

    The same as scikit-learn's GaussianMixture of one component with reg_covar 1e-3.
    """
    descriptors = descriptors.double()
    mean = descriptors.mean(0)
    apart = descriptors - mean
    circle = REGULARISATION * torch.eye(DIMENSIONS, dtype=torch.float64)
    return mean, apart.T @ apart / len(descriptors) + circle


def log_densities(descriptors: Tensor, means: Tensor, covariances: Tensor) -> Tensor:
    """Logarithm of the density (n, m) of m Gaussians at descriptors (n, 2)."""
    factors = torch.linalg.cholesky(covariances)
    apart = (descriptors[:, None] - means)[..., None]
    white = torch.linalg.solve_triangular(factors, apart, upper=False)[..., 0]
    volumes = torch.diagonal(factors, dim1=-2, dim2=-1).log().sum(-1)
    constant = DIMENSIONS / 2 * math.log(2 * math.pi)
    density: Tensor = -0.5 * white.square().sum(-1) - volumes - constant
    return density


def leave_one_specimen_out(
    descriptors: Tensor, classes: Tensor, specimens: Tensor, count: int
) -> Tensor:
    """Largest log-likelihood (n,) of each crop, all classes learnt without the crop's specimen.

    A class of a single specimen is taken as it is: without it there is none.
    """
    known = [gaussian(descriptors[classes == number]) for number in range(count)]
    found = torch.empty(len(descriptors), dtype=torch.float64)
    for specimen in set(specimens.tolist()):
        own = specimens == specimen
        changed = list(known)
        for number in set(classes[own].tolist()):
            rest = (classes == number) & ~own
            if rest.any():
                changed[number] = gaussian(descriptors[rest])
        means, covariances = (torch.stack(parts) for parts in zip(*changed, strict=True))
        found[own] = log_densities(descriptors[own].double(), means, covariances).amax(1)
    return found


def balanced_quantile(groups: Sequence[Tensor], quantile: float) -> Tensor:
    """The largest value below which at most a share of the groups' values lies, each group alike.

    Parameters
    ----------
    groups
        (n,) values of each, none empty.
    """
    values, order = torch.cat([*groups]).sort()
    parts = [torch.full((len(one),), 1 / (len(groups) * len(one))) for one in groups]
    below = torch.cat(parts).double()[order].cumsum(0)
    # Rounding must not take one more.
    place = int((below <= quantile + 1e-9).sum())
    return values[min(place, len(values) - 1)]


def _counting(own: Tensor, held_out: Tensor | None) -> Tensor:
    """Which crops of a class tell its threshold, (n,)."""
    if held_out is None or not (own & held_out).any():
        return own
    return own & held_out
