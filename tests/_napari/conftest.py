"""Fixtures of the napari shell's tests."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")


@pytest.fixture(autouse=True)
def settings_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder of its own for what the forms remember, in place of the user's."""
    folder = tmp_path / "settings"
    monkeypatch.setenv("NAPARI_METALLOGRAPHY_CONFIG", str(folder))
    yield folder
