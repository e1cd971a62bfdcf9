"""Scores of grain boundaries."""

import numpy as np
import pytest
from scipy import ndimage

from napari_metallography.evaluation.boundaries import score, summary
from napari_metallography.grains.drawing import boundary_pixels
from napari_metallography.grains.partition import Partition, from_labels
from napari_metallography.synthesis.polycrystals import PolycrystalParameters, polycrystal


def _halves(column: int) -> Partition:
    return from_labels(np.where(np.arange(100) < column, 1, 2)[None].repeat(80, 0).astype(np.int32))


def _grains(seed: int = 0, grain_size: float = 8.0) -> Partition:
    parameters = PolycrystalParameters(height_px=256, width_px=300, grain_size=grain_size)
    return from_labels(polycrystal(parameters, seed).grains)


def test_the_truth_itself_scores_one() -> None:
    found = summary([score("same", _grains(), _grains())])
    assert found["boundary_f1"] == 1
    assert found["mean_intercept_error_percent"] == 0


@pytest.mark.parametrize(("shift", "expected"), [(0, 1.0), (2, 1.0), (3, 0.0)])
def test_boundaries_up_to_two_pixels_apart_are_one(shift: int, expected: float) -> None:
    found = summary([score("shifted", _halves(50 + shift), _halves(50))])
    assert found["boundary_f1"] == expected


def test_a_grain_that_was_missed_costs_recall_and_lengthens_the_intercept() -> None:
    truth = _grains()
    joined = truth.grains.copy()
    joined[joined == joined[120, 150]] = joined[120, 180]
    found = summary([score("joined", from_labels(joined), truth)])
    assert found["precision"] == 1
    assert 0.9 < found["recall"] < 1
    assert found["mean_intercept_px"] > found["true_mean_intercept_px"]


def test_scores_agree_with_dilated_masks() -> None:
    found, truth = _grains(1), _grains(2)
    own, true = boundary_pixels(found.grains), boundary_pixels(truth.grains)
    y, x = np.ogrid[-2:3, -2:3]
    disc = x**2 + y**2 <= 4
    precision = (own & ndimage.binary_dilation(true, disc)).sum() / own.sum()
    recall = (true & ndimage.binary_dilation(own, disc)).sum() / true.sum()
    scores = summary([score("other", found, truth)])
    assert scores["precision"] == pytest.approx(precision)
    assert scores["recall"] == pytest.approx(recall)


def test_images_are_pooled_by_pixels_not_averaged() -> None:
    fine, coarse = _grains(grain_size=9), _grains(grain_size=6)
    one = score("fine", fine, fine)
    other = score("coarse", _halves(50), _halves(70))
    pooled = summary([one, other])
    assert pooled["precision"] == pytest.approx(one.found_px / (one.found_px + other.found_px))
    assert [image["boundary_f1"] for image in pooled["images"]] == [1, 0]
    assert (
        summary([score("c", coarse, coarse)])["true_mean_intercept_px"]
        > (pooled["images"][0]["true_mean_intercept_px"])
    )


def test_one_grain_has_no_score() -> None:
    whole = Partition(np.ones((40, 50), np.int32), 1)
    found = summary([score("whole", whole, whole)])
    assert found["boundary_f1"] is None
    assert found["mean_intercept_error_percent"] is None
