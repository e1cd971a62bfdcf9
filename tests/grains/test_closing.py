import numpy as np
import pytest

from napari_metallography.grains.closing import closed


def _crossed(gap: slice = slice(0, 0)) -> np.ndarray:
    """Strength of a cross of boundaries on a noisy ground, its upper arm open at the gap."""
    strength = np.random.default_rng(0).uniform(0, 1, (60, 80)).astype(np.float32)
    strength[30] = strength[:, 40] = 10
    strength[gap, 40] = 0.5
    return strength


def test_boundaries_part_grains_and_noise_does_not() -> None:
    found = closed(_crossed(), 5, 0.75, 1)
    assert found.n == 4
    quarters = [found.grains[y, x] for y in (10, 50) for x in (20, 60)]
    assert sorted(quarters) == [1, 2, 3, 4]


@pytest.mark.parametrize(("gap", "grains"), [(slice(13, 18), 4), (slice(3, 18), 3)])
def test_a_boundary_with_a_small_gap_is_closed(gap: slice, grains: int) -> None:
    assert closed(_crossed(gap), 5, 0.75, 1).n == grains


def test_specks_are_no_grains() -> None:
    strength = _crossed()
    strength[8:13, 8] = strength[8:13, 12] = strength[8, 8:13] = strength[12, 8:13] = 10
    assert closed(strength, 5, 0.75, 1).n == 5
    found = closed(strength, 5, 0.75, 30)
    assert found.n == 4
    assert found.grains[10, 10] == found.grains[20, 20]


def test_nothing_strong_is_one_grain() -> None:
    noise = np.random.default_rng(1).uniform(0, 1, (40, 40)).astype(np.float32)
    assert closed(noise, 5, 0.75, 30).n == 1
