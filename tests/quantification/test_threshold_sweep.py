from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from napari_metallography.errors import InputError
from napari_metallography.quantification.threshold_sweep import (
    Counted,
    GreyField,
    compare,
    count_at,
    count_masks,
    crossings,
    figure,
)
from napari_metallography.segmentation.thresholding import ThresholdParameters

BRIGHT = ThresholdParameters()


def field(values, pixel_um=0.5):
    """Squares of 4 px, 10 px apart, of the grey values given, on a matrix of 50."""
    grey = np.full((14, 10 * len(values)), 50, np.float32)
    for number, value in enumerate(values):
        grey[5:9, 10 * number + 3 : 10 * number + 7] = value
    return GreyField(grey, np.ones(grey.shape, bool), pixel_um)


RADIUS = 0.5 * 4 / np.sqrt(np.pi)


def test_a_clear_image_is_matched_by_a_threshold():
    one = field([200] * 6)
    found = compare([one], Counted(6, RADIUS), phase=BRIGHT)
    assert found.both_match
    best = found.methods.set_index("method").loc["best single threshold"]
    assert best["n_particles"] == 6
    assert best["mean_radius_um"] == pytest.approx(RADIUS)
    assert 50 <= best["threshold"] < 200
    assert "One threshold matches the count and the mean radius within 5 %" in found.sentence


def test_no_threshold_matches_both_where_the_matrix_glows():
    one = field([200] * 6)
    # As bright as the particles and one large patch: every threshold that finds them takes it.
    one.grey[:2, :] = 200
    found = compare([one], Counted(6, RADIUS), phase=BRIGHT, others={"network": Counted(6, RADIUS)})
    assert not found.both_match
    assert found.sentence.startswith("No single threshold matches both")
    methods = found.methods.set_index("method")
    assert methods.loc["network", ["count_error_percent", "radius_error_percent"]].tolist() == [
        0,
        0,
    ]
    assert methods.loc["Otsu, each field its own", "n_particles"] == 7


def test_a_sweep_counts_fewer_the_higher_the_threshold():
    one = field([100, 120, 140, 160, 180, 200])
    found = compare([one], Counted(3, RADIUS), phase=BRIGHT)
    table = found.sweep.set_index("threshold")["n_particles"]
    assert table[table.index > 50].is_monotonic_decreasing
    assert count_at([one], 150.0, BRIGHT) == Counted(3, pytest.approx(RADIUS))
    matching = found.methods[found.methods["method"] == "threshold matching the count"]
    assert any(140 <= level < 160 for level in matching["threshold"])


def test_a_threshold_that_does_not_match_is_called_the_nearest():
    one = field([200] * 6)
    found = compare([one], Counted(9, 2 * RADIUS), phase=BRIGHT).methods.set_index("method")
    assert {"threshold nearest to the count", "threshold nearest to the mean radius"} < {
        *found.index
    }
    assert not any("matching" in method for method in found.index)
    assert found.loc["threshold nearest to the count", "count_error_percent"] == pytest.approx(
        -100 / 3
    )


def test_a_plateau_is_one_threshold():
    found = compare([field([100, 200, 200])], Counted(3, RADIUS), phase=BRIGHT)
    assert list(found.methods["method"]).count("threshold matching the count") == 1


def test_hot_pixels_do_not_stretch_the_thresholds():
    random = np.random.default_rng(0)
    one = field([200] * 6)
    one.grey[:] += random.normal(0, 1, one.grey.shape)
    one.grey[0, 0] = 1e6
    found = compare([one], Counted(6, RADIUS), phase=ThresholdParameters(smallest_area_px=2))
    assert found.sweep["threshold"].between(60, 190).sum() > 20
    assert found.both_match


def test_rare_particles_among_many_pixels_are_reached():
    # Fewer pixels than the evenly spaced thresholds leave out, at many grey values.
    grey = np.random.default_rng(0).normal(50, 3, (300, 300)).astype(np.float32)
    for number in range(4):
        grey[50, 50 * number + 20 : 50 * number + 24] = 200 + number
    one = GreyField(grey, np.ones(grey.shape, bool), None)
    found = compare([one], Counted(4, np.sqrt(4 / np.pi)), phase=BRIGHT)
    assert found.both_match


def test_every_grey_value_of_few_is_a_threshold():
    one = field([100, 120, 140])
    found = compare([one], Counted(3, RADIUS), phase=BRIGHT)
    assert found.sweep["threshold"].tolist() == [50, 100, 120]


@pytest.mark.parametrize(
    ("side", "said"), [("bright", "is brighter than the threshold"), ("dark", "or darker")]
)
def test_which_side_is_the_phase_is_said(side, said):
    one = field([200 if side == "bright" else 10] * 3)
    found = compare([one], Counted(3, RADIUS), phase=ThresholdParameters(phase=side))
    assert said in found.sentence
    assert said in figure(found).axes[0].get_xlabel()
    assert set(found.methods["phase_side"]) == {side}


def test_how_particles_are_counted_is_said():
    found = compare([field([200] * 3)], Counted(3, RADIUS), phase=BRIGHT)
    assert "touching particles as one" in found.sentence


def test_no_threshold_finds_particles_that_are_all_too_small():
    one = field([200] * 3)
    phase = ThresholdParameters(smallest_area_px=10_000)
    found = compare([one], Counted(3, RADIUS), phase=phase)
    assert not found.both_match
    assert set(found.methods["n_particles"][1:]) == {0}


def test_dark_particles_and_small_ones():
    one = field([10] * 4)
    one.grey[0, 0] = 10
    dark = ThresholdParameters(phase="dark", smallest_area_px=2)
    assert count_at([one], 30.0, dark).n_particles == 4
    assert count_masks([one.grey < 30], [one], 1).n_particles == 5


def test_radii_are_in_pixels_where_the_pixel_size_is_unknown():
    found = compare([field([200] * 3, None)], Counted(3, 2.0), phase=BRIGHT)
    assert list(found.sweep) == ["threshold", "n_particles", "mean_radius_px"]
    assert figure(found).axes[1].get_ylabel() == "mean radius in px"


def test_curves_cross_a_value_where_they_do():
    levels, values = pd.Series([0.0, 1.0, 2.0, 3.0]), pd.Series([0.0, 4.0, 4.0, 0.0])
    assert crossings(levels, values, 2.0) == (0.5, 2.5)
    assert crossings(levels, values, 4.0) == (1.0,)
    assert crossings(levels, pd.Series([3.0, 3.0, 3.0, 1.0]), 3.0) == (1.0,)
    assert crossings(levels, pd.Series([3.0, 0.0, 3.0, 3.0]), 3.0) == (0.0, 2.0)
    assert crossings(levels, values, 5.0) == ()
    assert crossings(levels, pd.Series([np.nan, 1, 3, np.nan]), 2.0) == (1.5,)


def test_nothing_to_compare_is_refused():
    with pytest.raises(InputError, match="labels: hold no particle"):
        compare([field([200])], Counted(0, float("nan")), phase=BRIGHT)
    with pytest.raises(InputError, match="single grey value"):
        compare([field([50])], Counted(1, 1.0), phase=BRIGHT)
