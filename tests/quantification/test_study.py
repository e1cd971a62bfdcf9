from __future__ import annotations

import json

import numpy as np
import pytest

from napari_metallography.calibration import Calibration
from napari_metallography.classes import named_classes
from napari_metallography.errors import InputError
from napari_metallography.events import drain
from napari_metallography.quantification.measure import quantify
from napari_metallography.quantification.parameters import QuantifyParameters
from napari_metallography.quantification.study import combine
from napari_metallography.regions import Field


def result_of(sides, pixel_um=0.1, names=("matrix", "carbide"), parameters=None):
    stack = np.zeros((len(sides), 30, 40), np.uint8)
    for plane, side in zip(stack, sides, strict=True):
        plane[2 : 2 + side, 3 : 3 + side] = 1
        plane[20 : 20 + side, 30 : 30 + side] = 1
    events = quantify(
        stack,
        named_classes(names),
        Calibration.square(pixel_um, "test"),
        Field((30, 40)),
        parameters or QuantifyParameters(),
    )
    return drain(events)


def test_n_counts_fields_and_not_particles():
    study = combine([("a", result_of([4, 6])), ("b", result_of([5], pixel_um=0.2))])
    carbide = study.statistics["phases"]["carbide"]
    assert (study.statistics["n_images"], study.statistics["n_fields"]) == (2, 3)
    assert (study.statistics["n_particles"], carbide["n_particles"]) == (6, 6)
    fractions = np.array([32, 72, 50]) / 1200
    assert carbide["area_fraction"]["n_fields"] == 3
    assert carbide["area_fraction"]["mean"] == pytest.approx(fractions.mean())
    assert carbide["area_fraction"]["s"] == pytest.approx(fractions.std(ddof=1))
    radii = np.array([0.4, 0.6, 1.0]) / np.sqrt(np.pi)
    assert carbide["mean_radius_um"]["mean"] == pytest.approx(radii.mean())
    assert carbide["pooled_mean_radius_um"] == pytest.approx(radii.mean())
    assert [p["calibration"]["pixel_size_um"] for p in study.statistics["provenance"]] == [
        [0.1, 0.1],
        [0.2, 0.2],
    ]
    json.dumps(study.statistics, allow_nan=False)


def test_tables_are_tidy():
    study = combine([("a", result_of([4, 6])), ("b", result_of([0]))])
    assert study.phases.columns[0] == study.particles.columns[0] == "image"
    assert study.phases["image"].tolist() == ["a"] * 4 + ["b"] * 2
    assert study.particles["image"].tolist() == ["a"] * 4
    assert study.phases["n_particles"].tolist()[1::2] == [2, 2, 0]
    assert study.particles["particle"].dtype.kind == "i"
    assert study.particles["touches_border"].dtype == bool


def test_planes_of_images_have_no_interval_unless_they_are_fields():
    for are_fields in (False, True):
        parameters = QuantifyParameters(planes_are_fields=are_fields)
        images = [(name, result_of([4, 6], parameters=parameters)) for name in "ab"]
        fraction = combine(images).statistics["phases"]["carbide"]["area_fraction"]
        assert fraction["n_fields"] == 4
        assert (fraction["ci95"] is not None) == are_fields
    images = [(name, result_of([side])) for name, side in (("a", 4), ("b", 6))]
    assert combine(images).statistics["phases"]["carbide"]["area_fraction"]["ci95"]


@pytest.mark.parametrize("specimens", [{"a": "S"}, {"a": "S", "b": "T"}])
def test_fields_of_unnamed_specimens_have_no_interval(specimens):
    images = [(name, result_of([side])) for name, side in (("a", 4), ("b", 5), ("c", 6))]
    statistics = combine(images, specimens).statistics
    fraction = statistics["phases"]["carbide"]["area_fraction"]
    assert fraction["ci95"] is None
    unnamed = 3 - len(specimens)
    assert fraction["reason"] == f"the specimen of {unnamed} of 3 fields is not named"


def test_one_field_gives_no_interval_however_many_particles():
    carbide = combine([("a", result_of([4]))]).statistics["phases"]["carbide"]
    assert carbide["n_particles"] == 2
    assert carbide["mean_radius_um"]["ci95"] is None
    assert carbide["mean_radius_um"]["reason"]


@pytest.mark.parametrize("names", [("matrix", "network"), ("carbide", "matrix")])
def test_images_of_other_classes_are_refused(names):
    with pytest.raises(InputError, match="the classes differ: a: matrix, carbide; b: "):
        combine([("a", result_of([4, 6])), ("b", result_of([4], names=names))])


def test_combining_leaves_the_single_results_alone():
    single = result_of([4])
    combine([("a", single)])
    assert "image" not in single.phases


def test_what_does_not_belong_together_is_refused():
    other = result_of([4], parameters=QuantifyParameters(smallest_area_px=2))
    with pytest.raises(InputError, match="b: measured by other rules than a"):
        combine([("a", result_of([4])), ("b", other)])
    with pytest.raises(InputError, match="2 images are called a"):
        combine([("a", result_of([4])), ("a", result_of([4]))])
    with pytest.raises(InputError, match="no image"):
        combine([])


def test_fields_of_other_areas_are_noted_with_the_study():
    small, large = result_of([4], pixel_um=0.1), result_of([4], pixel_um=0.2)
    assert combine([("a", small), ("b", result_of([6]))]).statistics["notes"] == []
    (note,) = combine([("a", small), ("b", large)]).statistics["notes"]
    assert "4 times that of the smallest" in note


def test_sizes_of_a_study_are_cut_off_at_its_smallest_area():
    whole = combine([("a", result_of([4]))]).statistics["sizes"]["carbide"]["lognormal"]
    cut = combine([("a", result_of([4], parameters=QuantifyParameters(smallest_area_px=9)))])
    stated = cut.statistics["sizes"]["carbide"]["lognormal"]
    assert not whole["smallest_radii"]
    assert stated["smallest_radii"] == pytest.approx([0.1 * np.sqrt(8.5 / np.pi)])
