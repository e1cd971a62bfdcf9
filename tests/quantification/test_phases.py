from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest

from napari_metallography.calibration import Calibration
from napari_metallography.classes import UNLABELLED, named_classes
from napari_metallography.quantification.phases import measure_phases

CLASSES = named_classes(["matrix", "carbide", "network"])
PIXEL = Calibration(0.5, 2.0, "test")


def particles(*rows):
    table = pd.DataFrame(rows, columns=["class_index", "equivalent_radius_um"])
    return table.assign(weight=1.0)


def field():
    indices = np.zeros((10, 10), np.uint8)
    indices[:2] = 1
    indices[2] = UNLABELLED
    indices[9] = 1
    mask = np.ones((10, 10), bool)
    mask[9] = False
    return np.bincount(indices[mask], minlength=3)[:3], np.count_nonzero(mask)


def test_fractions_are_of_the_labelled_field():
    pixels, field_px = field()
    table = measure_phases(pixels, CLASSES, field_px, PIXEL, particles((1, 3.0), (1, 5.0)), (1, 2))
    assert table["phase"].tolist() == ["matrix", "carbide", "network"]
    assert table["area_um2"].tolist() == [60.0, 20.0, 0.0]
    assert table["area_fraction"].tolist() == [0.75, 0.25, 0.0]
    assert set(table["field_area_um2"]) == {90.0}
    assert set(table["labelled_area_um2"]) == {80.0}


def test_particle_values_of_measured_phases_only():
    pixels, field_px = field()
    table = measure_phases(pixels, CLASSES, field_px, PIXEL, particles((1, 3.0), (1, 5.0)), (1, 2))
    matrix, carbide, network = table.to_dict("records")
    assert table["n_particles"].isna().tolist() == [True, False, False]
    assert math.isnan(matrix["number_density_per_mm2"])
    assert (carbide["n_particles"], carbide["mean_radius_um"]) == (2, 4.0)
    assert carbide["std_radius_um"] == pytest.approx(math.sqrt(2))
    assert carbide["number_density_per_mm2"] == pytest.approx(2 / 80e-6)
    assert (network["n_particles"], network["number_density_per_mm2"]) == (0, 0.0)
    assert math.isnan(network["mean_radius_um"])


def test_the_mean_area_is_of_the_particles_counted():
    pixels, field_px = field()
    counted = particles((1, 3.0), (1, 5.0)).assign(weight=[1.0, 3.0])
    table = measure_phases(pixels, CLASSES, field_px, PIXEL, counted, (1, 2))
    expected = np.pi * (9 + 3 * 25) / 4
    assert table["mean_area_um2"].tolist() == pytest.approx(
        [math.nan, expected, math.nan], nan_ok=True
    )


def test_a_field_without_labels_has_no_fractions():
    table = measure_phases(np.zeros(3, np.int64), CLASSES, 16, PIXEL, particles(), (1, 2))
    assert table["area_fraction"].isna().all()
    assert table["number_density_per_mm2"].isna().all()
    assert set(table["labelled_area_um2"]) == {0.0}
