import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_metallography.grains.standards import (
    grains_per_mm2_of,
    intercept_g,
    intercept_mm_of,
    iso_643,
    largest_grain_g,
    planimetric_g,
)


@pytest.mark.parametrize(
    ("grain_size", "intercept_um", "per_mm2"),
    [(6.5, 33.6, 701), (8, 20.0, 1984), (10, 10.0, 7935), (13, 3.54, 63479)],
)
def test_the_table_of_the_standard(grain_size: float, intercept_um: float, per_mm2: float) -> None:
    assert intercept_g(intercept_um / 1000) == pytest.approx(grain_size, abs=0.02)
    assert planimetric_g(per_mm2) == pytest.approx(grain_size, abs=0.01)


@given(st.floats(-3, 16))
def test_numbers_and_measures_are_inverse(grain_size: float) -> None:
    assert intercept_g(intercept_mm_of(grain_size)) == pytest.approx(grain_size, abs=1e-9)
    assert planimetric_g(grains_per_mm2_of(grain_size)) == pytest.approx(grain_size, abs=1e-9)


def test_iso_counts_a_little_less() -> None:
    # m = 8 · 2^G grains per mm².
    assert iso_643(planimetric_g(8 * 2**7)) == pytest.approx(7, abs=0.005)


def test_the_largest_grain_is_graded_as_if_all_were_so_large() -> None:
    assert largest_grain_g(1 / 1984) == pytest.approx(8, abs=0.01)
