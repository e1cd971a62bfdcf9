"""Fixtures of the napari shell's tests."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import pytest
from npe2 import PluginManager, PluginManifest

import napari_metallography

# Forms need no screen. A whole viewer draws with OpenGL, which the offscreen platform lacks.
_HAS_SCREEN = bool(os.environ.get("DISPLAY")) or sys.platform in ("win32", "darwin")
if not _HAS_SCREEN:
    os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")

_MANIFEST = Path(napari_metallography.__file__).parent / "napari.yaml"


@pytest.fixture(autouse=True)
def settings_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of its own for what the forms remember, in place of the user's."""
    folder = tmp_path / "settings"
    monkeypatch.setenv("NAPARI_METALLOGRAPHY_CONFIG", str(folder))
    return folder


@pytest.fixture
def registered_plugin() -> None:
    """The plugin as napari knows it, where the package is on the path but not installed."""
    manager = PluginManager.instance()
    if "napari-metallography" not in manager:
        manager.register(PluginManifest.from_file(_MANIFEST))


@pytest.fixture
def viewer(request: pytest.FixtureRequest, registered_plugin: None) -> Any:
    """A real viewer with its window."""
    if os.environ.get("QT_QPA_PLATFORM") == "offscreen":
        pytest.skip("a viewer needs a screen: run the tests under xvfb-run")
    return request.getfixturevalue("make_napari_viewer")()
