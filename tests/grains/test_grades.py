import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_metallography.grains.grades import (
    GRADES,
    REFERENCE_UM,
    at_reference,
    fitted,
    scale_of,
)
from napari_metallography.grains.standards import intercept_g, intercept_mm_of

SIZES = st.floats(1e-3, 100)


def test_the_classes_fit_a_line_at_the_reference() -> None:
    coarsest, finest = (intercept_mm_of(g) * 1000 / REFERENCE_UM for g in (GRADES[0], GRADES[-1]))
    assert coarsest == pytest.approx(168, abs=1)
    assert finest == pytest.approx(17.7, abs=0.1)
    assert len(GRADES) == 14


@given(SIZES)
def test_lines_are_hardly_resampled(pixel_um) -> None:
    assert 2**-0.126 <= scale_of(pixel_um).ratio <= 2**0.126


@given(SIZES, st.floats(5, 14), st.integers(-4, 4))
def test_steps_take_back_what_the_scale_does_to_g(pixel_um, grain_size, enlarged) -> None:
    scale = scale_of(pixel_um, enlarged=enlarged)
    shown_px = intercept_mm_of(grain_size) * 1000 / pixel_um * scale.ratio
    looks = intercept_g(shown_px * REFERENCE_UM / 1000)
    assert looks - 0.5 * scale.steps == pytest.approx(grain_size, abs=1e-5)


@given(SIZES)
def test_a_pixel_twice_as_large_is_four_steps(pixel_um) -> None:
    one, two = scale_of(pixel_um), scale_of(2 * pixel_um)
    # Just at the border between two steps either may be taken.
    if abs(abs(math.log2(one.ratio)) - 0.125) > 1e-6:
        assert two.steps - one.steps == 4
        assert two.ratio == pytest.approx(one.ratio)


@given(st.integers(1, 60), st.integers(1, 40), st.floats(0, 1))
def test_a_fitted_line_is_a_window_or_goes_on_as_its_mirror_image(length, wanted, where) -> None:
    line = np.arange(length, dtype=np.float32)[None]
    found = fitted(line, wanted, where)[0]
    assert len(found) == wanted
    assert (np.abs(np.diff(found)) <= 1).all()
    if length >= wanted:
        assert (np.diff(found) == 1).all()


@pytest.mark.parametrize("ratio", [0.5, 0.93, 1.0, 1.08, 2.0])
def test_resampling_keeps_the_period_of_a_line(ratio) -> None:
    period = 25.0
    line = np.sin(2 * np.pi * np.arange(1000) / period, dtype=np.float32)[None]
    found = at_reference(line, ratio)[0]
    assert len(found) == round(1000 * ratio)
    spectrum = np.abs(np.fft.rfft(found))
    assert len(found) / spectrum.argmax() == pytest.approx(period * ratio, rel=0.01)
