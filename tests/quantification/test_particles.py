from __future__ import annotations

import math
import time

import cv2
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from skimage import measure

from napari_metallography.calibration import Calibration
from napari_metallography.quantification import particles as module
from napari_metallography.quantification.parameters import QuantifyParameters
from napari_metallography.quantification.particles import find_particles
from napari_metallography.quantification.pixel_counts import count_pixels
from napari_metallography.quantification.runs import paint_numbers, runs_of
from napari_metallography.quantification.strips import LabelledPlane

SQUARE = Calibration.square(0.5, "test")
ALL = QuantifyParameters()
SIZES = ["area_um2", "equivalent_radius_um", "enclosing_radius_um"]

small_labels = arrays(
    np.uint8, st.tuples(st.integers(1, 10), st.integers(1, 10)), elements=st.integers(0, 2)
)


def everywhere(indices):
    return np.ones(indices.shape, bool)


def number_particles(indices, classes, mask, parameters, calibration):
    """Particles inside a mask, painted, and their classes."""
    plane = LabelledPlane(indices, runs_of(mask), 254)
    runs, owners = find_particles(plane, classes, parameters, calibration)
    ids = np.zeros(indices.shape, np.int32)
    paint_numbers(runs, 0, ids)
    return ids, owners


def measure_particles(ids, known, calibration, grey=None, owners=None):
    """The table of painted particles."""
    runs = runs_of(ids)
    plane = LabelledPlane(np.zeros(ids.shape, np.uint8), runs_of(known), 1)
    counts = count_pixels(plane, runs, grey)
    return module.measure_particles(
        runs, counts.touches_border, calibration, counts.grey_sums, owners
    )


def measured(indices, calibration=SQUARE, mask=None, classes=(1, 2), parameters=ALL):
    mask = everywhere(indices) if mask is None else mask
    ids, _ = number_particles(indices, classes, mask, parameters, calibration)
    return measure_particles(ids, mask, calibration)


def sorted_sizes(particles):
    return np.sort(particles[SIZES].to_numpy(), axis=0)


def two_squares():
    indices = np.zeros((20, 30), np.uint8)
    indices[2:6, 3:7] = 1
    indices[10:13, 20:22] = 2
    return indices


def test_squares_are_measured_exactly():
    first, second = measured(two_squares()).to_dict("records")
    assert (first["particle"], first["area_px"], first["area_um2"]) == (1, 16, 4.0)
    assert first["equivalent_radius_um"] == pytest.approx(math.sqrt(4 / math.pi))
    assert first["enclosing_radius_um"] == pytest.approx(math.sqrt(2), rel=1e-9)
    assert (first["centroid_row_px"], first["centroid_column_px"]) == (3.5, 4.5)
    assert (first["centroid_y_um"], first["centroid_x_um"]) == (1.75, 2.25)
    assert (second["particle"], second["area_px"]) == (2, 6)
    assert second["enclosing_radius_um"] == pytest.approx(0.5 * math.hypot(3, 2) / 2)
    assert not first["touches_border"]
    assert not second["touches_border"]


def test_pixels_that_are_not_square_are_honoured():
    first = measured(two_squares(), Calibration(0.5, 2.0, "test")).iloc[0]
    assert first["area_um2"] == 16.0
    assert first["enclosing_radius_um"] == pytest.approx(math.hypot(2, 8) / 2)
    assert (first["centroid_y_um"], first["centroid_x_um"]) == (7.0, 2.25)


@pytest.mark.parametrize("radius", [3, 10, 40])
def test_a_digital_disc_has_its_radius(radius):
    y, x = np.mgrid[-50:51, -50:51]
    particle = measured((x**2 + y**2 <= radius**2).astype(np.uint8)).iloc[0]
    assert particle["equivalent_radius_um"] == pytest.approx(0.5 * radius, rel=0.05)
    # The circle holds the corners of the outermost pixels: at least half a pixel beyond them.
    assert (
        0.5 * (radius + 0.5) <= particle["enclosing_radius_um"] <= 0.5 * (radius + math.sqrt(0.5))
    )


