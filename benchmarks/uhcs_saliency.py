"""Saliency maps against drawn regions of ultra-high-carbon steel, specimens never seen before.

python benchmarks/uhcs_saliency.py --data FOLDER --work FOLDER \\
    -o benchmarks/results/uhcs_saliency.json

Small windows that nearly all lie in one drawn region are examples of its class. A triplet network
learns from those of some specimens and maps the images of the others; its most probable class
("none" left out) is held against every drawn pixel. In the same table: the class that is most
frequent in the training's pixels, and what DeCost et al. report of a PixelNet on 24 images in
random folds, where a specimen may be on both sides. What is done is kept in the work folder.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
import tifffile

from hardware import hardware
from napari_metallography.calibration import Calibration
from napari_metallography.classification.saliency import saliency_map
from napari_metallography.classification.structure_model import StructureModel, load_structure_model
from napari_metallography.classification.structure_parameters import SaliencyParameters
from napari_metallography.devices import choose_device
from napari_metallography.events import drain
from work_folder import require_same_recipe

CLASSES = ("denuded", "network", "spheroidite", "widmanstatten")
UNDRAWN = 255
PIXELNET = {
    "mean_iou": 0.626,
    "iou": dict(zip(CLASSES, (0.491, 0.729, 0.857, 0.427), strict=True)),
    "source": "DeCost et al., 6 random folds of 24 images",
}


def call(*words: object) -> None:
    """Run a command of the program."""
    subprocess.run([sys.executable, "-m", "napari_metallography", *map(str, words)], check=True)


def specimen_folds(specimens: Sequence[Any], count: int) -> np.ndarray[Any, Any]:
    """A fold (n,) of each image: the largest specimens first, each into the emptiest fold."""
    sizes = (
        pd.Series(specimens).value_counts(sort=False).sort_values(ascending=False, kind="stable")
    )
    filled = np.zeros(count, int)
    fold_of = {}
    for specimen, size in sizes.items():
        fold_of[specimen] = int(filled.argmin())
        filled[fold_of[specimen]] += size
    return np.array([fold_of[one] for one in specimens])


def pure_windows(
    truth: np.ndarray[Any, Any], options: argparse.Namespace, random: np.random.Generator
) -> Iterator[tuple[int, int, int]]:
    """Class and first row and column of windows that nearly all lie in regions of one class."""
    side = options.example_px
    for number in range(len(CLASSES)):
        share = cv2.boxFilter(
            (truth == number).astype(np.float32), -1, (side, side), anchor=(0, 0)
        )[: truth.shape[0] - side + 1, : truth.shape[1] - side + 1]
        places = np.argwhere(share >= options.purity)
        for y, x in random.permutation(places)[: options.examples]:
            yield number, int(y), int(x)


def make_examples(folder: Path, table: pd.DataFrame, options: argparse.Namespace) -> None:
    """Examples a class of the images of a table."""
    random = np.random.default_rng(options.seed)
    rows = []
    for one in rows_of(table):
        pixels, truth = read_pair(options.data, one.image)
        for number, y, x in pure_windows(truth, options, random):
            name = f"{CLASSES[number]}/{Path(one.image).stem}-{y}-{x}.png"
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            part = pixels[y : y + options.example_px, x : x + options.example_px]
            cv2.imwrite(str(folder / name), part)
            rows.append((name, CLASSES[number], one.pixel_size_um, one.specimen))
    columns = ["image", "class", "pixel_size_um", "specimen"]
    pd.DataFrame(rows, columns=columns).to_csv(folder / "index.csv", index=False)


def rows_of(table: pd.DataFrame) -> Iterator[Any]:
    """Rows of a table, with a column an attribute."""
    return iter(table.itertuples())


def read_pair(data: Path, image: str) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Grey values and drawn classes (Y, X) of an image."""
    pixels = np.asarray(tifffile.imread(data / "images" / image))
    grey = pixels if pixels.ndim == 2 else pixels[..., 0]
    truth = cv2.imread(str(data / "labels_coarse" / f"{Path(image).stem}.png"), -1)
    return grey, np.asarray(truth)


def trained(fold: int, known: pd.DataFrame, options: argparse.Namespace) -> Path:
    """The model that learnt from the other folds."""
    folder = options.work / f"fold{fold}"
    model: Path = folder / "model" / "model.safetensors"
    if not (folder / "examples" / "index.csv").exists():
        make_examples(folder / "examples", known, options)
    if not model.exists():
        resume = ["--resume"] if [*model.parent.glob("*.checkpoint*")] else []
        crops = ("--smallest-crop", options.smallest_crop, "--largest-crop", options.example_px)
        start = ("--encoder-weights", options.encoder_weights, "--seed", options.seed)
        recipe = ("--iterations", options.iterations, "--learning-rate", options.learning_rate)
        size = ("--side", options.side, "--device", options.device)
        free = ("--scale-free",) if options.scale_free else ()
        data = ("--data", folder / "examples", "-o", model)
        call("train", "structure", *data, *size, *crops, *start, *recipe, *free, *resume)
    return model


