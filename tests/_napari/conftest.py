"""Fixtures of the napari shell's tests."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pytest
from npe2 import PluginManager, PluginManifest
from qtpy.QtCore import QTimer
from qtpy.QtWidgets import QApplication

import napari_metallography
from napari_metallography._napari import reader, worker

T = TypeVar("T")

# Forms need no screen. A whole viewer draws with OpenGL, which the offscreen platform lacks.
_HAS_SCREEN = bool(os.environ.get("DISPLAY")) or sys.platform in ("win32", "darwin")
if not _HAS_SCREEN:
    os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")

_FREEZE_S = 0.6
_MANIFEST = Path(napari_metallography.__file__).parent / "napari.yaml"


@pytest.fixture(autouse=True)
def settings_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of its own for what the forms remember, in place of the user's."""
    folder = tmp_path / "settings"
    monkeypatch.setenv("NAPARI_METALLOGRAPHY_CONFIG", str(folder))
    return folder


class _Clipboard:
    def __init__(self) -> None:
        self._text = ""

    def text(self) -> str:
        return self._text

    def setText(self, text: str) -> None:
        self._text = text


@pytest.fixture(autouse=True)
def own_clipboard(monkeypatch: pytest.MonkeyPatch) -> None:
    """A clipboard for each test: the display's is one for all processes of a run."""
    own = _Clipboard()
    monkeypatch.setattr(QApplication, "clipboard", lambda: own)


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the reader says of files that it cannot open."""
    messages: list[str] = []
    monkeypatch.setattr(reader, "show_error", messages.append)
    return messages


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


@pytest.fixture
def ended(qtbot: Any) -> Iterator[Callable[[T], T]]:
    """Takes forms whose runs end with the test."""
    forms: list[Any] = []

    def taken(form: T) -> T:
        forms.append(form)
        return form

    yield taken
    for form in forms:
        form.abandon()
    qtbot.waitUntil(lambda: not worker._under_way, timeout=20_000)


@pytest.fixture
def wait(qtbot: Any) -> Callable[[Any], str]:
    """Waits for the end of a form's run; tells what the form says then."""

    def until_ended(form: Any) -> str:
        qtbot.waitUntil(lambda: not form.controls.is_running, timeout=60_000)
        return str(form.controls.status.value)

    return until_ended


@pytest.fixture
def run(wait: Callable[[Any], str]) -> Callable[..., str]:
    """Presses Run of a form, or another button, and waits for the end as `wait` does."""

    def pressed(form: Any, button: Any = None) -> str:
        (button or form.controls.run_button).native.click()
        return wait(form)

    return pressed


@pytest.fixture(scope="module")
def structure_models(
    tmp_path_factory: pytest.TempPathFactory, noise_model: Callable[..., Path]
) -> Path:
    """A folder of two models that tell dark from bright noise; "free" needs no pixel size."""
    folder = tmp_path_factory.mktemp("structures")
    noise_model(folder / "levels.safetensors")
    noise_model(folder / "free.safetensors", magnification=False, px_per_um=None)
    return folder


class _Ticks:
    """The longest work at a stretch in the window's thread."""

    def __init__(self) -> None:
        # Of the window's own thread, so that a busy machine makes no difference.
        self.longest, self._last = 0.0, time.thread_time()
        self._timer = QTimer()
        self._timer.setInterval(5)
        self._timer.timeout.connect(self._tick)
        self._timer.start()

    def _tick(self) -> None:
        now = time.thread_time()
        self.longest, self._last = max(self.longest, now - self._last), now

    def stop(self) -> float:
        self._tick()
        self._timer.stop()
        return self.longest


@pytest.fixture
def longest_stretch(qtbot: Any) -> Callable[[Callable[[], None]], float]:
    """For how long, in seconds of its own work, something freezes the window.

    Of two times: a window that freezes does so each time, one on a busy machine does not.
    """

    def measured(act: Callable[[], None]) -> float:
        found: list[float] = []
        while not found or (len(found) < 2 and found[-1] >= _FREEZE_S):
            qtbot.wait(200)
            ticks = _Ticks()
            act()
            qtbot.wait(200)
            found.append(ticks.stop())
        return min(found)

    return measured


@pytest.fixture
def longest_allowed(viewer: Any, longest_stretch: Any) -> Callable[[tuple[int, int]], float]:
    """How long the window may freeze when images of a shape are worked on.

    On a slow machine napari takes long for a layer of nothing already.
    """

    def allowed(shape: tuple[int, int]) -> float:
        nothing = longest_stretch(lambda: viewer.add_labels(np.zeros(shape, np.uint16)))
        viewer.layers.remove(viewer.layers[-1])
        return max(_FREEZE_S, 2 * nothing)

    return allowed
