"""Residual networks that turn grey images into features; they start other networks too."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torchvision.models import resnet18, resnet50

from ..errors import InputError
from ..models.card import Normalisation

EncoderName = Literal["resnet18", "resnet50"]

WHITENING = "textures."
"""What the names of the tensors begin with that whiten the textures of a backbone."""

_BUILT: dict[EncoderName, Callable[..., nn.Module]] = {"resnet18": resnet18, "resnet50": resnet50}
_FEATURES: dict[EncoderName, int] = {"resnet18": 512, "resnet50": 2048}
_CHANNELS: dict[EncoderName, int] = {"resnet18": 64 + 128, "resnet50": 256 + 512}
"""Of the first two groups of blocks."""
_FIRST = "conv1.weight"
_CLASSIFIER = "fc."
_LEAST = 1e-3
_COLOURS = 3
_SPARSE = 4


class Backbone(nn.Module):
    """A ResNet without its classifier, for one grey channel.

    He, Zhang, Ren and Sun, Deep residual learning for image recognition, CVPR (2016).
    """

    def __init__(self, encoder: EncoderName) -> None:
        super().__init__()
        self.features = _FEATURES[encoder]
        self._name = encoder.replace("resnet", "ResNet")
        self.core = _BUILT[encoder](weights=None)
        self.core.conv1 = nn.Conv2d(1, 64, 7, stride=2, padding=3, bias=False)
        self.core.fc = nn.Identity()
        nn.init.kaiming_normal_(self.core.conv1.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, images: Tensor) -> Tensor:
        """Features (B, 512 or 2048) of normalised grey images (B, 1, H, W)."""
        return self.summed_up(self.begun(images))

    def begun(self, images: Tensor) -> Tensor:
        """What the first two groups of blocks see, (B, 128 or 512, H/8, W/8): textures."""
        return self._first_groups(images)[1]

    def textures(self, images: Tensor) -> Tensor:
        """Textures of normalised grey images (B, 1, H, W): (B, 384 or 1536).

        Logarithms of mean and standard deviation, over each image, of what each of the first two
        groups of blocks sees.
        """
        found = []
        for seen in self._first_groups(images):
            mean, squared = seen.mean((2, 3)), seen.var((2, 3))
            # Not of the deviation itself: it has no slope where nothing is seen.
            found += [(mean + _LEAST).log(), (squared + _LEAST**2).log() / 2]
        return torch.cat(found, 1)

    def _first_groups(self, images: Tensor) -> tuple[Tensor, Tensor]:
        core: Any = self.core
        stem = core.maxpool(core.relu(core.bn1(core.conv1(images))))
        first = core.layer1(stem)
        return first, core.layer2(first)

    def summed_up(self, begun: Tensor) -> Tensor:
        """The features of what the first two groups saw."""
        core: Any = self.core
        seen = core.avgpool(core.layer4(core.layer3(begun)))
        return cast(Tensor, core.fc(seen.flatten(1)))

    def tensors(self) -> dict[str, Tensor]:
        """The weights in torchvision's names, those of the first kernels for three colours.

        On a grey image, of which all colours are the same, the answer stays the same.
        """
        found = dict(self.core.state_dict())
        found[_FIRST] = (found[_FIRST] / _COLOURS).repeat(1, _COLOURS, 1, 1)
        return found

    def take(self, tensors: Mapping[str, Tensor], source: str) -> None:
        """Start from weights in torchvision's names; a classifier among them is left, and textures.

        Kernels for three colours are added up: on grey images the answer is the same.

        Raises
        ------
        InputError
            When they do not fit.
        """
        left = (_CLASSIFIER, WHITENING)
        found = {name: t for name, t in tensors.items() if not name.startswith(left)}
        try:
            if _FIRST in found:
                found[_FIRST] = found[_FIRST].float().sum(1, keepdim=True)
            self.core.load_state_dict(found)
        except (RuntimeError, IndexError) as error:
            raise InputError(
                f"{source}: not the weights of a {self._name}; give those of one, or use random "
                "ones"
            ) from error


def texture_count(encoder: EncoderName) -> int:
    """How many textures an image has."""
    return 2 * _CHANNELS[encoder]


def encoder_named(name: str) -> EncoderName:
    """The encoder of a name.

    Raises
    ------
    InputError
        When it is none of a backbone.
    """
    for known in _BUILT:
        if known == name:
            return known
    raise InputError(f"unknown backbone '{name}'; choose from {', '.join(_BUILT)}")


def grey_normalisation(planes: Sequence[NDArray[np.uint8]]) -> Normalisation:
    """Mean and standard deviation of the grey values (Y, X) of images."""
    values = np.concatenate([plane[::_SPARSE, ::_SPARSE].ravel() for plane in planes])
    return Normalisation.grey(values)
