import json

import numpy as np
import pytest

from napari_metallography.calibration import Calibration
from napari_metallography.grains.grade_numbers import numbers_of, restored, stored
from napari_metallography.grains.grading import METHODS, GradingParameters, grade
from napari_metallography.grains.partition import from_labels
from napari_metallography.grains.study import GradedField, grain_size_of
from napari_metallography.synthesis.polycrystals import PolycrystalParameters, polycrystal

SIZE = Calibration.square(0.5, "test")


@pytest.fixture(scope="module")
def grades():
    made = polycrystal(PolycrystalParameters(height_px=200, width_px=260, grain_size=11), 5)
    grains = from_labels(made.grains)
    return [grade(grains, SIZE, GradingParameters(method=method)) for method in METHODS]


def test_what_was_stored_as_text_gives_the_same_numbers_bit_for_bit(grades):
    for one in grades:
        back = restored(json.loads(json.dumps(stored(one))))
        assert numbers_of(back) == numbers_of(one)
        assert (back.g, back.is_elongated) == (one.g, one.is_elongated)
        np.testing.assert_array_equal(back.sizes.areas_um2, one.sizes.areas_um2)
        np.testing.assert_array_equal(back.sizes.weights, one.sizes.weights)


def test_a_study_of_stored_fields_says_what_one_of_measured_fields_says(grades):
    def study(change):
        fields = [
            GradedField(f"{n}.tif", {one.method: change(one) for one in grades}) for n in range(3)
        ]
        return grain_size_of(fields)

    again = study(lambda one: restored(json.loads(json.dumps(stored(one)))))
    assert json.dumps(again) == json.dumps(study(lambda one: one))
