import math

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from napari_metallography.calibration import (
    _UM_PER_UNIT,
    Calibration,
    micrometres,
    require,
)
from napari_metallography.errors import InputError

sizes = st.floats(1e-5, 1e3)
UNITS = set(_UM_PER_UNIT)


@pytest.mark.parametrize("size", [0.0, -1.0, math.nan, math.inf])
def test_impossible_sizes_are_refused(size: float) -> None:
    with pytest.raises(InputError, match="not possible"):
        Calibration.square(size, "test")


@pytest.mark.parametrize(
    ("unit", "um"),
    [("nm", 1e-3), ("µm", 1), ("micron", 1), ("mm", 1e3), ("M", 1e6), ("inch", 25400)],
)
def test_units_of_length(unit: str, um: float) -> None:
    assert micrometres(2, unit) == pytest.approx(2 * um)


@given(st.text())
def test_any_other_text_is_no_unit(unit: str) -> None:
    assume(unit.strip().lower() not in UNITS)
    with pytest.raises(InputError, match="unit of length"):
        micrometres(1, unit)


def test_a_layer_in_pixels_is_uncalibrated() -> None:
    assert Calibration.from_scale((1, 1), ("pixel", "pixel")) is None


def test_a_layers_scale_is_rows_then_columns() -> None:
    calibration = Calibration.from_scale((1, 20, 10), ("pixel", "nanometer", "nanometer"))
    assert calibration is not None
    assert (calibration.y_um, calibration.x_um) == pytest.approx((0.02, 0.01))


@given(st.floats(-500, 500), st.floats(-500, 500), st.floats(3, 900), st.floats(0, 6.28))
def test_a_scale_bar_of_any_direction(
    row: float, column: float, length: float, angle: float
) -> None:
    end = (row + length * math.sin(angle), column + length * math.cos(angle))
    calibration = Calibration.from_two_points((row, column), end, 20)
    assert calibration.mean_um == pytest.approx(20 / length, rel=1e-6)
    assert calibration.relative_uncertainty == pytest.approx(math.sqrt(1 / 6) / length, rel=1e-6)


def test_coinciding_points_are_refused() -> None:
    with pytest.raises(InputError, match="coincide"):
        Calibration.from_two_points((5, 5), (5, 6), 20)


@given(sizes, sizes, st.floats(0.1, 10))
def test_resampling_keeps_the_field(x_um: float, y_um: float, factor: float) -> None:
    finer = Calibration(x_um, y_um, "test").resampled(factor)
    assert finer.x_um * factor == pytest.approx(x_um)
    assert finer.pixel_area_um2 * factor**2 == pytest.approx(x_um * y_um)


@given(sizes, sizes)
def test_json_form_comes_back(x_um: float, y_um: float) -> None:
    calibration = Calibration(x_um, y_um, "objective 50×", 0.01)
    assert Calibration.from_dict(calibration.to_dict()) == calibration


def test_no_pixel_size_no_number() -> None:
    with pytest.raises(InputError, match=r"a\.tif: no pixel size is known; give --pixel-size"):
        require(None, "a.tif")
