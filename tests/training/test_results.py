from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from napari_metallography.classes import named_classes
from napari_metallography.errors import InputError
from napari_metallography.labelled import LabelledImage
from napari_metallography.models.card import Network
from napari_metallography.segmentation.model import load_model
from napari_metallography.segmentation.networks import SegmentationNetwork
from napari_metallography.training.job import TrainingJob
from napari_metallography.training.recipe import SegmentationRecipe
from napari_metallography.training.results import (
    SegmentationDescription,
    checkpoint_path,
    gains_path,
    model_card,
    require_free,
    write_results,
)
from napari_metallography.training.segmentation import TrainedNetwork
from napari_metallography.training.start import Start

DESCRIPTION = SegmentationDescription(
    "random", "discs", classes=named_classes(["matrix", "carbide"])
)


@pytest.fixture
def job() -> TrainingJob:
    labels = np.eye(32, dtype=np.uint8)
    image = LabelledImage("a", np.stack([labels] * 3, axis=-1), labels, pixel_size_um=0.1)
    return TrainingJob(
        images=[image],
        validation=[],
        start=Start(Network(architecture="unet", encoder="efficientnet-lite0")),
        classes=2,
        recipe=SegmentationRecipe(),
        device=torch.device("cpu"),
    )


@pytest.fixture
def trained(job) -> TrainedNetwork:
    return TrainedNetwork(
        SegmentationNetwork(job.start.network, 2), [{"iteration": 1, "loss": 0.5}], 1, {}, 4
    )


def _write(path: Path, job: TrainingJob, trained: TrainedNetwork) -> None:
    write_results(path, job, trained, model_card(path.stem, job, DESCRIPTION), DESCRIPTION)


def test_a_free_name_and_a_resumed_training_pass(tmp_path) -> None:
    model = tmp_path / "a.safetensors"
    require_free(model, resume=False)
    checkpoint_path(model).write_bytes(b"x")
    (tmp_path / "history.csv").write_text("x", encoding="utf-8")
    require_free(model, resume=True)
    with pytest.raises(InputError, match="--resume"):
        require_free(model, resume=False)


def test_a_search_and_its_gains_are_kept(tmp_path) -> None:
    model = tmp_path / "a.safetensors"
    gains_path(model).write_text("of another", encoding="utf-8")
    with pytest.raises(InputError, match=r"a_search\.csv: exists already"):
        require_free(model, resume=False)


@pytest.mark.parametrize("other", ["b.safetensors", "b.checkpoint.safetensors"])
def test_what_goes_on_leaves_the_history_of_another_model(tmp_path, job, trained, other) -> None:
    model = tmp_path / "a.safetensors"
    checkpoint_path(model).write_bytes(b"x")
    (tmp_path / other).write_bytes(b"x")
    require_free(model, resume=True)
    history = tmp_path / "history.csv"
    history.write_text("of b", encoding="utf-8")
    with pytest.raises(InputError, match="history of another training"):
        require_free(model, resume=True)
    with pytest.raises(InputError, match="history of another training"):
        _write(model, job, trained)
    assert history.read_text(encoding="utf-8") == "of b"
    assert checkpoint_path(model).exists()


def test_a_model_has_its_ending(tmp_path) -> None:
    with pytest.raises(InputError, match=r"ends in \.safetensors"):
        require_free(tmp_path / "a.pt", resume=False)


@pytest.mark.parametrize("name", ["history.csv", "training.json"])
@pytest.mark.parametrize("resume", [False, True])
def test_the_history_of_another_training_is_kept(tmp_path, name, resume) -> None:
    (tmp_path / name).write_text("of another model", encoding="utf-8")
    checkpoint_path(tmp_path / "other.safetensors").write_bytes(b"x")
    with pytest.raises(InputError, match="history of another training; choose another folder"):
        require_free(tmp_path / "a.safetensors", resume=resume)


def test_results_lie_beside_the_model_and_the_checkpoint_goes(tmp_path, job, trained) -> None:
    model = tmp_path / "a.safetensors"
    checkpoint_path(model).write_bytes(b"x")
    _write(model, job, trained)
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"a.safetensors", "history.csv", "training.json"}
    assert pd.read_csv(tmp_path / "history.csv")["loss"].tolist() == [0.5]
    assert load_model(str(model)).card.name == "a"


def test_a_model_that_came_meanwhile_is_kept(tmp_path, job, trained) -> None:
    model = tmp_path / "a.safetensors"
    model.write_bytes(b"of another process")
    checkpoint_path(model).write_bytes(b"x")
    with pytest.raises(InputError, match="exists already"):
        _write(model, job, trained)
    assert model.read_bytes() == b"of another process"
    assert not (tmp_path / "history.csv").exists()
    assert checkpoint_path(model).exists()


@pytest.mark.parametrize("name", ["history.csv", "training.json"])
def test_where_a_record_cannot_be_written_the_training_can_go_on(
    tmp_path, job, trained, name
) -> None:
    model = tmp_path / "a.safetensors"
    checkpoint_path(model).write_bytes(b"x")
    # As Windows refuses what a spreadsheet holds open.
    (tmp_path / name).mkdir()
    with pytest.raises(InputError, match=name):
        _write(model, job, trained)
    assert not model.exists()
    require_free(model, resume=True)
    (tmp_path / name).rmdir()
    _write(model, job, trained)
    assert model.exists()
    assert not checkpoint_path(model).exists()
