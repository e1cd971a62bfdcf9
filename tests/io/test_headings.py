from __future__ import annotations

import numpy as np
import pytest

from napari_metallography.calibration import Calibration
from napari_metallography.classes import named_classes
from napari_metallography.events import drain
from napari_metallography.io.headings import heading
from napari_metallography.quantification.measure import quantify
from napari_metallography.quantification.parameters import QuantifyParameters
from napari_metallography.quantification.study import combine
from napari_metallography.regions import Field


@pytest.mark.parametrize(
    ("name", "title"),
    [
        ("area_um2", "area (µm²)"),
        ("area_px", "area (px)"),
        ("equivalent_radius_um", "equivalent-circle radius (µm)"),
        ("number_density_per_mm2", "number density (1/mm²)"),
        ("relative_accuracy_percent", "relative accuracy (%)"),
        ("n_particles", "particles"),
        ("image", "image"),
        ("area_px2", "area (px²)"),
        ("number_density_per_px2", "number density (1/px²)"),
        ("field_area_px2", "field area (px²)"),
    ],
)
def test_a_heading_is_in_words_with_its_unit(name, title):
    assert heading(name) == title


def test_every_column_of_a_study_has_a_heading_of_its_own():
    indices = np.eye(9, dtype=np.uint8)
    classes, pixel = named_classes(["matrix", "carbide"]), Calibration.square(0.1, "t")
    events = quantify(indices, classes, pixel, Field((9, 9)), QuantifyParameters(), indices)
    study = combine([("a", drain(events))])
    for table in (study.phases, study.particles):
        titles = [heading(name) for name in table.columns]
        assert len(set(titles)) == len(titles)
        assert "_" not in "".join(titles)