def test_diagonal_neighbours_are_one_particle():
    assert measured(np.eye(4, dtype=np.uint8))["area_px"].tolist() == [4]


def test_pixels_outside_the_field_neither_count_nor_connect():
    indices = np.ones((5, 7), np.uint8)
    mask = everywhere(indices)
    mask[:, 3] = False
    particles = measured(indices, mask=mask)
    assert particles["area_px"].tolist() == [15, 15]
    assert particles["touches_border"].all()


def test_the_border_is_that_of_the_field():
    indices = two_squares()
    mask = everywhere(indices)
    mask[13:] = False
    assert measured(indices, mask=mask)["touches_border"].tolist() == [False, True]


def test_a_particle_at_the_edge_of_the_image_touches_the_border():
    indices = np.zeros((6, 6), np.uint8)
    indices[0, 2] = indices[3, 3] = 1
    assert measured(indices)["touches_border"].tolist() == [True, False]


def test_small_particles_are_left_out_and_the_rest_numbered_anew():
    indices = two_squares()
    indices[0, 0] = 1
    parameters = QuantifyParameters(smallest_area_px=6)
    ids, owners = number_particles(indices, (1, 2), everywhere(indices), parameters, SQUARE)
    assert np.bincount(ids.ravel())[1:].tolist() == [16, 6]
    assert owners.tolist() == [1, 2]
    assert ids[0, 0] == 0


def test_particles_are_numbered_as_one_reads():
    indices = np.zeros((5, 9), np.uint8)
    indices[0, 8], indices[0, 0], indices[4, 4], indices[2, 2] = 1, 2, 1, 2
    ids, owners = number_particles(indices, (1, 2), everywhere(indices), ALL, SQUARE)
    assert [ids[0, 0], ids[0, 8], ids[2, 2], ids[4, 4]] == [1, 2, 3, 4]
    assert owners.tolist() == [2, 1, 2, 1]


def test_mean_grey_value():
    indices = two_squares()
    ids, _ = number_particles(indices, (1, 2), everywhere(indices), ALL, SQUARE)
    grey = np.arange(indices.size, dtype=np.float32).reshape(indices.shape)
    table = measure_particles(ids, everywhere(indices), SQUARE, grey)
    assert table["mean_grey"].tolist() == [grey[2:6, 3:7].mean(), grey[10:13, 20:22].mean()]


def test_an_image_without_particles_gives_an_empty_table():
    table = measured(np.zeros((4, 4), np.uint8))
    assert len(table) == 0
    assert {"particle", *SIZES} <= set(table.columns)


@given(small_labels)
def test_particles_are_those_of_scikit_image(indices):
    ids, owners = number_particles(indices, (1, 2), everywhere(indices), ALL, SQUARE)
    for class_index in (1, 2):
        expected = measure.label(indices == class_index, connectivity=2)
        of_class = np.isin(ids, np.flatnonzero(owners == class_index) + 1) * ids
        pairs = np.unique(np.stack([expected.ravel(), of_class.ravel()]), axis=1)
        assert len(pairs.T) == expected.max() + (expected == 0).any()
    table = measure_particles(ids, everywhere(indices), Calibration(0.3, 0.7, "test"))
    properties = pd.DataFrame(
        measure.regionprops_table(ids, properties=("area", "centroid"), spacing=(0.7, 0.3))
    )
    np.testing.assert_allclose(table["area_um2"], properties["area"])
    np.testing.assert_allclose(table["centroid_y_um"], properties["centroid-0"])
    np.testing.assert_allclose(table["centroid_x_um"], properties["centroid-1"])


@given(small_labels)
def test_the_enclosing_circle_holds_the_area(indices):
    table = measured(indices)
    assert (table["enclosing_radius_um"] >= table["equivalent_radius_um"]).all()


@given(small_labels, st.sampled_from(range(8)))
def test_turning_and_flipping_keep_the_sizes(indices, symmetry):
    calibration = Calibration(0.3, 0.7, "test")
    turned = np.rot90(indices, symmetry % 4)
    turned = turned[:, ::-1] if symmetry >= 4 else turned
    swapped = Calibration(0.7, 0.3, "test") if symmetry % 2 else calibration
    np.testing.assert_allclose(
        sorted_sizes(measured(np.ascontiguousarray(turned), swapped)),
        sorted_sizes(measured(indices, calibration)),
        rtol=1e-8,
    )


