"""Models by name: those shipped with the package, and the user's own."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from ..errors import InputError
from .card import ModelCard, Task
from .file import ModelFile, read_card, read_model

if TYPE_CHECKING:
    # Cards are read without it: its import takes seconds.
    from torch import nn

Network = TypeVar("Network", bound="nn.Module")

_SHIPPED = Path(__file__).parent / "shipped"
_SUFFIX = ".safetensors"


def own_folder() -> Path:
    """Where the user's own models are kept; `NAPARI_METALLOGRAPHY_MODELS` overrides it.

    They lie in the folder itself, or each in one of its name with the history of its training.
    """
    default = Path.home() / ".napari-metallography" / "models"
    return Path(os.environ.get("NAPARI_METALLOGRAPHY_MODELS", default))


def model_paths() -> dict[str, Path]:
    """Model files by name; an own model does not hide a shipped one of its name."""
    own = own_folder()
    paths = {folder.name: folder / f"{folder.name}{_SUFFIX}" for folder in _folders(own)}
    paths |= {path.stem: path for path in _files(own)}
    return paths | {path.stem: path for path in _files(_SHIPPED)}


def cards(*tasks: Task) -> dict[str, ModelCard]:
    """Cards by name, of some tasks or all; files that are no models are passed over."""
    found = {}
    for name, path in model_paths().items():
        try:
            card = read_card(path)
        except InputError:
            continue
        if not tasks or card.task in tasks:
            found[name] = card
    return found


def model_path(name_or_file: str, *tasks: Task) -> Path:
    """The file of a model given by its name or path.

    Raises
    ------
    InputError
        When there is neither; the message lists the names there are, of these tasks if any are
        given.
    """
    paths = model_paths()
    if name_or_file in paths:
        return paths[name_or_file]
    path = Path(name_or_file)
    if path.exists() or path.suffix:
        return path
    names = ", ".join(cards(*tasks)) or "none yet; train one, or give its file"
    wanted = f" for {' or '.join(tasks)}" if tasks else ""
    raise InputError(f"no model '{name_or_file}'{wanted}; there are {names}")


def changing_file(name_or_file: str) -> tuple[Path, int]:
    """The file of a model, and when it was changed last; 0 where it is not there."""
    path = model_path(name_or_file)
    return path, path.stat().st_mtime_ns if path.exists() else 0


def load(name_or_file: str, task: Task) -> ModelFile:
    """Read a model by name or path; errors as for `models.file.read_model`."""
    return read_model(model_path(name_or_file, task), task)


def load_network(
    name_or_file: str, task: Task, make: Callable[[ModelCard], Network]
) -> tuple[ModelCard, Network, str]:
    """Card, network and digest of a model by name or path; `make` builds the network of a card.

    Raises
    ------
    InputError
        As `load`, and when the tensors do not fit the network.
    """
    file = load(name_or_file, task)
    network = make(file.card)
    try:
        network.load_state_dict(file.state)
    except RuntimeError as error:
        raise InputError(
            f"{name_or_file}: its tensors do not fit the network of its card"
        ) from error
    return file.card, network.eval(), file.digest


def _files(folder: Path) -> Iterator[Path]:
    yield from sorted(folder.glob(f"*{_SUFFIX}")) if folder.is_dir() else ()


def _folders(folder: Path) -> Iterator[Path]:
    """Folders that hold a model of their own name."""
    for one in sorted(folder.iterdir()) if folder.is_dir() else ():
        if (one / f"{one.name}{_SUFFIX}").is_file():
            yield one
