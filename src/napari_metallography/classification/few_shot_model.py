"""Few-shot models: a backbone, the head that compares with prototypes, and the card."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ..calibration import HOW_TO_CALIBRATE
from ..errors import InputError
from ..models import registry
from ..models.card import FewShotInput, ModelCard, Normalisation
from ..models.file import ModelFile, read_card, read_model, write_model
from .backbone import WHITENING, Backbone, EncoderName, encoder_named, texture_count
from .crops import Atlas, Crops
from .prototypes import FIRST_SCALE, Metric, PrototypeHead, prototypes
from .whitening import Whitening

ARCHITECTURE = "prototypes"

_BATCH = 32
_ROOM = 0.05
_SPREAD = torch.tensor([[0.0, 0.0], [-1, -1], [-1, 1], [1, -1], [1, 1]])
_SIDE = 224
_FEW_PARTS = 4
_QUARTERS = 4

Vary = Callable[[Tensor, Tensor], Tensor]
"""Makes others of squares (n, 1, S, S), 0 to 255, of images (n,)."""


class FewShotNetwork(nn.Module):
    """A backbone whose features are compared with prototypes.

    Parameters
    ----------
    whitening
        Of its textures, which are then compared in place of its features.
    """

    def __init__(
        self, encoder: EncoderName, metric: Metric, whitening: Whitening | None = None
    ) -> None:
        super().__init__()
        self.backbone = Backbone(encoder)
        self.whitening = whitening
        self.head = PrototypeHead(metric)

    @property
    def features(self) -> int:
        """How many there are of an image."""
        return self.backbone.features if self.whitening is None else len(self.whitening.mean)

    def forward(self, images: Tensor) -> Tensor:
        """Features (B, d) of normalised images (B, 1, S, S)."""
        if self.whitening is not None:
            return cast(Tensor, self.whitening(self.backbone.textures(images)))
        return cast(Tensor, self.backbone(images))

    def logits(self, support: Tensor, classes: Tensor, queries: Tensor, ways: int) -> Tensor:
        """Logits (Q, ways) of the features (Q, d) of queries.

        Parameters
        ----------
        support, classes
            Features (n, d) of the examples, and their classes (n,) from 0 to ways − 1.
        """
        found: Tensor = self.head(queries, prototypes(support, classes, ways))
        return found


@dataclass(frozen=True)
class FewShotModel:
    """A network ready for use; `digest` is the SHA-256 of the file it came from."""

    card: ModelCard
    network: FewShotNetwork
    digest: str

    @property
    def shown(self) -> FewShotInput:
        """What images it is shown."""
        return _shown(self.card)


@dataclass(frozen=True)
class SquareReader:
    """Squares of the images of an atlas as the network takes them.

    Attributes
    ----------
    sides_px
        (n,) of the squares, in pixels of each image.
    grey_mean, grey_std
        By which grey values are normalised.
    """

    atlas: Atlas
    sides_px: Tensor
    shown: FewShotInput
    grey_mean: float
    grey_std: float

    def clean(self, images: Tensor) -> Tensor:
        """The middle of images (B,), normalised (B, 1, S, S), neither turned nor varied."""
        sides = self.sides_px[images]
        centres = self.atlas.shapes[images] / 2
        level = torch.zeros(len(images))
        crops = Crops(images, centres.float(), sides, level, level.bool())
        return self.normalised(self.atlas.cut(crops, self.shown.side))

    def spread(
        self, images: Tensor, turns: Tensor | None = None, vary: Vary | None = None
    ) -> tuple[Tensor, Tensor]:
        """Up to five squares of each of images (B,): its middle, and where there is room its ends.

        Parameters
        ----------
        turns
            (B,) from 0 to 7: by how many quarters each image is turned; from 4 on mirrored first.
        vary
            What else happens to the squares; it is given the place of each one's image, too.

        Returns
        -------
        The squares (n, 1, S, S), normalised, and the place (n,) of each one's image among the B.
        """
        places = [self._centres(int(image)) for image in images]
        counts = torch.tensor([len(centres) for centres in places])
        owners = torch.arange(len(images)).repeat_interleave(counts)
        chosen = images[owners]
        turned = torch.zeros(len(images)) if turns is None else turns
        angles = (turned % _QUARTERS * (math.pi / 2))[owners].float()
        mirrored = (turned >= _QUARTERS)[owners]
        crops = Crops(chosen, torch.cat(places), self.sides_px[chosen], angles, mirrored)
        squares = self.atlas.cut(crops, self.shown.side)
        return self.normalised(vary(squares, owners) if vary else squares), owners

    def _centres(self, image: int) -> Tensor:
        """Centres (k, 2) of the squares of an image."""
        shape, side = self.atlas.shapes[image].float(), self.sides_px[image]
        half = (shape - side) / 2
        half = torch.where(half > _ROOM * side, half, 0.0)
        centres: Tensor = torch.unique(shape / 2 + half * _SPREAD, dim=0)
        return centres

    def normalised(self, squares: Tensor) -> Tensor:
        """Squares (B, 1, S, S), 0 to 255, as the network takes them."""
        return ((squares - self.grey_mean) / self.grey_std).contiguous(
            memory_format=torch.channels_last
        )


def square_reader(
    planes: Sequence[NDArray[np.uint8]],
    pixel_sizes_um: Sequence[float | None],
    shown: FewShotInput,
    grey: Normalisation,
    device: torch.device,
) -> SquareReader:
    """Reader of grey images (Y, X), which then lie on the device.

    Beyond the edges of an image that is smaller than the square, it is mirrored.

    Raises
    ------
    InputError
        When the network needs a pixel size that is not known.
    """
    shorter = torch.tensor([min(plane.shape) for plane in planes]).float()
    if shown.pixel_um is not None:
        sizes = require_pixel_sizes(pixel_sizes_um)
        shorter = (shown.side * shown.pixel_um / sizes).float()
    return SquareReader(Atlas(planes, device), shorter, shown, grey.mean[0], grey.std[0])


def require_pixel_sizes(pixel_sizes_um: Sequence[float | None]) -> Tensor:
    """The pixel sizes (n,).

    Raises
    ------
    InputError
        When one is unknown.
    """
    known = [size for size in pixel_sizes_um if size is not None]
    if len(known) < len(pixel_sizes_um):
        raise InputError(
            f"{len(pixel_sizes_um) - len(known)} of {len(pixel_sizes_um)} images have no pixel "
            f"size, and the model compares at one scale; {HOW_TO_CALIBRATE}, or use a model that "
            "was trained on whole images"
        )
    return torch.tensor(known, dtype=torch.float64)


def common_pixel_um(
    planes: Sequence[NDArray[np.uint8]], pixel_sizes_um: Sequence[float | None], side: int
) -> float | None:
    """The largest pixel size at which a square of `side` fits into every image.

    None unless all pixel sizes are known.
    """
    fields = [
        min(plane.shape) * (size or math.nan)
        for plane, size in zip(planes, pixel_sizes_um, strict=True)
    ]
    narrowest = float(np.min(fields))
    return None if math.isnan(narrowest) else narrowest / side


def narrowest_words(
    files: Sequence[str],
    planes: Sequence[NDArray[np.uint8]],
    pixel_sizes_um: Sequence[float | None],
) -> str:
    """Which image shows so little that of most others little is seen either; empty where none."""
    fields = {
        file: min(plane.shape) * size
        for file, plane, size in zip(files, planes, pixel_sizes_um, strict=True)
        if size is not None
    }
    narrowest = min(fields, key=lambda file: fields[file])
    usual = float(np.median([*fields.values()]))
    if usual < _FEW_PARTS * fields[narrowest]:
        return ""
    return (
        f"{narrowest} shows {fields[narrowest]:.3g} µm, most images {usual:.3g} µm or more: at one "
        "scale little of them is seen"
    )


def features_of(network: FewShotNetwork, reader: SquareReader, images: Tensor) -> Tensor:
    """Features (B, d) of the clean squares of images (B,)."""
    network.eval()
    with torch.no_grad():
        parts = [network(reader.clean(part)) for part in torch.split(images, _BATCH)]
    return torch.cat(parts)


def spread_features(
    network: FewShotNetwork,
    reader: SquareReader,
    images: Tensor,
    turns: Tensor | None = None,
    vary: Vary | None = None,
) -> Tensor:
    """Features (B, d) of images (B,): the mean over squares spread over each.

    Parameters
    ----------
    turns, vary
        As `SquareReader.spread` takes them.
    """
    network.eval()
    found = [torch.zeros(0, network.features, device=reader.atlas.device)]
    with torch.no_grad():
        for part in torch.split(torch.arange(len(images)), _BATCH) if len(images) else ():
            of_part = None if turns is None else turns[part]
            squares, owners = reader.spread(images[part], of_part, vary)
            seen = torch.cat([network(some) for some in torch.split(squares, _BATCH)])
            found.append(prototypes(seen, owners.to(seen.device), len(part)))
    return torch.cat(found)


def load_few_shot_model(name_or_file: str) -> FewShotModel:
    """Load a few-shot model by name or path, or a backbone that learnt without classes.

    A backbone compares its whitened textures by cosines, at the side it was trained at, and is not
    tuned. One of an earlier version, which has no whitening, compares its features.

    Raises
    ------
    InputError
        When there is no such model, or the file is neither.
    """
    file = _read(name_or_file)
    network = _network(file, name_or_file)
    return FewShotModel(file.card, network.to(memory_format=torch.channels_last), file.digest)


def save_few_shot_model(path: Path, card: ModelCard, network: FewShotNetwork) -> None:
    """Write a model whole or not at all; its tensors also start other networks.

    They are the backbone's in torchvision's names; the scale of the head is on the card.
    """
    write_model(path, card, network.backbone.tensors())


def _read(name_or_file: str) -> ModelFile:
    path = registry.model_path(name_or_file, "few-shot", "backbone")
    if read_card(path).task != "backbone":
        return read_model(path, "few-shot")
    file = read_model(path, "backbone")
    shown = FewShotInput(side=_trained_side(file.card), scale=FIRST_SCALE)
    return replace(file, card=file.card.model_copy(update={"few_shot": shown}))


def _trained_side(card: ModelCard) -> int:
    side = card.training.get("side")
    return side if isinstance(side, int) and not isinstance(side, bool) else _SIDE


def _network(file: ModelFile, source: str) -> FewShotNetwork:
    shown = _shown(file.card)
    encoder = encoder_named(file.card.network.encoder)
    network = FewShotNetwork(encoder, shown.metric, _whitening(file, encoder, source))
    network.backbone.take(file.state, source)
    if network.head.scale is not None and shown.scale is not None:
        network.head.scale.data.fill_(shown.scale)
    return network.eval()


def _whitening(file: ModelFile, encoder: EncoderName, source: str) -> Whitening | None:
    """That of a backbone; a few-shot model has learnt its features for itself."""
    state = {
        name.removeprefix(WHITENING): tensor
        for name, tensor in file.state.items()
        if name.startswith(WHITENING)
    }
    if not state:
        return None
    whitening = Whitening(texture_count(encoder))
    try:
        whitening.load_state_dict(state)
    except RuntimeError as error:
        raise InputError(f"{source}: its textures do not fit those of a {encoder}") from error
    return whitening


def _shown(card: ModelCard) -> FewShotInput:
    if card.few_shot is None:
        raise InputError(f"model {card.name}: its card does not say what images it takes")
    return card.few_shot
