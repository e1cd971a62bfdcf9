"""Triplet networks of structures: what magnification and augmentation earn, and what is refused.

python benchmarks/structure.py --work FOLDER --outsiders NAME=FOLDER NAME=FOLDER \\
    -o benchmarks/results/structure.json

Synthetic structures of variant a are learnt, those of variant b, at pixel sizes between those of
the training, are named. Networks: "full", "scale-free" (does not see the magnification), "plain"
(without augmentation), "hardest" (batch-hard triplets), and "without CLASS" for each class in turn,
which then is an outsider. The images below the folders of `--outsiders` get pixel sizes inside the
trained range. Everything goes through the command line; what is done is kept in the work folder,
and `--only` names networks.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from hardware import hardware
from napari_metallography.classification.micrographs import grey_planes
from napari_metallography.errors import InputError
from napari_metallography.inputs import PixelSizes, read_image
from napari_metallography.io.images import IMAGE_SUFFIXES
from napari_metallography.synthesis.structures import SCALE_PAIRS, STRUCTURES
from work_folder import require_same_recipe

TEST_PIXEL_SIZES = (0.0113, 0.0226, 0.0453)
TRAINED_PIXEL_SIZES = (0.008, 0.064)
TEST_SEED = 1000
OUTSIDER_SIDE = 512


def networks() -> dict[str, list[str]]:
    """Options of `train structure` for each network."""
    found = {
        "full": [],
        "scale-free": ["--scale-free"],
        "plain": ["--augmentation", "none"],
        "hardest": ["--triplets", "hardest"],
    }
    return found | {f"without {name}": ["--without", name] for name in STRUCTURES}


def call(*words: object) -> None:
    """Run a command of the program."""
    subprocess.run([sys.executable, "-m", "napari_metallography", *map(str, words)], check=True)


def make_images(options: argparse.Namespace) -> None:
    """Images to learn from, to be tested on, and outsiders beside the latter."""
    train, test = options.work / "train", options.work / "test"
    if not train.exists():
        call("synthesize", "structure", "-o", train, "--count", options.count)
    sizes = [word for size in TEST_PIXEL_SIZES for word in ("--pixel-size", size)]
    seed = ("--variant", "b", "--seed", TEST_SEED)
    if not test.exists():
        call("synthesize", "structure", "-o", test, "--count", options.test_count, *seed, *sizes)
    others = options.work / "others"
    if options.outsiders and not others.exists():
        # An evaluation needs an image of a known class beside them.
        one = ("--class", STRUCTURES[0], "--count", 1)
        call("synthesize", "structure", "-o", others, *one, *seed, *sizes[:2])
        add_outsiders(others, options)


def add_outsiders(others: Path, options: argparse.Namespace) -> None:
    """Parts of other images into the folder `none`, with a pixel size each."""
    random = np.random.default_rng(TEST_SEED)
    rows = []
    for source, folder in options.outsiders:
        files = sorted(p for p in folder.rglob("*") if p.suffix.lower() in IMAGE_SUFFIXES)
        taken = 0
        for number in random.permutation(len(files)):
            plane = _part(files[number], random)
            if plane is None or taken == options.images:
                continue
            name = f"none/{source}-{taken}.png"
            (others / name).parent.mkdir(exist_ok=True)
            cv2.imwrite(str(others / name), plane)
            low, high = np.log(TRAINED_PIXEL_SIZES)
            rows.append((name, float(np.exp(random.uniform(low, high)))))
            taken += 1
    index = others / "index.csv"
    header, *_ = index.read_text(encoding="utf-8").splitlines()
    columns = header.split(",")
    with index.open("a", encoding="utf-8") as file:
        for name, size in rows:
            known = {"image": name, "pixel_size_um": f"{size:.6g}"}
            file.write(",".join(known.get(column, "") for column in columns) + "\n")


def _part(path: Path, random: np.random.Generator) -> np.ndarray[Any, Any] | None:
    try:
        plane = grey_planes(read_image(path, PixelSizes()))[0]
    except InputError:
        return None
    if min(plane.shape) < 100 or np.ptp(plane) < 10:
        return None
    side = min(OUTSIDER_SIDE, *plane.shape)
    y, x = (int(random.integers(0, length - side + 1)) for length in plane.shape)
    return plane[y : y + side, x : x + side]


def network_scores(name: str, seed: int, options: argparse.Namespace) -> dict[str, Any]:
    """Train a network, unless that is done, and score it."""
    folder = options.work / f"{name} {options.side} {options.iterations} {seed}".replace(" ", "_")
    model = folder / "model.safetensors"
    size = ("--side", options.side, "--learning-rate", options.learning_rate)
    recipe = (*size, "--iterations", options.iterations, "--seed", seed, *networks()[name])
    if not model.exists():
        resume = ["--resume"] if [*folder.glob("*.checkpoint*")] else []
        data = ("--data", options.work / "train", "-o", model, "--device", options.device)
        call("train", "structure", *data, *recipe, *resume)
    left_out = name.removeprefix("without ")
    if left_out != name:
        return evaluated(model, "test", options, "--outsider", left_out)
    found = evaluated(model, "test", options)
    strange = evaluated(model, "others", options) if options.outsiders else {}
    return found | {key: strange.get(key) for key in ("outsiders", "outsiders_rejected")}


def evaluated(model: Path, data: str, options: argparse.Namespace, *words: str) -> dict[str, Any]:
    """Scores of a model on a folder of the work folder, kept beside the model."""
    scores = model.with_name(f"{data}_{options.crops or 'settled'}.json")
    if not scores.exists():
        crops = ("--crops", options.crops) if options.crops else ()
        where = ("--data", options.work / data, "-o", scores, "--device", options.device)
        call("evaluate", "structure", "--model", model, *where, *crops, *words)
    found: dict[str, Any] = json.loads(scores.read_text(encoding="utf-8"))
    return found | {"scale_pairs": pair_accuracy(found["confusion"])}


def pair_accuracy(confusion: dict[str, dict[str, int]]) -> float | None:
    """Share of the images of the pairs that differ in scale only which are named rightly.

    None where one of them was left out.
    """
    names = [name for pair in SCALE_PAIRS for name in pair]
    if not all(name in confusion for name in names):
        return None
    total = sum(sum(confusion[name].values()) for name in names)
    return sum(confusion[name][name] for name in names) / total


def summary(runs: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """The figures that the networks are compared by, and the mean over the classes left out."""
    keys = ("accuracy", "accuracy_without_none", "falsely_rejected", "outsiders_rejected")
    rows = {name: {key: run[key] for key in (*keys, "scale_pairs")} for name, run in runs.items()}
    left_out = [row for name, row in rows.items() if name.startswith("without ")]
    if left_out:
        rows["mean of without"] = {
            key: statistics.mean(row[key] for row in left_out) for key in keys
        }
    return rows


def _named_folder(text: str) -> tuple[str, Path]:
    name, _, folder = text.partition("=")
    return name, Path(folder)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--outsiders", type=_named_folder, nargs="*", default=[])
    parser.add_argument("--images", type=int, default=15, help="of each folder of outsiders")
    parser.add_argument("--count", type=int, default=24, help="images of a class to learn from")
    parser.add_argument("--test-count", type=int, default=12, help="images of a class to name")
    parser.add_argument("--side", type=int, default=96)
    parser.add_argument("--learning-rate", type=float, default=3e-4)
    parser.add_argument("--iterations", type=int, default=600)
    parser.add_argument("--crops", type=int, help="an image; default: until the answer settles")
    parser.add_argument("--runs", type=int, default=1)
    parser.add_argument("--only", nargs="*", default=[*networks()])
    parser.add_argument("--device", default="auto")
    options = parser.parse_args()
    require_same_recipe(options, ("only", "runs", "crops"))
    make_images(options)
    runs = {
        name if seed == 0 else f"{name}, run {seed}": network_scores(name, seed, options)
        for name in options.only
        for seed in range(options.runs)
    }
    recipe = {
        key: getattr(options, key)
        for key in ("count", "side", "learning_rate", "iterations", "crops")
    }
    found = {"summary": summary(runs), "runs": runs, "recipe": recipe, "hardware": hardware()}
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