@given(small_labels, st.integers(1, 3), st.integers(1, 3))
def test_tiling_the_frame_repeats_the_particles(indices, rows, columns):
    # A margin of matrix keeps the tiles' particles apart.
    tile = np.pad(indices, 1)
    once = sorted_sizes(measured(tile))
    tiled = sorted_sizes(measured(np.tile(tile, (rows, columns))))
    np.testing.assert_allclose(tiled, np.repeat(once, rows * columns, axis=0), rtol=1e-8)


@given(small_labels, st.floats(1e-3, 1e3))
def test_a_larger_pixel_scales_lengths_and_areas(indices, factor):
    once, scaled = measured(indices), measured(indices, Calibration.square(0.5 * factor, "test"))
    np.testing.assert_allclose(scaled["area_um2"], factor**2 * once["area_um2"])
    for length in (*SIZES[1:], "centroid_x_um", "centroid_y_um"):
        np.testing.assert_allclose(scaled[length], factor * once[length], rtol=1e-8)


@given(small_labels, arrays(bool, (10, 10)))
def test_the_order_of_classes_and_what_lies_outside_do_not_matter(indices, mask):
    mask = mask[: indices.shape[0], : indices.shape[1]]
    ids, owners = number_particles(indices, (1, 2), mask, ALL, SQUARE)
    other_ids, other_owners = number_particles(
        np.where(mask, indices, 1), (2, 1), mask, ALL, SQUARE
    )
    np.testing.assert_array_equal(ids, other_ids)
    np.testing.assert_array_equal(owners, other_owners)


def test_a_real_label_image_agrees_with_scikit_image(shared_data):
    stored = np.frombuffer((shared_data / "uhcs/labels/uhcs0075.png").read_bytes(), np.uint8)
    indices = cv2.imdecode(stored, cv2.IMREAD_UNCHANGED)
    index = pd.read_csv(shared_data / "uhcs/images/index.csv").set_index("image")
    pixel_um = float(index.loc["uhcs0075.tif", "pixel_size_um"])
    table = measured(indices, Calibration.square(pixel_um, "index.csv"), classes=(2,))
    expected = measure.regionprops(measure.label(indices == 2, connectivity=2))
    areas = [region.area for region in expected]
    assert sorted(table["area_px"]) == sorted(areas)
    assert table["area_px"].sum() == (indices == 2).sum()
    np.testing.assert_allclose(
        np.sort(table["equivalent_radius_um"]),
        np.sort([pixel_um * region.equivalent_diameter_area / 2 for region in expected]),
    )
    np.testing.assert_allclose(
        np.sort(table["centroid_row_px"]), np.sort([region.centroid[0] for region in expected])
    )


SHAPES = [
    "feret_max_um",
    "feret_min_um",
    "aspect_ratio",
    "major_axis_um",
    "minor_axis_um",
    "perimeter_um",
    "circularity",
    "solidity",
    "nearest_neighbour_um",
]


def sorted_shapes(particles, columns=SHAPES):
    table = particles[[*SIZES, *columns]].fillna(-1.0)
    # Rounded for the order only, in which equal particles may differ by rounding.
    order = np.lexsort(table.round(6).to_numpy().T)
    return table.to_numpy()[order]


@given(small_labels, st.sampled_from(range(4)))
def test_turning_and_flipping_keep_the_shapes(indices, symmetry):
    calibration = Calibration(0.3, 0.7, "test")
    turned = np.ascontiguousarray(
        (indices[::-1], indices[:, ::-1], np.rot90(indices, 2), np.rot90(indices))[symmetry]
    )
    swapped = Calibration(0.7, 0.3, "test") if symmetry == 3 else calibration
    np.testing.assert_allclose(
        sorted_shapes(measured(turned, swapped)),
        sorted_shapes(measured(indices, calibration)),
        rtol=1e-6,
        atol=1e-6,
    )


