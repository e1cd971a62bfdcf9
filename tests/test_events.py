import subprocess
import sys
import threading
from collections.abc import Callable

import pytest

from napari_metallography.events import (
    Event,
    Events,
    Notice,
    Progress,
    drain,
    meanwhile,
    relayed,
)


class _Job:
    """Three steps; knows whether it was cleaned up, and why."""

    cleaned = False
    closed = False

    def run(self) -> Events[str]:
        try:
            for number in range(3):
                yield Progress(number + 1, 3)
            return "result"
        except GeneratorExit:
            self.closed = True
            raise
        finally:
            self.cleaned = True


def _without_the_second(event: Event) -> Event | None:
    assert isinstance(event, Progress)
    return None if event.done == 2 else Notice(f"step {event.done}")


def _raising(error: BaseException) -> Callable[[Event], None]:
    def fail(event: Event) -> None:
        raise error

    return fail


def _failing() -> Events[None]:
    yield Progress(0, 1)
    raise ValueError("wrong")


def test_draining_hands_on_every_event_and_returns_the_result() -> None:
    seen: list[Event] = []
    assert drain(_Job().run(), seen.append) == "result"
    assert seen == [Progress(1, 3), Progress(2, 3), Progress(3, 3)]


def test_draining_needs_nobody_who_listens() -> None:
    job = _Job()
    assert drain(job.run()) == "result"
    assert job.cleaned
    assert not job.closed


def test_a_computation_without_events_returns_too() -> None:
    def silent() -> Events[int]:
        yield from ()
        return 7

    assert drain(silent()) == 7
    assert drain(relayed(silent(), lambda event: event)) == 7


def test_parts_compose() -> None:
    def whole() -> Events[int]:
        yield Notice("first")
        return len((yield from _Job().run()))

    seen: list[Event] = []
    assert drain(whole(), seen.append) == len("result")
    assert seen[0] == Notice("first")
    assert len(seen) == 4


# StopIteration too: it must not be taken for the end of the computation.
@pytest.mark.parametrize("error", [KeyboardInterrupt(), ValueError("wrong"), StopIteration()])
def test_an_interrupted_computation_is_closed(error: BaseException) -> None:
    job = _Job()
    with pytest.raises(type(error)):
        drain(job.run(), _raising(error))
    assert job.closed


def test_errors_of_the_computation_come_through() -> None:
    with pytest.raises(ValueError, match="wrong"):
        drain(_failing())


def test_relayed_events_are_changed_or_kept_back_and_the_result_is_kept() -> None:
    seen: list[Event] = []
    assert drain(relayed(_Job().run(), _without_the_second), seen.append) == "result"
    assert seen == [Notice("step 1"), Notice("step 3")]


def test_relaying_begins_only_when_asked() -> None:
    asked: list[Event] = []
    events = relayed(_Job().run(), lambda event: asked.append(event) or event)
    assert asked == []
    next(events)
    assert asked == [Progress(1, 3)]


def test_closing_a_relayed_computation_closes_the_inner_one() -> None:
    job = _Job()
    events = relayed(relayed(job.run(), lambda event: event), lambda event: event)
    assert next(events) == Progress(1, 3)
    assert not job.cleaned
    events.close()
    assert job.closed


def test_cancelling_while_draining_reaches_the_innermost_part() -> None:
    job = _Job()

    def whole() -> Events[str]:
        return (yield from relayed(job.run(), lambda event: event))

    with pytest.raises(KeyboardInterrupt):
        drain(whole(), _raising(KeyboardInterrupt()))
    assert job.closed


def test_errors_of_a_relayed_computation_come_through() -> None:
    events = relayed(_failing(), lambda event: event)
    assert next(events) == Progress(0, 1)
    with pytest.raises(ValueError, match="wrong"):
        next(events)


def test_an_error_while_changing_an_event_closes_the_computation() -> None:
    job = _Job()
    with pytest.raises(KeyError):
        drain(relayed(job.run(), _raising(KeyError("lost"))))
    assert job.closed


def test_a_stop_iteration_while_changing_an_event_is_no_result() -> None:
    job = _Job()
    with pytest.raises(RuntimeError, match="StopIteration"):
        drain(relayed(job.run(), _raising(StopIteration("early"))))
    assert job.closed


def test_work_beside_gives_its_result_and_its_error() -> None:
    assert drain(meanwhile(lambda: 7, Progress(0, 1))) == 7
    with pytest.raises(ZeroDivisionError):
        drain(meanwhile(lambda: 1 // 0, Progress(0, 1)))


def test_work_beside_is_not_waited_for_when_closed() -> None:
    may_end, ended = threading.Event(), threading.Event()

    def work() -> None:
        may_end.wait()
        ended.set()

    running = meanwhile(work, Progress(1, 4, "grains"))
    assert [next(running), next(running)] == [Progress(1, 4, "grains")] * 2
    running.close()
    assert not ended.is_set()
    may_end.set()
    assert ended.wait(10)


def test_work_beside_fails_with_its_own_error_whatever_that_is() -> None:
    with pytest.raises(KeyboardInterrupt):
        drain(meanwhile(lambda: _raising(KeyboardInterrupt())(Progress(0, 1)), Progress(0, 1)))


def test_the_interpreter_does_not_wait_for_work_beside() -> None:
    program = """
import time
from napari_metallography.events import Progress, meanwhile
running = meanwhile(lambda: time.sleep(60), Progress(0, 1))
next(running)
running.close()
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=30)
