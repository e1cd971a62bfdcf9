"""Grains that are given, and ways to find them."""

from __future__ import annotations

import numpy as np
import pytest

from napari_metallography.calibration import Calibration
from napari_metallography.errors import InputError
from napari_metallography.events import Progress, drain
from napari_metallography.grains.etched import EtchedParameters, grains_of_etched
from napari_metallography.grains.finding import ByEtching, Finding, Given, grains_given, takes_masks
from napari_metallography.synthesis.polycrystals import PolycrystalParameters, polycrystal

HALF_UM = Calibration.square(0.5, "test")
BLANK = np.zeros((60, 80, 3), np.uint8)


@pytest.fixture(scope="module")
def made():
    return polycrystal(PolycrystalParameters(height_px=160, width_px=200, grain_size=9), 8)


def _lines(*values: int) -> np.ndarray:
    """A cross of lines of these values on 0."""
    drawn = np.zeros((60, 80), np.uint8)
    drawn[30] = values[0]
    drawn[:, 40] = values[-1]
    return drawn


def test_what_is_neither_mask_nor_grains_is_refused(made) -> None:
    with pytest.raises(InputError, match="neither a mask"):
        grains_given(made.image, 1, "a.png")
    with pytest.raises(InputError, match="there is no boundary"):
        grains_given(np.zeros((20, 20), np.uint8), 1, "a.png")
    with pytest.raises(InputError, match=r"a\.png: .* inverted"):
        grains_given(np.where(made.boundaries, 0, 255).astype(np.uint8), 1, "a.png")


@pytest.mark.parametrize(
    "given",
    [
        Given("mask", _lines(255)),
        Given("mask", _lines(1).astype(bool)),
        Given("painted", _lines(1, 3), all_values=True),
    ],
)
def test_given_boundaries_part_four_grains(given: Given) -> None:
    assert drain(given.grains(BLANK, HALF_UM)).n == 4


def _halves(low: int, high: int, dtype: type = np.uint8) -> np.ndarray:
    drawn = np.full((60, 80), low, dtype)
    drawn[:, 40:] = high
    return drawn


@pytest.mark.parametrize("dtype", [np.uint8, np.int32])
def test_two_numbers_are_two_grains_and_no_mask(dtype: type) -> None:
    for numbers in ((1, 2), (17, 4)):
        found = grains_given(_halves(*numbers, dtype), 1, "labels.tif")
        assert found.n == 2
        assert (found.areas == 60 * 40).all()


@pytest.mark.parametrize("thick", [1, 3])
@pytest.mark.parametrize(("grain", "boundary"), [(0, 1), (1, 2), (50, 200)])
def test_a_mask_of_any_two_values_is_a_mask(grain: int, boundary: int, thick: int) -> None:
    for lines in ((slice(40, 40 + thick),), (slice(20, 20 + thick), slice(60, 60 + thick))):
        drawn = np.full((60, 80), grain, np.uint8)
        for line in lines:
            drawn[:, line] = boundary
        assert grains_given(drawn, 1, "mask.png").n == len(lines) + 1


def test_only_where_nothing_was_asked_for_an_image_may_be_a_mask() -> None:
    assert takes_masks(ByEtching())
    assert takes_masks(ByEtching(EtchedParameters(smallest_area_px=7)))
    assert not takes_masks(ByEtching(EtchedParameters(contrast=0.9)))
    assert not takes_masks(Given("mask", _lines(255)))


def test_nothing_painted_is_no_boundary() -> None:
    given = Given("painted", np.zeros((60, 80), np.uint8), all_values=True)
    with pytest.raises(InputError, match="painted: holds no boundary; paint some"):
        drain(given.grains(BLANK, HALF_UM))


def test_what_is_given_is_told() -> None:
    assert Given("a.png", _lines(1), digest="12").provenance() == {
        "boundaries": "a.png",
        "boundaries_sha256": "12",
    }
    assert Given("layer", _lines(1)).provenance() == {"boundaries": "layer"}


def test_etched_boundaries_are_those_of_the_plain_function(made) -> None:
    rules = EtchedParameters(smallest_area_px=30)
    by_etching: Finding = ByEtching(rules)
    pixels = np.repeat(made.image[..., None], 3, axis=2)
    seen = []
    found = drain(by_etching.grains(pixels, HALF_UM), seen.append)
    assert (found.grains == grains_of_etched(made.image, rules).grains).all()
    assert by_etching.provenance()["etched"]["smallest_area_px"] == 30
    steps = [event for event in seen if isinstance(event, Progress)]
    assert len(steps) > 12
    assert steps[-1].done == steps[-1].total


def test_looking_for_boundaries_can_be_stopped(made) -> None:
    running = ByEtching().grains(np.repeat(made.image[..., None], 3, axis=2), HALF_UM)
    next(running)
    running.close()
    with pytest.raises(StopIteration):
        next(running)
