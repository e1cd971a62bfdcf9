"""The benchmark of the intervals' coverage, in small: its own code on few fields."""

from __future__ import annotations

import pytest

import ci_coverage as benchmark


def test_intervals_of_simulated_studies_hold_the_truth():
    small = benchmark.SMALL_FIELD.model_copy(update={"height_px": 96, "width_px": 96})
    stacks = [benchmark.stack(number, small) for number in range(12)]
    truth = benchmark.process_truth(small)
    means = benchmark.long_run(stacks)
    for name, true in truth.items():
        assert means[name] == pytest.approx(true, rel=0.15)
    for size, n_studies in ((5, 12), (10, 6)):
        studies = [benchmark.study_statistics(one) for one in benchmark.grouped(stacks, size)]
        assert studies[0]["mean_radius_um"]["n_fields"] == size
        covered = benchmark.coverage(studies, truth)
        assert set(covered) == set(truth)
        assert all(row["studies"] == n_studies for row in covered.values())
        # At a true 95 %, three of six or fewer happen twice in a thousand times.
        assert all(row["covered_percent"] >= 66 for row in covered.values())


def test_a_truth_elsewhere_is_not_covered():
    stacks = [benchmark.stack(number, benchmark.SMALL_FIELD, 5) for number in range(2)]
    studies = [benchmark.study_statistics(stacks)]
    wrong = {
        name: 3 * true for name, true in benchmark.process_truth(benchmark.SMALL_FIELD).items()
    }
    rows = benchmark.coverage(studies, {name: wrong[name] for name in ("mean_radius_um",)})
    assert rows["mean_radius_um"]["covered_percent"] == 0
    assert rows["mean_radius_um"]["truth_too_high_percent"] == 100


def test_true_labels_give_count_and_mean_radius_within_two_percent():
    found = benchmark.from_true_labels(2)["split distance"]
    assert abs(found["count_error_percent"]) <= 2
    assert abs(found["radius_error_percent"]) <= 2
