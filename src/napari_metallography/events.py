"""What long computations report while they run.

A long computation is a generator that yields events and *returns* its result. Iterating drives
it, closing it cancels it cleanly, and `yield from` composes it.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from concurrent.futures import Future, wait
from contextlib import closing
from dataclasses import dataclass, field
from threading import Thread
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

T = TypeVar("T")

_SECONDS_BETWEEN_LOOKS = 0.05


@dataclass(frozen=True)
class Progress:
    """`done` of `total` steps are finished; `message` says what the steps are."""

    done: int
    total: int
    message: str = ""


@dataclass(frozen=True)
class Notice:
    """Something the user should know although the computation goes on."""

    message: str


@dataclass(frozen=True)
class TrainingStep:
    """One row of a training history.

    `metrics` holds validation results and is empty between validations.
    """

    iteration: int
    loss: float
    learning_rate: float
    metrics: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Preview:
    """What the network makes, at this iteration, of the pixels that a training watches.

    `indices` and `uncertainty` are (Y, X) uint8 as in `segmentation.prediction.Prediction`.
    """

    iteration: int
    indices: NDArray[np.uint8]
    uncertainty: NDArray[np.uint8] | None


@dataclass(frozen=True)
class Part:
    """A part of the result, handed over when it is there: it outlives a cancellation or an error.

    What it holds is a matter of the computation, which derives a class of its own.
    """


Event = Progress | Notice | TrainingStep | Preview | Part
Events = Generator[Event, None, T]


def ignore(event: Event) -> None:
    """Take an event and do nothing with it."""


def relayed(events: Events[T], change: Callable[[Event], Event | None]) -> Events[T]:
    """Run a part of a computation, each of its events changed or, where None, kept back."""
    with closing(events):
        while True:
            try:
                event = next(events)
            except StopIteration as stop:
                result: T = stop.value
                return result
            if (changed := change(event)) is not None:
                yield changed


def meanwhile(work: Callable[[], T], progress: Progress) -> Events[T]:
    """Do work that cannot report in a thread of its own, and say now and then that it goes on.

    Closing abandons the work: the thread runs on to its end, or to that of the interpreter, which
    does not wait for it, and its result or error is dropped. So a long call into another library,
    as long as it frees the interpreter, holds up neither a cancellation nor the end of a program;
    but work that writes files would be cut short, and does not belong here.
    """
    result: Future[T] = Future()
    Thread(target=_settle, args=(result, work), name="meanwhile", daemon=True).start()
    while not wait([result], _SECONDS_BETWEEN_LOOKS).done:
        yield progress
    return result.result()


def _settle(result: Future[T], work: Callable[[], T]) -> None:
    try:
        result.set_result(work())
    except BaseException as error:
        result.set_exception(error)


def drain(events: Events[T], on_event: Callable[[Event], None] = ignore) -> T:
    """Run a computation to its end, hand each event to `on_event` and return the result."""
    with closing(events):
        while True:
            try:
                event = next(events)
            except StopIteration as stop:
                result: T = stop.value
                return result
            on_event(event)
