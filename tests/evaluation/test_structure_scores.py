from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_metallography.evaluation.structure import known_scores

NAMES = ("pearlite", "ferrite", "none")


def test_none_is_a_wrong_answer_and_no_class() -> None:
    truth, given_ = np.array([0, 0, 1, 1]), np.array([0, 2, 1, 0])
    found = known_scores(truth, given_, NAMES)
    assert found["accuracy"] == 0.5
    assert found["falsely_rejected"] == 0.25
    # F1 of pearlite 1/2, of ferrite 2/3; "none" is left out.
    assert found["macro_f1"] == pytest.approx((1 / 2 + 2 / 3) / 2)
    assert found["confusion"]["pearlite"] == {"pearlite": 1, "ferrite": 0, "none": 1}


def test_classes_without_images_do_not_count() -> None:
    # A class nobody showed was answered once: that is wrong for the other class already.
    found = known_scores(np.array([0, 0]), np.array([0, 1]), NAMES)
    assert found["macro_f1"] == pytest.approx(2 / 3)
    assert found["classes"] == 1
    assert found["classes_without_images"] == ["ferrite"]


@given(st.lists(st.integers(0, 1), min_size=1, max_size=30))
def test_right_answers_score_one(classes) -> None:
    truth = np.array(classes)
    found = known_scores(truth, truth, NAMES)
    assert found["accuracy"] == found["macro_f1"] == 1
    assert found["falsely_rejected"] == 0
