from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.integrate import trapezoid
from scipy.optimize import minimize
from scipy.stats import norm

from napari_metallography.quantification import distributions
from napari_metallography.quantification.distributions import (
    Sizes,
    fit_lognormal,
    size_statistics,
    size_table,
)


def table_of(radii, weights=None, unit="um"):
    frame = pd.DataFrame({"phase": "carbide", f"equivalent_radius_{unit}": radii})
    return frame if weights is None else frame.assign(weight=weights)


def lognormal(n, seed=0):
    return np.random.default_rng(seed).lognormal(0.3, 0.4, n)


def test_the_fit_finds_what_was_drawn():
    fit = fit_lognormal(lognormal(4000))
    assert fit.ln_mean == pytest.approx(0.3, abs=0.02)
    assert fit.ln_s == pytest.approx(0.4, abs=0.02)
    assert fit.median == pytest.approx(np.exp(fit.ln_mean))
    assert fit.p_value > 0.05
    assert "not rejected at the 5 % level" in fit.sentence


def test_the_statistic_is_the_sum_of_the_book():
    logs = np.sort(np.log(lognormal(25)))
    z = norm.cdf((logs - logs.mean()) / logs.std(ddof=1))
    i = np.arange(1, 26)
    a2 = -25 - np.mean((2 * i - 1) * (np.log(z) + np.log(1 - z[::-1])))
    assert fit_lognormal(np.exp(logs)).statistic == pytest.approx(a2)


def stephens(statistic, n):
    """The p-value of the book for a normal distribution with mean and s estimated."""
    a = statistic * (1 + 0.75 / n + 2.25 / n**2)
    if a < 0.34:
        low = -13.436 + 101.14 * a - 223.73 * a**2
        return 1 - np.exp(low if a < 0.2 else -8.318 + 42.796 * a - 59.938 * a**2)
    high = 1.2937 - 5.709 * a + 0.0186 * a**2
    return np.exp(0.9177 - 4.279 * a - 1.38 * a**2 if a < 0.6 else high)


def test_the_p_value_is_that_of_the_book(monkeypatch):
    monkeypatch.setattr(distributions, "_DRAWN_SAMPLES", 399)
    fits = [fit_lognormal(lognormal(40, seed)) for seed in range(8)]
    found = [fit.p_value for fit in fits]
    assert found == pytest.approx([stephens(fit.statistic, 40) for fit in fits], abs=0.06)


PIXEL = 1 / np.sqrt(np.pi)


def of_whole_pixels(n, median, smallest_area, seed=0):
    """Log-normal radii as they are measured, limits and the radius of a pixel."""
    radii = np.random.default_rng(seed).lognormal(np.log(median), 0.4, n)
    areas = np.round(np.pi * radii**2)
    areas = areas[areas >= smallest_area]
    limit = PIXEL * np.sqrt(smallest_area - 0.5)
    return PIXEL * np.sqrt(areas), np.full(len(areas), limit), np.full(len(areas), PIXEL)


@pytest.mark.parametrize("smallest_area", [1, 9])
def test_lognormal_sizes_of_a_few_pixels_are_not_rejected(smallest_area):
    for seed in range(3):
        radii, limits, pixels = of_whole_pixels(2000, 2.5, smallest_area, seed)
        smallest = limits if smallest_area > 1 else None
        fit = fit_lognormal(radii, smallest=smallest, pixels=pixels)
        assert fit.p_value > 0.05
        assert fit.median_ci95[0] < fit.median < fit.median_ci95[1]
        assert fit.median == pytest.approx(2.5, rel=0.04)


def test_sizes_of_a_few_pixels_that_are_not_lognormal_are_rejected():
    areas = np.random.default_rng(0).integers(9, 60, 600)
    pixels = np.full(600, PIXEL)
    fit = fit_lognormal(PIXEL * np.sqrt(areas), smallest=pixels * np.sqrt(8.5), pixels=pixels)
    assert fit.p_value <= 0.01


