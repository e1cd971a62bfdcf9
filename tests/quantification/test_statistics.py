from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from napari_metallography.quantification.statistics import NO_FIELD, ONE_FIELD, field_statistics


def test_five_fields_take_the_t_of_the_standard():
    result = field_statistics([0.10, 0.12, 0.11, 0.13, 0.09])
    half = 2.776 * result["s"] / 5**0.5
    assert result["mean"] == pytest.approx(0.11)
    assert result["s"] == pytest.approx(0.0158114, rel=1e-5)
    assert result["ci95"] == pytest.approx([0.11 - half, 0.11 + half], rel=1e-4)
    assert result["relative_accuracy_percent"] == pytest.approx(100 * half / 0.11, rel=1e-3)
    assert (result["n_fields"], result["reason"]) == (5, None)


@given(st.lists(st.floats(0, 1e6), min_size=2, max_size=20).filter(lambda v: np.std(v) > 1e-3))
def test_the_interval_is_that_of_scipy(values):
    expected = stats.t.interval(0.95, len(values) - 1, np.mean(values), stats.sem(values))
    cut = [max(0.0, expected[0]), expected[1]]
    assert field_statistics(values)["ci95"] == pytest.approx(cut, abs=1e-6)


def test_one_field_has_a_mean_and_a_reason():
    result = field_statistics([0.2, float("nan")])
    assert (result["n_fields"], result["mean"]) == (1, 0.2)
    assert (result["s"], result["ci95"], result["reason"]) == (None, None, ONE_FIELD)
    assert ONE_FIELD == "one field alone gives no confidence interval"


def test_no_field_has_nothing_but_a_reason():
    result = field_statistics([])
    assert (result["n_fields"], result["mean"], result["reason"]) == (0, None, NO_FIELD)


def test_a_mean_of_nought_has_no_relative_accuracy():
    result = field_statistics([0.0, 0.0])
    assert (result["ci95"], result["relative_accuracy_percent"]) == ([0.0, 0.0], None)


def test_the_interval_keeps_to_what_is_possible():
    fraction = field_statistics([0.02, 0.9], largest=1.0)
    assert fraction["ci95"] == [0.0, 1.0]
    assert fraction["relative_accuracy_percent"] > 100
