from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from napari_metallography.classification.defects import Answers
from napari_metallography.evaluation.classes import class_scores
from napari_metallography.evaluation.defects import (
    CHANGES,
    brighter,
    calibration_error,
    noisy,
    out_of_focus,
)

NAMES = ("a", "b", "c")


def test_scores_of_a_known_table() -> None:
    truth = np.array([0, 0, 0, 1, 1, 2])
    answers = np.array([0, 0, 1, 1, 1, 0])
    found = class_scores(truth, answers, NAMES)
    assert found["accuracy"] == pytest.approx(4 / 6)
    f1 = [2 * 2 / (3 + 3), 2 * 2 / (2 + 3), 0.0]
    assert found["macro_f1"] == pytest.approx(np.mean(f1))
    assert found["by_class"]["c"] == {"precision": None, "recall": 0.0, "f1": 0.0, "n": 1}
    assert found["confusion"]["a"] == {"a": 2, "b": 1, "c": 0}


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2)), min_size=1))
def test_names_may_be_exchanged(pairs) -> None:
    truth, answers = (np.array(values) for values in zip(*pairs, strict=True))
    one, other = class_scores(truth, answers, NAMES), class_scores(2 - truth, 2 - answers, NAMES)
    assert one["accuracy"] == other["accuracy"]
    assert one["macro_f1"] == pytest.approx(other["macro_f1"])
    assert sum(sum(row.values()) for row in one["confusion"].values()) == len(truth)


def _answers(confidences: list[float]) -> Answers:
    first = np.array(confidences)
    return Answers(np.stack([first, 1 - first], 1), np.ones(len(first)), 0, 2)


def test_true_probabilities_have_no_calibration_error() -> None:
    answers = _answers([0.8] * 10)
    assert calibration_error(answers, np.array([0] * 8 + [1] * 2)) == pytest.approx(0)
    assert calibration_error(answers, np.zeros(10, int)) == pytest.approx(0.2)


@given(arrays(np.uint8, (12, 9, 3)))
def test_changes_keep_shape_and_type(rgb) -> None:
    for change in CHANGES.values():
        changed = change(rgb)
        assert (changed.shape, changed.dtype) == (rgb.shape, np.uint8)


def test_changes_do_what_they_say() -> None:
    grey = np.full((64, 64, 3), 100, np.uint8)
    assert (brighter(0.7)(grey) == 70).all()
    assert (brighter(1.3)(np.full_like(grey, 250)) == 255).all()
    noise = noisy(grey)
    assert noise[..., 0].std() == pytest.approx(0.05 * 255, rel=0.05)
    assert np.array_equal(noise[..., 0], noise[..., 2])
    assert out_of_focus(noise)[..., 0].std() < 0.5 * noise[..., 0].std()
