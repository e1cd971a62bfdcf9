"""Segmenting stacks, by thresholds and by an untrained network."""

from __future__ import annotations

import numpy as np
import pytest

from napari_metallography.errors import InputError
from napari_metallography.events import Progress, drain
from napari_metallography.regions import Box, Field
from napari_metallography.segmentation.model import SegmentationModel
from napari_metallography.segmentation.prediction import PredictionParameters
from napari_metallography.segmentation.segment import SegmentParameters, segment

THRESHOLD = SegmentParameters(method="threshold")
QUICK = SegmentParameters(prediction=PredictionParameters(flips=False, scales=(1.0,)))


class Watched:
    """A stack that notes which of its planes are read."""

    def __init__(self, planes: np.ndarray) -> None:
        self.planes = planes
        self.shape, self.dtype = planes.shape, planes.dtype
        self.read: list[tuple[int, ...]] = []

    def __getitem__(self, key: tuple[int, ...]) -> np.ndarray:
        self.read.append(key)
        return self.planes[key]


@pytest.fixture
def stack() -> np.ndarray:
    return np.random.default_rng(2).integers(0, 255, (3, 64, 80), dtype=np.uint8)


@pytest.fixture(scope="module")
def model(untrained) -> SegmentationModel:
    return untrained(["matrix", "phase"], seed=1)


def running(array, parameters, measured=None, **options):
    return segment(
        array,
        rgb=False,
        calibration=None,
        measured=measured or Field(array.shape[-2:]),
        parameters=parameters,
        **options,
    )


@pytest.mark.parametrize("parameters", [THRESHOLD, QUICK])
def test_planes_are_read_when_their_turn_comes(stack, model, parameters) -> None:
    watched = Watched(stack)
    events = running(watched, parameters, model=model)
    next(event for event in events if isinstance(event, Progress))
    assert len(watched.read) <= 1
    drain(events)
    assert watched.read == [(0,), (1,), (2,)]


@pytest.mark.parametrize("parameters", [THRESHOLD, QUICK])
def test_the_result_has_the_shape_of_the_stack(stack, model, parameters) -> None:
    whole = drain(running(stack[:, None], parameters, model=model)).indices
    assert whole.shape == (3, 1, 64, 80)
    single = drain(running(stack[1], parameters, model=model)).indices
    np.testing.assert_array_equal(whole[1, 0], single)


def test_a_plane_that_cannot_be_segmented_is_named(stack) -> None:
    stack[2] = 9
    with pytest.raises(InputError, match=r"steel\.tif, plane 2: every pixel has the same value"):
        drain(running(stack, THRESHOLD, name="steel.tif"))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_the_data_bar_does_not_change_what_is_found_above_it(stack, model, dtype) -> None:
    image = (40 + stack[0] // 2).astype(dtype)
    bar = np.zeros((20, 80), dtype)
    bar[5:15, ::3] = 255
    field = Field((84, 80), Box(64, 0, 84, 80))
    barred = drain(running(np.vstack([image, bar]), QUICK, field, model=model)).indices
    alone = drain(running(image, QUICK, model=model)).indices
    assert len(np.unique(alone)) == 2
    np.testing.assert_array_equal(barred[:64], alone)
