"""The search for a recipe by n + 2 trainings: Ma and Yu, Processes 11 (2023) 3298, section 2.3.

The baseline is trained, then each of the n tricks alone, then a stack of those that gained.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from pathlib import Path
from typing import Any

import pandas as pd

from ..errors import InputError
from ..events import Event, Events, Notice, Progress, relayed
from ..io.files import read_bytes, reading
from ..io.tables import write_csv, write_json
from ..segmentation.model import load_model
from .checkpoint import fingerprint
from .job import TrainingJob
from .loop import metrics_of
from .results import (
    Score,
    SegmentationDescription,
    checkpoint_path,
    finished,
    gains_path,
    write_results,
)
from .segmentation import TrainedNetwork
from .segmentation import train as train_network
from .start import Start, new_network

Trick = Callable[[TrainingJob], TrainingJob]
Train = Callable[[str, TrainingJob], Events[Score]]

BASELINE = "baseline"
STACK = "stack"
TRANSFER = "transfer"


def transfer(start: Start) -> Trick:
    """Trick T: the encoder starts from pretrained weights, those of `start`."""
    return lambda job: replace(
        job,
        start=replace(
            job.start,
            encoder_weights=start.encoder_weights,
            encoder_state=start.encoder_state,
            normalisation=start.normalisation,
        ),
    )


def strong_augmentation(job: TrainingJob) -> TrainingJob:
    """Trick S: flips, quarter turns, cutout, brightness and contrast."""
    return replace(job, recipe=job.recipe.model_copy(update={"augmentation": "strong"}))


def enlarged_receptive_field(job: TrainingJob) -> TrainingJob:
    """Trick R: the network sees the image at half its size."""
    network = job.start.network
    halved = network.model_copy(update={"enlargement": network.enlargement / 2})
    return replace(job, start=replace(job.start, network=halved))


def paper_baseline(job: TrainingJob) -> TrainingJob:
    """The job without the tricks: a random encoder, crops without any change, the whole image."""
    plain = job.recipe.model_copy(update={"augmentation": "weak", "zoom": 1.0})
    start = new_network(job.start.network, "random")
    # Trainings are compared on labels that none of them learns.
    return replace(job, recipe=plain, start=start, all_labels_from=None)


def paper_tricks(job: TrainingJob) -> dict[str, Trick]:
    """The paper's three, in its order; the pretrained encoder is the one the job starts from.

    Without the first where the job's encoder starts from nothing, as the baseline's does.
    """
    pretrained = {} if job.start.encoder_state is None else {TRANSFER: transfer(job.start)}
    return {
        **pretrained,
        "strong-augmentation": strong_augmentation,
        "enlarged-receptive-field": enlarged_receptive_field,
    }


@dataclass(frozen=True)
class Trained:
    """One of the n + 2: its name, the tricks in it and its validation scores as JSON."""

    name: str
    tricks: tuple[str, ...]
    score: Score

    @property
    def miou(self) -> float:
        """Mean IoU over the validation images."""
        return float(self.score["miou"])


@dataclass(frozen=True)
class Search:
    """All trainings in their order; the first is the baseline."""

    trained: tuple[Trained, ...]

    @property
    def best(self) -> Trained:
        """The one of the largest mean IoU; of equals the one with fewer tricks."""
        return max(self.trained, key=lambda t: (t.miou, -len(t.tricks)))

    def table(self) -> list[dict[str, Any]]:
        """A row a training: scores, and gains over the baseline in points of mean IoU."""
        base = self.trained[0].miou
        return [
            {
                "training": t.name,
                "tricks": " + ".join(t.tricks) or "none",
                "miou_percent": 100 * t.miou,
                "gain_points": 100 * (t.miou - base),
                **{f"iou_percent_{name}": _percent(v) for name, v in t.score["iou"].items()},
                **_quantification_errors(t.score),
            }
            for t in self.trained
        ]


def search(baseline: TrainingJob, tricks: Mapping[str, Trick], train: Train) -> Events[Search]:
    """Train the n + 2 models and compare them on the baseline's validation images.

    Parameters
    ----------
    tricks
        By name, in the order in which they are stacked.
    train
        Trains a job of a given name, or fetches what was trained before, and returns its
        validation scores as `evaluation.segmentation.summary` gives them.

    Yields
    ------
    Event
        Those of the trainings.
    Notice
        When one finishes, and when the stack needs no training of its own: with one trick that
        gains it is that trick alone, with none it is the baseline.
    """
    trained: list[Trained] = []
    for name, chosen in {BASELINE: (), **{trick: (trick,) for trick in tricks}}.items():
        trained += [(yield from _train(name, chosen, with_tricks(baseline, tricks, chosen), train))]
    gaining = tuple(t.name for t in trained[1:] if t.miou > trained[0].miou)
    if len(gaining) < 2:
        same = gaining[0] if gaining else BASELINE
        yield Notice(f"the stack of tricks that gain is '{same}' itself")
        return Search(tuple(trained))
    stack = with_tricks(baseline, tricks, gaining)
    trained += [(yield from _train(STACK, gaining, stack, train))]
    return Search(tuple(trained))


def paper_search(job: TrainingJob, train: Train) -> Events[tuple[Search, TrainingJob]]:
    """The search with the paper's tricks, and the job of the best training; see `search`."""
    baseline, tricks = paper_baseline(job), paper_tricks(job)
    if TRANSFER not in tricks:
        yield Notice(
            f"'{TRANSFER}' is left out: the encoder's weights are random; choose pretrained ones "
            "to try it"
        )
    found = yield from search(baseline, tricks, train)
    return found, with_tricks(baseline, tricks, found.best.tricks)


