from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from napari.components import ViewerModel
from napari.layers import Image, Labels, Shapes

from napari_metallography._napari import layers
from napari_metallography.calibration import Calibration
from napari_metallography.classes import named_classes
from napari_metallography.errors import InputError
from napari_metallography.regions import Box

RECTANGLE = [(2, 3), (2, 9), (7, 9), (7, 3)]


def image(shape: tuple[int, ...] = (20, 30), **keywords: object) -> Image:
    return Image(np.random.default_rng(0).integers(0, 255, shape, np.uint8), **keywords)


def test_layer_in_pixels_has_no_calibration_whatever_its_scale() -> None:
    assert layers.layer_calibration(image(scale=(2, 2))) is None


def test_layer_in_a_unit_of_time_has_no_calibration() -> None:
    assert layers.layer_calibration(image(units=("s", "s"))) is None


@pytest.mark.parametrize(("unit", "scale"), [("nm", 50), ("um", 0.05), ("mm", 5e-5)])
def test_scale_in_any_unit_of_length_is_a_calibration(unit: str, scale: float) -> None:
    calibration = layers.layer_calibration(image(scale=(scale, 2 * scale), units=(unit, unit)))
    assert calibration is not None
    assert (calibration.y_um, calibration.x_um) == pytest.approx((0.05, 0.1))


def test_calibrated_layer_remembers_source_and_uncertainty() -> None:
    layer = image()
    stated = Calibration(0.1, 0.2, "objective 50×", 0.01)
    layers.calibrate_layer(layer, stated)
    assert layers.layer_calibration(layer) == stated
    assert tuple(layer.scale) == (0.2, 0.1)
    assert [str(unit) for unit in layer.units] == ["micrometer", "micrometer"]


def test_scale_changed_afterwards_overrides_the_note() -> None:
    layer = image()
    layers.calibrate_layer(layer, Calibration.square(0.1, "objective 50×", 0.01))
    layer.scale = (0.3, 0.3)
    assert layers.layer_calibration(layer) == Calibration.square(0.3, "layer scale")


TENTH = np.diag([0.1, 0.1, 1])
SHEARS: list[dict[str, object]] = [
    {"shear": [0.2]},
    {"affine": np.array([[1, 0.2, 0], [0, 1, 0], [0, 0, 1]])},
    {"affine": np.diag([1, 2, 1]), "rotate": 30},
]


@pytest.mark.parametrize("scale", [(1, 1), (2, 3)])
def test_a_layer_s_affine_scales_its_pixels(scale: tuple[float, float]) -> None:
    layer = image(scale=scale, units="um", affine=TENTH, rotate=25, translate=(1e5, -1e5))
    calibration = layers.layer_calibration(layer)
    assert calibration is not None
    assert (calibration.y_um, calibration.x_um) == pytest.approx(np.multiply(scale, 0.1))


@given(st.floats(-180, 180), st.floats(1e-4, 1e3), st.floats(1e-4, 1e3))
def test_turned_and_mirrored_pixels_keep_their_size(angle: float, y_um: float, x_um: float) -> None:
    turned = np.array([[0, 1, 7], [1, 0, -3], [0, 0, 1]])
    layer = image(scale=(y_um, x_um), rotate=angle, units="um", affine=turned)
    assert layers.layer_calibration(layer) == Calibration(x_um, y_um, "layer scale")


@pytest.mark.parametrize("transform", SHEARS)
def test_a_sheared_layer_has_no_one_pixel_size(transform: dict[str, object]) -> None:
    layer = image(units="um", name="steel", **transform)
    for act in (
        lambda: layers.layer_calibration(layer),
        lambda: layers.calibrate_layer(layer, Calibration.square(1, "test")),
    ):
        with pytest.raises(InputError, match=r"^steel: is sheared.*reset its transform$"):
            act()


def test_calibrating_allows_for_the_affine() -> None:
    layer = image(affine=TENTH)
    stated = Calibration(0.1, 0.2, "objective 50×", 0.01)
    layers.calibrate_layer(layer, stated)
    assert layers.layer_calibration(layer) == stated
    assert layer.data_to_world((1, 1)) == pytest.approx((0.2, 0.1))


def test_calibrating_a_stack_leaves_its_leading_axis() -> None:
    layer = image((4, 20, 30), scale=(7, 1, 1))
    layers.calibrate_layer(layer, Calibration.square(0.5, "test"))
    assert tuple(layer.scale) == (7, 0.5, 0.5)
    assert [str(unit) for unit in layer.units] == ["pixel", "micrometer", "micrometer"]


def test_calibrating_keeps_the_place_on_the_pixel_grid() -> None:
    layer = image(translate=(10, 4))
    layers.calibrate_layer(layer, Calibration(0.5, 0.25, "test"))
    assert tuple(layer.translate) == (2.5, 2.0)