def test_of_many_particles_some_are_tested(monkeypatch):
    monkeypatch.setattr(distributions, "_MOST_TESTED", 200)
    fit = fit_lognormal(lognormal(3000))
    assert "200 of 3000 particles by chance" in fit.sentence
    # The interval is that of all.
    half = 1.96 * fit.ln_s / np.sqrt(3000)
    assert np.log(fit.median_ci95) - fit.ln_mean == pytest.approx([-half, half], rel=0.35)


def cut_off(n, at, seed=0):
    """Log-normal radii of which those below a limit were left out."""
    radii = lognormal(n, seed)
    return radii[radii >= at]


@pytest.mark.parametrize("at", [1.0, 1.35])
def test_a_smallest_area_does_not_move_the_fit(at):
    below = norm.cdf((np.log(at) - 0.3) / 0.4)
    # Quantiles of the distribution above the limit: its truth without the chance of drawing.
    reached = below + (1 - below) * (np.arange(4000) + 0.5) / 4000
    radii = np.exp(0.3 + 0.4 * norm.ppf(reached))
    fit = fit_lognormal(radii, smallest=np.full(len(radii), at))
    assert fit.median == pytest.approx(np.exp(0.3), rel=0.01)
    assert fit.ln_s == pytest.approx(0.4, abs=0.01)
    assert fit.share_below_percent == pytest.approx(100 * below, abs=2)
    assert fit_lognormal(radii).median > 1.15 * np.exp(0.3)
    assert f"cut off at {at:.4g} by the smallest area" in fit.sentence


def test_the_truncated_fit_is_the_likeliest_by_a_general_minimiser():
    coarse, fine = cut_off(300, 1.2), cut_off(200, 0.9, seed=1)
    radii = np.concatenate([coarse, fine])
    limits = np.repeat([1.2, 0.9], [len(coarse), len(fine)])
    x, t = np.log(radii), np.log(limits)

    def unlikelihood(values):
        mean, s = values[0], np.exp(values[1])
        return -(norm.logpdf(x, mean, s) - norm.logsf(t, mean, s)).sum()

    found = minimize(unlikelihood, [0.3, -1.0], method="Nelder-Mead", options={"xatol": 1e-7})
    fit = fit_lognormal(radii, smallest=limits)
    assert fit.ln_mean == pytest.approx(found.x[0], abs=1e-4)
    assert fit.ln_s == pytest.approx(np.exp(found.x[1]), abs=1e-4)


def test_the_p_value_of_a_truncated_fit_is_how_often_such_a_statistic_occurs(monkeypatch):
    monkeypatch.setattr(distributions, "_DRAWN_SAMPLES", 1)
    monkeypatch.setattr(distributions, "_FEWEST_SAMPLES", 0)
    samples = [cut_off(100, 1.0, seed) for seed in range(600)]
    found = [fit_lognormal(radii, smallest=np.ones(len(radii))).statistic for radii in samples]
    monkeypatch.setattr(distributions, "_DRAWN_SAMPLES", 399)
    order = np.argsort(found)
    for share in (0.1, 0.5):
        radii = samples[order[round((1 - share) * len(found))]]
        p_value = fit_lognormal(radii, smallest=np.ones(len(radii))).p_value
        assert p_value == pytest.approx(share, abs=0.4 * share)


def test_what_is_not_a_truncated_lognormal_is_rejected():
    radii = np.random.default_rng(0).uniform(1, 2, 400)
    fit = fit_lognormal(radii, smallest=np.ones(400))
    assert fit.p_value <= 0.01
    assert fit.p_value == fit_lognormal(radii, smallest=np.ones(400)).p_value


def test_a_limit_far_below_all_sizes_changes_nothing():
    radii = lognormal(500)
    cut, whole = fit_lognormal(radii, smallest=np.full(500, 1e-3)), fit_lognormal(radii)
    assert cut.ln_mean == pytest.approx(whole.ln_mean)
    assert cut.ln_s == pytest.approx(whole.ln_s, rel=2e-3)


