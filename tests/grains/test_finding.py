"""Grains that are given, and ways to find them."""

from __future__ import annotations

import numpy as np
import pytest

from napari_metallography.calibration import Calibration
from napari_metallography.errors import InputError
from napari_metallography.events import Progress, drain
from napari_metallography.grains.etched import EtchedParameters, grains_of_etched
from napari_metallography.grains.finding import ByEtching, Finding, Given, grains_given
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
