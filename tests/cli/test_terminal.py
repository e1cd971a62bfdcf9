from __future__ import annotations

import signal

import pytest
from rich.console import Console

from napari_metallography.cli import terminal
from napari_metallography.errors import DeviceError, InputError
from napari_metallography.events import Events, Notice, Progress


def _work(steps: int) -> Events[str]:
    yield Progress(0, steps, "tiles")
    yield Notice("something")
    for done in range(steps):
        yield Progress(done + 1, steps, "tiles")
    return "result"


def _controls(text: str) -> set[str]:
    return {sign for sign in text if not sign.isprintable()} - {"\n"}


@pytest.mark.parametrize("steps", [10, 1000, 12345])
def test_off_a_terminal_progress_is_a_line_at_each_tenth(capfd, steps: int) -> None:
    assert terminal.follow(_work(steps), "steel [bold] 1.tif") == "result"
    out, err = capfd.readouterr()
    note, *lines = err.splitlines()
    assert (out, note) == ("", "note: something")
    assert len(lines) == 10
    assert all(line.startswith("steel [bold] 1.tif: ") for line in lines)
    assert lines[-1].endswith(f": 100 % ({steps} of {steps} tiles)")
    assert _controls(err) == set()


def test_off_a_terminal_little_work_takes_few_lines(capfd) -> None:
    terminal.follow(_work(1), "a.tif")
    terminal.follow(_work(0), "b.tif")
    lines = [line for line in capfd.readouterr().err.splitlines() if "note" not in line]
    assert lines == ["a.tif: 100 % (1 of 1 tiles)"]


def test_a_second_part_counts_anew_off_a_terminal(capfd) -> None:
    def two_parts() -> Events[None]:
        for _ in range(2):
            for done in range(5):
                yield Progress(done, 4, "planes")

    terminal.follow(two_parts(), "a.tif")
    lines = capfd.readouterr().err.splitlines()
    assert lines == 2 * [f"a.tif: {25 * n} % ({n} of 4 planes)" for n in range(1, 5)]


def test_on_a_terminal_there_is_a_bar_that_goes_away(capfd, monkeypatch) -> None:
    console = Console(stderr=True, force_terminal=True, width=100, soft_wrap=True)
    monkeypatch.setattr(terminal, "console", console)
    assert terminal.follow(_work(10), "a.tif") == "result"
    err = capfd.readouterr().err
    assert "\x1b" in err
    assert " % (" not in err


def _interrupted(at: int, seen: list[int]) -> Events[str]:
    """Three events; Ctrl-C comes before the one of this number, or after the last."""
    for number in range(4):
        if number == at:
            signal.raise_signal(signal.SIGINT)
        if number < 3:
            seen.append(number)
            yield Progress(number, 3)
    return "result"


@pytest.mark.parametrize("at", range(4))
def test_ctrl_c_stops_whenever_it_comes(at: int) -> None:
    seen: list[int] = []
    handler = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        terminal.follow(_interrupted(at, seen), "a.tif")
    # The step under way ends first.
    assert seen == list(range(min(at + 1, 3)))
    assert signal.getsignal(signal.SIGINT) is handler


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (InputError("a.tif: bad"), 2, "a.tif: bad"),
        (PermissionError(13, "Denied", "a.tif"), 2, "a.tif: Denied; check its permissions"),
        (DeviceError("the device broke"), 1, "the device broke"),
        (MemoryError("Unable to allocate 9 TiB"), 1, "ran out of memory; close other programs"),
    ],
)
def test_a_failure_has_one_line_and_an_exit_code(error: Exception, code: int, said: str) -> None:
    message, found = terminal.failure(error)
    assert found == code
    assert said in message


@pytest.mark.parametrize("kind", [DeviceError, MemoryError])
def test_a_failed_device_is_one_line_and_exit_code_1(
    run, monkeypatch, kind: type[Exception]
) -> None:
    def fail(*_: object) -> None:
        raise kind("the device ran out of memory")

    monkeypatch.setattr("napari_metallography.models.registry.model_path", fail)
    done = run("models", "info", "uhcs-carbides")
    assert (done.code, len(done.err.splitlines())) == (1, 1)
    assert "the device ran out of memory" in done.errors[0]
