from __future__ import annotations

import pandas as pd
import pytest

from napari_metallography.errors import InputError
from napari_metallography.quantification.columns import column, in_pixels, is_calibrated, unit_of


@pytest.mark.parametrize(
    ("name", "in_pixels_name", "value"),
    [
        ("area_um2", "area_px2", 5e6),
        ("mean_radius_um", "mean_radius_px", 5e6),
        ("number_density_per_mm2", "number_density_per_px2", 5),
        ("intercepts_per_mm", "intercepts_per_px", 5e3),
        ("boundary_per_um", "boundary_per_px", 5e6),
        ("area_px", "area_px", 5e6),
        ("area_fraction", "area_fraction", 5e6),
    ],
)
def test_physical_columns_become_those_in_pixels(name, in_pixels_name, value):
    table = in_pixels(pd.DataFrame({name: [5e6]}))
    assert list(table) == [in_pixels_name]
    assert table[in_pixels_name][0] == pytest.approx(value)


def test_a_column_is_found_by_its_stem_in_either_unit():
    for unit, written in (("um", "µm"), ("px", "px")):
        frame = pd.DataFrame({f"mean_radius_{unit}": [1.0], f"labelled_area_{unit}2": [1.0]})
        assert column(frame, "mean_radius") == f"mean_radius_{unit}"
        assert unit_of(frame, "labelled_area", "2") == written
        assert is_calibrated(frame) == (unit == "um")
    with pytest.raises(InputError, match="no column diameter_um; quantify the labels anew"):
        column(frame, "diameter")
