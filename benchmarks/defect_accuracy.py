"""How well models of surface defects do: repeated trainings of one recipe, and what is no defect.

python benchmarks/defect_accuracy.py MODEL MODEL MODEL --data FOLDER --split LIST \\
    --outsiders FOLDER FOLDER -o benchmarks/results/defects_xsdd.json

Each model is one training, with its training.json beside it. The outsiders are square parts of the
images below each folder, some of each, and the photographs that come with scikit-image.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import skimage.data
from numpy.typing import NDArray

from hardware import hardware
from napari_metallography.classification.defects import Classifier
from napari_metallography.classification.images import prepared
from napari_metallography.classification.model import load_defect_model
from napari_metallography.cli.options import stems
from napari_metallography.devices import choose_device, keep_freed_memory
from napari_metallography.errors import InputError
from napari_metallography.evaluation.defects import evaluate_defects
from napari_metallography.events import drain
from napari_metallography.inputs import PixelSizes, read_image
from napari_metallography.io.images import IMAGE_SUFFIXES
from napari_metallography.plane import as_plane

PHOTOGRAPHS = ("astronaut", "camera", "chelsea", "coffee", "coins", "moon", "page", "text")
SUMMARISED = ("accuracy", "macro_f1", "answered", "accuracy_of_answered", "calibration_error")

Pixels = NDArray[np.uint8]


def scored(path: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Scores of one training, clean and changed, and how it was made."""
    classifier = Classifier(load_defect_model(str(path)), options.device, options.risk)
    events = evaluate_defects(classifier, options.data, files=stems(options.split), robustness=True)
    found = drain(events)
    report = json.loads(path.with_name("training.json").read_text(encoding="utf-8"))
    outsiders = {name: rejected(classifier, parts) for name, parts in strangers(options)}
    made = {key: report[key] for key in ("recipe", "shown", "epochs", "device")}
    wrong = round((1 - found["accuracy"]) * found["n"])
    return {**found, "wrong": wrong, "outsiders_rejected": outsiders, "training": made}


def rejected(classifier: Classifier, parts: list[Pixels]) -> dict[str, Any]:
    """How many outsiders there are, and the share that is answered "unsure"."""
    shown = classifier.shown
    side = (shown.side, shown.side)
    pixels = np.stack([prepared(part, side, shown.jpeg_quality) for part in parts])
    answers = drain(classifier.answers(pixels))
    return {"images": len(parts), "rejected": float((~answers.sure).mean())}


def strangers(options: argparse.Namespace) -> Iterator[tuple[str, list[Pixels]]]:
    """Outsiders by their source."""
    for folder in options.outsiders:
        random = np.random.default_rng(options.seed)
        files = sorted(p for p in folder.rglob("*") if p.suffix.lower() in IMAGE_SUFFIXES)
        chosen = random.permutation(len(files))[: options.images]
        parts = [part for number in chosen for part in _parts(files[number], options, random)]
        yield folder.name, parts
    random = np.random.default_rng(options.seed)
    photographs = [_coloured(getattr(skimage.data, name)()) for name in PHOTOGRAPHS]
    yield (
        "photographs",
        [part for image in photographs for part in _cut(image, options.parts, random)],
    )


def _parts(path: Path, options: argparse.Namespace, random: np.random.Generator) -> list[Pixels]:
    try:
        plane = as_plane(read_image(path, PixelSizes()).planes[0], str(path))
    except InputError:
        return []
    rows, columns = plane.shape
    return _cut(plane.rgb8(slice(0, rows), slice(0, columns)), options.parts, random)


def _cut(image: Pixels, count: int, random: np.random.Generator) -> list[Pixels]:
    """Squares of half the shorter side; grey, as images of surfaces are."""
    side = min(image.shape[:2]) // 2
    grey = image.mean(2).round().astype(np.uint8)
    corners = [
        [random.integers(0, length - side + 1) for length in grey.shape] for _ in range(count)
    ]
    squares = [grey[y : y + side, x : x + side] for y, x in corners]
    # One grey value all over is refused by rule, which shows nothing.
    return [np.stack([square] * 3, 2) for square in squares if np.ptp(square)]


def _coloured(image: NDArray[Any]) -> Pixels:
    return image if image.ndim == 3 else np.stack([image] * 3, 2)


def summary(runs: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Mean and standard deviation over the runs."""
    rows = [
        {key: run[key] for key in SUMMARISED}
        | {f"accuracy, {change}": value for change, value in run["robustness"].items()}
        | {f"{name} rejected": one["rejected"] for name, one in run["outsiders_rejected"].items()}
        for run in runs.values()
    ]
    values = {key: [row[key] for row in rows] for key in rows[0]}
    return {
        key: {
            "mean": statistics.mean(found),
            "standard_deviation": statistics.stdev(found) if len(found) > 1 else None,
        }
        for key, found in values.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", type=Path, nargs="+")
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--split", type=Path)
    parser.add_argument("--outsiders", type=Path, nargs="*", default=[])
    parser.add_argument("--images", type=int, default=25, help="of each folder of outsiders")
    parser.add_argument("--parts", type=int, default=4, help="of each image of an outsider")
    parser.add_argument("--risk", type=float, default=0.02)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", type=choose_device, default=choose_device("auto"))
    options = parser.parse_args()
    keep_freed_memory()
    runs = {path.stem: scored(path, options) for path in options.models}
    found = {"summary": summary(runs), "runs": runs, "hardware": hardware()}
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
