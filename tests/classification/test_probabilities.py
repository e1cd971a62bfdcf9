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
    if least < 1:
        assert (~correct[given_]).mean() <= risk
    # No lower probability would have done.
    for level in set(confidences[confidences < least]):
        assert (~correct[confidences >= level]).mean() > risk


def test_without_a_validation_every_answer_is_given() -> None:
    assert least_probability((), 0.01) == 0
