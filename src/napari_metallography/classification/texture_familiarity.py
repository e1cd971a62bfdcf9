"""How strange the textures of an image are, at the magnifications that they are seen at.

A texture that is known at one magnification is strange at another: fine pearlite looks like coarse
pearlite taken closer. Each class therefore has a curve, what its textures are at each magnification
(a cubic polynomial, by least squares), and an image is as strange as its mean distance from the
nearest curve is, by the distance of `familiarity`.
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
    crops: Tensor

    def __init__(self, classes: int, textures: int) -> None:
        super().__init__()
        self.register_buffer("curves", torch.zeros(classes, _DEGREE + 1, textures))
        self.register_buffer("middles", torch.zeros(classes))
        self.register_buffer("spans", torch.ones(classes))
        self.register_buffer("crops", torch.ones(1))
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
        for number in range(len(self.curves)):
            own = magnifications[classes == number]
            low, high = own.min(), own.max()
            self.middles[number] = (low + high) / 2
            self.spans[number] = ((high - low) / 2).clamp(min=_LEAST_SPAN)
            powers = self._powers(own, number).flatten(0, 1)
            seen = textures[classes == number].flatten(0, 1)
            # Where there is one magnification only, the least of all solutions is a constant.
            curve = torch.linalg.pinv(powers.double()) @ seen.double()
            self.curves[number] = curve.float()
        apart = self._apart(textures, magnifications)
        self.crops.fill_(textures.shape[1])
        self.aside.fit(apart[torch.arange(len(classes)), classes], classes, components)

    def strangeness(self, textures: Tensor, magnifications: Tensor) -> Tensor:
        """Of images (n,), by textures (n, crops, F) at magnifications (n, crops).

        In standard deviations within a class: about 1 for what the network was trained on. Beyond
        the magnifications of a class its textures are taken to stay as they are. Of fewer crops
        than it was learnt from an image gets the strangeness that is sure: as if all of it were
        due to the choice of the crops.
        """
        sure = (textures.shape[1] / self.crops).clamp(max=1).sqrt()
        return sure * self.aside.strangeness_of(self._apart(textures, magnifications))

    def _apart(self, textures: Tensor, magnifications: Tensor) -> Tensor:
        """Mean distance (n, m, F) of the crops of images from the curves of the m classes."""
        means = textures.mean(1)
        return torch.stack(
            [
                means - self._powers(magnifications, number).mean(1) @ self.curves[number]
                for number in range(len(self.curves))
            ],
            1,
        )

    def _powers(self, magnifications: Tensor, number: int) -> Tensor:
        """Powers (..., 4) of magnifications (...) relative to the range of a class."""
        place = (magnifications - self.middles[number]) / self.spans[number]
        return place.clamp(-1, 1)[..., None] ** torch.arange(_DEGREE + 1)


def of_unseen_textures(
    textures: Tensor, magnifications: Tensor, classes: Tensor, specimens: Tensor
) -> Tensor:
    """Strangeness (k,) of images (n,), each to what was learnt without its specimen.

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

    return torch.cat([textures.new_zeros(0), *by_folds(classes, specimens, judged)])
