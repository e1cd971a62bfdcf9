"""Segmentation networks, from segmentation-models-pytorch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeVar, cast

import segmentation_models_pytorch as smp
import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate, pad

from ..errors import InputError
from ..models.card import Network
from .dilation import phasewise

ENCODERS: dict[str, str] = {
    "efficientnet-lite0": "tu-tf_efficientnet_lite0",
    "efficientnet-lite1": "tu-tf_efficientnet_lite1",
    "efficientnet-lite2": "tu-tf_efficientnet_lite2",
    "mobilenet-v3-large": "tu-mobilenetv3_large_100",
    "resnet18": "resnet18",
    "resnet34": "resnet34",
    "resnet50": "resnet50",
}
"""Encoders whose code and ImageNet weights are free to use (Apache-2.0 or BSD-3-Clause)."""

Chosen = TypeVar("Chosen")

HEAD = "core.segmentation_head."
"""Beginning of the names of the last layer's tensors, one row a class."""

_STRIDE = 32

# Half of the library's default widths in the deep blocks: a third cheaper per training step.
_UNET_CHANNELS = (128, 64, 48, 32, 16)


def _unet(encoder: str, classes: int) -> nn.Module:
    return cast(
        nn.Module,
        smp.Unet(encoder, encoder_weights=None, classes=classes, decoder_channels=_UNET_CHANNELS),
    )


def _unet_plus_plus(encoder: str, classes: int) -> nn.Module:
    return cast(
        nn.Module,
        smp.UnetPlusPlus(
            encoder, encoder_weights=None, classes=classes, decoder_channels=_UNET_CHANNELS
        ),
    )


def _deeplabv3plus(encoder: str, classes: int) -> nn.Module:
    return cast(nn.Module, smp.DeepLabV3Plus(encoder, encoder_weights=None, classes=classes))


def _pspnet(encoder: str, classes: int) -> nn.Module:
    # The library's default depth of 3 without dilation is not the paper's network.
    return cast(
        nn.Module,
        smp.PSPNet(
            encoder,
            encoder_weights=None,
            encoder_depth=5,
            classes=classes,
            upsampling=8,
            output_stride=8,
        ),
    )


ARCHITECTURES: dict[str, Callable[[str, int], nn.Module]] = {
    "unet": _unet,
    "unet++": _unet_plus_plus,
    "deeplabv3plus": _deeplabv3plus,
    "pspnet": _pspnet,
}


class SegmentationNetwork(nn.Module):
    """A network that takes images of any size and answers at that size.

    Parameters
    ----------
    network
        As the model card names it: architecture, encoder, enlargement of the input.
    classes
        Number of classes, two at least.

    Raises
    ------
    InputError
        When architecture or encoder are not known.
    """

    def __init__(self, network: Network, classes: int) -> None:
        super().__init__()
        build = _choice(ARCHITECTURES, network.architecture, "architecture")
        encoder = _choice(ENCODERS, network.encoder, "encoder")
        self.enlargement = network.enlargement
        self.core = phasewise(build(encoder, classes))

    @property
    def encoder(self) -> nn.Module:
        """The part that pretrained weights go into."""
        return cast(nn.Module, self.core.encoder)

    def forward(self, images: Tensor) -> Tensor:
        """Normalised images (B, 3, H, W) to logits (B, classes, H, W)."""
        size = images.shape[-2:]
        enlarged = resized(images, _scaled(size, self.enlargement))
        return resized(self._padded(enlarged), size)

    def _padded(self, images: Tensor) -> Tensor:
        height, width = images.shape[-2:]
        bottom, right = -height % _STRIDE, -width % _STRIDE
        logits = self.core(reflect_pad(images, bottom, right))
        return cast(Tensor, logits[..., :height, :width])


def reflect_pad(images: Tensor, bottom: int, right: int) -> Tensor:
    """Extend (B, C, H, W) downwards and to the right by reflection, by any amount."""
    while bottom > 0 or right > 0:
        height, width = images.shape[-2:]
        step_down, step_right = min(bottom, height - 1), min(right, width - 1)
        if step_down == step_right == 0:
            return pad(images, (0, right, 0, bottom), mode="replicate")
        images = pad(images, (0, step_right, 0, step_down), mode="reflect")
        bottom, right = bottom - step_down, right - step_right
    return images


def require_encoder(name: str) -> None:
    """Raise `InputError` for an encoder that is not one of `ENCODERS`."""
    _choice(ENCODERS, name, "encoder")


def load_encoder(network: SegmentationNetwork, state: dict[str, Tensor]) -> None:
    """Put pretrained tensors into the encoder.

    Tensors are matched by name, or, when no name matches, by order, which holds between
    packagings of one network; each shape must agree.

    Raises
    ------
    InputError
        When the tensors are not those of this encoder.
    """
    own = network.encoder.state_dict()
    named = {name.removeprefix("model."): name for name in own}
    given = {name.removeprefix("model."): value for name, value in state.items()}
    by_name = {named[key]: value for key, value in given.items() if key in named}
    matched = by_name or dict(zip(own, state.values(), strict=False))
    if set(matched) != set(own) or any(matched[k].shape != own[k].shape for k in own):
        raise InputError("the encoder weights do not belong to this encoder")
    network.encoder.load_state_dict(matched)


def _choice(known: Mapping[str, Chosen], name: str, what: str) -> Chosen:
    if name not in known:
        raise InputError(f"unknown {what} '{name}'; choose from {', '.join(known)}")
    return known[name]


def _scaled(size: torch.Size, factor: float) -> tuple[int, int]:
    return max(1, round(size[0] * factor)), max(1, round(size[1] * factor))


def resized(images: Tensor, size: torch.Size | tuple[int, int]) -> Tensor:
    """Resize (B, C, H, W) bilinearly, with smoothing when it gets smaller."""
    if tuple(images.shape[-2:]) == tuple(size):
        return images
    smaller = size[0] < images.shape[-2] or size[1] < images.shape[-1]
    # On processors there is no smoothing of half precision.
    with torch.autocast(images.device.type, enabled=False):
        shown = images.float() if smaller else images
        found = interpolate(
            shown, size=tuple(size), mode="bilinear", align_corners=False, antialias=smaller
        )
    return found.to(images.dtype)
