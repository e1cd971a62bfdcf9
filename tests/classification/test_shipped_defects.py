"""The shipped model `xsdd-pdmsnet`, on strip it has not seen and on what is no strip."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import skimage.data
import torch

from napari_metallography.classification.defects import UNSURE, Classifier, name_plane
from napari_metallography.classification.model import load_defect_model
from napari_metallography.evaluation.defects import evaluate_defects
from napari_metallography.events import drain
from napari_metallography.plane import as_plane

LISTS = Path(__file__).parents[2] / "benchmarks" / "splits" / "xsdd"


@pytest.fixture(scope="module")
def classifier() -> Classifier:
    return Classifier(load_defect_model("xsdd-pdmsnet"), torch.device("cpu"), 0.02)


def _listed(name: str) -> list[str]:
    return (LISTS / f"{name}.txt").read_text(encoding="utf-8").splitlines()


def test_it_learnt_from_none_of_the_images_it_is_scored_on(classifier) -> None:
    learnt = set(classifier.model.card.data.images)
    assert learnt == set(_listed("inner_train"))
    assert not learnt & {*_listed("outer"), *_listed("inner_val")}


def test_strip_it_has_not_seen_is_named(classifier, shared_data) -> None:
    files = _listed("outer")[::4]
    scores = drain(evaluate_defects(classifier, shared_data / "xsdd" / "train", files=files))
    assert scores["n"] == len(files) == 47
    assert scores["accuracy"] >= 0.93
    assert scores["accuracy_of_answered"] >= 0.97
    assert scores["answered"] >= 0.7


@pytest.mark.parametrize("name", ["astronaut", "coins", "page", "camera"])
def test_a_photograph_is_unsure(classifier, name) -> None:
    image = np.asarray(getattr(skimage.data, name)())
    found = drain(name_plane(as_plane(image), classifier, None, scan=False))
    assert found.answer.given.tolist() == [UNSURE]
