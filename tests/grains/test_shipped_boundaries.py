"""The shipped model `grain-boundaries`, on real steel and against drawn boundaries."""

import numpy as np
import pytest
import torch
from PIL import Image

from napari_metallography.calibration import Calibration
from napari_metallography.evaluation.boundaries import score, summary
from napari_metallography.events import drain
from napari_metallography.grains.grading import GradingParameters, grade
from napari_metallography.grains.model_boundaries import ByModel, load_boundary_model
from napari_metallography.grains.partition import from_boundaries
from napari_metallography.io.images import read_micrograph
from napari_metallography.samples import sample_path
from napari_metallography.segmentation.prediction import QUICK

SIZE = Calibration.square(50 / 222, "scale bar")


@pytest.fixture(scope="module")
def by_model() -> ByModel:
    model = load_boundary_model("grain-boundaries")
    return ByModel(model, torch.device("cpu"), prediction=QUICK)


@pytest.mark.parametrize("method", ["lines", "planimetric"])
def test_raw_steel_is_graded_within_half_a_number(by_model, method) -> None:
    grey = np.asarray(read_micrograph(sample_path("grain_structures_steel")).planes[0])
    pixels = np.repeat(grey[..., None], 3, 2) if grey.ndim == 2 else grey[..., :3]
    grains = drain(by_model.grains(pixels, SIZE))
    assert grade(grains, SIZE, GradingParameters(method=method)).g == pytest.approx(10.3, abs=0.5)


def test_colour_etched_grains_of_sources_held_out(by_model, shared_data) -> None:
    folder = shared_data / "tbm" / "AutoSAM_256" / "TrainDataset"
    scores = []
    for file in sorted((folder / "images").glob("15-*.png")):
        truth = from_boundaries(np.asarray(Image.open(folder / "masks" / file.name)) > 127)
        found = drain(by_model.grains(np.asarray(Image.open(file)), None))
        scores.append(score(file.stem, found, truth))
    assert summary(scores)["boundary_f1"] > 0.6
