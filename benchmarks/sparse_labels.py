"""How much a few painted strokes teach a model about a material it has never seen.

python benchmarks/sparse_labels.py --data NASA_FOLDER -o benchmarks/results/sparse_labels.json

NASA_FOLDER holds Super1/ and EBC2/, each with train/ and val/ of images/ and labels/. The shipped
model is trained further in three rounds on strokes that cover 0.5, 1 and 2 % of one training
image, simulated from its labels at random or where the network is unsure; and, in as many steps,
on all labels of that image. Seconds are those of training, validation on held-out labels, and the
prediction that shows where to paint next.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from hardware import hardware
from napari_metallography.classes import UNLABELLED
from napari_metallography.evaluation.scores import (
    confusion_matrix,
    intersection_over_union,
    mean_iou,
)
from napari_metallography.events import drain
from napari_metallography.inputs import PixelSizes
from napari_metallography.labelled import LabelledImage, read_labelled_folder
from napari_metallography.models.card import Network
from napari_metallography.plane import as_plane
from napari_metallography.segmentation.model import load_model
from napari_metallography.segmentation.networks import SegmentationNetwork
from napari_metallography.segmentation.prediction import (
    Prediction,
    Predictor,
    predict,
)
from napari_metallography.training.fine_tuning import with_all_labels_last
from napari_metallography.training.job import TrainingJob
from napari_metallography.training.recipe import FINE_TUNE, SegmentationRecipe
from napari_metallography.training.segmentation import train
from napari_metallography.training.split import split
from napari_metallography.training.start import Start, from_model

MATERIALS = {
    "Super1": ("spot6_0d_2", ["matrix", "secondary", "tertiary"]),
    "EBC2": ("050317#3_S0440027", ["matrix", "oxide", "crack"]),
}
SHARES = (0.005, 0.01, 0.02)
"""Painted parts of the image after each round."""

STROKE_LENGTH, STROKE_WIDTH = 40, 5

Paint = NDArray[np.uint8]
Place = Callable[[Prediction | None, np.random.Generator], NDArray[np.float64]]


@dataclass(frozen=True)
class Bench:
    """One material: the image that is painted, and the images the result is judged on."""

    image: LabelledImage
    validation: Sequence[LabelledImage]
    names: list[str]
    device: torch.device


def anywhere(truth: Paint) -> Place:
    """Strokes at random."""
    return lambda prediction, random: np.ones(truth.shape)


def where_unsure(truth: Paint) -> Place:
    """Strokes where the network is unsure, as its layer shows it to a painter."""

    def place(prediction: Prediction | None, random: np.random.Generator) -> NDArray[np.float64]:
        if prediction is None or prediction.uncertainty is None:
            return np.ones(truth.shape)
        smooth = cv2.GaussianBlur(prediction.uncertainty.astype(np.float64), (0, 0), 4)
        return np.where(smooth >= np.quantile(smooth, 0.9), 1.0, 0.0)

    return place


def paint(
    truth: Paint,
    before: Paint,
    share: float,
    weights: NDArray[np.float64],
    random: np.random.Generator,
) -> Paint:
    """Add strokes of the truth, the classes in turn, until the share of the image is painted.

    A stroke is a straight line that starts where `weights` say and keeps to its class.
    """
    painted = before.copy()
    classes = [int(index) for index in np.unique(truth)]
    for number in range(100_000):
        index = classes[number % len(classes)]
        if (painted != UNLABELLED).mean() >= share:
            return painted
        open_here = (truth == index) & (painted == UNLABELLED)
        chances = (open_here * weights).ravel()
        if not chances.any():
            chances = open_here.ravel().astype(float)
        if not chances.any():
            continue
        start = int(random.choice(chances.size, p=chances / chances.sum()))
        painted = _with_stroke(painted, truth, divmod(start, truth.shape[1]), random)
    raise RuntimeError("the share cannot be painted")


def _with_stroke(
    painted: Paint, truth: Paint, start: tuple[int, int], random: np.random.Generator
) -> Paint:
    angle = random.uniform(0, 2 * np.pi)
    row, column = start
    end = (
        round(column + STROKE_LENGTH * np.cos(angle)),
        round(row + STROKE_LENGTH * np.sin(angle)),
    )
    stroke = np.zeros(truth.shape, np.uint8)
    cv2.line(stroke, (column, row), end, 1, STROKE_WIDTH)
    return np.where((stroke == 1) & (truth == truth[start]), truth, painted)


def full_prediction(
    network: SegmentationNetwork, start: Start, bench: Bench, image: LabelledImage
) -> Prediction:
    predictor = Predictor(network, start.normalisation, len(bench.names), bench.device)
    events = predict(as_plane(image.pixels), image.field, predictor, with_uncertainty=True)
    return drain(events)


def score(network: SegmentationNetwork, start: Start, bench: Bench) -> dict[str, Any]:
    """Pooled mean IoU and IoU by class on the validation images."""
    classes = len(bench.names)
    confusion = np.zeros((classes, classes), np.int64)
    for image in bench.validation:
        indices = full_prediction(network, start, bench, image).indices
        confusion += confusion_matrix(image.labels, indices, classes)
    ious = intersection_over_union(confusion)
    return {"miou": mean_iou(confusion), "iou": dict(zip(bench.names, ious, strict=True))}


def untouched(start: Start, bench: Bench) -> SegmentationNetwork:
    """The network before any step: the classes it does not know have random last rows."""
    torch.manual_seed(0)
    network = SegmentationNetwork(Network(**start.network.model_dump()), len(bench.names))
    start.apply(network)
    return network.eval()


def tuned(
    labels: Paint, start: Start, bench: Bench, recipe: SegmentationRecipe, hold_out: bool
) -> SegmentationNetwork:
    image = replace(bench.image, labels=labels)
    parts = split([image]) if hold_out else None
    job = TrainingJob(
        images=parts.training if parts else [image],
        validation=parts.validation if parts else [],
        start=start,
        classes=len(bench.names),
        recipe=recipe,
        device=bench.device,
    )
    return drain(train(with_all_labels_last(job, parts) if parts else job)).network


def strokes(
    place: Place, start: Start, bench: Bench, recipe: SegmentationRecipe
) -> list[dict[str, Any]]:
    """Paint, train, look, paint: a row a round, seconds of training and looking summed."""
    truth = bench.image.labels
    random = np.random.default_rng(recipe.seed)
    painted = np.full_like(truth, UNLABELLED)
    prediction: Prediction | None = None
    rows: list[dict[str, Any]] = []
    seconds = 0.0
    for share in SHARES:
        painted = paint(truth, painted, share, place(prediction, random), random)
        begun = time.perf_counter()
        network = tuned(painted, start, bench, recipe, hold_out=True)
        start = replace(start, state=network.state_dict(), rows=())
        prediction = full_prediction(network, start, bench, bench.image)
        seconds += time.perf_counter() - begun
        rows.append(
            {
                "painted_share": share,
                "painted_px": int((painted != UNLABELLED).sum()),
                "iterations": recipe.iterations * (len(rows) + 1),
                "seconds": seconds,
                **score(network, start, bench),
            }
        )
    return rows


def full(start: Start, bench: Bench, recipe: SegmentationRecipe) -> dict[str, Any]:
    """All labels of the image, as many steps as the rounds of strokes take together."""
    recipe = recipe.model_copy(update={"iterations": recipe.iterations * len(SHARES)})
    begun = time.perf_counter()
    network = tuned(bench.image.labels, start, bench, recipe, hold_out=True)
    seconds = time.perf_counter() - begun
    return {"iterations": recipe.iterations, "seconds": seconds, **score(network, start, bench)}


def read(data: Path, material: str, device: torch.device) -> Bench:
    stem, names = MATERIALS[material]
    folder = data / material

    def images(part: str, stems: list[str] | None) -> list[LabelledImage]:
        return read_labelled_folder(
            folder / part / "images", folder / part / "labels", sizes=PixelSizes(), stems=stems
        )[0]

    return Bench(images("train", [stem])[0], images("val", None), names, device)


def measured(bench: Bench, recipe: SegmentationRecipe, seeds: Sequence[int]) -> dict[str, Any]:
    start = from_model(load_model("uhcs-carbides"), bench.names)
    result: dict[str, Any] = {"before": score(untouched(start, bench), start, bench), "seeds": {}}
    for seed in seeds:
        seeded = recipe.model_copy(update={"seed": seed})
        truth = bench.image.labels
        result["seeds"][str(seed)] = {
            "random_strokes": strokes(anywhere(truth), start, bench, seeded),
            "strokes_by_uncertainty": strokes(where_unsure(truth), start, bench, seeded),
            "all_labels": full(start, bench, seeded),
        }
    result["summary"] = summary(list(result["seeds"].values()))
    return result


def summary(seeds: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Means and standard deviations over the seeds; of strokes the last round."""
    mious = {
        "random_strokes": [s["random_strokes"][-1]["miou"] for s in seeds],
        "strokes_by_uncertainty": [s["strokes_by_uncertainty"][-1]["miou"] for s in seeds],
        "all_labels": [s["all_labels"]["miou"] for s in seeds],
    }
    means = {name: float(np.mean(values)) for name, values in mious.items()}
    spread = {name: float(np.std(v, ddof=1)) for name, v in mious.items() if len(v) > 1}
    return {
        "mean_miou": means,
        "s_miou": spread,
        "random_over_all": means["random_strokes"] / means["all_labels"],
        "uncertainty_over_all": means["strokes_by_uncertainty"] / means["all_labels"],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--material", choices=MATERIALS, action="append")
    parser.add_argument("--iterations", type=int, help="of each of the three rounds")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    changes = {"iterations": options.iterations} if options.iterations else {}
    recipe = FINE_TUNE.model_copy(update=changes)
    report: dict[str, Any] = {"hardware": hardware(), "recipe": recipe.model_dump()}
    for material in options.material or MATERIALS:
        bench = read(options.data, material, torch.device(options.device))
        report[material] = measured(bench, recipe, range(options.seeds))
        text = json.dumps(report, indent=1)
        options.output.write_text(text + "\n", encoding="utf-8")
        print(material, json.dumps(report[material]["summary"]))


if __name__ == "__main__":
    main()
