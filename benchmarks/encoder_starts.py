"""What a backbone that has seen micrographs earns as the encoder of a segmentation network.

python benchmarks/encoder_starts.py --data UHCS_FOLDER --backbone FILE --work FOLDER \\
    -o benchmarks/results/encoder_starts.json

U-Nets on ultra-high-carbon steel, one budget, several seeds; the encoder starts from random
weights, from FILE (which must not have seen the images that are scored), or, another encoder, from
ImageNet. Specimen 37 is held out, and neither chooses nor stops anything. Networks are trained by
the command line; what is done is kept in the work folder.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

from hardware import hardware
from uhcs import CLASSES, folds, scores
from work_folder import require_same_recipe

LITE = "efficientnet-lite0"
RESNET = "resnet18"


def starts(backbone: str) -> dict[str, tuple[str, str]]:
    """Encoder and weights of each start."""
    return {
        f"{RESNET}, random": (RESNET, "random"),
        f"{RESNET}, micrographs": (RESNET, backbone),
        f"{LITE}, random": (LITE, "random"),
        f"{LITE}, ImageNet": (LITE, "imagenet"),
    }


def run(name: str, seed: int, options: argparse.Namespace) -> dict[str, Any]:
    """Scores of one start and seed on the images held out."""
    learnt, held_out = folds(options.data)[0]
    folder = options.work / f"{name} {options.iterations} {seed}".replace(" ", "_")
    kept, model = folder / "scores.json", folder / "model.safetensors"
    if not kept.exists():
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "training.txt").write_text("\n".join(learnt), encoding="utf-8")
        if not model.exists():
            train(model, *starts(options.backbone)[name], seed, options)
        found = scores(model, options.data, held_out, "fast", "")
        kept.write_text(json.dumps(found), encoding="utf-8")
    result: dict[str, Any] = json.loads(kept.read_text(encoding="utf-8"))
    return result


def train(model: Path, encoder: str, weights: str, seed: int, options: argparse.Namespace) -> None:
    """Train a network; a stopped training goes on."""
    images, labels = (options.data / part for part in ("images", "labels"))
    data = ("--images", images, "--labels", labels, "--split", model.with_name("training.txt"))
    network = ("--classes", CLASSES, "--encoder", encoder, "--encoder-weights", weights)
    recipe = ("--iterations", options.iterations, "--batch-size", options.batch_size)
    more = ("--crop", options.crop, "--seed", seed, "--device", options.device, "--resume")
    words = ("train", "segmentation", *data, *network, *recipe, *more, "-o", model)
    subprocess.run([sys.executable, "-m", "napari_metallography", *map(str, words)], check=True)


def over(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Mean and standard deviation of the mIoU, and the mean IoU by class."""
    values = [one["miou"] for one in runs]
    return {
        "miou": statistics.mean(values),
        "s": statistics.stdev(values) if len(values) > 1 else None,
        "runs": values,
        "iou": {name: statistics.mean(one["iou"][name] for one in runs) for name in runs[0]["iou"]},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--backbone", required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--iterations", type=int, default=100)
    parser.add_argument("--batch-size", type=int, default=4)
    parser.add_argument("--crop", type=int, default=192)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--device", default="auto")
    options = parser.parse_args()
    require_same_recipe(options, ("seeds",))
    runs: dict[str, list[dict[str, Any]]] = {name: [] for name in starts(options.backbone)}
    # A seed of every start before the next: what is stopped early compares all of them.
    for seed in range(options.seeds):
        for name, found in runs.items():
            found.append(run(name, seed, options))
            write(runs, options)


def write(runs: dict[str, list[dict[str, Any]]], options: argparse.Namespace) -> None:
    """Write what there is."""
    recipe = {key: getattr(options, key) for key in ("iterations", "batch_size", "crop", "seeds")}
    found = {
        "summary": {name: over(done) for name, done in runs.items() if done},
        "held_out": folds(options.data)[0][1],
        "recipe": recipe | {"backbone": Path(options.backbone).name},
        "hardware": hardware(),
    }
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
