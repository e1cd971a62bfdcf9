"""What the forms remember between sessions: one JSON file in the user's folder."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from functools import cache
from itertools import count
from pathlib import Path
from typing import Any

from napari.utils.notifications import show_warning

from ..errors import InputError
from ..io.files import unreadable, write_text

ENVIRONMENT = "NAPARI_METALLOGRAPHY_CONFIG"
"""Names another folder for the settings."""


def settings_path() -> Path:
    """The file of all sections."""
    default = Path.home() / ".napari-metallography"
    return Path(os.environ.get(ENVIRONMENT) or default) / "settings.json"


def load(section: str) -> dict[str, Any]:
    """What `section` was saved with; empty when there is nothing or the file cannot be read."""
    # Settings that cannot be read must not keep a widget from opening: defaults serve as well.
    try:
        found = _sections().get(section)
    except InputError as error:
        _tell_once(str(error))
        return {}
    return found if isinstance(found, dict) else {}


def save(section: str, values: dict[str, Any]) -> None:
    """Replace a section, whole or not at all.

    Raises
    ------
    InputError
        When the file cannot be read, as its other sections would be lost, or not be written.
    """
    sections = _sections() | {section: values}
    write_text(settings_path(), json.dumps(sections, indent=2, ensure_ascii=False))


def _sections() -> dict[str, Any]:
    path = settings_path()
    try:
        content = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise unreadable(path, error) from error
    except (ValueError, RecursionError):
        content = None
    return content if isinstance(content, dict) else _put_aside(path)


def _put_aside(path: Path) -> dict[str, Any]:
    """Keep a damaged file under another name, for its user to mend; start with no settings."""
    kept = next(other for other in _names_beside(path) if not other.exists())
    try:
        path.rename(kept)
    except OSError as error:
        raise InputError(
            f"{path}: is damaged and cannot be renamed ({error.strerror or error}); "
            "rename it, or give the right to write in its folder"
        ) from error
    _tell_once(f"{path}: is damaged; it is kept as {kept.name}, and new settings are begun")
    return {}


def _names_beside(path: Path) -> Iterator[Path]:
    yield path.with_name(f"{path.name}.damaged")
    for number in count(2):
        yield path.with_name(f"{path.name}.damaged{number}")


@cache
def _tell_once(message: str) -> None:
    show_warning(message)
