import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from skimage.measure import label

from napari_metallography.evaluation.scores import (
    accuracy,
    confusion_matrix,
    found_by_diameter,
    good_from_px,
    intersection_over_union,
    match_particles,
    mean_iou,
)

indices = arrays(np.uint8, (12, 12), elements=st.sampled_from([0, 1, 2, 255]))


@given(indices, indices)
def test_confusion_counts_each_pair_of_known_pixels(truth: np.ndarray, guess: np.ndarray) -> None:
    confusion = confusion_matrix(truth, guess, 3)
    for t in range(3):
        for g in range(3):
            assert confusion[t, g] == ((truth == t) & (guess == g)).sum()


def test_iou_by_hand() -> None:
    confusion = np.array([[6, 2, 0], [1, 3, 0], [0, 0, 0]])
    assert intersection_over_union(confusion) == [6 / 9, 3 / 6, None]
    assert mean_iou(confusion) == pytest.approx((6 / 9 + 0.5) / 2)
    assert accuracy(confusion) == 9 / 12


@given(indices)
def test_truth_against_itself_is_perfect(truth: np.ndarray) -> None:
    match = match_particles(truth, np.where(truth == 255, 0, truth).astype(np.uint8), 1)
    assert match.count_error == 0
    assert match.matched == len(match.true_areas) == label(truth == 1, connectivity=2).max()


def test_a_shifted_particle_matches_until_half_is_gone() -> None:
    truth = np.zeros((20, 40), np.uint8)
    truth[5:10, 5:15] = 1
    for shift, matched in ((3, 1), (4, 0)):
        guess = np.roll(truth, shift, axis=1)
        # IoU of two 10 px wide bars shifted by s: (10 − s)/(10 + s).
        assert ((10 - shift) / (10 + shift) >= 0.5) == bool(matched)
        assert match_particles(truth, guess, 1).matched == matched


def test_two_halves_of_a_particle_are_one_match_at_most() -> None:
    truth = np.zeros((10, 20), np.uint8)
    truth[2:8, 2:18] = 1
    guess = truth.copy()
    guess[:, 10] = 0
    guess[:, 11:18] = 0
    guess[3:7, 12:18] = 1
    match = match_particles(truth, guess, 1)
    assert len(match.predicted_areas) == 2
    assert match.matched == 1
    assert match.precision == 0.5
    assert match.recall == 1


def test_errors_of_count_and_radius() -> None:
    truth = np.zeros((30, 30), np.uint8)
    truth[2:6, 2:6] = 1
    truth[20:24, 20:24] = 1
    guess = np.zeros_like(truth)
    guess[2:10, 2:10] = 1
    match = match_particles(truth, guess, 1)
    assert match.count_error == -1
    assert match.mean_radius_error_px == pytest.approx((8 - 4) / np.sqrt(np.pi))


def test_without_particles_there_is_no_rate() -> None:
    nothing = np.zeros((5, 5), np.uint8)
    match = match_particles(nothing, nothing, 1)
    assert match.precision is None
    assert match.recall is None
    assert match.mean_radius_error_px is None


def test_particles_outside_the_predicted_field_do_not_count() -> None:
    truth = np.zeros((20, 40), np.uint8)
    truth[5:10, 5:10] = truth[5:10, 30:35] = 1
    guess = truth.copy()
    guess[:, 20:] = 255
    match = match_particles(truth, guess, 1)
    assert (match.precision, match.recall, match.count_error) == (1, 1, 0)


def test_from_which_size_on_particles_are_found() -> None:
    truth = np.zeros((60, 200), np.uint8)
    for number in range(8):
        left = 5 + 24 * number
        truth[5:7, left : left + 2] = 1
        truth[30:40, left : left + 10] = 1
    guess = truth.copy()
    guess[:20] = 0
    match = match_particles(truth, guess, 1)
    rows = found_by_diameter(match)
    assert [(row["from_px"], row["n"], row["found"]) for row in rows] == [(0, 8, 0), (8, 8, 1)]
    assert good_from_px(match) == 8
    assert good_from_px(match_particles(truth, np.zeros_like(truth), 1)) is None
