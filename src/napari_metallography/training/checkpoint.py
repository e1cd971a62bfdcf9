"""The state of a training that goes on after a stop with the same weights."""

from __future__ import annotations

import errno
import hashlib
import json
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor, nn

from ..errors import InputError
from ..events import Events, Notice
from ..io.files import write_bytes
from ..models.file import metadata
from .recipe import SegmentationRecipe, SteppedRecipe

_KEY = "training"
_FIRST_AFTER = 5
_SECONDS_BETWEEN = 20.0


@dataclass
class TrainingState:
    """All that a training carries from one step to the next.

    `global_random` is the state of torch's global generator, which dropout draws from;
    `device_random` that of the CUDA device's, None on the CPU. `batch_size` is the recipe's, or
    less after memory ran out. `scale` is the state of what scales gradients in 16 bits, empty in
    other arithmetic.
    """

    network: nn.Module
    optimiser: torch.optim.Optimizer
    random: torch.Generator
    global_random: Tensor
    device_random: Tensor | None
    history: list[dict[str, Any]]
    batch_size: int
    scale: dict[str, Any] = field(default_factory=dict)
    iteration: int = 0
    best: dict[str, Tensor] | None = None
    best_score: float = -1.0


def first_state(
    make: Callable[[], nn.Module],
    optimiser: Callable[[nn.Module], torch.optim.Optimizer],
    recipe: SegmentationRecipe | SteppedRecipe,
    device: torch.device,
) -> TrainingState:
    """The state before the first step, the same under the recipe's seed whatever was drawn before.

    Parameters
    ----------
    make
        Makes the network with its first weights.
    optimiser
        Makes that of the network, which lies on the device.
    """
    on_gpu = device.type == "cuda"
    with torch.random.fork_rng(devices=[torch.cuda.current_device()] if on_gpu else []):
        torch.manual_seed(recipe.seed)
        network = make()
        global_random = torch.get_rng_state()
        device_random = torch.cuda.get_rng_state() if on_gpu else None
    network.to(device).to(memory_format=torch.channels_last)
    return TrainingState(
        network=network,
        optimiser=optimiser(network),
        random=torch.Generator().manual_seed(recipe.seed),
        global_random=global_random,
        device_random=device_random,
        history=[],
        batch_size=recipe.batch_size,
    )


class Checkpoints:
    """The checkpoint of a training, kept often enough for a kill to cost little.

    A full disk ends no training: the checkpoint is then tried again when the next is due.

    Parameters
    ----------
    path
        None keeps nothing.
    settings
        A `fingerprint`.

    Raises
    ------
    InputError
        When nothing can be written beside `path`.
    """

    def __init__(self, path: Path | None, settings: str) -> None:
        self._path = path
        self._settings = settings
        self._tried_at = time.monotonic()
        self._is_failing = False
        if path is not None:
            _require_writable(path.parent)

    def keep_when_due(self, state: TrainingState, *, is_due: bool) -> Events[None]:
        """Write when `is_due`, early in a training, and after a while without; a Notice on failure.

        The first failure of several in a row is told.
        """
        late = time.monotonic() - self._tried_at >= _SECONDS_BETWEEN
        if self._path is None or not (is_due or late or state.iteration == _FIRST_AFTER):
            return
        failed, self._is_failing = self._is_failing, False
        try:
            self.keep(state)
        except InputError as error:
            self._is_failing = True
            if not failed:
                yield Notice(f"no checkpoint could be written: {_reason(error)}; training goes on")
        # Writing may itself take long.
        self._tried_at = time.monotonic()

    def keep(self, state: TrainingState) -> None:
        """Write now; `InputError` when that fails."""
        if self._path is not None:
            write_checkpoint(self._path, state, self._settings)


def fingerprint(settings: dict[str, Any]) -> str:
    """Digest of the settings a checkpoint belongs to."""
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()


def write_checkpoint(path: Path, state: TrainingState, settings: str) -> None:
    """Write a checkpoint whole or not at all; `settings` is a `fingerprint`."""
    tensors = {f"network.{name}": t for name, t in state.network.state_dict().items()}
    tensors |= {f"best.{name}": t for name, t in (state.best or {}).items()}
    for index, slots in state.optimiser.state_dict()["state"].items():
        tensors |= {f"optimiser.{index}.{name}": t for name, t in slots.items()}
    tensors |= {"random": state.random.get_state(), "global_random": state.global_random}
    if state.device_random is not None:
        tensors["device_random"] = state.device_random
    progress = {
        _KEY: json.dumps(
            {
                "iteration": state.iteration,
                "batch_size": state.batch_size,
                "scale": state.scale,
                "history": state.history,
                "settings": settings,
                "best_score": state.best_score,
            }
        )
    }
    contiguous = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    write_bytes(path, safetensors.torch.save(contiguous, progress))


def restore_checkpoint(path: Path, state: TrainingState, settings: str) -> None:
    """Put a checkpoint into `state`.

    Raises
    ------
    InputError
        When the file is no checkpoint, or one of other data or another recipe.
    """
    saved, tensors = _content(path)
    if saved["settings"] != settings:
        raise InputError(
            f"{path}: belongs to other data or another recipe; delete it to start anew"
        )
    state.network.load_state_dict(_with_prefix(tensors, "network."))
    optimiser = state.optimiser.state_dict()
    optimiser["state"] = _optimiser_slots(_with_prefix(tensors, "optimiser."))
    state.optimiser.load_state_dict(optimiser)
    state.random.set_state(tensors["random"])
    state.global_random = tensors["global_random"]
    state.device_random = tensors.get("device_random")
    state.history = saved["history"]
    state.iteration = saved["iteration"]
    state.batch_size = saved["batch_size"]
    state.scale = saved["scale"]
    state.best = _with_prefix(tensors, "best.") or None
    # Checkpoints of segmentation had a name of their own for it once.
    state.best_score = saved.get("best_score", saved.get("best_miou", -1.0))


def stopped_at(path: Path) -> tuple[dict[str, Tensor], list[dict[str, Any]]]:
    """The network's tensors and the history at the stop, whatever data or recipe they belong to.

    Raises
    ------
    InputError
        When the file is no checkpoint.
    """
    saved, tensors = _content(path)
    return _with_prefix(tensors, "network."), saved["history"]


def _require_writable(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise InputError(
            f"{folder}: cannot be written ({error.strerror or error}), so that a stopped training "
            "could not go on; choose another folder"
        ) from error


def _reason(error: InputError) -> str:
    cause = error.__cause__
    full = isinstance(cause, OSError) and cause.errno == errno.ENOSPC
    return "disk full" if full else str(error)


def _content(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    try:
        content = path.read_bytes()
        saved: dict[str, Any] = json.loads(metadata(content)[_KEY])
        return saved, safetensors.torch.load(content)
    except Exception as error:
        raise InputError(f"{path}: not a checkpoint; delete it to start anew") from error


def _with_prefix(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {k.removeprefix(prefix): t for k, t in tensors.items() if k.startswith(prefix)}


def _optimiser_slots(tensors: dict[str, Tensor]) -> dict[int, dict[str, Tensor]]:
    slots: dict[int, dict[str, Tensor]] = {}
    for key, tensor in tensors.items():
        index, name = key.split(".", 1)
        slots.setdefault(int(index), {})[name] = tensor
    return slots
