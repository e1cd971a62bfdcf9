"""Grain boundaries by a network: one that knows them by their grey value, so all else is exact."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from napari_metallography.calibration import Calibration
from napari_metallography.classes import named_classes
from napari_metallography.errors import InputError
from napari_metallography.events import Event, Notice, Progress, drain
from napari_metallography.grains.boundary_probability import ModelBoundaryParameters
from napari_metallography.grains.finding import Finding
from napari_metallography.grains.grading import grade
from napari_metallography.grains.model_boundaries import ByModel
from napari_metallography.grains.partition import from_boundaries
from napari_metallography.models.card import DataSource, ModelCard, Network, Normalisation
from napari_metallography.segmentation.model import SegmentationModel
from napari_metallography.segmentation.prediction import QUICK
from napari_metallography.synthesis.polycrystals import PolycrystalParameters, polycrystal

HALF_UM = Calibration.square(0.5, "test")
CPU = torch.device("cpu")


class DarkIsBoundary(nn.Module):
    """The darker a pixel, the surer."""

    enlargement = 1.0

    def forward(self, images: Tensor) -> Tensor:
        grey = images[:, :1]
        return torch.cat([(grey - 128) / 8, (128 - grey) / 8], 1)


def _model(names: Sequence[str] = ("grain", "boundary"), **card: Any) -> SegmentationModel:
    made = ModelCard(
        name="dark",
        task="segmentation",
        network=Network(architecture="unet", encoder="none"),
        classes=named_classes(names),
        normalisation=Normalisation(mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0)),
        data=DataSource(name="none", digest="0"),
        **card,
    )
    network: Any = DarkIsBoundary()
    return SegmentationModel(made, network, "abc")


def _finding(model: SegmentationModel | None = None, **rules: Any) -> ByModel:
    usual = {"threshold": 0.5, "shown": 0.5}
    return ByModel(model or _model(), CPU, ModelBoundaryParameters(**{**usual, **rules}), QUICK)


@pytest.fixture(scope="module")
def made():
    return polycrystal(PolycrystalParameters(height_px=300, width_px=400, grain_size=9), 3)


@pytest.fixture(scope="module")
def drawn(made) -> np.ndarray:
    """The true boundaries, dark on white."""
    return np.repeat(np.where(made.boundaries, 60, 200).astype(np.uint8)[..., None], 3, axis=2)


def test_what_the_network_sees_is_the_grain_size(made, drawn) -> None:
    by_model: Finding = _finding(smallest_area_px=5)
    events: list[Event] = []
    found = drain(by_model.grains(drawn, HALF_UM), events.append)
    assert grade(found, HALF_UM).g == pytest.approx(made.intercept_g, abs=0.12)
    truth = from_boundaries(made.boundaries)
    assert found.n == pytest.approx(truth.n, rel=0.05)
    steps = [event for event in events if isinstance(event, Progress)]
    assert [one.done for one in steps] == sorted(one.done for one in steps)
    assert steps[-1].done == steps[-1].total


def test_a_gap_is_closed_where_enough_of_the_boundary_shows() -> None:
    cross = np.full((61, 81, 3), 200, np.uint8)
    cross[30] = cross[:, 40] = 60
    cross[10:14, 40] = 200
    assert drain(_finding().grains(cross, HALF_UM)).n == 4
    cross[5:22, 40] = 200
    assert drain(_finding().grains(cross, HALF_UM)).n == 3


def test_faint_boundaries_show_from_a_lower_probability_on(drawn) -> None:
    # Grey 132 has a probability of 0.27.
    faint = np.where(drawn == 60, 132, drawn).astype(np.uint8)
    with pytest.raises(InputError, match="model dark finds no grain boundary; lower the"):
        drain(_finding().grains(faint, HALF_UM))
    assert drain(_finding(threshold=0.2).grains(faint, HALF_UM)).n > 20


@pytest.mark.parametrize(
    ("trained", "factor"), [(None, None), ((0.2, 0.6), None), ((0.6, 2), 0.833)]
)
def test_the_image_comes_at_the_pixel_sizes_of_the_training(trained, factor) -> None:
    cross = np.full((60, 80, 3), 200, np.uint8)
    cross[28:32] = cross[:, 40:44] = 60
    said: list[str] = []
    running = _finding(_model(pixel_size_um=trained)).grains(cross, HALF_UM)
    found = drain(running, lambda e: said.append(e.message) if isinstance(e, Notice) else None)
    assert found.n == 4
    assert said == (
        [f"the image is resampled by {factor} to the pixel sizes that dark was trained on"]
        if factor
        else []
    )


@pytest.mark.parametrize(
    ("trained", "far"), [((0.7, 1), False), ((1, 2), True), ((0.1, 0.3), True)]
)
def test_images_far_from_the_training_are_warned_of(trained, far) -> None:
    cross = np.full((60, 80, 3), 200, np.uint8)
    cross[28:32] = cross[:, 40:44] = 60
    said: list[str] = []
    running = _finding(_model(pixel_size_um=trained)).grains(cross, HALF_UM)
    drain(running, lambda e: said.append(e.message) if isinstance(e, Notice) else None)
    assert any("look at the boundaries before you sign" in one for one in said) == far


@pytest.mark.parametrize(("trained", "what"), [((4.1, 5), "fine"), ((0.01, 0.06), "coarse")])
def test_images_beyond_the_model_are_refused(trained, what) -> None:
    running = _finding(_model(pixel_size_um=trained)).grains(
        np.zeros((60, 80, 3), np.uint8), HALF_UM
    )
    with pytest.raises(InputError, match=rf"0\.5 µm are too {what} for the model dark, trained on"):
        drain(running)


@pytest.mark.parametrize("trained", [None, (0.25, 0.25), (1, 1)])
def test_the_smallest_grain_is_of_pixels_as_the_model_sees_them(trained) -> None:
    cross = np.full((120, 160, 3), 200, np.uint8)
    cross[60:64] = cross[:, 80:84] = 60
    # A ring around a grain of 16 x 16 pixels.
    cross[20:44, 20:44] = 60
    cross[24:40, 24:40] = 200
    factor = 1 if trained is None else 0.5 / trained[0]
    model = _model(pixel_size_um=trained)
    count = {
        part: drain(
            _finding(model, smallest_area_px=round(part * 20**2 * factor**2)).grains(cross, HALF_UM)
        ).n
        for part in (0.4, 1.8)
    }
    assert count == {0.4: 5, 1.8: 4}


def test_a_model_without_boundaries_is_refused() -> None:
    with pytest.raises(InputError, match='has no class "boundary" but matrix, carbide; choose'):
        _finding(_model(("matrix", "carbide")))


def test_what_found_the_boundaries_is_told() -> None:
    told = _finding(threshold=0.4).provenance()
    assert told["boundaries_model"] == "dark"
    assert told["boundaries_model_digest"] == "abc"
    assert told["model_boundaries"]["threshold"] == 0.4
    assert told["prediction"]["flips"] is False
