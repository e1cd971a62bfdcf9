from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from napari_metallography.classification.probabilities import (
    least_probability,
    risk_points,
    temperature,
)


@pytest.mark.parametrize("exaggeration", [0.5, 1.0, 4.0])
def test_the_temperature_undoes_what_exaggerates(exaggeration) -> None:
    random = torch.Generator().manual_seed(0)
    logits = 2 * torch.randn(4000, 5, generator=random)
    classes = torch.multinomial(logits.softmax(1), 1, generator=random)[:, 0]
    assert temperature(exaggeration * logits, classes) == pytest.approx(exaggeration, rel=0.06)


def test_all_right_is_not_taken_for_certain() -> None:
    logits = torch.eye(3).repeat(20, 1)
    found = temperature(logits, torch.arange(3).repeat(20))
    confidence = float((logits / found).softmax(1).max())
    assert 0.95 < confidence < 0.9999


@given(
    st.lists(st.tuples(st.sampled_from([0.4, 0.5, 0.7, 0.9, 0.99]), st.booleans()), min_size=1),
    st.floats(0, 1),
)
def test_answers_at_a_risk_are_wrong_no_more_often(answers, risk) -> None:
    confidences = np.array([c for c, _ in answers])
    correct = np.array([c for _, c in answers])
    points = risk_points(confidences, correct)
    assert [p.risk for p in points] == sorted({p.risk for p in points})
    least = least_probability(points, risk)
    given_ = confidences >= least
    if given_.any():
        assert (~correct[given_]).mean() <= risk
    # No lower probability would have done.
    for level in set(confidences[confidences < least]):
        assert (~correct[confidences >= level]).mean() > risk


def test_many_points_are_thinned_and_keep_both_ends() -> None:
    random = np.random.default_rng(0)
    confidences = random.random(3000)
    correct = random.random(3000) < confidences
    points = risk_points(confidences, correct)
    assert 2 < len(points) <= 50
    assert points[-1].answered == 1
    assert points[-1].risk == pytest.approx((~correct).mean())
    assert least_probability(points, points[-1].risk) == confidences.min()
    assert points[0].risk < 0.01
    gaps = np.diff([point.answered for point in points])
    assert gaps.min() > 0
    assert gaps.max() < 0.15


def test_a_risk_that_no_answers_keep_answers_nothing() -> None:
    # Of softmax in double precision a probability may be 1 exactly.
    points = risk_points(np.array([1.0, 0.9, 0.8]), np.array([False, True, True]))
    assert least_probability(points, 0.0) > 1.0


def test_a_risk_of_one_answers_everything() -> None:
    points = risk_points(np.array([0.9, 0.8]), np.array([True, False]))
    assert least_probability(points, 1.0) == 0


def test_without_a_validation_every_answer_is_given() -> None:
    assert least_probability((), 0.01) == 0
