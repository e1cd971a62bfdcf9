"""Where the form *Grade grain size* takes boundaries from: the image, a model, a layer."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from napari.components import ViewerModel
from napari.utils.notifications import notification_manager
from torch import Tensor, nn

from napari_metallography._napari.boundary_fields import BY_MODEL, IN_IMAGE
from napari_metallography._napari.grain_size import GrainSizeWidget
from napari_metallography._napari.layers import calibrate_layer
from napari_metallography._napari.model_choice import offer_everywhere
from napari_metallography.calibration import Calibration
from napari_metallography.grains import model_boundaries
from napari_metallography.grains.boundary_probability import ModelBoundaryParameters
from napari_metallography.grains.grading import METHODS
from napari_metallography.models.card import Normalisation
from napari_metallography.segmentation.model import SegmentationModel, save_model
from napari_metallography.synthesis.polycrystals import PolycrystalParameters, polycrystal

PIXEL_UM = 0.5


class DarkIsBoundary(nn.Module):
    """The darker a pixel, the surer."""

    enlargement = 1.0

    def forward(self, images: Tensor) -> Tensor:
        grey = images[:, :1]
        return torch.cat([(grey - 128) / 8, (128 - grey) / 8], 1)


@pytest.fixture(scope="module")
def made() -> Any:
    parameters = PolycrystalParameters(height_px=240, width_px=320, grain_size=9.5)
    return polycrystal(parameters, 4)


@pytest.fixture
def models(tmp_path, monkeypatch) -> Path:
    """An empty folder of own models."""
    folder = tmp_path / "models"
    folder.mkdir()
    monkeypatch.setenv("NAPARI_METALLOGRAPHY_MODELS", str(folder))
    monkeypatch.setattr("napari_metallography.models.registry._SHIPPED", tmp_path / "shipped")
    return folder


@pytest.fixture
def saved(models, untrained) -> Any:
    """Writes a model of random weights for classes of some names, and tells its file."""

    def save(name: str, *classes: str, folder: Path = models) -> Path:
        model = untrained(classes, name=name)
        folder.mkdir(exist_ok=True)
        path = folder / f"{name}.safetensors"
        save_model(path, model.card, model.network)
        return path

    return save


@pytest.fixture
def opened(qtbot, models, made) -> Any:
    """Opens the form on the true boundaries, dark on white."""
    notification_manager.records.clear()

    def open_form() -> GrainSizeWidget:
        viewer = ViewerModel()
        pixels = np.where(made.boundaries, 60, 200).astype(np.uint8)
        # One more grey value, else it is a mask.
        pixels[0, 0] = 201
        image = viewer.add_image(pixels, name="steel")
        calibrate_layer(image, Calibration.square(PIXEL_UM, "test"))
        widget = GrainSizeWidget(viewer)
        qtbot.addWidget(widget.native)
        return widget

    return open_form


def run(widget: GrainSizeWidget, qtbot: Any) -> None:
    widget.controls.run_button.native.click()
    qtbot.waitUntil(lambda: not widget.controls.is_running, timeout=30_000)


def hidden(widgets: Any) -> set[bool]:
    return {widget.native.isHidden() for widget in widgets}


def offered(widget: GrainSizeWidget) -> list[str]:
    return [
        name for name in widget.grains.by_model.model.combo.choices if name not in ("", "file…")
    ]


def test_fields_are_those_of_the_way_chosen(saved, opened) -> None:
    saved("lines", "grain", "boundary")
    widget = opened()
    grains = widget.grains
    of_model = [one for one in grains.by_model.widgets if one is not grains.by_model.missing]
    mask = widget.viewer.add_labels(np.eye(240, 320, dtype=np.uint8), name="mask")
    for way, etched, model in (
        (IN_IMAGE, False, True),
        (BY_MODEL, True, False),
        (mask, True, True),
        (IN_IMAGE, False, True),
    ):
        grains.choice.value = way
        assert hidden(grains.etched.values()) == {etched}
        assert hidden([*of_model, widget.device]) == {model}
    grains.choice.value = BY_MODEL
    for method in METHODS:
        widget.methods[method].value = False
    widget.methods["network"].value = True
    assert hidden(grains.widgets) == {True}
    assert hidden([widget.line_network.combo, widget.device]) == {False}


def test_models_with_a_class_of_boundaries_are_offered(saved, opened) -> None:
    saved("carbides", "matrix", "carbide")
    saved("own", "grain", "boundary")
    widget = opened()
    assert offered(widget) == ["own"]
    assert "boundary" in widget.grains.by_model.model.combo.tooltip


def test_a_line_says_that_there_is_no_model_until_there_is_one(
    saved, opened, qtbot, tmp_path
) -> None:
    widget = opened()
    missing = widget.grains.by_model.missing
    assert missing.native.isHidden()
    widget.boundaries.value = BY_MODEL
    assert not missing.native.isHidden()
    widget.controls.run_button.native.click()
    assert "choose a model" in widget.controls.status.value
    assert not widget.controls.is_running
    offer_everywhere(saved("carbides", "matrix", "carbide", folder=tmp_path / "elsewhere"))
    assert offered(widget) == []
    path = saved("own", "grain", "boundary", folder=tmp_path / "elsewhere")
    offer_everywhere(path)
    assert offered(widget) == [str(path)]
    assert missing.native.isHidden()


def test_a_file_without_the_class_is_refused(saved, opened, tmp_path, monkeypatch) -> None:
    path = saved("carbides", "matrix", "carbide", folder=tmp_path / "elsewhere")
    monkeypatch.setattr(
        "qtpy.QtWidgets.QFileDialog.getOpenFileName", lambda *a, **k: (str(path), "")
    )
    widget = opened()
    widget.grains.by_model.model.combo.value = "file…"
    assert offered(widget) == []
    assert 'has no class "boundary"' in notification_manager.records[-1].message


def test_boundaries_are_found_by_a_model_off_the_windows_thread(
    saved, opened, untrained, qtbot, made, monkeypatch
) -> None:
    loaded: list[tuple[str, threading.Thread]] = []
    known = Normalisation(mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
    card = untrained(("grain", "boundary"), name="dark", normalisation=known).card
    network: Any = DarkIsBoundary()

    def load(name: str) -> SegmentationModel:
        loaded.append((name, threading.current_thread()))
        return SegmentationModel(card, network, "abc")

    monkeypatch.setattr(model_boundaries, "load_boundary_model", load)
    path = saved("own", "grain", "boundary")
    widget = opened()
    widget.boundaries.value = BY_MODEL
    widget.grains.by_model.multi_scale.value = widget.grains.by_model.flips.value = False
    widget.grains.by_model.parameters["smallest_area_px"].value = 5
    run(widget, qtbot)
    ((name, thread),) = loaded
    assert name == str(path)
    assert thread is not threading.main_thread()
    found = widget.results.table.to_dataframe()
    assert float(found["G"][0]) == pytest.approx(made.intercept_g, abs=0.15)
    assert widget.viewer.layers["grain boundaries · steel"].data.any()
    widget.study.add_field()
    (field,) = widget.study._fields.values()
    provenance = field.field.provenance
    assert provenance["boundaries_model"] == "dark"
    assert provenance["model_boundaries"]["smallest_area_px"] == 5
    assert provenance["prediction"]["scales"] == [1.0]
    run(widget, qtbot)
    assert len(loaded) == 1
    os.utime(path, ns=(1, 1))
    run(widget, qtbot)
    assert len(loaded) == 2


def test_a_model_that_is_gone_is_refused_in_a_line(saved, opened, qtbot) -> None:
    path = saved("own", "grain", "boundary")
    widget = opened()
    widget.boundaries.value = BY_MODEL
    path.unlink()
    run(widget, qtbot)
    assert "own" in widget.controls.status.value
    assert "\n" not in widget.controls.status.value
    assert [layer.name for layer in widget.viewer.layers] == ["steel"]


def test_an_impossible_probability_is_refused(saved, opened) -> None:
    saved("own", "grain", "boundary")
    widget = opened()
    widget.boundaries.value = BY_MODEL
    widget.grains.by_model.parameters["threshold"].value = 1.0
    widget.controls.run_button.native.click()
    assert "less than 1" in widget.controls.status.value
    assert not widget.controls.is_running


def test_what_was_chosen_is_remembered(saved, opened, qtbot) -> None:
    saved("own", "grain", "boundary")
    widget = opened()
    widget.grains.twins.value = True
    widget.grains.by_model.parameters["threshold"].value = 0.3
    widget.grains.etched["shown"].value = 0.6
    run(widget, qtbot)
    again = opened().grains
    assert again.twins.value
    assert again.by_model.parameters["threshold"].value == 0.3
    assert again.by_model.parameters["shown"].value == ModelBoundaryParameters().shown
    assert again.etched["shown"].value == 0.6
