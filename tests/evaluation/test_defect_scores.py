"""Scores of models of surface defects are those of the answers that users get."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from skimage import io

from napari_metallography.calibration import Calibration
from napari_metallography.classes import named_classes
from napari_metallography.classification.defects import Answers, Classifier, name_plane
from napari_metallography.classification.model import DefectModel, DefectNetwork, design_of
from napari_metallography.errors import InputError
from napari_metallography.evaluation.defects import evaluate_defects
from napari_metallography.events import drain
from napari_metallography.models.card import DataSource, DefectInput, ModelCard, Network, RiskPoint
from napari_metallography.plane import as_plane

RISKS = (RiskPoint(probability=0.36, risk=0.0, answered=0.5),)


@pytest.fixture
def classifier() -> Classifier:
    """Of a network that nobody trained, for squares of 48 px of 1 µm."""
    card = ModelCard(
        name="random",
        task="defects",
        network=Network(architecture="pdmsnet", encoder="none"),
        classes=named_classes(["a", "b", "c"]),
        defects=DefectInput(side=64, window_px=48, risks=RISKS, most_strange=1e6),
        pixel_size_um=(1.0, 1.0),
        data=DataSource(name="none", digest=""),
    )
    torch.manual_seed(0)
    network = DefectNetwork(3, design_of(card.network, card.defects)).eval()
    return Classifier(DefectModel(card, network, "0"), torch.device("cpu"), 0.0)


def _data(folder: Path, shapes: list[tuple[int, int]], size_um: float) -> list[np.ndarray]:
    images = []
    rows = ["image,class,pixel_size_um"]
    for number, shape in enumerate(shapes):
        image = np.random.default_rng(number).integers(0, 255, shape, np.uint8)
        images.append(image // (1 + number % 3))
        folder.mkdir(exist_ok=True)
        io.imsave(folder / f"{number}.png", images[-1], check_contrast=False)
        rows.append(f"{number}.png,{'abc'[number % 3]},{size_um}")
    (folder / "index.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    return images


@pytest.mark.parametrize("size_um", [0.5, 1.0])
def test_images_are_judged_as_they_would_be_named_alone(classifier, tmp_path, size_um) -> None:
    shapes = [(48, 48), (96, 96), (96, 150), (48, 48), (60, 96), (96, 96)]
    images = _data(tmp_path / "data", shapes, size_um)
    scores = drain(evaluate_defects(classifier, tmp_path / "data", robustness=True))
    calibration = Calibration.square(size_um, "test")
    alone: list[Answers] = [
        drain(name_plane(as_plane(image), classifier, calibration, scan=False)).answer
        for image in images
    ]
    truth = np.arange(len(images)) % 3
    probable = np.concatenate([one.probable for one in alone])
    sure = np.concatenate([one.sure for one in alone])
    confidence = np.concatenate([one.probabilities.max(1) for one in alone])
    assert scores["accuracy"] == pytest.approx((probable == truth).mean())
    assert scores["answered"] == pytest.approx(sure.mean())
    counts = [[scores["confusion"][t][a] for a in "abc"] for t in "abc"]
    expected = np.zeros((3, 3), int)
    np.add.at(expected, (truth, probable), 1)
    assert counts == expected.tolist()
    assert 0 <= scores["calibration_error"] <= max(confidence)
    assert len(scores["robustness"]) == 4


def test_a_folder_without_a_known_class_is_refused(classifier, tmp_path) -> None:
    (tmp_path / "none").mkdir()
    io.imsave(tmp_path / "none" / "x.png", np.eye(40, dtype=np.uint8) * 255, check_contrast=False)
    with pytest.raises(InputError, match="no image of a class"):
        drain(evaluate_defects(classifier, tmp_path))