def test_calibrating_keeps_other_metadata() -> None:
    layer = image(metadata={"specimen": "A1"})
    layers.calibrate_layer(layer, Calibration.square(1, "test"))
    assert layer.metadata["specimen"] == "A1"


def test_snapshot_is_the_finest_level_and_says_whether_colours() -> None:
    levels = [np.zeros((64, 64, 3), np.uint8), np.zeros((32, 32, 3), np.uint8)]
    array, rgb = layers.snapshot(Image(levels, multiscale=True, rgb=True))
    assert array.shape == (64, 64, 3)
    assert rgb


def test_a_change_after_the_snapshot_does_not_reach_it() -> None:
    layer = image()
    before = layer.data.copy()
    array, _ = layers.snapshot(layer)
    layer.data[:] = 0
    np.testing.assert_array_equal(array, before)


def test_what_is_read_when_needed_is_not_read_for_a_snapshot(tmp_path, monkeypatch) -> None:
    mapped = np.memmap(tmp_path / "pixels", np.uint8, "w+", shape=(20, 30))
    assert layers.snapshot(Image(mapped))[0] is mapped
    monkeypatch.setattr(layers, "_MOST_COPIED_BYTES", 10)
    large = image()
    assert layers.snapshot(large)[0] is large.data


def test_field_without_shapes_is_the_whole_image() -> None:
    field = layers.field_of(image((20, 30, 3), rgb=True), None, Shapes())
    assert field.shape == (20, 30)
    assert field.mask().all()


def test_region_drawn_in_micrometres_counts_in_pixels_of_the_image() -> None:
    calibrated = image(scale=(0.5, 0.25), translate=(100, 200), units=("um", "um"))
    corners = np.array(RECTANGLE) * (0.5, 0.25) + (100, 200)
    region = Shapes([corners], shape_type="rectangle", units=("um", "um"))
    assert np.allclose(layers.field_of(calibrated, region, None).region, [RECTANGLE])


def test_region_in_nanometres_over_an_image_in_micrometres() -> None:
    calibrated = image(scale=(0.5, 0.5), units=("um", "um"))
    corners = np.array(RECTANGLE) * 500
    region = Shapes([corners], shape_type="polygon", units=("nm", "nm"))
    assert np.allclose(layers.field_of(calibrated, region, None).region, [RECTANGLE])


def test_region_on_a_plane_of_a_stack_counts_by_its_last_two_axes() -> None:
    corners = [(3, *corner) for corner in RECTANGLE]
    region = Shapes([corners], shape_type="polygon")
    field = layers.field_of(image((5, 20, 30)), region, None)
    assert np.allclose(field.region, [RECTANGLE])


def test_flat_region_over_a_stack() -> None:
    field = layers.field_of(image((5, 20, 30)), Shapes([RECTANGLE]), None)
    assert np.allclose(field.region, [RECTANGLE])


def test_ellipse_covers_the_area_of_an_ellipse() -> None:
    corners = [(10, 20), (10, 120), (70, 120), (70, 20)]
    region = Shapes([corners], shape_type="ellipse")
    mask = layers.field_of(image((100, 150)), region, None).mask()
    assert mask.sum() == pytest.approx(np.pi * 50 * 30, rel=0.01)
    assert mask[40, 21]
    assert not mask[12, 22]


def test_several_shapes_are_united() -> None:
    region = Shapes([RECTANGLE, np.array(RECTANGLE) + 10])
    assert len(layers.field_of(image(), region, None).region) == 2


def test_a_line_is_no_region() -> None:
    region = Shapes([[(0, 0), (5, 5)]], shape_type="line", name="cut")
    with pytest.raises(InputError, match="cut: a line encloses no area"):
        layers.field_of(image(), region, None)


@given(
    st.integers(0, 17), st.integers(0, 27), st.integers(1, 20), st.integers(1, 30),
    st.floats(1e-3, 1e3), st.floats(1e-3, 1e3),
)  # fmt: skip
def test_data_bar_comes_back_as_the_box_it_was(top, left, rows, columns, y_um, x_um) -> None:
    box = Box(top, left, min(20, top + rows), min(30, left + columns))
    placement = {"scale": (y_um, x_um), "units": ("um", "um"), "translate": (3.7, -11.3)}
    corners = box.corners
    bar = Shapes([np.array(corners)], shape_type="rectangle", **placement)
    assert layers.field_of(image(**placement), None, bar).data_bar == box


def test_data_bar_moved_out_of_the_image_leaves_out_nothing() -> None:
    bar = Shapes([np.array(RECTANGLE) + 100])
    assert layers.field_of(image(), None, bar).data_bar is None


def test_data_bar_of_two_shapes_is_refused() -> None:
    with pytest.raises(InputError, match="one rectangle"):
        layers.field_of(image(), None, Shapes([RECTANGLE, RECTANGLE]))


