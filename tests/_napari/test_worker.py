from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
import torch
from napari.utils.notifications import notification_manager

from napari_metallography._napari import worker
from napari_metallography._napari.worker import ComputationError, EventBatch, Run
from napari_metallography.calibration import HOW_TO_CALIBRATE
from napari_metallography.errors import DeviceError, InputError
from napari_metallography.events import Event, Events, Notice, Progress, TrainingStep


class Recorder:
    """Takes what a run reports, and notes the threads it was called in."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.results: list[Any] = []
        self.ends: list[str] = []
        self.threads: set[int] = set()

    def start(self, events: Events[Any]) -> Run[Any]:
        return Run(events, "test", on_event=self.event, on_result=self.result, on_end=self.end)

    def event(self, event: Event) -> None:
        self.threads.add(threading.get_ident())
        self.events.append(event)

    def result(self, result: Any) -> None:
        self.threads.add(threading.get_ident())
        self.results.append(result)

    def end(self, message: str) -> None:
        self.ends.append(message)


class Endless:
    """A computation that never ends by itself and notes in which thread it is closed."""

    def __init__(self) -> None:
        self.closed_in: int | None = None
        self.run_in: int | None = None

    def events(self) -> Events[str]:
        self.run_in = threading.get_ident()
        try:
            while True:
                yield Progress(0, 0, "steps")
                time.sleep(0.001)
        finally:
            self.closed_in = threading.get_ident()


@pytest.fixture
def notices() -> list[Any]:
    notification_manager.records.clear()
    return notification_manager.records


@pytest.fixture
def recorder(qapp: object) -> Recorder:
    return Recorder()


def ended(recorder: Recorder) -> Callable[[], bool]:
    return lambda: bool(recorder.ends)


def counting(n: int) -> Events[str]:
    for i in range(n):
        yield Progress(i + 1, n, "steps")
    return "finished"


def failing(error: Exception) -> Events[str]:
    yield Progress(0, 2)
    raise error


def test_events_and_result_arrive_in_the_window_s_thread(recorder, qtbot) -> None:
    recorder.start(counting(3))
    qtbot.waitUntil(ended(recorder))
    assert recorder.results == ["finished"]
    assert recorder.events[-1] == Progress(3, 3, "steps")
    assert recorder.ends == [""]
    assert recorder.threads == {threading.get_ident()}


def test_progress_is_thinned_out_but_its_end_is_told(recorder, qtbot) -> None:
    recorder.start(counting(20_000))
    qtbot.waitUntil(ended(recorder))
    assert len(recorder.events) < 50
    assert recorder.events[-1].done == 20_000


def test_no_training_step_and_no_notice_is_lost(recorder, qtbot, notices) -> None:
    def training() -> Events[None]:
        yield Notice("small set")
        for i in range(1000):
            yield TrainingStep(i, 0.5, 0.1)

    recorder.start(training())
    qtbot.waitUntil(ended(recorder))
    steps = [e.iteration for e in recorder.events if isinstance(e, TrainingStep)]
    assert steps == list(range(1000))
    assert [n.message for n in notices] == ["small set"]


def test_cancelling_closes_the_computation_in_its_own_thread(recorder, qtbot) -> None:
    endless = Endless()
    run = recorder.start(endless.events())
    qtbot.waitUntil(lambda: bool(recorder.events))
    run.cancel()
    qtbot.waitUntil(ended(recorder))
    assert endless.closed_in == endless.run_in != threading.get_ident()
    assert recorder.ends == ["cancelled"]
    assert recorder.results == []


@pytest.mark.parametrize("returned", ["finished", None])
def test_a_result_that_exists_is_handed_over_although_quit_was_asked(
    returned, recorder, qtbot
) -> None:
    reached, may_end = threading.Event(), threading.Event()

    def saving() -> Events[str | None]:
        yield Progress(0, 1, "writing")
        reached.set()
        may_end.wait()
        return returned

    run = recorder.start(saving())
    qtbot.waitUntil(reached.is_set)
    run.cancel()
    may_end.set()
    qtbot.waitUntil(ended(recorder))
    assert recorder.results == [returned]
    assert recorder.ends == [""]


def test_abandoning_calls_nobody_back_but_ends_the_computation(recorder, qtbot) -> None:
    endless = Endless()
    run = recorder.start(endless.events())
    qtbot.waitUntil(lambda: bool(recorder.events))
    run.abandon()
    told = len(recorder.events)
    qtbot.waitUntil(lambda: not worker._under_way)
    assert endless.closed_in is not None
    assert (len(recorder.events), recorder.ends) == (told, [])


@pytest.mark.parametrize("error", [InputError("choose another"), DeviceError("out of memory")])
def test_expected_errors_are_one_line(error, recorder, qtbot, notices) -> None:
    recorder.start(failing(error))
    qtbot.waitUntil(ended(recorder))
    assert recorder.ends == [str(error)]
    assert [(n.message, str(n.severity)) for n in notices] == [(str(error), "error")]
    assert recorder.results == []


def test_a_notice_right_before_an_error_is_still_told(recorder, qtbot, notices) -> None:
    def warned() -> Events[str]:
        yield Progress(0, 2)
        yield Notice("the pixel size is far from the training's")
        raise InputError("choose another")

    recorder.start(warned())
    qtbot.waitUntil(ended(recorder))
    assert [n.message for n in notices] == [
        "the pixel size is far from the training's",
        "choose another",
    ]


def test_an_error_says_what_to_do_in_the_window(recorder, qtbot, notices) -> None:
    recorder.start(failing(InputError(f"no pixel size is known; {HOW_TO_CALIBRATE}")))
    qtbot.waitUntil(ended(recorder))
    assert recorder.ends == ["no pixel size is known; use the Calibrate widget"]
    assert [n.message for n in notices] == recorder.ends


@pytest.mark.parametrize("error", [RuntimeError("boom"), KeyError("k"), MemoryError()])
def test_other_errors_are_never_swallowed(error, recorder, qtbot, notices) -> None:
    recorder.start(failing(error))
    qtbot.waitUntil(ended(recorder))
    assert type(error).__name__ in recorder.ends[0]
    (notice,) = notices
    assert isinstance(notice.exception, ComputationError)
    assert notice.exception.__cause__ is error


def test_a_result_that_cannot_be_shown_is_an_error_too(recorder, qtbot, notices) -> None:
    def refuse(_: str) -> None:
        raise InputError("the image was closed")

    recorder.result = refuse
    recorder.start(counting(1))
    qtbot.waitUntil(ended(recorder))
    assert recorder.ends == ["the image was closed"]


def test_the_activity_bar_goes_away(recorder, qtbot) -> None:
    from napari.utils import progress

    recorder.start(counting(5))
    assert [bar.desc.strip(": ") for bar in progress._all_instances] == ["test"]
    qtbot.waitUntil(ended(recorder))
    assert not progress._all_instances


@pytest.mark.parametrize(("before", "after"), [(8, 3), (2, 2)])
def test_the_window_keeps_a_core(before: int, after: int, monkeypatch) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: 4)
    seen = []

    def compute() -> None:
        torch.set_num_threads(before)
        worker.leave_the_window_a_core()
        seen.append(torch.get_num_threads())

    usual = torch.get_num_threads()
    # The number holds by thread, so that a thread of the test's own leaves the others alone.
    thread = threading.Thread(target=compute)
    thread.start()
    thread.join()
    torch.set_num_threads(usual)
    assert seen == [after]


def test_a_batch_keeps_the_latest_progress_only() -> None:
    batch = EventBatch()
    assert batch.is_due
    for event in (Progress(1, 3), Notice("a"), Progress(2, 3), Notice("b")):
        batch.add(event)
    assert batch.take() == [Notice("a"), Notice("b"), Progress(2, 3)]
    assert batch.take() == []
    assert not batch.is_due


def test_a_paused_computation_waits_until_it_may_go_on(recorder, qtbot) -> None:
    endless = Endless()
    run = recorder.start(endless.events())
    qtbot.waitUntil(lambda: len(recorder.events) > 1)
    run.pause()
    qtbot.wait(200)
    seen = len(recorder.events)
    qtbot.wait(300)
    assert len(recorder.events) == seen
    run.resume()
    qtbot.waitUntil(lambda: len(recorder.events) > seen)
    run.cancel()
    qtbot.waitUntil(ended(recorder))


def test_a_paused_computation_can_be_cancelled(recorder, qtbot) -> None:
    endless = Endless()
    run = recorder.start(endless.events())
    qtbot.waitUntil(lambda: bool(recorder.events))
    run.pause()
    run.cancel()
    qtbot.waitUntil(ended(recorder))
    assert recorder.ends == ["cancelled"]
    assert endless.closed_in == endless.run_in