def test_sizes_that_fall_off_too_steeply_have_no_fit():
    # An exponential distribution of ln r: any log-normal one whose tail looks so would do.
    radii = np.exp(np.random.default_rng(0).exponential(0.3, 400) ** 1.3)
    fit = fit_lognormal(radii, smallest=np.ones(400))
    assert (fit.median, fit.p_value) == (None, None)
    assert "fall off so steeply" in fit.sentence


def test_of_exponential_sizes_none_is_fitted_far_below_what_was_seen():
    fits = []
    for seed in range(8):
        radii = np.exp(np.random.default_rng(seed).exponential(0.3, 60))
        fits.append(fit_lognormal(radii, smallest=np.ones(60)))
    refused = [fit.reason for fit in fits if fit.median is None]
    assert refused
    assert all("fall off so steeply" in reason for reason in refused)
    for fit in fits:
        if fit.median is None:
            continue
        assert fit.share_below_percent <= 90
        assert fit.median_ci95[0] < fit.median < fit.median_ci95[1]
        assert np.isfinite(fit.density(np.linspace(0.5, 5, 200))).all()


@pytest.mark.parametrize("n", [1, 2, 7])
def test_of_a_tail_of_few_particles_nothing_is_reckoned(n):
    fit = fit_lognormal(np.linspace(1.1, 2.0, n), smallest=np.ones(n))
    assert fit.median is None
    assert "few" in fit.sentence


def test_limits_of_several_pixel_sizes_are_mixed():
    coarse, fine = cut_off(4000, 1.35), cut_off(4000, 1.0, seed=1)
    radii = np.concatenate([coarse, fine])
    limits = np.repeat([1.35, 1.0], [len(coarse), len(fine)])
    fit = fit_lognormal(radii, smallest=limits)
    assert fit.smallest_radii == pytest.approx((1.0, 1.35))
    assert fit.share_below_percent == pytest.approx(100 * (1 - len(radii) / 8000), abs=2)
    x = np.linspace(1e-3, 20, 100_001)
    density = fit.density(x)
    assert trapezoid(density, x) == pytest.approx(1, abs=2e-3)
    below = x < 1.35
    assert trapezoid(density[below], x[below]) == pytest.approx(np.mean(radii < 1.35), abs=0.02)
    assert "cut off at 1 to 1.35" in fit.sentence


def test_the_interval_of_the_median_holds_the_true_one():
    held = 0
    for seed in range(12):
        radii = cut_off(150, 1.0, seed)
        low, high = fit_lognormal(radii, smallest=np.ones(len(radii))).median_ci95
        held += low <= np.exp(0.3) <= high
    assert held >= 10


def test_the_limit_is_half_a_pixel_below_the_smallest_area():
    particles = table_of([2.0, 3.0]).assign(area_px=[16, 36])
    assert Sizes.of(particles).smallest is None
    assert Sizes.of(particles, 9).smallest == pytest.approx([2 * np.sqrt(8.5 / 16)] * 2)
    stated = size_statistics(particles, 9)["carbide"]["lognormal"]
    assert stated["smallest_radii"] == pytest.approx([2 * np.sqrt(8.5 / 16)])
    assert Sizes.of(particles).pixels == pytest.approx([0.5] * 2)


@pytest.mark.parametrize("smallest", [None, 1.2])
def test_the_density_of_what_counts_integrates_to_one(smallest):
    radii = cut_off(2000, smallest or 0.0)
    fit = fit_lognormal(radii, smallest=None if smallest is None else np.full(len(radii), smallest))
    x = np.linspace(1e-3, 20, 200_001)
    assert trapezoid(fit.density(x), x) == pytest.approx(1, abs=1e-3)


