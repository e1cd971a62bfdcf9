from __future__ import annotations

import numpy as np
import pytest
import torch

from napari_metallography.calibration import Calibration
from napari_metallography.classes import UNLABELLED, named_classes
from napari_metallography.classification.defects import (
    UNSURE,
    Answers,
    Classifier,
    PlaneAnswer,
    defect_map,
    heat_map,
    name_plane,
    pixel_size_notices,
    shown_shape,
)
from napari_metallography.classification.model import DefectModel, DefectNetwork
from napari_metallography.classification.pdmsnet import DESIGNS
from napari_metallography.events import drain
from napari_metallography.models.card import (
    DataSource,
    DefectInput,
    ModelCard,
    Network,
    RiskPoint,
)
from napari_metallography.plane import as_plane
from napari_metallography.regions import Box

RISKS = (
    RiskPoint(probability=0.9, risk=0.0, answered=0.5),
    RiskPoint(probability=0.4, risk=0.1, answered=1.0),
)


def _model(pixel_size_um: tuple[float, float] | None = (1.0, 1.0), side: int = 96) -> DefectModel:
    card = ModelCard(
        name="random",
        task="defects",
        network=Network(architecture="pdmsnet", encoder="none"),
        classes=named_classes(["a", "b", "c"]),
        defects=DefectInput(side=side, window_px=48, risks=RISKS, most_strange=2.0),
        pixel_size_um=pixel_size_um,
        data=DataSource(name="none", digest="0"),
    )
    torch.manual_seed(0)
    network = DefectNetwork(3, DESIGNS["pdmsnet"]).eval()
    torch.nn.init.constant_(network.core.classifier.bias, 1.0)
    return DefectModel(card, network, "0")


def _size(um: float) -> Calibration:
    return Calibration.square(um, "test")


def _noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 255, shape, np.uint8)


@pytest.mark.parametrize(
    ("shape", "calibration", "shown"),
    [
        ((48, 48), None, (96, 96)),
        ((300, 20), None, (96, 96)),
        ((48, 48), _size(1.0), (96, 96)),
        ((96, 72), _size(0.5), (96, 72)),
        ((48, 96), _size(1.0), (96, 192)),
        ((9, 9000), _size(1.0), (64, 384)),
        # As nearly of the trained size as the images of the training were.
        ((44, 56), _size(1.0), (96, 96)),
        # Of one factor, however large.
        ((480, 1920), _size(1.0), (96, 384)),
    ],
)
def test_an_image_is_shown_as_large_as_those_of_the_training(shape, calibration, shown) -> None:
    assert shown_shape(shape, _model(), calibration) == shown


def test_a_model_without_pixel_size_is_shown_every_image_alike() -> None:
    assert shown_shape((96, 96), _model(None), _size(0.5)) == (96, 96)


@pytest.mark.parametrize(
    ("calibration", "says"),
    [(None, "no pixel size is known"), (_size(3.0), "a pixel is 3 µm"), (_size(1.1), None)],
)
def test_another_pixel_size_is_told(calibration, says) -> None:
    notices = [notice.message for notice in pixel_size_notices(_model().card, calibration)]
    assert [says in notice for notice in notices] == ([True] if says else [])


def test_a_risk_decides_what_is_answered() -> None:
    device = torch.device("cpu")
    bounds = [Classifier(_model(), device, risk).least_probability for risk in (0, 0.05, 0.1, 1)]
    assert bounds == [0.9, 0.9, 0.4, 0.0]
    probabilities = np.array([[0.95, 0.05, 0], [0.5, 0.3, 0.2], [0.95, 0.05, 0]])
    answers = Answers(probabilities, np.array([1.0, 1.0, 3.0]), 0.9, 2.0)
    assert answers.given.tolist() == [0, UNSURE, UNSURE]
    assert answers.probable.tolist() == [0, 0, 0]


@pytest.mark.parametrize("side", [96, 48])
def test_a_window_is_answered_as_if_it_were_the_image(side) -> None:
    classifier = Classifier(_model(side=side), torch.device("cpu"), 1)
    image = _noise(96, 144)
    found = drain(name_plane(as_plane(image), classifier, None, scan=True))
    assert len(found.windows) == 3 * 5
    for place in (0, 7, 14):
        box = found.windows[place]
        assert box.shape == (48, 48)
        alone = drain(name_plane(as_plane(image[box.slices]), classifier, None, scan=False))
        assert found.by_window.probabilities[place] == pytest.approx(
            alone.answer.probabilities[0], abs=1e-5
        )
    assert found.answer.probabilities[0] == pytest.approx(found.by_window.probabilities.mean(0))


def test_a_map_has_each_class_where_its_windows_are() -> None:
    boxes = (Box(0, 0, 32, 32), Box(0, 32, 32, 64), Box(0, 64, 32, 90))
    shares = np.array([[0.9, 0.1], [0.2, 0.8], [0.55, 0.45]])
    answers = Answers(shares, np.ones(3), 0.6, 2.0)
    found = defect_map(PlaneAnswer(answers.mean(), boxes, answers), (32, 90))
    assert found.shape == (32, 90)
    assert (found[:, :32] == 0).all()
    assert (found[:, 32:64] == 1).all()
    assert (found[:, 64:] == UNLABELLED).all()


def test_the_activation_map_lies_over_the_image() -> None:
    classifier = Classifier(_model(None), torch.device("cpu"), 1)
    image = np.full((60, 80), 100, np.uint8)
    image[:30, :40] = _noise(30, 40)
    for scan in (False, True):
        found = drain(heat_map(as_plane(image), classifier, None, 0, scan=scan))
        assert found.shape == (60, 80)
        assert (found >= 0).all()
        # Far from the noise nothing changes.
        assert np.ptp(found[-8:, -8:]) < np.ptp(found[:30, :40])


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_one_grey_value_all_over_is_unsure(dtype) -> None:
    model = _model()
    card = model.card.model_copy(update={"defects": DefectInput(side=96, window_px=48)})
    classifier = Classifier(DefectModel(card, model.network, "0"), torch.device("cpu"), 1)
    plane = as_plane(np.full((96, 60), 7, dtype), may_be_constant=True)
    for scan in (False, True):
        found = drain(name_plane(plane, classifier, None, scan=scan))
        assert found.answer.given.tolist() == [UNSURE]
        assert np.isfinite(found.answer.probabilities).all()
    assert (defect_map(found, (96, 60)) == UNLABELLED).all()
    seen = drain(name_plane(as_plane(_noise(96, 60).astype(dtype)), classifier, None, scan=False))
    assert seen.answer.given.tolist() != [UNSURE]
