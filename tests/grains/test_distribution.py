import numpy as np
import pytest

from napari_metallography.grains.distribution import SizeDistribution, together
from napari_metallography.grains.standards import grains_per_mm2_of


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


def test_fields_are_put_together() -> None:
    one, other = _of_numbers(_spread(9, 0.5, 50)), _of_numbers(_spread(9, 0.5, 30))
    assert together([one, other]).to_dict()["whole_grains"] == 80
    assert SizeDistribution(np.zeros(0), np.zeros(0)).to_dict() == {"whole_grains": 0}