def test_what_is_not_lognormal_is_rejected():
    radii = np.random.default_rng(0).uniform(1, 2, 400)
    assert "is rejected at the 5 % level" in fit_lognormal(radii).sentence


def test_a_weight_of_two_is_as_good_as_the_particle_twice():
    radii = lognormal(30)
    twice = fit_lognormal(np.repeat(radii, 2))
    weighted = fit_lognormal(radii, np.full(30, 2.0))
    assert weighted.ln_mean == pytest.approx(twice.ln_mean)
    assert weighted.statistic == pytest.approx(fit_lognormal(radii).statistic)


@pytest.mark.parametrize(
    ("radii", "reason"),
    [
        ([], "fewer than two"),
        ([1.0], "fewer than two"),
        ([1.0, 2.0, 3.0], "3 particles are too few, it takes 8"),
        ([2.0] * 20, "one size"),
    ],
)
def test_why_there_is_no_test_is_said(radii, reason):
    fit = fit_lognormal(np.array(radii))
    assert fit.p_value is None
    assert reason in fit.reason
    assert reason in fit.sentence


radii_and_weights = st.lists(
    st.tuples(st.floats(0.01, 100), st.floats(1, 10)), min_size=1, max_size=60
)


@given(radii_and_weights)
def test_shares_sum_to_a_hundred_percent(pairs):
    radii, weights = np.array(pairs).T
    table = size_table(table_of(radii, weights))
    assert table["n_particles"].sum() == len(radii)
    for share in ("number", "area"):
        assert table[f"{share}_percent"].sum() == pytest.approx(100)
        assert table[f"{share}_cumulative_percent"].iloc[-1] == pytest.approx(100)
        assert (table[f"{share}_cumulative_percent"].diff().dropna() >= -1e-9).all()


@pytest.mark.parametrize(
    "radii", [[0.02], [0.02, 0.02], [0.3] * 50, [5.0], [1.0, 1.0 + 1e-15], [0.1 + 0.2, 0.3]]
)
def test_equal_sizes_have_one_bin_of_positive_sizes(radii):
    table = size_table(table_of(radii))
    assert table["n_particles"].tolist() == [len(radii)]
    start, end = table.loc[0, ["from_um", "to_um"]]
    assert 0 < start < min(radii) <= max(radii) < end < 1.1 * max(radii)
    assert table.loc[0, ["number_percent", "area_percent"]].tolist() == pytest.approx([100, 100])


def test_two_particles_of_two_sizes_have_a_bin_each():
    table = size_table(table_of([0.02, 0.03]))
    assert table["n_particles"].tolist() == [1, 1]
    assert table["from_um"].tolist() == pytest.approx([0.02, 0.025])
    assert table["to_um"].tolist() == pytest.approx([0.025, 0.03])


@given(radii_and_weights)
def test_bins_are_in_order_and_hold_all_sizes(pairs):
    radii = np.array(pairs)[:, 0]
    edges = Sizes(radii, np.ones(len(radii)), "um").edges()
    assert (np.diff(edges) > 0).all()
    assert 0 < edges[0] <= radii.min()
    assert edges[-1] >= radii.max()


def test_area_weights_the_large_ones():
    table = size_table(table_of([1.0, 1.0, 1.0, 3.0]))
    assert table["number_percent"].tolist() == [75, 25]
    assert table["area_percent"].tolist() == [25, 75]


def test_the_edge_rule_s_weights_count():
    table = size_table(table_of([1.0, 3.0], weights=[1.0, 3.0]))
    assert table["number_percent"].tolist() == [25, 75]
    assert table["n_particles"].tolist() == [1, 1]


def test_sizes_without_a_pixel_size_are_in_pixels():
    particles = table_of([4.0, 6.0], unit="px")
    assert Sizes.of(particles).unit == "px"
    assert {"from_px", "to_px"} < set(size_table(particles))


def test_no_particle_no_distribution():
    assert size_table(table_of([])).empty
    assert size_statistics(table_of([])) == {}
