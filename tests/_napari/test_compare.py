from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from napari.components import ViewerModel

from napari_metallography._napari.compare import ALL_PHASES, CompareWidget
from napari_metallography._napari.layers import add_labels_layer, calibrate_layer
from napari_metallography.calibration import Calibration
from napari_metallography.classes import UNLABELLED, named_classes
from napari_metallography.io.overlays import (
    FALSE_NEGATIVE,
    FALSE_POSITIVE,
    NOT_JUDGED,
    TRUE_NEGATIVE,
    TRUE_POSITIVE,
)

NAMES = ["matrix", "carbide"]


def truth() -> np.ndarray:
    """A carbide of 4×4 pixels and one of 2×2; a row without label."""
    indices = np.zeros((20, 30), np.uint8)
    indices[4:8, 4:8] = 1
    indices[12:14, 20:22] = 1
    indices[19] = UNLABELLED
    return indices


def prediction() -> np.ndarray:
    """The large carbide one column too wide, the small one missed."""
    indices = np.zeros((20, 30), np.uint8)
    indices[4:8, 4:9] = 1
    return indices


def opened(viewer: Any, predicted: np.ndarray, true: np.ndarray) -> CompareWidget:
    image = viewer.add_image(np.zeros(predicted.shape, np.uint8), name="steel")
    calibrate_layer(image, Calibration.square(0.5, "test"))
    for name, indices in (("truth", true), ("found", predicted)):
        add_labels_layer(viewer, image, indices, named_classes(NAMES), name, {})
    widget = CompareWidget(viewer)
    widget.predicted.value = viewer.layers["found"]
    widget.truth.value = viewer.layers["truth"]
    return widget


@pytest.fixture
def widget(qtbot) -> CompareWidget:
    widget = opened(ViewerModel(), prediction(), truth())
    qtbot.addWidget(widget.native)
    return widget


def run(widget: CompareWidget, qtbot: Any) -> None:
    widget.controls.run_button.native.click()
    qtbot.waitUntil(lambda: not widget.controls.is_running, timeout=30_000)


def test_the_error_map_shows_each_kind_of_error(widget, qtbot) -> None:
    widget.phase.value = 1
    run(widget, qtbot)
    layer = widget.viewer.layers["found errors (carbide)"]
    assert layer.rgb
    for pixel, colour in (
        ((5, 5), TRUE_POSITIVE),
        ((0, 0), TRUE_NEGATIVE),
        ((5, 8), FALSE_POSITIVE),
        ((12, 20), FALSE_NEGATIVE),
        ((19, 0), NOT_JUDGED),
    ):
        assert tuple(layer.data[pixel]) == colour
    np.testing.assert_array_equal(layer.scale, widget.viewer.layers["found"].scale)


def test_the_form_shows_iou_and_particle_scores(widget, qtbot) -> None:
    run(widget, qtbot)
    rows = widget.scores.to_dataframe()
    assert list(rows["phase"]) == NAMES
    # 16 pixels in both, 4 wrongly found, 4 missed.
    carbide = 16 / 24
    matrix = (19 * 30 - 24) / (19 * 30 - 16)
    assert list(rows["IoU"]) == [f"{matrix:.3f}", f"{carbide:.3f}"]
    assert list(rows["precision"]) == ["–", "1.000"]
    assert list(rows["recall"]) == ["–", "0.500"]
    assert list(rows["n\n(true)"]) == ["–", "1 (2)"]
    assert f"{(carbide + matrix) / 2:.3f}" in widget.summary.value


def test_all_phases_is_a_choice(widget, qtbot) -> None:
    assert ALL_PHASES in widget.phase.choices
    widget.phase.value = ALL_PHASES
    run(widget, qtbot)
    assert "found errors (all phases)" in widget.viewer.layers


def test_equal_layers_score_one(qtbot) -> None:
    widget = opened(ViewerModel(), truth(), truth())
    qtbot.addWidget(widget.native)
    run(widget, qtbot)
    assert widget.viewer.layers["found errors (all phases)"].metadata["scores"]["miou"] == 1


def test_stacks_are_pooled(qtbot) -> None:
    stack = np.stack([prediction(), truth()])
    widget = opened(ViewerModel(), stack, np.stack([truth(), truth()]))
    qtbot.addWidget(widget.native)
    run(widget, qtbot)
    layer = widget.viewer.layers["found errors (all phases)"]
    assert layer.data.shape == (2, 20, 30, 3)
    carbide = layer.metadata["scores"]["particles"]["carbide"]
    assert (carbide["n_true"], carbide["n_predicted"]) == (4, 3)


def test_layers_of_different_shape_are_refused(qtbot) -> None:
    widget = opened(ViewerModel(), prediction(), truth())
    qtbot.addWidget(widget.native)
    widget.viewer.add_labels(np.ones((5, 5), np.uint8), name="other")
    widget.truth.value = widget.viewer.layers["other"]
    run(widget, qtbot)
    assert "choose labels of the same image" in widget.controls.status.value


def test_classes_of_other_names_are_refused_in_one_line(widget) -> None:
    image = widget.viewer.layers["steel"]
    others = named_classes(["carbide", "matrix"])
    widget.truth.value = add_labels_layer(widget.viewer, image, truth(), others, "other", {})
    widget.controls.run_button.native.click()
    said = widget.controls.status.value
    assert "found: matrix, carbide; other: carbide, matrix" in said
    assert "\n" not in said


def test_labels_that_name_no_classes_are_compared_by_number(widget, qtbot) -> None:
    widget.truth.value = widget.viewer.add_labels((truth() + 1).astype(np.uint8), name="foreign")
    run(widget, qtbot)
    assert list(widget.scores.to_dataframe()["phase"]) == NAMES


def test_scores_of_other_layers_are_not_shown(widget, qtbot) -> None:
    widget.show()
    run(widget, qtbot)
    assert widget.scores.visible
    labels = widget.viewer.add_labels(np.ones((20, 30), np.uint8), name="other")
    assert widget.scores.visible
    widget.predicted.value = labels
    assert not widget.scores.visible


def test_the_same_layer_twice_is_refused(widget) -> None:
    widget.truth.value = widget.predicted.value
    widget.controls.run_button.native.click()
    assert "choose two" in widget.controls.status.value


def test_nothing_in_common_is_refused(qtbot) -> None:
    nothing = np.full((20, 30), UNLABELLED, np.uint8)
    widget = opened(ViewerModel(), prediction(), nothing)
    qtbot.addWidget(widget.native)
    run(widget, qtbot)
    assert "no pixel is labelled in both" in widget.controls.status.value
