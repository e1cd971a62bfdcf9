"""One adapter from a core computation to a napari worker."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable
from typing import Any, Generic, TypeVar

from napari.qt.threading import GeneratorWorkerSignals, WorkerBase
from napari.utils import progress
from napari.utils.notifications import notification_manager, show_error, show_warning

from ..errors import DeviceError, InputError
from ..events import Event, Events, Notice, Progress
from .wording import in_window

T = TypeVar("T")

CANCELLED = "cancelled"
"""The line of a run that was stopped before it had a result."""

_SECONDS_BETWEEN_BATCHES = 0.1


class ComputationError(Exception):
    """A computation failed in a way nobody foresaw.

    Not a `RuntimeError`: napari's workers swallow those.
    """


def _return_memory() -> None:
    """Give back what a network's layers keep for each other, if one has computed."""
    if "torch" in sys.modules:
        from ..devices import return_freed_memory

        return_freed_memory()


def leave_the_window_a_core() -> None:
    """Let torch use all cores but one, so that the window stays responsive.

    OpenMP keeps the number by thread: this must be called in the thread that computes. A smaller
    number set by the user (`OMP_NUM_THREADS`) stays.
    """
    torch = sys.modules.get("torch")
    if torch is not None:
        torch.set_num_threads(max(1, min(torch.get_num_threads(), (os.cpu_count() or 2) - 1)))


def imported_later(begun: Callable[[], Events[T]]) -> Events[T]:
    """What a computation yields that is begun, and its modules imported, in the worker's thread."""
    yield Progress(0, 0, "loading the model")
    events = begun()
    # It is known of torch only now.
    leave_the_window_a_core()
    return (yield from events)


class EventBatch:
    """Events on their way to the window, handed over about ten times a second.

    Of `Progress` only the latest is kept; notices and training steps are all kept.
    """

    def __init__(self) -> None:
        self._kept: list[Event] = []
        self._latest: Progress | None = None
        self._taken_at = -float("inf")

    def add(self, event: Event) -> None:
        """Put an event in."""
        if isinstance(event, Progress):
            self._latest = event
        else:
            self._kept.append(event)

    @property
    def is_due(self) -> bool:
        """Whether it is time to hand the events over."""
        return time.monotonic() - self._taken_at >= _SECONDS_BETWEEN_BATCHES

    def take(self) -> list[Event]:
        """Take the events out, in order, the progress last."""
        events = [*self._kept, *([self._latest] if self._latest else [])]
        self._kept, self._latest, self._taken_at = [], None, time.monotonic()
        return events


class EventsWorker(WorkerBase[Any]):
    """Drives a computation in a thread; `quit()` closes it there, at its next event.

    A computation that reaches its end hands over its result, also when it was asked to quit
    meanwhile: what it cleared away by then would otherwise be lost.
    """

    def __init__(self, events: Events[Any]) -> None:
        super().__init__(SignalsClass=GeneratorWorkerSignals)
        self._events = events
        self._has_result = False
        self._may_go_on = threading.Event()
        self._may_go_on.set()

    @property
    def abort_requested(self) -> bool:
        """Whether it was asked to quit while there was something to stop."""
        # superqt hands over the result unless this says yes.
        return bool(super().abort_requested) and not self._has_result

    def pause(self) -> None:
        """Wait after the event under way, without using the processor."""
        self._may_go_on.clear()

    def resume(self) -> None:
        """Go on after `pause`."""
        self._may_go_on.set()

    def quit(self) -> None:
        """Ask to stop; a paused computation wakes up for it."""
        super().quit()
        self._may_go_on.set()

    def work(self) -> Any:
        """Run to the end or until `quit()`; called by the thread pool."""
        leave_the_window_a_core()
        batch = EventBatch()
        try:
            while not self.abort_requested:
                batch.add(next(self._events))
                if batch.is_due or not self._may_go_on.is_set():
                    self.yielded.emit(batch.take())
                self._may_go_on.wait()
        except StopIteration as stop:
            self._has_result = True
            return stop.value
        except (InputError, DeviceError):
            raise
        except Exception as error:
            raise ComputationError(f"{type(error).__name__}: {error}") from error
        finally:
            self._events.close()
            _return_memory()
            # However it ends: a notice may say why.
            self.yielded.emit(batch.take())
        self.aborted.emit()
        return None


