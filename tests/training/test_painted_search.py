"""The search for a recipe on painted micrographs."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from itertools import islice
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from napari_metallography.classes import UNLABELLED, named_classes
from napari_metallography.errors import InputError
from napari_metallography.events import Notice, Progress, TrainingStep, drain
from napari_metallography.models.card import Network
from napari_metallography.models.file import read_card
from napari_metallography.regions import Field
from napari_metallography.segmentation.model import load_model, save_model
from napari_metallography.training.fine_tuning import (
    Painted,
    Plan,
    Session,
    origin_of_model,
    origin_of_network,
    save_tuned,
)
from napari_metallography.training.painted_search import search_painted
from napari_metallography.training.recipe import SegmentationRecipe

SHAPE = (64, 64)
CLASSES = named_classes(["matrix", "particles"])
FIRST = ["baseline", "strong-augmentation", "enlarged-receptive-field"]


def painted(rows: tuple[int, ...] = (4, 20, 36, 52)) -> Painted:
    """A dark and a bright half with a stroke a row on each."""
    image = np.full(SHAPE, 60, np.uint8)
    image[:, 32:] = 180
    labels = np.full(SHAPE, UNLABELLED, np.uint8)
    for row in rows:
        labels[row : row + 6, 8:20] = 0
        labels[row : row + 6, 40:52] = 1
    return Painted("steel", image, labels, Field(SHAPE))


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    return Plan(
        painted=[painted()],
        classes=CLASSES,
        origin=partial(
            origin_of_network, Network(architecture="unet", encoder="resnet18"), "random"
        ),
        recipe=SegmentationRecipe(iterations=2, crop=32, batch_size=2, augmentation="strong"),
        device=torch.device("cpu"),
        precision="32-true",
        checkpoints=tmp_path / "trainings",
    )


def test_the_best_of_a_search_is_the_result(plan: Plan, tmp_path: Path) -> None:
    session, seen = Session(), []
    tuned = drain(search_painted(plan, session), seen.append)
    table = pd.DataFrame(tuned.search.table())
    assert list(table["training"])[:3] == FIRST
    assert any("'transfer' is left out" in e.message for e in seen if isinstance(e, Notice))
    assert table["gain_points"][0] == 0
    # Strokes tell nothing of particles.
    assert not [name for name in table if "count" in name or "radius" in name]
    best = tuned.search.best
    assert best.miou == max(t.miou for t in tuned.search.trained)
    # What the job says of itself is what the best was trained with.
    expected = "strong" if "strong-augmentation" in best.tricks else "weak"
    assert tuned.job.recipe.augmentation == expected
    assert tuned.job.start.network.enlargement == (
        0.5 if "enlarged-receptive-field" in best.tricks else 1
    )
    assert set(tuned.after) == {"steel"}
    assert session.kept is None
    messages = {event.message for event in seen if isinstance(event, Progress)}
    assert {f"iterations of '{name}'" for name in FIRST} <= messages

    path = tmp_path / "own" / "mine.safetensors"
    card = drain(save_tuned(path, tuned))
    assert read_card(path) == card
    assert card.training["augmentation"] == expected
    assert not card.good_from_px
    written = pd.read_csv(path.with_name("mine_search.csv"))
    pd.testing.assert_frame_equal(written, table.astype(written.dtypes))
    history = pd.read_csv(path.with_name("history.csv"))
    assert list(history["iteration"]) == [1, 2]
    assert "miou" in history
    (kept,) = plan.checkpoints.rglob(f"{best.name}.safetensors")
    weights = load_model(str(kept)).network.state_dict()
    saved = load_model(str(path)).network.state_dict()
    assert all(torch.equal(saved[name], tensor) for name, tensor in weights.items())


@pytest.mark.slow
def test_a_stopped_search_goes_on(plan: Plan) -> None:
    session = Session()
    events = search_painted(plan, session)
    steps = list(islice((e for e in events if isinstance(e, TrainingStep)), 3))
    events.close()
    assert session.kept is not None
    assert session.kept.exists()
    seen: list[object] = []
    found = drain(search_painted(plan, Session()), seen.append).search
    done = 2 * len(found.trained)
    assert sum(isinstance(e, TrainingStep) for e in seen) == done - len(steps)
    # The same once more takes no step.
    seen.clear()
    again = drain(search_painted(plan, Session()), seen.append)
    assert not [e for e in seen if isinstance(e, TrainingStep)]
    assert again.search == found


def test_a_search_needs_paint_to_hold_out(plan: Plan) -> None:
    with pytest.raises(InputError, match="paint three strokes of every class"):
        drain(search_painted(replace(plan, painted=[painted((4, 20))]), Session()))


def test_a_search_does_not_start_from_a_trained_model(plan: Plan, untrained, tmp_path) -> None:
    made = untrained(["matrix", "particles"])
    path = tmp_path / "parent.safetensors"
    save_model(path, made.card, made.network)
    onward = replace(plan, origin=partial(origin_of_model, str(path)))
    with pytest.raises(InputError, match="choose 'a new network'"):
        drain(search_painted(onward, Session()))
    assert not plan.checkpoints.exists()