def mapped(model: StructureModel, one: Any, options: argparse.Namespace) -> tuple[Any, Any]:
    """The most probable class (Y, X) of an image without "none", and P("none")."""
    pixels, _ = read_pair(options.data, one.image)
    size = Calibration(one.pixel_size_um, one.pixel_size_um, "index.csv")
    windows = SaliencyParameters(window_px=options.window, stride_px=options.stride)
    running = saliency_map(pixels, size, model, choose_device(options.device), windows)
    probabilities = drain(running).probabilities()
    return probabilities[:-1].argmax(0), probabilities[-1]


def counted(truth: np.ndarray[Any, Any], found: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Confusion matrix (truth, found) over the drawn pixels."""
    drawn = truth != UNDRAWN
    pairs = truth[drawn].astype(int) * len(CLASSES) + found[drawn]
    return np.bincount(pairs, minlength=len(CLASSES) ** 2).reshape(len(CLASSES), -1)


def scores(confusion: np.ndarray[Any, Any]) -> dict[str, Any]:
    """Pixel accuracy, recall and intersection over union by class."""
    right = np.diag(confusion)
    union = confusion.sum(0) + confusion.sum(1) - right
    iou = right / np.maximum(union, 1)
    recall = right / np.maximum(confusion.sum(1), 1)
    return {
        "pixel_accuracy": float(right.sum() / confusion.sum()),
        "mean_iou": float(iou.mean()),
        "iou": dict(zip(CLASSES, iou.tolist(), strict=True)),
        "recall": dict(zip(CLASSES, recall.tolist(), strict=True)),
        "confusion": confusion.tolist(),
    }


def fold_result(fold: int, table: pd.DataFrame, options: argparse.Namespace) -> dict[str, Any]:
    """Confusion of the model and of the most frequent class on each image of a fold."""
    kept = options.work / f"fold{fold}" / f"scores {options.window:g} {options.stride:g}.json"
    if not kept.exists():
        known, unseen = table[table.fold != fold], table[table.fold == fold]
        model = load_structure_model(str(trained(fold, known, options)))
        pixels = sum(
            np.bincount(read_pair(options.data, one)[1].ravel(), minlength=256)[: len(CLASSES)]
            for one in known.image.tolist()
        )
        rows = []
        for one in rows_of(unseen):
            truth = read_pair(options.data, one.image)[1]
            found, none = mapped(model, one, options)
            usual = np.full_like(found, int(np.argmax(pixels)))
            rows.append(
                {
                    "image": one.image,
                    "specimen": str(one.specimen),
                    "model": counted(truth, found).tolist(),
                    "majority": counted(truth, usual).tolist(),
                    "none": float((none > 0.5).mean()),
                }
            )
        kept.write_text(json.dumps({"fold": fold, "images": rows}), encoding="utf-8")
    result: dict[str, Any] = json.loads(kept.read_text(encoding="utf-8"))
    return result


def over_specimens(rows: Sequence[dict[str, Any]], what: str) -> dict[str, float]:
    """Mean pixel accuracy of the specimens, and the smallest and largest of them."""
    frame = pd.DataFrame(
        [(r["specimen"], np.trace(r[what]), np.sum(r[what])) for r in rows],
        columns=["specimen", "right", "all"],
    )
    sums = frame.groupby("specimen").sum()
    shares = sums.right / sums["all"]
    return {"mean": shares.mean(), "smallest": shares.min(), "largest": shares.max()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="images, labels_coarse")
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--folds", type=int, default=4)
    parser.add_argument("--example-px", type=int, default=40)
    parser.add_argument("--smallest-crop", type=int, default=28)
    parser.add_argument("--purity", type=float, default=0.7)
    parser.add_argument("--examples", type=int, default=12, help="of a class and image")
    parser.add_argument("--side", type=int, default=64)
    parser.add_argument("--iterations", type=int, default=400)
    parser.add_argument("--learning-rate", type=float, default=3e-4)
    parser.add_argument("--encoder-weights", default="random")
    parser.add_argument("--scale-free", action="store_true")
    parser.add_argument("--window", type=float, default=36)
    parser.add_argument("--stride", type=float, default=8)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="auto")
    options = parser.parse_args()
    require_same_recipe(options, ("window", "stride"))
    table = pd.read_csv(options.data / "images" / "index.csv")
    table["fold"] = specimen_folds(table.specimen.tolist(), options.folds)
    folds = [fold_result(fold, table, options) for fold in range(options.folds)]
    rows = [row for fold in folds for row in fold["images"]]
    found: dict[str, Any] = {
        what: scores(np.sum([row[what] for row in rows], 0))
        | {"accuracy_of_specimens": over_specimens(rows, what)}
        for what in ("model", "majority")
    }
    kept = ("folds", "example_px", "smallest_crop", "purity", "examples", "side", "iterations")
    also = ("learning_rate", "encoder_weights", "scale_free", "window", "stride", "seed")
    recipe = {key: getattr(options, key) for key in (*kept, *also)}
    recipe["encoder_weights"] = Path(recipe["encoder_weights"]).name
    none = float(np.mean([row["none"] for row in rows]))
    found |= {"share_of_none": none, "published": PIXELNET, "folds": folds, "recipe": recipe}
    found |= {"images": len(rows), "specimens": int(table.specimen.nunique())}
    options.output.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(found | {"hardware": hardware()}, indent=1)
    options.output.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
