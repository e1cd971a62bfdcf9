"""The model file: safetensors with a JSON card in its metadata. Pickles are never loaded."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import safetensors
from pydantic import ValidationError

from ..errors import InputError
from ..io.files import read_bytes, write_bytes
from .card import ModelCard, Storage, Task

if TYPE_CHECKING:
    # Cards are read without it: its import takes seconds.
    from torch import Tensor

_CARD_KEY = "napari_metallography"
_STEPS = ":steps"
_WEIGHTS = ("weight", "bias")
_WORTH_BYTES = 4096
_LARGEST_BYTE = 127
_SMALLEST_STEP = 1e-30
_PICKLE_STARTS = (b"\x80", b"PK\x03\x04")


@dataclass(frozen=True)
class ModelFile:
    """A model as read: its card, its tensors and the SHA-256 digest of the file."""

    card: ModelCard
    state: dict[str, Tensor]
    digest: str


def write_model(path: Path, card: ModelCard, state: dict[str, Tensor]) -> None:
    """Write a model whole or not at all, in the storage precision its card names."""
    import safetensors.torch

    stored = _stored(card.storage, {name: tensor.detach().cpu() for name, tensor in state.items()})
    contiguous = {name: tensor.contiguous() for name, tensor in stored.items()}
    write_bytes(path, safetensors.torch.save(contiguous, {_CARD_KEY: card.model_dump_json()}))


def read_model(path: Path, task: Task) -> ModelFile:
    """Read a model for `task`; floating-point tensors come back as float32.

    Raises
    ------
    InputError
        When the file is missing, not a model of this package, or a model of another task.
    """
    import safetensors.torch

    content = _content(path)
    card = _card(path, content)
    if card.task != task:
        raise InputError(f"{path}: a model for {card.task}, not for {task}")
    state = safetensors.torch.load(content)
    return ModelFile(
        card=card,
        state=_restored(state),
        digest=hashlib.sha256(content).hexdigest(),
    )


def _stored(storage: Storage, state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Weights of layers in the storage's precision; what a model knows otherwise in its own.

    In 8 bits: large matrices and kernels in 255 steps a row, all else in float32.
    """
    import torch

    if storage == "int8":
        return {name: t for key, tensor in state.items() for name, t in _in_bytes(key, tensor)}
    dtype = getattr(torch, storage)
    return {name: t.to(dtype) if _is_weight(name, t) else t for name, t in state.items()}


def _is_weight(name: str, tensor: Tensor) -> bool:
    """Of a layer: a statistic would lose what it is compared with by a limit."""
    return tensor.is_floating_point() and name.endswith(_WEIGHTS)


def _in_bytes(name: str, tensor: Tensor) -> list[tuple[str, Tensor]]:
    if not _is_weight(name, tensor) or tensor.ndim < 2 or tensor.numel() < _WORTH_BYTES:
        return [(name, tensor.float() if tensor.is_floating_point() else tensor)]
    rows = tensor.float().flatten(1)
    steps = rows.abs().amax(1, keepdim=True).clamp(min=_SMALLEST_STEP) / _LARGEST_BYTE
    levels = (rows / steps).round().char().view(tensor.shape)
    return [(name, levels), (f"{name}{_STEPS}", steps.flatten())]


def _restored(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Floating-point tensors as float32, whatever they were stored in."""
    steps = {name.removesuffix(_STEPS): state.pop(name) for name in [*state] if _is_steps(name)}
    found = {name: t.float() if t.is_floating_point() else t for name, t in state.items()}
    for name, of_rows in steps.items():
        levels = found[name].float()
        found[name] = levels * of_rows.view(-1, *(1 for _ in levels.shape[1:]))
    return found


def _is_steps(name: str) -> bool:
    return name.endswith(_STEPS)


def read_card(path: Path) -> ModelCard:
    """Read a model's card; errors as for `read_model`."""
    return _card(path, _content(path))


def metadata(content: bytes) -> dict[str, str]:
    """The metadata of a safetensors file, which its library reads from files only.

    Raises
    ------
    ValueError
        When the content is no safetensors file.
    """
    length = int.from_bytes(content[:8], "little")
    try:
        header = json.loads(content[8 : 8 + length])
    except (ValueError, RecursionError):
        header = None
    if not isinstance(header, dict):
        raise ValueError("not a safetensors file")
    found: dict[str, str] = header.get("__metadata__", {})
    return found


def _content(path: Path) -> bytes:
    # Bytes, not a memory map: Windows locks mapped files.
    content = read_bytes(path)
    # The first bytes are a length, which may look like a pickle's; the header after it does not.
    if content.startswith(_PICKLE_STARTS) and content[8:9] != b"{":
        raise InputError(
            f"{path}: a pickle; only .safetensors models are loaded, pickles can run code"
        )
    return content


def _card(path: Path, content: bytes) -> ModelCard:
    try:
        found = metadata(content)
        safetensors.deserialize(content)  # type: ignore[no-untyped-call]
        return ModelCard.model_validate_json(found[_CARD_KEY])
    except (safetensors.SafetensorError, ValueError, TypeError) as error:
        if isinstance(error, ValidationError):
            raise InputError(f"{path}: its model card cannot be read by this version") from error
        raise InputError(f"{path}: not a model file (or a truncated one)") from error
    except KeyError as error:
        raise InputError(f"{path}: holds tensors but no model card of this plugin") from error