def with_data_bar(bar: int = 30) -> np.ndarray:
    pixels = np.random.default_rng(0).integers(60, 200, (200, 300), np.uint8)
    pixels[-bar:] = 0
    for column in range(20, 120, 10):
        pixels[-bar + 10 : -bar + 20, column : column + 4] = 255
    return pixels


def test_data_bar_is_shown_once_and_stays_where_it_was_put() -> None:
    viewer = ViewerModel()
    micrograph = viewer.add_image(with_data_bar(), name="steel", scale=(0.1, 0.1), units="um")
    bar = layers.find_or_add_data_bar(viewer, micrograph)
    assert bar is not None
    assert layers.field_of(micrograph, None, bar).data_bar == Box(170, 0, 200, 300)
    bar.data = [np.add(bar.data[0], (10, 0))]
    assert layers.find_or_add_data_bar(viewer, micrograph) is bar
    assert layers.field_of(micrograph, None, bar).data_bar == Box(180, 0, 200, 300)
    assert [layer.name for layer in viewer.layers] == ["steel", "steel data bar"]
    assert bar.units == micrograph.units


def test_image_without_data_bar_gets_no_layer() -> None:
    viewer = ViewerModel()
    assert layers.find_or_add_data_bar(viewer, viewer.add_image(image((100, 90)).data)) is None
    assert len(viewer.layers) == 1


CLASSES = named_classes(["matrix", "carbide"])


def labels_over(micrograph: Image, indices: np.ndarray) -> Labels:
    viewer = ViewerModel()
    viewer.add_layer(micrograph)
    return layers.add_labels_layer(viewer, micrograph, indices, CLASSES, "phases", {"field": {}})


def indices(shape: tuple[int, ...] = (20, 30)) -> np.ndarray:
    return np.random.default_rng(1).choice(np.array([0, 1, 255], np.uint8), shape)


def test_labels_lie_on_their_image_and_say_what_they_mean() -> None:
    micrograph = image(translate=(5, 6), rotate=10)
    layers.calibrate_layer(micrograph, Calibration.square(0.2, "FEI metadata"))
    layer = labels_over(micrograph, indices())
    assert np.allclose(layer.data_to_world((3, 4)), micrograph.data_to_world((3, 4)))
    assert layers.layer_calibration(layer) == Calibration.square(0.2, "FEI metadata")
    assert list(layer.features["class"]) == ["unlabelled", "matrix", "carbide"]
    assert layer.metadata["field"] == {}


def test_labels_come_back_as_the_indices_they_were() -> None:
    back, classes = layers.labels_as_indices(labels_over(image(), indices()))
    assert np.array_equal(back, indices())
    assert classes == CLASSES


def test_labels_are_coloured_by_class_and_clear_elsewhere() -> None:
    layer = labels_over(image(), indices())
    assert layer.get_color(2)[:3] == pytest.approx(np.array(CLASSES[1].rgb) / 255, abs=1e-6)
    for clear in (0, 7):
        assert layer.colormap.map(clear)[3] == 0


def test_labels_of_one_plane_of_a_stack() -> None:
    layer = labels_over(image((5, 20, 30), scale=(7, 2, 3)), indices())
    assert tuple(layer.scale) == (2, 3)


def test_erasing_gives_unlabelled_and_not_matrix() -> None:
    layer = labels_over(image(), np.zeros((20, 30), np.uint8))
    layer.data_setitem((np.array([4]), np.array([5])), 0)
    assert layers.labels_as_indices(layer)[0][4, 5] == 255


def test_painting_beyond_the_classes_is_refused() -> None:
    layer = labels_over(image(), indices())
    layer.data_setitem((np.array([4]), np.array([5])), 9)
    with pytest.raises(InputError, match="label 9 is painted"):
        layers.labels_as_indices(layer)


def test_foreign_labels_are_taken_as_classes_and_the_user_is_told(monkeypatch) -> None:
    told: list[str] = []
    monkeypatch.setattr(layers, "show_info", told.append)
    foreign = Labels(np.array([[0, 1], [2, 2]]), name="mine")
    back, classes = layers.labels_as_indices(foreign)
    assert back.tolist() == [[255, 0], [1, 1]]
    assert [phase.name for phase in classes] == ["matrix", "class 1"]
    assert told[0].startswith("mine: the layer does not say")
    assert "0 is taken as unlabelled, 1 = matrix, 2 = class 1" in told[0]
    assert layers.label_image(foreign).assumed in told[0]


@pytest.mark.parametrize("values", [np.arange(400), np.arange(100), [-1, 3], [0, 300]])
def test_foreign_labels_that_are_no_classes_are_refused(values) -> None:
    with pytest.raises(InputError, match="not classes"):
        layers.labels_as_indices(Labels(np.atleast_2d(values).astype(int)))


def test_empty_foreign_labels_are_refused() -> None:
    with pytest.raises(InputError, match="nothing is labelled"):
        layers.labels_as_indices(Labels(np.zeros((4, 4), int)))
