"""*Copy as recipe step* of each form: the recipe says what the form's Run would use."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from napari.components import ViewerModel
from napari.layers import Labels

from napari_metallography._napari import recipe_step
from napari_metallography._napari.boundary_fields import BY_MODEL, IN_IMAGE
from napari_metallography._napari.calibrate import CalibrateWidget
from napari_metallography._napari.compare import CompareWidget
from napari_metallography._napari.defects import ClassifyDefectsWidget
from napari_metallography._napari.grain_size import GrainSizeWidget
from napari_metallography._napari.layers import calibrate_layer
from napari_metallography._napari.quantify import QuantifyWidget
from napari_metallography._napari.segment import SegmentWidget
from napari_metallography._napari.structure import ClassifyStructureWidget
from napari_metallography.batch.recipe import Recipe, parse_recipe
from napari_metallography.calibration import Calibration


@pytest.fixture
def made(ended: Any, qtbot: Any) -> Any:
    """Makes a form for a viewer with a calibrated image, "steel", and labels, "phases"."""

    def of(form: Any) -> Any:
        viewer = ViewerModel()
        image = viewer.add_image(np.arange(4800, dtype=np.uint16).reshape(60, 80), name="steel")
        calibrate_layer(image, Calibration.square(0.5, "test"))
        viewer.add_labels(np.tile(np.arange(1, 5, dtype=np.uint8), (60, 20)), name="phases")
        widget = form(viewer)
        qtbot.addWidget(widget.native)
        return ended(widget) if hasattr(form, "abandon") else widget

    return of


def copied(form: Any) -> Recipe:
    """What the button puts on the clipboard, as a recipe."""
    recipe_step.clipboard().setText("nothing yet")
    form.copy_step.native.click()
    assert "is on the clipboard" in form.controls.status.value
    return parse_recipe(recipe_step.clipboard().text())


def test_segment_by_threshold(made) -> None:
    form = made(SegmentWidget)
    form.method.value = "threshold"
    form.by_threshold.fields["phase"].value = "dark"
    form.by_threshold.fields["shading_px"].value = 40
    form.by_threshold.fields["method"].value = "manual"
    form.by_threshold.value.value = 77
    recipe = copied(form)
    assert recipe.segment == form.parameters()
    assert (recipe.segment.threshold.phase, recipe.segment.threshold.shading_px) == ("dark", 40)
    assert recipe.field.keep_data_bar is False
    assert "cannot hold" not in form.controls.status.value


def test_segment_by_a_model_computes_where_the_recipe_runs(made) -> None:
    form = made(SegmentWidget)
    form.by_model.device.value = "cpu"
    form.by_model.multi_scale.value = False
    form.by_model.prediction["mode"].value = "paper"
    recipe = copied(form)
    assert form.parameters().device == "cpu"
    assert recipe.segment == form.parameters().model_copy(update={"device": "auto"})
    assert recipe.segment.prediction.scales == (1.0,)


def test_what_a_recipe_cannot_hold_is_said(made) -> None:
    form = made(SegmentWidget)
    form.method.value = "threshold"
    form.by_threshold.names[1].value = "pearlite"
    form.region.value = form.viewer.add_shapes(
        [[[0, 0], [0, 9], [9, 9], [9, 0]]], shape_type="polygon", name="edge"
    )
    copied(form)
    said = form.controls.status.value
    assert said.endswith("cannot hold the region drawn in edge, names of the phases")


def test_quantify_with_its_phases_and_the_data_bar(made) -> None:
    form = made(QuantifyWidget)
    form.classes.value = [1, 3]
    form.parameters["edge_rule"].value = "guard-frame"
    form.parameters["smallest_area_px"].value = 9
    form.data_bar.value = False
    recipe = copied(form)
    assert recipe.quantify.classes == (1, 3)
    assert (recipe.quantify.edge_rule, recipe.quantify.smallest_area_px) == ("guard-frame", 9)
    assert recipe.field.keep_data_bar is True


def test_quantify_without_labels_measures_all_phases(made) -> None:
    form = made(QuantifyWidget)
    form.viewer.layers.remove("phases")
    assert copied(form).quantify.classes is None


@pytest.mark.parametrize("boundaries", [IN_IMAGE, BY_MODEL])
@pytest.mark.parametrize("with_network", [False, True])
def test_grain_size_is_chosen_as_in_the_form(made, boundaries, with_network) -> None:
    form = made(GrainSizeWidget)
    form.boundaries.value = boundaries
    form.methods["circles"].value = False
    form.methods["network"].value = with_network
    form.grading["area"].value = "circle"
    form.grading["line_spacing_px"].value = 12
    form.grains.twins.value = True
    form.grains.etched["contrast"].value = 0.3
    form.grains.by_model.flips.value = False
    form.device.value = "cpu"
    recipe = copied(form)
    own = form._grading(form.grains.found)
    assert recipe.grain_size.choice() == replace(own, device="auto")
    assert (recipe.grain_size.boundaries_model is not None) == (boundaries == BY_MODEL)
    assert recipe.grain_size.methods == tuple(m for m, box in form.methods.items() if box.value)


def test_boundaries_of_a_layer_are_no_step(made) -> None:
    form = made(GrainSizeWidget)
    mask = Labels(np.eye(60, 80, dtype=np.uint8), name="mask")
    form.viewer.add_layer(mask)
    form.boundaries.value = mask
    recipe_step.clipboard().setText("nothing yet")
    form.copy_step.native.click()
    assert "the boundaries in mask belong to one image" in form.controls.status.value
    assert recipe_step.clipboard().text() == "nothing yet"


def test_classify_structure(made, structure_models: Path, monkeypatch) -> None:
    monkeypatch.setenv("NAPARI_METALLOGRAPHY_MODELS", str(structure_models))
    form = made(ClassifyStructureWidget)
    form.model.choose("free")
    recipe = copied(form)
    assert recipe.classify_structure == form._parameters()
    assert recipe.classify_structure.model == "free"


def test_classify_defects(made) -> None:
    form = made(ClassifyDefectsWidget)
    form.parameters["risk"].value = 0.1
    form.parameters["scan"].value = True
    recipe = copied(form)
    assert recipe.classify_defects == form._parameters()
    assert (recipe.classify_defects.risk, recipe.classify_defects.scan) == (0.1, True)


def test_a_known_pixel_size_is_a_step_and_that_of_the_file_is_none(made) -> None:
    form = made(CalibrateWidget)
    form.known.number.value, form.known.unit.value = "194", "nm"
    form.copy_step.native.click()
    text = recipe_step.clipboard().text()
    assert parse_recipe(f"{text}quantify:").calibrate.pixel_size_um == pytest.approx(0.194)
    assert "calibrate is on the clipboard" in form.status.value
    form.way.value = "file"
    form.copy_step.native.click()
    assert "takes no step" in form.status.value


def test_forms_that_are_no_step_have_no_button(qtbot, ended) -> None:
    form = ended(CompareWidget(ViewerModel()))
    qtbot.addWidget(form.native)
    assert form.copy_step.native.parent() is None
