from __future__ import annotations

import math

import numpy as np
import pytest

from napari_metallography.classes import named_classes
from napari_metallography.errors import InputError
from napari_metallography.events import drain
from napari_metallography.quantification.measure import quantify
from napari_metallography.quantification.parameters import QuantifyParameters
from napari_metallography.regions import Field
from napari_metallography.synthesis.carbides import CarbideParameters, carbide_field

CLASSES = named_classes(["matrix", "carbide"])
SMALL = CarbideParameters(height_px=256, width_px=320)
PLAIN = CarbideParameters(
    height_px=300,
    width_px=300,
    median_radius_px=9,
    touching_fraction=0,
    boundary_spacing_px=0,
    blur_px=0,
    noise=0,
)


def measured(field, **parameters):
    shape = Field(field.labels.shape)
    rules = QuantifyParameters(**parameters)
    return drain(quantify(field.labels, CLASSES, field.calibration, shape, rules))


def test_the_same_seed_gives_the_same_field():
    first, second, other = (carbide_field(SMALL, seed) for seed in (3, 3, 4))
    np.testing.assert_array_equal(first.image, second.image)
    assert first.truth.equals(second.truth)
    assert (first.image != other.image).any()


def test_labels_instances_and_truth_tell_the_same():
    field = carbide_field(CarbideParameters(), 1)
    assert field.image.dtype == field.labels.dtype == np.uint8
    np.testing.assert_array_equal(field.ids > 0, field.labels == 1)
    assert field.truth["particle"].tolist() == list(range(1, field.ids.max() + 1))
    whole = field.truth[~field.truth["crosses_border"]]
    pixels = np.bincount(field.ids.ravel())[whole["particle"]]
    area = field.calibration.pixel_area_um2 * pixels
    np.testing.assert_allclose(area, whole["area_um2"], rtol=0.1)
    assert area.sum() == pytest.approx(whole["area_um2"].sum(), rel=0.005)


def test_carbides_are_as_many_and_as_large_as_asked_for():
    fields = [carbide_field(CarbideParameters(), seed) for seed in range(12)]
    fractions = [field.labels.mean() for field in fields]
    assert np.mean(fractions) == pytest.approx(0.06, rel=0.1)
    # Of carbides by number: those inside are not biased much at this size of field.
    truth = np.concatenate([field.truth["radius_um"] for field in fields])
    assert np.log(truth).std() == pytest.approx(0.4, rel=0.15)
    aspect = np.concatenate([field.truth["aspect_ratio"] for field in fields])
    assert 1 <= aspect.min() <= 1.1 < 1.7 <= aspect.max() <= 1.8


def test_partners_touch_and_know_each_other():
    field = carbide_field(CarbideParameters(touching_fraction=0.5), 5)
    pairs = field.truth[field.truth["touches"] > 0]
    assert len(pairs) > 10
    partner = field.truth.set_index("particle")["touches"]
    assert (partner[pairs["touches"]].to_numpy() == pairs["particle"].to_numpy()).all()
    together = measured(field)
    assert len(together.particles) <= len(field.truth) - 0.4 * len(pairs)


@pytest.mark.parametrize("seed", range(3))
def test_count_and_mean_radius_from_the_true_labels(seed):
    parameters = CarbideParameters(height_px=1024, width_px=1280, median_radius_px=10)
    field = carbide_field(parameters, seed)
    found = measured(field, split="distance", edge_rule="exclude-border").particles
    whole = field.truth[~field.truth["crosses_border"]]
    assert len(found) == pytest.approx(len(whole), rel=0.02)
    mean = found["equivalent_radius_um"].mean()
    assert mean == pytest.approx(whole["radius_um"].mean(), rel=0.02)


def test_single_particles_have_the_true_radius_place_and_shape():
    field = carbide_field(PLAIN, 2)
    truth = field.truth[~field.truth["crosses_border"]]
    found = measured(field, edge_rule="exclude-border").particles.sort_values("centroid_x_um")
    truth = truth.sort_values("centroid_x_um")
    assert len(found) == len(truth)
    radius = found["equivalent_radius_um"].to_numpy()
    np.testing.assert_allclose(radius, truth["radius_um"], rtol=0.05)
    pixel = PLAIN.pixel_size_um
    for place in ("centroid_x_um", "centroid_y_um"):
        np.testing.assert_allclose(found[place], truth[place], atol=0.3 * pixel)
    axes = found["major_axis_um"].to_numpy() / found["minor_axis_um"].to_numpy()
    np.testing.assert_allclose(axes, truth["aspect_ratio"], rtol=0.12)


@pytest.mark.slow
def test_edge_rules_over_many_fields():
    fields = [carbide_field(PLAIN, seed) for seed in range(40)]
    density = {rule: [] for rule in ("all", "exclude-border", "miles-lantuejoul", "guard-frame")}
    weights, radii = [], []
    for field in fields:
        for rule, values in density.items():
            result = measured(field, edge_rule=rule)
            row = result.phases.iloc[1]
            values.append(row["number_density_per_mm2"] / field.number_density_per_mm2)
            if rule == "miles-lantuejoul":
                weights.append(result.particles["weight"].sum())
                radii.append(weights[-1] * row["mean_radius_um"] / field.mean_radius_um)
    mean = {rule: np.mean(values) for rule, values in density.items()}
    error = {rule: np.std(values) / math.sqrt(len(fields)) for rule, values in density.items()}
    for unbiased in ("miles-lantuejoul", "guard-frame"):
        assert abs(mean[unbiased] - 1) < 3 * error[unbiased]
    assert mean["all"] > 1 + 3 * error["all"]
    assert mean["exclude-border"] < 1 - 3 * error["exclude-border"]
    ratio = np.sum(radii) / np.sum(weights)
    spread = np.std(np.array(radii) - ratio * np.array(weights)) / math.sqrt(len(fields))
    assert abs(ratio - 1) < 3 * spread / np.mean(weights)


def test_bright_carbides_and_boundaries():
    field = carbide_field(CarbideParameters(noise=2, illumination=0), 0)
    matrix = field.image[field.labels == 0].astype(float)
    carbide = field.image[field.labels == 1].astype(float)
    assert carbide.mean() > matrix.mean() + 50
    without = carbide_field(CarbideParameters(noise=2, illumination=0, boundary_spacing_px=0), 0)
    assert matrix.std() > without.image[without.labels == 0].astype(float).std() + 1.5


def test_carbides_without_room_are_refused():
    crowded = CarbideParameters(
        height_px=64,
        width_px=64,
        median_radius_px=40,
        area_fraction=0.15,
        largest_aspect_ratio=3,
        sigma_ln=0,
    )
    dense = crowded.model_copy(update={"area_fraction": 0.9})
    with pytest.raises(InputError, match="do not find room"):
        carbide_field(dense, 0)
