import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_metallography.grains.distribution import SizeDistribution, sizes_of_grains, together
from napari_metallography.grains.partition import from_labels
from napari_metallography.grains.standards import grains_per_mm2_of
from napari_metallography.synthesis.polycrystals import PolycrystalParameters, polycrystal


def _of_numbers(numbers: np.ndarray) -> SizeDistribution:
    areas = np.array([1e6 / grains_per_mm2_of(float(number)) for number in numbers])
    return SizeDistribution(areas, np.ones(len(areas)))


def _spread(mean: float, s: float, n: int) -> np.ndarray:
    return np.random.default_rng(0).normal(mean, s, n)


def test_one_group_is_uniform() -> None:
    assert _of_numbers(_spread(9, 0.7, 500)).kind == "uniform"


def test_one_large_grain_is_as_large_as() -> None:
    found = _of_numbers(np.append(_spread(9, 0.4, 500), 5.0))
    assert found.kind == "as large as"
    assert found.largest_g == pytest.approx(5.0, abs=1e-5)


def test_two_groups_are_bimodal() -> None:
    # 1 in 64 of the grains is 64 times as large, so that each group has half of the area.
    both = np.concatenate([_spread(11, 0.3, 1280), _spread(5, 0.3, 20)])
    assert _of_numbers(both).kind == "bimodal"


def test_a_wide_spread_without_two_peaks_is_a_wide_range() -> None:
    numbers = np.linspace(4, 11, 400)
    areas = np.array([1e6 / grains_per_mm2_of(n) for n in numbers])
    # Weights give each number the same part of the area.
    assert SizeDistribution(areas, 1 / areas).kind == "wide range"


@pytest.mark.parametrize("finer", [1, 2, 3])
def test_fields_of_other_pixel_sizes_weigh_alike(finer: int) -> None:
    one = polycrystal(PolycrystalParameters(height_px=250, width_px=320, grain_size=8.5), 1)
    other = polycrystal(PolycrystalParameters(height_px=250, width_px=320, grain_size=10), 2)
    fields = [from_labels(made.grains) for made in (one, other)]
    resampled = from_labels(fields[1].grains.repeat(finer, 0).repeat(finer, 1))
    wanted = together([sizes_of_grains(grains, 0.5) for grains in fields])
    found = together([sizes_of_grains(fields[0], 0.5), sizes_of_grains(resampled, 0.5 / finer)])
    # The margin of a pixel in which a whole grain can lie is smaller.
    assert found.weights == pytest.approx(wanted.weights, rel=0.03)
    for name in ("mean_area_um2", "median_diameter_um", "diameter_um_p10_p90"):
        assert found.to_dict()[name] == pytest.approx(wanted.to_dict()[name], rel=0.005)


@given(st.lists(st.tuples(st.floats(1, 100), st.integers(1, 4)), min_size=1, max_size=20))
def test_quantiles_count_a_grain_as_often_as_it_weighs(grains: list[tuple[float, int]]) -> None:
    areas, weights = (np.array(part, float) for part in zip(*grains, strict=True))
    found = SizeDistribution(areas, weights).to_dict()
    diameters = np.sort(np.repeat(2 * np.sqrt(areas / np.pi), weights.astype(int)))
    for part, value in zip((0.1, 0.9), found["diameter_um_p10_p90"], strict=True):
        below, upto = (
            (diameters < value * (1 - 1e-9)).mean(),
            (diameters <= value * (1 + 1e-9)).mean(),
        )
        one = weights.max() / weights.sum()
        assert below - one <= part <= upto + one


def test_equal_weights_give_the_plain_median() -> None:
    found = _of_numbers(_spread(9, 0.7, 501))
    diameters = 2 * np.sqrt(found.areas_um2 / np.pi)
    assert found.to_dict()["median_diameter_um"] == pytest.approx(np.median(diameters))


def test_fields_are_put_together() -> None:
    one, other = _of_numbers(_spread(9, 0.5, 50)), _of_numbers(_spread(9, 0.5, 30))
    assert together([one, other]).to_dict()["whole_grains"] == 80
    assert SizeDistribution(np.zeros(0), np.zeros(0)).to_dict() == {"whole_grains": 0}
