"""Train, Pause, Continue and Cancel; search, save and compare."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

from magicgui.widgets import PushButton
from napari.utils.notifications import show_error
from qtpy.compat import isalive
from qtpy.QtCore import QTimer

from ..errors import InputError
from .form import RunControls, button_row
from .worker import nothing

_BESIDE = (
    "shows the image twice, with the phases by the old model on the left and by the new one on the "
    "right; press again for one image"
)
_CONTINUE = (
    "goes on with what was paused, stopped or finished last, also before napari was closed; paint "
    "added since counts"
)
_SEARCH = (
    "n + 2 trainings of a new network: a baseline, each of n tricks alone (the weights chosen for "
    "its encoder, unless they are random; strong augmentation; the image halved), and those that "
    "gain together, as no trick pays on every material; takes as long as five trainings (four with "
    "random weights), and goes on after a stop"
)
_MS_BETWEEN_TURNS = 10


class TrainControls(RunControls):
    """The buttons of a training; `run_button` says Train.

    Continue also serves after the end: `may_continue` says whether there is something to go on
    from. What it does is the form's matter, as is what `search_button`, `save_button` and
    `beside_button` do.
    """

    def __init__(self) -> None:
        super().__init__("Train")
        self.pause_button = PushButton(text="Pause", enabled=False)
        self.continue_button = PushButton(text="Continue", enabled=False, tooltip=_CONTINUE)
        self.search_button = PushButton(text="Search for a recipe", tooltip=_SEARCH)
        self.save_button = PushButton(text="Save model…", enabled=False)
        self.beside_button = PushButton(text="Side by side", enabled=False, tooltip=_BESIDE)
        self.is_paused = False
        self.on_ended: Callable[[str], None] = nothing
        self._may_continue = self._has_result = False
        self._turns: Iterator[None] = iter(())
        self.buttons.insert(1, self.pause_button)
        self.buttons.insert(2, self.continue_button)
        self.insert(1, button_row(self.search_button, self.save_button, self.beside_button))
        self.pause_button.changed.connect(self.pause)

    def offer(self, *, may_continue: bool, has_result: bool) -> None:
        """Say whether there is something to go on from, and something to save."""
        self._may_continue, self._has_result = may_continue, has_result
        self._show_buttons()

    def pause(self) -> None:
        """Let the training wait after the step under way."""
        if self._run is not None:
            self.is_paused = True
            self._run.pause()
            self.say("paused; paint more, or press Continue")
            self._show_buttons()

    def resume(self) -> None:
        """Let it go on with what it has."""
        if self._run is not None:
            self.is_paused = False
            self._run.resume()
            self._show_buttons()

    def end_after(self, turns: Iterator[None]) -> None:
        """Before the run ends, take steps that are short each, with frames drawn in between."""
        self._turns = turns

    def abandon(self) -> None:
        """Leave the steps that are left too."""
        super().abandon()
        self._turns = iter(())

    def _end(self, message: str) -> None:
        try:
            next(self._turns)
        except StopIteration:
            self._end_now(message)
        except InputError as error:
            show_error(str(error))
            self._end_now(str(error))
        else:
            QTimer.singleShot(_MS_BETWEEN_TURNS, partial(self._go_on, message))

    def _go_on(self, message: str) -> None:
        # Abandoned meanwhile, it must not end once more.
        if isalive(self.native) and self.is_running:  # type: ignore[no-untyped-call]
            self._end(message)

    def _end_now(self, message: str) -> None:
        self._turns = iter(())
        super()._end(message)
        self.on_ended(message)

    def _set_running(self, running: bool) -> None:
        super()._set_running(running)
        self.is_paused = False
        self._show_buttons()

    def _show_buttons(self) -> None:
        running = self.cancel_button.enabled
        self.pause_button.enabled = running and not self.is_paused
        self.continue_button.enabled = self.is_paused or (self._may_continue and not running)
        self.search_button.enabled = not running
        self.save_button.enabled = self._has_result and not running
        self.beside_button.enabled = self._has_result
