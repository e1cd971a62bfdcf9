"""Views of images, by which the textures of a backbone are whitened."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..classification.backbone import Backbone
from ..classification.crops import drawn_crops
from ..classification.few_shot_model import SquareReader
from ..classification.whitening import Whitening
from ..devices import device_errors
from ..events import Events, Progress
from .structure_samples import dusted, relit

_MOST_IMAGES = 1000
_FEWEST_OF_AN_IMAGE = 4
_BATCH = 32
_PART = 0.75


def learnt_whitening(
    backbone: Backbone, reader: SquareReader, count: int, seed: int
) -> Events[Whitening]:
    """The whitening of a backbone's textures, learnt from views of a reader's images.

    Of 1000 images at most (`viewed`). Views lie anywhere, are turned, lit differently and blurred
    in places, and show as large a part of their image each: its scale is no matter of chance.

    Parameters
    ----------
    count
        Of the views in all; each image has four at least.

    Yields
    ------
    Progress
        Of the views.

    Raises
    ------
    DeviceError
        When the device fails.
    """
    random = torch.Generator().manual_seed(seed)
    images = torch.randperm(len(reader.sides_px), generator=random)[: viewed(len(reader.sides_px))]
    of_an_image = max(_FEWEST_OF_AN_IMAGE, math.ceil(count / len(images)))
    all_views = images.repeat_interleave(of_an_image)
    found = []
    for number, part in enumerate(torch.split(all_views, _BATCH)):
        yield Progress(number * _BATCH, len(all_views), "views")
        with device_errors():
            found.append(_textures(backbone, reader, part, random))
    yield Progress(len(all_views), len(all_views), "views")
    views = torch.cat(found).view(len(images), of_an_image, -1)
    whitening = Whitening(views.shape[2])
    whitening.fit(views)
    return whitening


def viewed(images: int) -> int:
    """Of how many images there are views."""
    return min(images, _MOST_IMAGES)


@torch.no_grad()
def _textures(
    backbone: Backbone, reader: SquareReader, images: Tensor, random: torch.Generator
) -> Tensor:
    """Textures (B, d), on the CPU, of a view of each of images (B,)."""
    sides = _PART * reader.sides_px[images]
    crops = drawn_crops(images, reader.atlas.shapes[images], sides, random, turned=True)
    squares = relit(dusted(reader.atlas.cut(crops, reader.shown.side), random), random)
    return backbone.textures(reader.normalised(squares)).cpu()
