from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from napari_metallography.classification.confirmed import Confirmed
from napari_metallography.classification.model import DefectNetwork, design_of, load_defect_model
from napari_metallography.errors import InputError
from napari_metallography.events import Notice, TrainingStep, drain
from napari_metallography.training.defect_start import from_defect_model
from napari_metallography.training.defect_tuning import TuningPlan, tune_defects
from napari_metallography.training.recipe import DefectRecipe

SHORT = DefectRecipe(iterations=2, batch_size=4, learning_rate=1e-4, validate_every=2)


@pytest.fixture
def plan(striped, stripes_model, tmp_path) -> TuningPlan:
    """Upright stripes by their name, lying ones by another."""
    planes = [
        Confirmed(f"{name} {seed}", striped(name, seed), {"lying": "rungs"}.get(name, name))
        for name in ("lying", "upright")
        for seed in range(4)
    ]
    path = tmp_path / "mine" / "mine.safetensors"
    return TuningPlan(planes, str(stripes_model), path, "cpu", SHORT)


def _network(names, model) -> DefectNetwork:
    torch.manual_seed(5)
    return DefectNetwork(len(names), design_of(model.card.network, model.input))


def test_known_classes_keep_their_rows_and_new_ones_their_own(stripes_model) -> None:
    model = load_defect_model(str(stripes_model))
    names = ("new", "upright", "lying")
    fresh, started = _network(names, model), _network(names, model)
    from_defect_model(model, names).apply(started)
    parents = model.network.core.classifier
    rows = started.core.classifier.weight
    assert torch.equal(rows[1:], parents.weight[[1, 0]])
    assert torch.equal(rows[0], fresh.core.classifier.weight[0])
    assert torch.equal(started.core.classifier.bias[1:], parents.bias[[1, 0]])
    ours, theirs = started.state_dict(), model.network.state_dict()
    others = [n for n in theirs if "classifier" not in n and "means" not in n]
    assert len(others) > 50
    assert all(torch.equal(ours[name], theirs[name]) for name in others)


def test_confirmed_answers_make_a_new_model_that_names_its_parent(plan, stripes_model) -> None:
    before = stripes_model.read_bytes()
    told: list[object] = []
    card = drain(tune_defects(plan), told.append)
    parent = load_defect_model(str(stripes_model))
    model = load_defect_model(str(plan.output))
    assert model.card == card
    assert model.names == ("upright", "rungs")
    assert card.parent == parent.digest
    assert card.normalisation == parent.card.normalisation
    assert card.metrics["validation accuracy"] >= 0
    # Stripes that happen to lie alike are held out together.
    assert 4 <= len(card.data.images) <= 6
    assert model.input.window_px == 48
    (notice,) = [event.message for event in told if isinstance(event, Notice)]
    assert "will not know lying" in notice
    assert stripes_model.read_bytes() == before
    assert {p.name for p in plan.output.parent.iterdir()} == {
        "mine.safetensors",
        "history.csv",
        "training.json",
    }


def test_single_images_are_learnt_and_not_held_out(plan) -> None:
    told: list[object] = []
    card = drain(
        tune_defects(replace(plan, confirmed=[plan.confirmed[i] for i in (0, 4)])), told.append
    )
    assert card.metrics == {}
    assert any("too few images" in e.message for e in told if isinstance(e, Notice))


def test_a_cancelled_training_leaves_nothing(plan) -> None:
    running = tune_defects(plan)
    for event in running:
        if isinstance(event, TrainingStep):
            break
    running.close()
    assert not plan.output.parent.exists()


def test_what_cannot_be_tuned_is_refused(plan, tmp_path) -> None:
    with pytest.raises(InputError, match="images of one class only, upright"):
        drain(tune_defects(replace(plan, confirmed=plan.confirmed[4:])))
    with pytest.raises(InputError, match="no image is confirmed"):
        drain(tune_defects(replace(plan, confirmed=[])))
    plan.output.parent.mkdir()
    plan.output.write_bytes(b"a model")
    with pytest.raises(InputError, match="exists already"):
        drain(tune_defects(plan))
    assert plan.output.read_bytes() == b"a model"


def test_strips_are_learnt_as_they_are_named_and_windows_keep_their_size(plan, striped) -> None:
    strips = [
        Confirmed(f"{name} {seed}", striped(name, seed, (48, 400)), name)
        for name in ("lying", "upright")
        for seed in range(2)
    ]
    card = drain(tune_defects(replace(plan, confirmed=strips)))
    assert card.defects is not None
    assert (card.defects.window_px, card.defects.square) == (48, True)