def with_tricks(
    baseline: TrainingJob, tricks: Mapping[str, Trick], chosen: Sequence[str]
) -> TrainingJob:
    """The baseline with some of the tricks, by name."""
    return reduce(lambda job, name: tricks[name](job), chosen, baseline)


def kept_in(folder: Path, description: SegmentationDescription) -> Train:
    """Trainings that leave model, history and scores in a folder each, and are not run twice.

    A stopped one goes on where it ended. The trainings raise `InputError` when a folder holds a
    training of other data or another recipe.
    """

    def train(name: str, job: TrainingJob) -> Events[Score]:
        model = model_in(folder, name)
        scores = model.with_name("scores.json")
        settings = fingerprint(job.settings())
        if model.exists() and scores.exists():
            return _scores_of(scores, settings)
        job = replace(job, checkpoint=checkpoint_path(model))
        trained = yield from train_network(job, resume=True)
        card, score = yield from finished(name, job, trained, description)
        write_json(scores, {"settings": settings, **score})
        write_results(model, job, trained, card, description)
        return score

    return train


def model_in(folder: Path, name: str) -> Path:
    """The model of one of the trainings of `kept_in`."""
    return folder / name / f"{name}.safetensors"


def read_kept(folder: Path, name: str) -> TrainedNetwork:
    """One of the trainings of `kept_in`, as it was when it ended; errors as of `load_model`."""
    path = model_in(folder, name)
    model = load_model(str(path))
    with reading(history := path.with_name("history.csv")):
        rows = pd.read_csv(history).drop(columns="round").to_dict("records")
    known = [{str(k): v for k, v in row.items() if not math.isnan(v)} for row in rows]
    kept, batch_size = (int(model.card.training[k] or 0) for k in ("kept_iteration", "batch_size"))
    return TrainedNetwork(model.network, known, kept, metrics_of(known[kept - 1]), batch_size)


def write_gains(model: Path, found: Search) -> None:
    """Write the table of gains beside the model that was kept."""
    write_csv(gains_path(model), pd.DataFrame(found.table()))


def _scores_of(path: Path, settings: str) -> Score:
    score: Score = json.loads(read_bytes(path))
    if score.pop("settings") != settings:
        raise InputError(
            f"{path.parent}: a training of other data or another recipe; choose another output"
        )
    return score


def _train(name: str, chosen: Sequence[str], job: TrainingJob, train: Train) -> Events[Trained]:
    score = yield from relayed(train(name, job), lambda event: _named(name, event))
    yield Notice(f"{name}: mean IoU {score['miou']:.4f}")
    return Trained(name, tuple(chosen), score)


def _named(name: str, event: Event) -> Event:
    """The event, saying of which training it is."""
    if isinstance(event, Notice):
        return Notice(f"{name}: {event.message}")
    if isinstance(event, Progress):
        return replace(event, message=f"{event.message} of '{name}'")
    return event


def _percent(share: float | None) -> float | None:
    return None if share is None else 100 * share


def _quantification_errors(score: Score) -> dict[str, Any]:
    """What a choice of recipe does to count and mean radius (the paper's figure 7)."""
    return {
        f"{key}_{name}": particles[key]
        for name, particles in score["particles"].items()
        for key in ("count_error", "mean_radius_error_px", "mean_radius_error_um")
    }