@given(small_labels, st.integers(0, 5), st.integers(0, 5))
def test_moving_the_particles_moves_their_centroids_only(indices, down, right):
    inner = np.pad(indices, 1)
    moved = np.pad(inner, ((down, 5 - down), (right, 5 - right)))
    first, second = measured(inner), measured(moved)
    columns = [c for c in first if not c.startswith(("centroid", "top", "left", "bottom", "right"))]
    np.testing.assert_allclose(first[columns].astype(float), second[columns].astype(float))
    np.testing.assert_allclose(second["centroid_row_px"] - first["centroid_row_px"], down)
    np.testing.assert_allclose(second["left_px"] - first["left_px"], right)


@given(small_labels, st.floats(1e-3, 1e3))
def test_a_larger_pixel_scales_lengths_and_leaves_shapes(indices, factor):
    once, scaled = measured(indices), measured(indices, Calibration.square(0.5 * factor, "test"))
    for name in SHAPES:
        scale = factor if name.endswith("_um") else 1
        np.testing.assert_allclose(scaled[name], scale * once[name], rtol=1e-7, atol=1e-9 * scale)
    np.testing.assert_allclose(scaled["orientation_deg"], once["orientation_deg"], atol=1e-6)


def test_squares_have_the_shape_of_squares():
    first = measured(two_squares()).iloc[0]
    assert first["solidity"] == 1
    assert first["feret_min_um"] == 2
    assert first["equivalent_diameter_um"] == 2 * first["equivalent_radius_um"]
    assert first[["top_px", "left_px", "bottom_px", "right_px"]].tolist() == [2, 3, 6, 7]


def test_one_pixel_is_measured():
    indices = np.zeros((5, 5), np.uint8)
    indices[2, 3] = 1
    one = measured(indices).iloc[0]
    assert (one["area_px"], one["solidity"], one["feret_max_um"]) == (1, 1, 0.5)
    assert (one["major_axis_um"], one["minor_axis_um"]) == (0, 0)
    assert np.isnan(one[["orientation_deg", "nearest_neighbour_um"]].astype(float)).all()
    assert np.isfinite(one[["perimeter_um", "aspect_ratio"]].astype(float)).all()


def test_circularity_is_of_particles_large_enough_for_it():
    indices = np.zeros((40, 40), np.uint8)
    indices[2:5, 2:5] = 1
    y, x = np.mgrid[:40, :40] - 24
    indices[x**2 + y**2 <= 144] = 1
    small, disc = measured(indices)["circularity"]
    assert np.isnan(small)
    assert disc == pytest.approx(1, abs=0.04)


def test_the_nearest_neighbour_is_of_the_same_class():
    indices = np.zeros((9, 30), np.uint8)
    indices[4, [2, 12, 16]] = [1, 1, 2]
    ids, owners = number_particles(indices, (1, 2), everywhere(indices), ALL, SQUARE)
    together = measure_particles(ids, everywhere(indices), SQUARE, owners=owners)
    assert together["nearest_neighbour_um"].fillna(-1).tolist() == [5, 5, -1]
    assert measured(indices)["nearest_neighbour_um"].tolist() == [5, 2, 2]


def test_concave_particles_are_not_solid():
    indices = np.zeros((12, 12), np.uint8)
    indices[1:11, 1:11] = 1
    indices[1:8, 4:8] = 0
    assert measured(indices)["solidity"].iloc[0] == pytest.approx(72 / 100)


@pytest.mark.parametrize("dtype", [np.uint16, np.int64, np.int8])
def test_labels_of_any_whole_numbers(dtype):
    pd.testing.assert_frame_equal(measured(two_squares().astype(dtype)), measured(two_squares()))


def test_a_hundred_thousand_particles():
    tile = np.zeros((6, 6), np.uint8)
    tile[1:4, 2:5] = tile[4, 3] = 1
    indices = np.tile(tile, (320, 320))
    start = time.process_time()
    table = measured(indices)
    assert len(table) == 102_400
    assert table["area_px"].eq(10).all()
    # About three seconds; the bound is wide because test machines are shared.
    assert time.process_time() - start < 30
