import pytest

from napari_metallography.events import Event, Events, Notice, Progress, drain


class _Job:
    """Three steps; knows whether it was cleaned up."""

    cleaned = False

    def run(self) -> Events[str]:
        try:
            for number in range(3):
                yield Progress(number + 1, 3)
            return "result"
        finally:
            self.cleaned = True


def test_draining_hands_on_every_event_and_returns_the_result() -> None:
    seen: list[Event] = []
    assert drain(_Job().run(), seen.append) == "result"
    assert seen == [Progress(1, 3), Progress(2, 3), Progress(3, 3)]


def test_parts_compose() -> None:
    def whole() -> Events[int]:
        yield Notice("first")
        return len((yield from _Job().run()))

    seen: list[Event] = []
    assert drain(whole(), seen.append) == len("result")
    assert seen[0] == Notice("first")
    assert len(seen) == 4


def test_an_interrupted_computation_is_closed() -> None:
    job = _Job()

    def stop(event: Event) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        drain(job.run(), stop)
    assert job.cleaned


def test_errors_of_the_computation_come_through() -> None:
    def failing() -> Events[None]:
        yield Progress(0, 1)
        raise ValueError("wrong")

    with pytest.raises(ValueError, match="wrong"):
        drain(failing())
