"""How strange the textures of an image are, at the magnifications that they are seen at.

A texture that is known at one magnification is strange at another: fine pearlite looks like coarse
pearlite taken closer. Each class therefore has a curve, what its textures are at each magnification
(a cubic polynomial, by least squares). An image is as strange as the mean of its crops is far from
the mean of the nearest curve at their magnifications, by the distance of `familiarity`.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .familiarity import Familiarity, by_folds, components_of

_DEGREE = 3
_LEAST_SPAN = 1e-6


class TextureFamiliarity(nn.Module):
    """Which textures (F) the classes have at which magnification, as tensors of a model file."""

    curves: Tensor
    middles: Tensor
    spans: Tensor
    crops_per_image: Tensor

    def __init__(self, classes: int, textures: int) -> None:
        super().__init__()
        self.register_buffer("curves", torch.zeros(classes, _DEGREE + 1, textures))
        self.register_buffer("middles", torch.zeros(classes))
        self.register_buffer("spans", torch.ones(classes))
        self.register_buffer("crops_per_image", torch.ones(1))
        self.aside = Familiarity(classes, textures)

    def fit(
        self, textures: Tensor, magnifications: Tensor, classes: Tensor, components: int
    ) -> None:
        """Learn from crops of images of classes (n,), with so many components.

        Parameters
        ----------
        textures
            (n, crops, F).
        magnifications
            (n, crops), in any logarithmic unit; all the same where they are not known.
        """
        self.crops_per_image.fill_(textures.shape[1])
        apart = torch.empty(len(classes), textures.shape[2])
        for number in range(len(self.curves)):
            own = classes == number
            self._fit_curve(textures[own], magnifications[own], number)
            apart[own] = (textures[own] - self._expected(magnifications[own], number)).mean(1)
        self.aside.fit(apart, classes, components)

    def _fit_curve(self, textures: Tensor, magnifications: Tensor, number: int) -> None:
        low, high = magnifications.aminmax()
        self.middles[number] = (low + high) / 2
        self.spans[number] = ((high - low) / 2).clamp(min=_LEAST_SPAN)
        powers = self._powers(magnifications, number).flatten(0, 1).double()
        # Where there is one magnification only, the least of all solutions is a constant.
        self.curves[number] = (torch.linalg.pinv(powers) @ textures.flatten(0, 1).double()).float()

    def strangeness(self, textures: Tensor, magnifications: Tensor) -> Tensor:
        """Of images (n,), by textures (n, crops, F) at magnifications (n, crops).

        In standard deviations within a class: about 1 for what the network was trained on. Beyond
        the magnifications of a class its textures are taken to stay as they are.

        The mean of few crops strays farther than that of many. Their own scatter tells how far, so
        that strangeness is that of as many crops as it was learnt from; a single crop counts as if
        all of its distance were scatter.
        """
        pairs = zip(textures, magnifications, strict=True)
        return torch.stack([self._strangeness_of_one(*pair) for pair in pairs])

    def _strangeness_of_one(self, textures: Tensor, magnifications: Tensor) -> Tensor:
        """Of an image, by textures (crops, F) at magnifications (crops,)."""
        classes, count = range(len(self.curves)), len(textures)
        expected = torch.stack([self._expected(magnifications, number) for number in classes], 1)
        apart = textures[:, None] - expected
        of_mean, of_crops = self.aside.squares(apart.mean(0)), self.aside.squares(apart).mean(0)
        if count == 1:
            return (of_mean / self.crops_per_image).amin().sqrt()
        scatter = (of_crops - of_mean) * count / (count - 1)
        fair = of_mean - scatter * (1 / count - 1 / self.crops_per_image)
        return fair.clamp(min=0).amin().sqrt()

    def _expected(self, magnifications: Tensor, number: int) -> Tensor:
        """Textures (..., F) of a class at magnifications (...)."""
        return self._powers(magnifications, number) @ self.curves[number]

    def _powers(self, magnifications: Tensor, number: int) -> Tensor:
        """Powers (..., 4) of magnifications (...) relative to the range of a class."""
        place = (magnifications - self.middles[number]) / self.spans[number]
        return place.clamp(-1, 1)[..., None] ** torch.arange(_DEGREE + 1)


def of_unseen_textures(
    textures: Tensor, magnifications: Tensor, classes: Tensor, specimens: Tensor
) -> Tensor:
    """Strangeness (n,) of images (n,), each to what was learnt without its specimen.

    NaN where no other specimen of the class is left.

    Parameters
    ----------
    textures, magnifications
        As `TextureFamiliarity.fit` takes them.
    """
    components = components_of(specimens)

    def judged(learnt: Tensor, of: Tensor, others: Tensor) -> Tensor:
        familiarity = TextureFamiliarity(int(of.max()) + 1, textures.shape[2])
        familiarity.fit(textures[learnt], magnifications[learnt], of, components)
        return familiarity.strangeness(textures[others], magnifications[others])

    return by_folds(classes, specimens, judged)
