"""The n + 2 search on two materials and two networks, beside the gains the paper printed.

python benchmarks/recipe_search.py --uhcs UHCS_FOLDER --nasa NASA_FOLDER --work FOLDER \
    -o benchmarks/results/recipe_search.json                            (needs: extra [imagenet])

The search selects on an inner split of the training images; then the baseline and the winner are
trained on all of them, with three seeds, and scored once on images that no choice has seen: the
validation images of NASA Super1, and specimens of UHCS. Every training is kept in the work folder
and goes on where a stop ended it. `--only` names a part, so that several can run side by side.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from hardware import hardware
from napari_metallography.classes import named_classes
from napari_metallography.devices import choose_device
from napari_metallography.events import Events, Notice, TrainingStep
from napari_metallography.inputs import PixelSizes
from napari_metallography.labelled import LabelledImage, read_labelled_folder
from napari_metallography.models.card import Network
from napari_metallography.training.job import TrainingJob
from napari_metallography.training.recipe import SegmentationRecipe
from napari_metallography.training.results import SegmentationDescription
from napari_metallography.training.search import (
    BASELINE,
    Search,
    Train,
    kept_in,
    paper_baseline,
    paper_tricks,
    search,
)
from napari_metallography.training.start import new_network
from uhcs import FOLDS, specimens

NETWORKS = ("deeplabv3plus", "pspnet")

RECIPE = SegmentationRecipe(batch_size=4, crop=256, augmentation="weak", zoom=1.0, keep="last")
"""Fixed before the search: in a short training SGD at the paper's rate hardly leaves its start."""

BEST_RECIPE = SegmentationRecipe(crop=256)
"""The project's own recipe with its U-Net, for the score that Super1 is known by."""

PAPER_GAINS = {
    "carbide": {"deeplabv3plus": (0.64, 1.35, -0.37), "pspnet": (-1.06, 1.19, 0.15)},
    "ferrite": {"deeplabv3plus": (0.75, -0.79, 0.87), "pspnet": (0.68, 0.25, 0.24)},
}
"""Points of mean IoU by transfer, strong augmentation and enlarged receptive field alone."""


@dataclass(frozen=True)
class Material:
    """Images to learn from, to choose by, and to score once; learning means both for the score."""

    name: str
    classes: tuple[str, ...]
    inner: Sequence[LabelledImage]
    choosing: Sequence[LabelledImage]
    outer: Sequence[LabelledImage]


def read(images: Path, labels: Path, stems: Sequence[str] | None = None) -> list[LabelledImage]:
    return read_labelled_folder(images, labels, sizes=PixelSizes(), stems=stems)[0]


def super1(nasa: Path) -> Material:
    """The published split; the choice is made on another place of the specimen."""
    folders = {part: nasa / "Super1" / part for part in ("train", "val")}
    train, outer = (read(f / "images", f / "labels") for f in folders.values())
    choosing = [image for image in train if image.name.startswith("spot7")]
    inner = [image for image in train if not image.name.startswith("spot7")]
    return Material("Super1", ("matrix", "secondary", "tertiary"), inner, choosing, outer)


def uhcs(data: Path) -> Material:
    """Specimen 37 is scored; the choice is made on three other specimens."""
    of = specimens(data)

    def taken(wanted: Callable[[str], bool]) -> list[LabelledImage]:
        stems = sorted(stem for stem, specimen in of.items() if wanted(specimen))
        return read(data / "images", data / "labels", stems)

    outer, choosing = FOLDS[0], FOLDS[1]
    return Material(
        "UHCS",
        ("matrix", "carbide network", "carbide particles", "Widmanstätten carbide"),
        taken(lambda specimen: specimen not in outer | choosing),
        taken(lambda specimen: specimen in choosing),
        taken(lambda specimen: specimen in outer),
    )


def job(
    material: Material, architecture: str, recipe: SegmentationRecipe, device: torch.device
) -> TrainingJob:
    """With the pretrained encoder; the search takes it away for its baseline."""
    network = Network(architecture=architecture, encoder="efficientnet-lite0")
    start = new_network(network, "imagenet")
    classes = len(material.classes)
    return TrainingJob(material.inner, material.choosing, start, classes, recipe, device)


def shown(events: Events[Any], what: str) -> Any:
    """The result; notices and every twentieth step are printed."""
    while True:
        try:
            event = next(events)
        except StopIteration as end:
            return end.value
        if isinstance(event, Notice):
            print(f"{what}: {event.message}", flush=True)
        if isinstance(event, TrainingStep) and event.iteration % 20 == 0:
            print(f"{what}: iteration {event.iteration}, loss {event.loss:.3f}", flush=True)


