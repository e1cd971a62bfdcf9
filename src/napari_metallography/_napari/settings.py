"""What the forms remember between sessions: one JSON file in the user's folder."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from ..io.files import write_text

ENVIRONMENT = "NAPARI_METALLOGRAPHY_CONFIG"
"""Names another folder for the settings."""


def settings_path() -> Path:
    """The file of all sections."""
    default = Path.home() / ".napari-metallography"
    return Path(os.environ.get(ENVIRONMENT) or default) / "settings.json"


def load(section: str) -> dict[str, Any]:
    """What `section` was saved with; empty when there is nothing or the file is damaged."""
    found = _sections().get(section)
    return found if isinstance(found, dict) else {}


def save(section: str, values: dict[str, Any]) -> None:
    """Replace a section, whole or not at all.

    Raises
    ------
    InputError
        When the folder cannot be written.
    """
    sections = _sections() | {section: values}
    write_text(settings_path(), json.dumps(sections, indent=2, ensure_ascii=False))


def _sections() -> dict[str, Any]:
    # Damaged settings must not keep a widget from opening: defaults serve as well.
    try:
        content = json.loads(settings_path().read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}
