import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_metallography.evaluation.grain_size import nearest_grade, scores
from napari_metallography.grains.grades import GRADES

AXIS = np.array(GRADES)


def _votes(*answers: float) -> tuple[np.ndarray, np.ndarray]:
    """An image whose lines vote for these classes, each with all it has."""
    return AXIS, (AXIS[None] == np.array(answers)[:, None]).astype(float)


def test_scores_of_known_votes() -> None:
    votes = [_votes(8, 8, 8, 9), _votes(10, 10, 10, 10), _votes(7.5, 7.5, 7, 7.5)]
    found = scores(votes, [8.1, 10.2, 8.4], (1, 4))
    assert found["accuracy"] == pytest.approx(2 / 3)
    assert found["within_one_class"] == pytest.approx(2 / 3)
    assert found["mean_abs_error_G"] == pytest.approx((0.15 + 0.2 + 1.025) / 3)
    assert found["bias_G"] == pytest.approx((0.15 - 0.2 - 1.025) / 3)
    assert found["n"] == 3
    assert found["confusion"] == {"8": {"8": 1}, "8.5": {"7.5": 1}, "10": {"10": 1}}
    assert found["by_grade"]["10"]["accuracy"] == 1
    assert found["by_grade"]["8.5"]["n"] == 1
    # One line at a time: 3 of 4, 4 of 4, 0 of 4 are right.
    assert found["by_lines"]["1"]["accuracy"] == pytest.approx(7 / 12)
    assert found["by_lines"]["4"]["accuracy"] == pytest.approx(2 / 3)


def test_an_axis_may_reach_beyond_the_classes() -> None:
    """Of lines that were shown smaller, or of pixels that are not square."""
    axis = np.arange(3.0, 5.5, 0.5)
    found = scores([(axis, np.array([[0, 0, 1.0, 0, 0]]))], [4.2], (1,))
    assert found["accuracy"] == 1
    assert found["mean_abs_error_G"] == pytest.approx(0.2)


def test_the_class_is_the_one_nearest_to_the_expected_g() -> None:
    votes = [_votes(8, 8, 9.5, 9.5, 9)]
    found = scores(votes, [9.0], (5,))
    assert found["accuracy"] == 1
    assert found["accuracy_most_probable"] == 0


@given(st.lists(st.sampled_from(GRADES), min_size=8, max_size=8), st.sampled_from([1, 2, 8]))
def test_lines_that_agree_score_alike_however_many(answers, count) -> None:
    votes = [_votes(*[answer] * 8) for answer in answers]
    found = scores(votes, [8.0] * len(answers), (count,))
    assert found["by_lines"][str(count)]["accuracy"] == pytest.approx(found["accuracy"])


@given(st.floats(5, 15))
def test_the_nearest_grade_is_a_half_number_at_most_a_quarter_off(size) -> None:
    grade = float(nearest_grade(np.array([size]))[0])
    assert abs(grade - size) <= 0.25
    assert (2 * grade) % 1 == 0


def test_images_with_fewer_lines_do_not_stand_for_many() -> None:
    found = scores([_votes(8, 8, 8, 8), _votes(9, 9)], [8.0, 8.0], (1, 4, 8))
    assert found["by_lines"]["1"]["images"] == 2
    assert found["by_lines"]["4"]["images"] == 1
    assert found["by_lines"]["4"]["accuracy"] == 1
    assert "8" not in found["by_lines"]