def searched(
    material: Material,
    architecture: str,
    recipe: SegmentationRecipe,
    folder: Path,
    device: torch.device,
) -> dict[str, Any]:
    """The table of the search, and baseline and winner on what no choice has seen."""
    description = SegmentationDescription(material.name, classes=named_classes(material.classes))
    given = job(material, architecture, recipe, device)
    baseline, tricks = paper_baseline(given), paper_tricks(given)
    what = f"{material.name} {architecture}"
    found = shown(search(baseline, tricks, kept_in(folder / "search", description)), what)
    chosen = {BASELINE: (), found.best.name: found.best.tricks}

    def final(names: Sequence[str], seed: int) -> dict[str, Any]:
        task = baseline
        for name in names:
            task = tricks[name](task)
        task = _on_all(task, material, seed)
        run = kept_in(folder / f"seed{seed}", description)
        label = "+".join(names) or BASELINE
        return scored(run, label, task, f"{what} seed {seed}")

    seeds = range(3)
    finals = {name: [final(names, seed) for seed in seeds] for name, names in chosen.items()}
    return {"search": found.table(), "winner": found.best.name, "outer": summary(finals, found)}


def _on_all(task: TrainingJob, material: Material, seed: int) -> TrainingJob:
    recipe = task.recipe.model_copy(update={"seed": seed})
    images = [*material.inner, *material.choosing]
    return replace(task, images=images, validation=material.outer, recipe=recipe)


def scored(run: Train, name: str, task: TrainingJob, what: str) -> dict[str, Any]:
    score = shown(run(name, task), what)
    print(f"{what}: {name} mean IoU {score['miou']:.4f}", flush=True)
    return {
        "seed": task.recipe.seed,
        "miou": score["miou"],
        "iou": score["iou"],
        "particles": score["particles"],
    }


def summary(finals: dict[str, list[dict[str, Any]]], found: Search) -> dict[str, Any]:
    """Mean and standard deviation over the seeds, and the gain of the winner in points."""
    means = {name: statistics.mean(r["miou"] for r in runs) for name, runs in finals.items()}
    return {
        "trainings": finals,
        "mean_miou": means,
        "s_miou": {n: statistics.stdev(r["miou"] for r in runs) for n, runs in finals.items()},
        "gain_points": 100 * (means[found.best.name] - means[BASELINE]),
    }


def best(material: Material, iterations: int, work: Path, device: torch.device) -> dict[str, Any]:
    """The project's recipe and network on all training images, three seeds."""
    description = SegmentationDescription(material.name, classes=named_classes(material.classes))
    changes = {"iterations": iterations, "validate_every": iterations, "keep": "last"}
    recipe = BEST_RECIPE.model_copy(update=changes)
    given = job(material, "unet", recipe, device)
    folder = work / f"{material.name}-best"
    runs = [
        scored(
            kept_in(folder / f"seed{seed}", description),
            "unet",
            _on_all(given, material, seed),
            f"{material.name} best, seed {seed}",
        )
        for seed in range(3)
    ]
    mious = [run["miou"] for run in runs]
    return {
        "recipe": recipe.model_dump(),
        "trainings": runs,
        "mean_miou": statistics.mean(mious),
        "s_miou": statistics.stdev(mious),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--uhcs", type=Path, required=True)
    parser.add_argument("--nasa", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--iterations", type=int, default=600)
    parser.add_argument("--best-iterations", type=int, default=600)
    parser.add_argument("--only", action="append", help="MATERIAL-NETWORK, or Super1-best")
    parser.add_argument("--device", choices=["auto", "cpu", "cuda"], default="auto")
    options = parser.parse_args()
    device = choose_device(options.device)
    length = {"iterations": options.iterations, "validate_every": options.iterations}
    recipe = RECIPE.model_copy(update=length)
    report: dict[str, Any] = {
        "hardware": hardware(),
        "recipe": recipe.model_dump(),
        "encoder": "efficientnet-lite0",
        "paper_gain_points": PAPER_GAINS,
    }

    def wanted(part: str) -> bool:
        return options.only is None or part in options.only

    materials = [super1(options.nasa), uhcs(options.uhcs)]
    for material in materials:
        for architecture in NETWORKS:
            part = f"{material.name}-{architecture}"
            if wanted(part):
                report[part] = searched(material, architecture, recipe, options.work / part, device)
    if wanted("Super1-best"):
        report["Super1-best"] = best(materials[0], options.best_iterations, options.work, device)
    options.output.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