_under_way: set[Run[Any]] = set()


class Run(Generic[T]):
    """A computation under way: its worker, its bar in napari's activity dock, its end.

    Parameters
    ----------
    events
        The computation, not yet begun.
    title
        What it is, for the activity dock; empty for what is too short to be shown there.
    on_event
        Called in the GUI thread, about ten times a second at most for progress.
    on_result
        Called with the result. An `InputError` it raises is shown like one of the computation.
    on_end
        Called last, once, with the line that says how it ended; "" after success.
    is_wanted
        Asked before each call: when it says no, as the form is gone, the run is abandoned.
    """

    def __init__(
        self,
        events: Events[T],
        title: str,
        *,
        on_event: Callable[[Event], None],
        on_result: Callable[[T], None],
        on_end: Callable[[str], None],
        is_wanted: Callable[[], bool] = lambda: True,
    ) -> None:
        self._on_event = on_event
        self._on_result = on_result
        self._on_end = on_end
        self._is_wanted = is_wanted
        self._message = ""
        self._watched = True
        self._bar = progress(total=0, desc=title) if title else None
        self._worker = EventsWorker(events)
        self._worker.yielded.connect(self._take)
        self._worker.returned.connect(self._take_result)
        self._worker.errored.connect(self._take_error)
        self._worker.aborted.connect(self._take_abort)
        self._worker.finished.connect(self._finish)
        # Qt keeps no reference to the slots' owner.
        _under_way.add(self)
        self._worker.start()

    def cancel(self) -> None:
        """Ask the computation to stop at its next event."""
        self._worker.quit()

    def pause(self) -> None:
        """Let the computation wait after the event under way."""
        self._worker.pause()

    def resume(self) -> None:
        """Let it go on."""
        self._worker.resume()

    def abandon(self) -> None:
        """Cancel, and call nobody back: the form is gone."""
        self._watched = False
        self._on_event = self._on_result = self._on_end = nothing
        self.cancel()

    def _check(self) -> None:
        if self._watched and not self._is_wanted():
            self.abandon()

    def _take(self, events: list[Event]) -> None:
        self._check()
        for event in events:
            if isinstance(event, Notice) and self._watched:
                show_warning(in_window(event.message))
            self._on_event(event)
        last = events[-1] if events else None
        if isinstance(last, Progress):
            self._show_progress(last)

    def _show_progress(self, event: Progress) -> None:
        # Setting the bar lets Qt process events, so the run may have ended in between.
        if self._bar is not None and self._bar.total != event.total:
            self._bar.total = event.total
        if self._bar is not None:
            self._bar.update(event.done - self._bar.n)

    def _take_result(self, result: T) -> None:
        self._check()
        try:
            self._on_result(result)
        except InputError as error:
            self._take_error(error)

    def _take_error(self, error: Exception) -> None:
        self._check()
        self._message = in_window(str(error))
        if not self._watched:
            return
        if isinstance(error, InputError | DeviceError):
            show_error(self._message)
        else:
            notification_manager.receive_error(type(error), error, error.__traceback__)

    def _take_abort(self) -> None:
        self._message = CANCELLED

    def _finish(self) -> None:
        self._check()
        _under_way.discard(self)
        if self._bar is not None:
            bar, self._bar = self._bar, None
            bar.close()
        on_end, self._on_end = self._on_end, nothing
        # Nothing of the form must live on in the worker.
        self._on_event = self._on_result = nothing
        on_end(self._message)


def nothing(_: object) -> None:
    """Take something and do nothing with it."""


def one_step(function: Callable[[], T], message: str) -> Events[T]:
    """A short computation without events of its own, such as writing a file, as events."""
    yield Progress(0, 0, message)
    return function()
