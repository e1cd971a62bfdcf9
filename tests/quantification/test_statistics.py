from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from napari_metallography.quantification.statistics import (
    NO_FIELD,
    ONE_FIELD,
    area_notes,
    field_statistics,
    fields_needed,
    phase_statistics,
    specimen_statistics,
    weighted_mean_and_s,
    without_intervals,
)


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


@pytest.mark.parametrize("value", [0.0, 0.3])
def test_fields_that_do_not_differ_have_no_interval(value):
    result = field_statistics([value, value])
    assert (result["n_fields"], result["mean"], result["s"]) == (2, value, 0)
    assert (result["ci95"], result["relative_accuracy_percent"]) == (None, None)
    assert result["reason"].startswith("the fields do not differ")


def test_the_interval_keeps_to_what_is_possible():
    fraction = field_statistics([0.02, 0.9], largest=1.0)
    assert fraction["ci95"] == [0.0, 1.0]
    assert fraction["relative_accuracy_percent"] > 100
    # 0.46 ± 12.706·0.44
    assert fraction["note"] == (
        "cut at 0, the least that is possible (-5.131 before); "
        "cut at 1, the most that is possible (6.051 before)"
    )
    assert field_statistics([0.4, 0.41, 0.42], largest=1.0)["note"] is None
    (taken,) = without_intervals({"carbide": {"area_fraction": fraction}}, "why").values()
    assert taken["area_fraction"]["note"] is None


def test_fields_of_very_different_areas_are_said():
    phases = pd.DataFrame({"labelled_area_um2": [10.0, 20.0, 0.0]})
    assert area_notes(phases) == []
    phases.loc[1, "labelled_area_um2"] = 25.0
    (note,) = area_notes(phases)
    assert note.startswith("the measured area of the largest field is 2.5 times that of the smalle")


@pytest.mark.parametrize("n", [5, 10, 30])
def test_the_interval_covers_the_truth_in_95_of_100_studies(n):
    # Area fractions of fields with Poisson numbers of log-normal particles: skew, as real ones.
    random = np.random.default_rng(n)
    sigma, n_particles = 0.4, 60
    truth = n_particles * np.exp(2 * sigma**2)
    covered = 0
    for _ in range(200):
        numbers = random.poisson(n_particles, n)
        fields = [(random.lognormal(0, sigma, number) ** 2).sum() for number in numbers]
        low, high = field_statistics(fields)["ci95"]
        covered += low <= truth <= high
    assert 0.90 <= covered / 200 <= 0.98


@given(st.floats(0.01, 100), st.floats(0.01, 2), st.floats(1, 50))
def test_the_fields_needed_are_the_fewest_that_do(mean, variation, wanted):
    s = variation * mean
    n = fields_needed(mean, s, wanted)

    def accuracy(n):
        return 100 * stats.t.ppf(0.975, n - 1) * s / (np.sqrt(n) * mean)

    assert accuracy(n) <= wanted * (1 + 1e-9)
    assert n == 2 or accuracy(n - 1) > wanted


def test_the_fields_still_needed_are_what_is_missing():
    values = [0.10, 0.12, 0.11, 0.13, 0.09]
    ten = field_statistics(values, wanted_accuracy_percent=10)
    # (1.96 · 14.4 / 10)² = 7.9 and t of 11 fields is 2.228: (2.228 · 14.37 / 10)² = 10.3.
    assert ten["fields_needed"] == 11
    assert ten["fields_still_needed"] == 6
    assert field_statistics(values, wanted_accuracy_percent=50)["fields_still_needed"] == 0
    assert field_statistics([0.0, 0.0])["fields_needed"] is None
    assert field_statistics([0.1])["fields_needed"] is None
    assert field_statistics([0.2, 0.2])["fields_needed"] is None


def tables(unit, specimens=None, weight=None):
    phases = pd.DataFrame(
        {
            "image": ["a", "b", "c"],
            "plane": 0,
            "phase": "carbide",
            "class_index": 1,
            "n_particles": pd.array([2, 0, 1], dtype="Int64"),
            f"labelled_area_{unit}2": [10.0, 10.0, 10.0],
            "area_fraction": [0.1, 0.2, 0.6],
            f"mean_radius_{unit}": [1.5, np.nan, 4.0],
            "omega12": [-0.5, -0.4, -0.6],
        }
    )
    radii = {"phase": "carbide", f"equivalent_radius_{unit}": [1.0, 2.0, 4.0]}
    particles = pd.DataFrame(radii)
    if weight:
        particles["weight"] = weight
    if specimens:
        phases["specimen"] = specimens
        particles["specimen"] = [specimens[0], specimens[0], specimens[2]]
    return phases, particles


@pytest.mark.parametrize("unit", ["um", "px"])
def test_every_quantity_of_a_phase_has_its_statistics(unit):
    found = phase_statistics(*tables(unit))["carbide"]
    assert set(found) == {
        "area_fraction",
        f"mean_radius_{unit}",
        "omega12",
        "n_particles",
        f"pooled_mean_radius_{unit}",
        f"pooled_std_radius_{unit}",
    }
    assert found[f"mean_radius_{unit}"]["n_fields"] == 2
    assert found[f"pooled_mean_radius_{unit}"] == pytest.approx(7 / 3)
    assert found["omega12"]["ci95"][0] < 0
    assert found["omega12"]["relative_accuracy_percent"] is None


def test_pooled_radii_are_weighted_by_the_edge_rule():
    found = phase_statistics(*tables("um", weight=[1.0, 1.0, 2.0]))["carbide"]
    assert found["pooled_mean_radius_um"] == pytest.approx((1 + 2 + 8) / 4)


def test_equal_weights_weigh_nothing():
    values = np.array([1.0, 2.0, 4.0])
    mean, s = weighted_mean_and_s(values, np.full(3, 7.0))
    assert (mean, s) == (pytest.approx(values.mean()), pytest.approx(values.std(ddof=1)))
    assert weighted_mean_and_s(values[:1], np.ones(1)) == (1.0, None)
    assert weighted_mean_and_s(values[:0], np.ones(0)) == (None, None)


def test_a_specimen_counts_once_however_many_fields_it_has():
    found = specimen_statistics(*tables("um", specimens=["S", "S", "T"]), planes_are_fields=True)
    assert found["specimens"]["S"]["n_fields"] == 2
    assert found["specimens"]["T"]["phases"]["carbide"]["area_fraction"]["ci95"] is None
    over = found["over_specimens"]
    fraction = over["phases"]["carbide"]["area_fraction"]
    assert (over["n_specimens"], fraction["n_specimens"]) == (2, 2)
    assert fraction["mean"] == pytest.approx((0.15 + 0.6) / 2)
    assert fraction["ci95"] is not None


def test_one_named_specimen_alone_has_no_interval_over_specimens():
    over = specimen_statistics(*tables("um", specimens=["S", "S", ""]), planes_are_fields=True)[
        "over_specimens"
    ]
    fraction = over["phases"]["carbide"]["area_fraction"]
    assert fraction["reason"] == "one specimen alone gives no confidence interval"
