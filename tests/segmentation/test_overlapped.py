"""Reading, computing and writing at the same time."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from napari_metallography.errors import InputError
from napari_metallography.events import drain
from napari_metallography.models.card import Normalisation
from napari_metallography.plane import Plane
from napari_metallography.regions import Box, Field
from napari_metallography.segmentation.overlapped import Written, read_ahead
from napari_metallography.segmentation.prediction import (
    QUICK,
    Predictor,
    Receivers,
    predict,
    predict_into,
)

PLAIN = Normalisation(mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
CPU = torch.device("cpu")
SECONDS = 20
IMAGE = np.random.default_rng(7).choice(np.array([20, 150, 250], np.uint8), (700, 500))
WINDOWS = QUICK.model_copy(update={"largest_window_area": 256 * 256})


class GreyLevels(nn.Module):
    """Knows its class from the pixel alone: below 100, up to 200, above."""

    enlargement = 1.0

    def forward(self, images: Tensor) -> Tensor:
        grey = images[:, 0]
        return torch.stack([100 - grey, 50 - (grey - 150).abs(), grey - 200], 1)


def names() -> set[str]:
    return {thread.name.split("_")[0] for thread in threading.enumerate()}


class Reader:
    """An image that says when a window of it is read."""

    shape, dtype = IMAGE.shape, IMAGE.dtype

    def __init__(self, fail_at: int | None = None) -> None:
        self.reads, self.fail_at = 0, fail_at
        self.begun = [threading.Event() for _ in range(100)]

    def __getitem__(self, key: Any) -> np.ndarray:
        number, self.reads = self.reads, self.reads + 1
        self.begun[number].set()
        if number == self.fail_at:
            raise InputError("the disk is gone")
        return IMAGE[key]


class Waiting(GreyLevels):
    """A network that is not done before the next window's reading has begun."""

    def __init__(self, reader: Reader, windows: int) -> None:
        super().__init__()
        self.reader, self.windows, self.calls = reader, windows, 0
        self.furthest: list[int] = []

    def __deepcopy__(self, memo: object) -> Waiting:
        return self

    def forward(self, images: Tensor) -> Tensor:
        # A network is tried on nothing before it is used.
        if not self.reader.reads:
            return super().forward(images)
        self.calls += 1
        if self.calls < self.windows:
            assert self.reader.begun[self.calls].wait(SECONDS)
        self.furthest.append(self.reader.reads - self.calls)
        return super().forward(images)


def running(reader: Reader, network: GreyLevels, out: Any):
    predictor = Predictor(network, PLAIN, 3, CPU, WINDOWS)  # type: ignore[arg-type]
    return predict_into(Plane(reader, 0, 255), Field(IMAGE.shape), predictor, Receivers(out))


def in_memory() -> np.ndarray:
    predictor = Predictor(GreyLevels(), PLAIN, 3, CPU, WINDOWS)  # type: ignore[arg-type]
    return drain(predict(Plane(IMAGE, 0, 255), Field(IMAGE.shape), predictor)).indices


def test_the_next_window_is_read_while_the_network_computes_and_none_further() -> None:
    reader, out = Reader(), np.empty(IMAGE.shape, np.uint8)
    events = running(reader, GreyLevels(), out)
    windows = next(events).total  # type: ignore[union-attr]
    events.close()
    reader = Reader()
    network = Waiting(reader, windows)
    drain(running(reader, network, out))
    assert network.calls == windows > 4
    assert max(network.furthest) == 1
    np.testing.assert_array_equal(out, in_memory())


class Slow:
    """Takes rows only when the network has gone on to the next row of windows."""

    shape, dtype = IMAGE.shape, np.dtype(np.uint8)

    def __init__(self, gone_on: threading.Event) -> None:
        self.gone_on, self.rows = gone_on, np.empty(IMAGE.shape, np.uint8)
        self.asked = threading.Event()

    def __setitem__(self, key: Any, value: Any) -> None:
        self.asked.set()
        assert self.gone_on.wait(SECONDS)
        self.rows[key] = value


