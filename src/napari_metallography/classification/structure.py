"""The structure of an image: the mean answer of many crops, and how far they agree."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .. import __version__
from ..calibration import Calibration, require
from ..devices import device_errors
from ..events import Events, Notice, Progress
from .crops import Atlas
from .micrographs import require_room, require_square
from .structure_model import CropReader, StructureModel
from .triplets import TripletNetwork

MOST_CROPS = 1000

_BATCH = 40
_FEWEST = 80
_ERROR = 0.02
_CLEAR = 4.0
_SEED = 0


@dataclass(frozen=True)
class StructureAnswer:
    """What an image shows.

    Attributes
    ----------
    probabilities
        (m + 1,) of the classes, and of none of them; the mean over the crops.
    spread
        (m + 1,) standard deviation of the crops' own.
    crops
        How many were looked at.
    outside
        Share of the crops whose magnification lies outside the trained range.
    descriptors
        (crops, 2) of the crops, for the map.
    strangeness
        How far the textures of the image lie from those of the training images, at the
        magnifications they are seen at.
    most_strange
        The largest strangeness of an image that may be of a class.
    settled
        False where crops were added up to their most, and the answer could still change.
    """

    probabilities: NDArray[np.float64]
    spread: NDArray[np.float64]
    crops: int
    outside: float
    descriptors: NDArray[np.float32]
    strangeness: float
    most_strange: float
    settled: bool = True

    @property
    def is_strange(self) -> bool:
        """Whether the image as a whole is unlike all training images."""
        return self.strangeness > self.most_strange

    @property
    def answer(self) -> int:
        """The most probable class; m for none of them, as also where the image is strange."""
        none = len(self.probabilities) - 1
        return none if self.is_strange else int(self.probabilities.argmax())


def classify_plane(
    plane: NDArray[np.uint8],
    calibration: Calibration | None,
    model: StructureModel,
    device: torch.device,
    *,
    name: str = "image",
    crops: int | None = None,
) -> Events[StructureAnswer]:
    """Name the structure of grey values (Y, X), uint8.

    The same for the same image and model. The network should lie on the device.

    Parameters
    ----------
    calibration
        Needed by models that take the magnification.
    name
        Of the image, for messages.
    crops
        How many to look at; None adds crops until the answer settles, up to 1000.

    Yields
    ------
    Progress
        Of the crops.
    Notice
        When the magnification lies outside the trained range.

    Raises
    ------
    InputError
        When the image is smaller than a crop, its pixels are no squares, or its pixel size is
        needed and not known.
    DeviceError
        When the device fails.
    """
    require_room(plane, model.shown.smallest_px, name)
    reader = plane_reader(plane, calibration, model, device, name)
    found = yield from _settled(reader, model, crops)
    if found.outside > 0:
        yield Notice(outside_words(name, float(reader.pixel_sizes_um[0]), found.outside, model))
    return found


def plane_reader(
    plane: NDArray[np.uint8],
    calibration: Calibration | None,
    model: StructureModel,
    device: torch.device,
    name: str,
) -> CropReader:
    """Crops of grey values (Y, X), uint8, as a model takes them.

    Raises
    ------
    InputError
        When the pixels are no squares, or the pixel size is needed and not known.
    DeviceError
        When the device fails.
    """
    require_square(calibration, name)
    shown, grey = model.shown, model.card.normalisation
    size = require(calibration, name).mean_um if shown.magnification else math.nan
    with device_errors():
        sizes = torch.tensor([size], dtype=torch.float64)
        return CropReader(Atlas([plane], device), sizes, shown, grey.mean[0], grey.std[0])


def provenance(model: StructureModel, crops: int | None) -> dict[str, Any]:
    """How answers came about: JSON."""
    return {
        "model": model.card.name,
        "model_digest": model.digest,
        "parameters": {"crops": crops},
        "version": __version__,
    }


@dataclass(frozen=True)
class DescribedCrops:
    """What a network says of crops, on the CPU.

    Attributes
    ----------
    descriptors, textures
        (n, 2) and (n, 256).
    magnifications, px_per_um
        (n,): as the network takes them, and NaN where the pixel size is not known.
    """

    descriptors: Tensor
    textures: Tensor
    magnifications: Tensor
    px_per_um: Tensor

    @classmethod
    def joined(cls, parts: Sequence[DescribedCrops]) -> DescribedCrops:
        """All crops one after the other."""
        return cls(
            *(
                torch.cat([getattr(part, field.name) for part in parts])
                for field in dataclasses.fields(cls)
            )
        )


def described_crops(
    reader: CropReader, network: TripletNetwork, images: Tensor, random: torch.Generator
) -> DescribedCrops:
    """Random crops of images (B,), described.

    Raises
    ------
    DeviceError
        When the device fails.
    """
    with device_errors(), torch.no_grad():
        pixels, magnifications, sides = reader.draw(images, random)
        descriptors, textures = network.described(reader.normalised(pixels), magnifications)
        return DescribedCrops(
            descriptors.cpu(),
            textures.cpu(),
            magnifications.cpu(),
            reader.px_per_um(images, sides),
        )


def is_settled(probabilities: Tensor) -> bool:
    """Whether more crops would hardly change the mean of probabilities (n, m + 1).

    Either every mean has a standard error of at most 0.02, or the first class leads by four
    standard errors of its lead.
    """
    count = len(probabilities)
    if (probabilities.std(0) / math.sqrt(count)).max() <= _ERROR:
        return True
    first, second = probabilities.mean(0).topk(2).indices.tolist()
    lead = probabilities[:, first] - probabilities[:, second]
    return bool(lead.mean() > _CLEAR * lead.std() / math.sqrt(count))


def _settled(
    reader: CropReader, model: StructureModel, crops: int | None
) -> Events[StructureAnswer]:
    random = torch.Generator().manual_seed(_SEED)
    network, gaussians = model.network.core, model.network.gaussians.cpu()
    most = crops or MOST_CROPS
    found: list[DescribedCrops] = []
    seen, settled = 0, crops is not None
    while seen < most:
        yield Progress(seen, most, "crops")
        images = torch.zeros(min(_BATCH, most - seen), dtype=torch.int64)
        found.append(described_crops(reader, network, images, random))
        seen += len(images)
        if crops is None and seen >= _FEWEST:
            descriptors = torch.cat([some.descriptors for some in found])
            settled = is_settled(gaussians.probabilities(descriptors))
        if crops is None and settled:
            break
    yield Progress(most, most, "crops")
    return _answer(DescribedCrops.joined(found), model, settled=settled)


def _answer(crops: DescribedCrops, model: StructureModel, *, settled: bool) -> StructureAnswer:
    most = model.shown.most_strange
    strangeness = model.network.familiarity.cpu().strangeness(
        crops.textures[None], crops.magnifications[None]
    )
    probabilities = model.network.gaussians.probabilities(crops.descriptors)
    return StructureAnswer(
        probabilities.mean(0).numpy(),
        probabilities.std(0, correction=0).numpy(),
        len(probabilities),
        share_outside(crops.px_per_um, model.shown.px_per_um),
        crops.descriptors.numpy(),
        float(strangeness),
        math.inf if most is None else most,
        settled,
    )


def share_outside(px_per_um: Tensor, trained: tuple[float, float] | None) -> float:
    """Share of crops (n,) whose magnification lies outside the trained range."""
    if trained is None:
        return 0.0
    low, high = trained
    # Rounding at the ends of the range is no extrapolation.
    outside = (px_per_um < 0.999 * low) | (px_per_um > 1.001 * high)
    return float(outside.double().mean())


def outside_words(
    name: str, size_um: float, share: float, model: StructureModel, what: str = "crops"
) -> str:
    """What the user should know of an answer at other magnifications than those of the training."""
    scales = model.shown.px_per_um or (math.nan, math.nan)
    smallest, largest = sorted(model.shown.side / (scale * size_um) for scale in scales)
    return (
        f"{name}: {share:.0%} of its {what} are at magnifications the model was not trained on "
        f"(at {size_um:.3g} µm/px it knows {what} of {smallest:.3g} to {largest:.3g} px): the "
        "answer is an extrapolation; train with images of this magnification"
    )
