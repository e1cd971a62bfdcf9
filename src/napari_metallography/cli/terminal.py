"""Progress, notices and errors on a terminal."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import TypeVar

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeRemainingColumn,
)

from .. import events
from ..errors import DeviceError, InputError

BAD_INPUT = 2
DEVICE_FAILED = 1
INTERRUPTED = 130

FAILURES = (InputError, PermissionError, DeviceError, MemoryError)
"""What is said in one line; anything else is a mistake of the program."""

T = TypeVar("T")
Advance = Callable[[events.Progress], None]

# Results go to files and standard output; what is said to people goes to standard error.
console = Console(stderr=True, highlight=False, soft_wrap=True)


def follow(running: events.Events[T], description: str) -> T:
    """Run a computation to its end and show how far it is: a bar, or off a terminal plain lines.

    Ctrl-C lets the step under way end, so that what the computation keeps is whole; a second one
    stops at once.
    """
    progress = _bar(description) if console.is_terminal else nullcontext(_lines(description))
    with _asking_to_stop() as asked, progress as advance:

        def show(event: events.Event) -> None:
            if asked:
                raise KeyboardInterrupt
            if isinstance(event, events.Progress):
                advance(event)
            elif isinstance(event, events.Notice):
                notice(event.message)
            elif isinstance(event, events.TrainingStep) and event.metrics:
                console.print(_training_line(event), markup=False)

        result = events.drain(running, show)
    # Asked for after the last event: what is done is kept, what would come next does not begin.
    if asked:
        raise KeyboardInterrupt
    return result


@contextmanager
def _bar(description: str) -> Iterator[Advance]:
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[what]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task(description, total=None, what="")
        yield lambda step: bar.update(
            task, completed=step.done, total=step.total, what=step.message
        )


def _lines(description: str) -> Advance:
    """For logs: a line at each tenth of the work."""
    reached = 0

    def advance(step: events.Progress) -> None:
        nonlocal reached
        tenth = 10 * step.done // step.total if step.total else 0
        if tenth > reached:
            console.print(
                f"{description}: {100 * step.done // step.total} % "
                f"({step.done} of {step.total} {step.message})",
                markup=False,
            )
        reached = tenth

    return advance


@contextmanager
def _asking_to_stop() -> Iterator[list[int]]:
    """A list that is empty until Ctrl-C is pressed."""
    asked: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield asked
        return

    def ask(number: int, frame: object) -> None:
        asked.append(number)
        signal.signal(signal.SIGINT, before)

    before = signal.signal(signal.SIGINT, ask)
    try:
        yield asked
    finally:
        signal.signal(signal.SIGINT, before)


def notice(message: str) -> None:
    """Tell the user something in one line."""
    console.print(f"note: {message}", markup=False)


def error(message: str) -> None:
    """Tell the user what is wrong in one line."""
    console.print(f"error: {' '.join(message.split())}", markup=False, style="red")


def failure(error: Exception) -> tuple[str, int]:
    """What one of `FAILURES` says to the user, and the exit code."""
    if isinstance(error, PermissionError):
        what = error.filename or "a file"
        return f"{what}: {error.strerror or error}; check its permissions", BAD_INPUT
    if isinstance(error, InputError):
        return str(error), BAD_INPUT
    if isinstance(error, DeviceError):
        return str(error), DEVICE_FAILED
    from ..devices import OUT_OF_MEMORY

    return OUT_OF_MEMORY, DEVICE_FAILED


def done(message: str) -> None:
    """Tell the user what was written."""
    console.print(message, markup=False)


def _training_line(step: events.TrainingStep) -> str:
    metrics = ", ".join(f"{name} {value:.3f}" for name, value in step.metrics.items())
    return f"iteration {step.iteration}: loss {step.loss:.4f}, {metrics}"