def test_rows_are_written_while_the_network_goes_on() -> None:
    gone_on, reader = threading.Event(), Reader()

    class Going(GreyLevels):
        calls = 0

        def forward(self, images: Tensor) -> Tensor:
            self.calls += reader.reads > 0
            # A row of this image has three windows: its rows wait to be written now.
            if self.calls == 4:
                assert out.asked.wait(SECONDS)
                gone_on.set()
            return super().forward(images)

    out = Slow(gone_on)
    drain(running(reader, Going(), out))
    np.testing.assert_array_equal(out.rows, in_memory())


class Full(Slow):
    """Has no room for the later rows."""

    def __setitem__(self, key: Any, value: Any) -> None:
        if key.start > 0:
            raise InputError("no space is left")


@pytest.mark.parametrize("number", [0, 1, 5])
def test_a_window_that_cannot_be_read_ends_the_computation(number: int) -> None:
    out = np.empty(IMAGE.shape, np.uint8)
    with pytest.raises(InputError, match="the disk is gone"):
        drain(running(Reader(number), GreyLevels(), out))
    assert not names() & {"reading", "writing"}


def test_rows_that_cannot_be_written_end_the_computation() -> None:
    with pytest.raises(InputError, match="no space is left"):
        drain(running(Reader(), GreyLevels(), Full(threading.Event())))
    assert not names() & {"reading", "writing"}


def test_closing_ends_the_threads() -> None:
    events = running(Reader(), GreyLevels(), np.empty(IMAGE.shape, np.uint8))
    # Those of the first row of windows, whose rows are written then.
    for _ in range(5):
        next(events)
    assert names() >= {"reading", "writing"}
    events.close()
    assert not names() & {"reading", "writing"}


def test_any_receiver_gets_what_an_array_in_memory_gets() -> None:
    class Rows:
        """Takes whole rows of any plane and nothing else."""

        def __init__(self, dtype: type[np.generic]) -> None:
            self.kept = np.full((2, *IMAGE.shape), 7, dtype)
            self.shape, self.dtype = self.kept.shape, self.kept.dtype

        def __setitem__(self, key: tuple[int, slice], value: np.ndarray) -> None:
            number, rows = key
            assert value.shape == (rows.stop - rows.start, IMAGE.shape[1])
            assert value.dtype == self.dtype
            self.kept[number, rows] = value

    field = Field(IMAGE.shape, Box(650, 0, 700, 500), (((10, 10), (10, 400), (600, 300)),))
    predictor = Predictor(GreyLevels(), PLAIN, 3, CPU, WINDOWS)  # type: ignore[arg-type]
    plane = Plane(IMAGE, 0, 255)
    out = Receivers(Rows(np.uint8), Rows(np.uint8), Rows(np.float32), 1)
    area = drain(predict_into(plane, field, predictor, out.of_plane((1,))))
    expected = drain(predict(plane, field, predictor, with_uncertainty=True, probability_of=1))
    assert area == expected.largest_window_area
    for name in ("indices", "uncertainty", "probability"):
        kept = getattr(out, name).kept
        np.testing.assert_array_equal(kept[1], getattr(expected, name))
        assert (kept[0] == 7).all()


def test_reading_ahead_keeps_the_order_and_takes_nothing_for_granted() -> None:
    assert list(read_ahead([], abs)) == []
    assert list(read_ahead([-3], abs)) == [3]
    assert list(read_ahead(range(-5, 1), abs)) == [5, 4, 3, 2, 1, 0]


def test_the_first_error_of_writing_comes_out_and_the_rest_is_dropped() -> None:
    taken: list[int] = []

    class Receiver:
        shape, dtype = (9, 9), np.dtype(np.uint8)

        def __setitem__(self, key: slice, value: int) -> None:
            if value == 2:
                raise InputError("full")
            taken.append(value)

    def both() -> None:
        with Written() as written:
            written.write(Receiver(), slice(0, 1), 1)
            written.write(Receiver(), slice(0, 1), 2)

    with pytest.raises(InputError, match="full"):
        both()
    assert taken == [1]
