"""Few-shot networks: what tuning to a task earns, and what a start from DINO earns.

python benchmarks/few_shot.py --work FOLDER --train NAME=FOLDER --materials NAME=FOLDER \\
    --val NAME=FOLDER --test FOLDER --unlabelled FOLDER -o benchmarks/results/few_shot.json

Learnt from: synthetic structures, the classes of the folders of `--train`, and each folder of
`--materials` as one class of parts of its images. Tested on: `--ways` of the classes of `--test`,
in each split others; what is left of them validates, with the classes of `--val`. Every image is
compressed alike first, since what a format leaves could tell a class whose files were all stored
alike. A backbone learns by DINO from the images of the training and of `--unlabelled`, none of
which is tested on. Everything goes through the command line; what is done is kept in the work
folder.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import subprocess
import sys
from collections.abc import Callable, Collection, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from hardware import hardware
from napari_metallography.classification.images import OUTSIDERS, listed_images
from napari_metallography.classification.micrographs import grey_planes
from napari_metallography.errors import InputError
from napari_metallography.inputs import PixelSizes, read_image
from napari_metallography.io.images import is_image_file
from napari_metallography.io.index import find_index
from work_folder import require_same_recipe

STARTS = ("random", "dino")
QUALITY = 90
PART_SIDE = 224
PARTS = 4
SCORES = ("accuracy_prototypes", "accuracy_finetuned", "gain")


def call(*words: object) -> None:
    """Run a command of the program."""
    subprocess.run([sys.executable, "-m", "napari_metallography", *map(str, words)], check=True)


def make_training(options: argparse.Namespace) -> list[Path]:
    """Folders of classes to learn from."""
    synthetic = options.work / "synthetic"
    if not synthetic.exists():
        size = ("--width", options.synthetic_side, "--height", options.synthetic_side)
        call("synthesize", "structure", "-o", synthetic, "--count", options.count, *size)
    folder = options.work / "training"
    found = [
        made(folder / name, partial(copy_all, source))
        for name, source in [("synthetic", synthetic), *options.train]
    ]
    if options.materials:
        found.append(made(folder / "materials", partial(cut_materials, options)))
    return found


def make_split(split: int, options: argparse.Namespace) -> tuple[Path, Path]:
    """Folders to validate and to test on."""
    names = sorted({name for _, name in listed_images(options.test)} - {OUTSIDERS})
    drawn = np.random.default_rng(split).permutation(names).tolist()

    def fill_test(target: Path) -> None:
        write_index(target, copy_classes(options.test, target, drawn[: options.ways]))

    def fill_validation(target: Path) -> None:
        rows = copy_classes(options.test, target, drawn[options.ways :])
        for _, others in options.val:
            rows += copy_classes(others, target)
        write_index(target, rows)

    folder = options.work / f"split{split}"
    return made(folder / "validation", fill_validation), made(folder / "test", fill_test)


def made(folder: Path, fill: Callable[[Path], None]) -> Path:
    """A folder, filled unless it is there; it appears whole or not at all."""
    if not folder.exists():
        beside = folder.with_name(f".{folder.name}.part")
        shutil.rmtree(beside, ignore_errors=True)
        beside.mkdir(parents=True)
        fill(beside)
        beside.rename(folder)
    return folder


def copy_all(source: Path, target: Path) -> None:
    """Copy all images of a folder a class."""
    write_index(target, copy_classes(source, target))


def copy_classes(
    source: Path, target: Path, classes: Collection[str] | None = None
) -> list[tuple[str, str]]:
    """Copy images of a folder a class, compressed alike; their names, and of which specimen."""
    index = find_index(source)
    rows = []
    for number, (path, name) in enumerate(listed_images(source)):
        if name == OUTSIDERS or (classes is not None and name not in classes):
            continue
        row = index.lookup(path) if index else None
        for place, plane in enumerate(_planes(path)):
            image = f"{name}/{path.stem}-{number}-{place}.jpg"
            _write(target / image, plane)
            rows.append((image, row.specimen if row and row.specimen else f"{name} {number}"))
    return rows


def write_index(folder: Path, rows: Sequence[tuple[str, str]]) -> None:
    """Write which specimen each image is of."""
    lines = ["image,specimen", *(f'{image},"{specimen}"' for image, specimen in rows)]
    (folder / "index.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")


def cut_materials(options: argparse.Namespace, target: Path) -> None:
    """Write parts of images, a class a folder, and an index that says of which image each is."""
    random = np.random.default_rng(0)
    rows = []
    for name, folder in options.materials:
        files = sorted(path for path in folder.rglob("*") if is_image_file(path))
        for file in random.permutation(np.array(files, object))[: options.images]:
            for number, part in enumerate(_parts(file, random)):
                image = f"{name}/{file.stem}-{number}.jpg"
                _write(target / image, part)
                rows.append((image, f"{name} {file.stem}"))
    write_index(target, rows)


def _parts(path: Path, random: np.random.Generator) -> Iterator[np.ndarray[Any, Any]]:
    for plane in _planes(path):
        side = min(PART_SIDE, *plane.shape)
        for _ in range(PARTS):
            y, x = (int(random.integers(0, length - side + 1)) for length in plane.shape)
            yield plane[y : y + side, x : x + side]


def _planes(path: Path) -> list[np.ndarray[Any, Any]]:
    try:
        return [*grey_planes(read_image(path, PixelSizes()))]
    except InputError:
        return []


def _write(path: Path, plane: np.ndarray[Any, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    _, content = cv2.imencode(".jpg", plane, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
    path.write_bytes(content.tobytes())


def require_untested(options: argparse.Namespace) -> None:
    """Refuse folders to learn from, or to choose by, that hold images of the test."""
    test = options.test.resolve()
    named = [folder for _, folder in (*options.train, *options.materials, *options.val)]
    for folder in (*named, *options.unlabelled):
        given = folder.resolve()
        if given.is_relative_to(test) or test.is_relative_to(given):
            raise SystemExit(f"{folder}: what is tested on must not be learnt from")


def trained(output: Path, *words: object) -> Path:
    """A model, trained unless that is done; a stopped training goes on."""
    if not output.exists():
        resume = ["--resume"] if [*output.parent.glob("*.checkpoint*")] else []
        call("train", *words, "-o", output, *resume)
    return output


def backbone(encoder: str, seed: int, training: list[Path], options: argparse.Namespace) -> Path:
    """A backbone that learnt without classes."""
    name = f"dino {encoder} {options.side} {options.backbone_iterations} {seed}".replace(" ", "_")
    folders = [word for one in [*training, *options.unlabelled] for word in ("--data", one)]
    size = ("--side", options.side, "--iterations", options.backbone_iterations)
    batch = ("--batch-size", options.batch_size, "--seed", seed, "--device", options.device)
    output = options.work / name / "backbone.safetensors"
    return trained(output, "backbone", *folders, "--encoder", encoder, *size, *batch)


def scores(
    run: dict[str, Any], training: list[Path], options: argparse.Namespace
) -> dict[str, Any]:
    """Train a network and score it on the test's tasks."""
    validation, test = make_split(run["split"], options)
    name = "_".join(map(str, run.values()))
    output = options.work / f"{name}_{options.side}_{options.iterations}" / "model.safetensors"
    start: object = "random"
    if run["start"] == "dino":
        start = backbone(run["encoder"], run["seed"], training, options)
    tasks = ("--ways", options.ways, "--shots", run["shots"])
    device = ("--device", options.device)
    recipe = (
        *("--encoder", run["encoder"], "--encoder-weights", start, "--seed", run["seed"]),
        *("--side", options.side, "--iterations", options.iterations, "--scale-free"),
        *("--validation-tasks", options.validation_tasks, "--tuning-steps", options.tuning_steps),
    )
    folders = [word for one in training for word in ("--data", one)]
    given = (*folders, "--val-data", validation, *tasks, *recipe, *device)
    model = trained(output, "few-shot", *given)
    found = model.with_name(f"test_{options.tasks}.json")
    if not found.exists():
        where = ("--model", model, "--data", test, "-o", found)
        call("evaluate", "few-shot", *where, *tasks, "--tasks", options.tasks, *device)
    measured: dict[str, Any] = json.loads(found.read_text(encoding="utf-8"))
    report = json.loads(model.with_name("training.json").read_text(encoding="utf-8"))
    return run | measured | {"by_rate": report["accuracy_by_tuning_rate"]}


def summary(runs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Means over splits and seeds, and the smallest and largest of them."""
    rows: dict[tuple[str, int, str], list[dict[str, Any]]] = {}
    for run in runs:
        rows.setdefault((run["encoder"], run["shots"], run["start"]), []).append(run)
    return [
        {"encoder": encoder, "shots": shots, "start": start, "runs": len(same)}
        | {score: _over([run[score]["mean"] for run in same]) for score in SCORES}
        for (encoder, shots, start), same in rows.items()
    ]


def _over(values: list[float]) -> dict[str, float]:
    return {"mean": statistics.mean(values), "smallest": min(values), "largest": max(values)}


def _named_folder(text: str) -> tuple[str, Path]:
    name, _, folder = text.partition("=")
    return name, Path(folder)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--train", type=_named_folder, nargs="*", default=[])
    parser.add_argument("--materials", type=_named_folder, nargs="*", default=[])
    parser.add_argument("--val", type=_named_folder, nargs="*", default=[])
    parser.add_argument("--test", type=Path, required=True)
    parser.add_argument("--unlabelled", type=Path, nargs="*", default=[])
    parser.add_argument("--images", type=int, default=20, help="of each folder of materials")
    parser.add_argument("--count", type=int, default=24, help="synthetic images of a class")
    parser.add_argument("--synthetic-side", type=int, default=512)
    parser.add_argument("--encoders", nargs="*", default=["resnet18"])
    parser.add_argument("--starts", nargs="*", choices=STARTS, default=STARTS)
    parser.add_argument("--ways", type=int, default=5)
    parser.add_argument("--shots", type=int, nargs="*", default=[1, 5])
    parser.add_argument("--splits", type=int, default=2)
    parser.add_argument("--runs", type=int, default=1)
    parser.add_argument("--tasks", type=int, default=100)
    parser.add_argument("--side", type=int, default=224)
    parser.add_argument("--iterations", type=int, default=10_000)
    parser.add_argument("--backbone-iterations", type=int, default=5000)
    parser.add_argument("--batch-size", type=int, default=32, help="of the backbone's training")
    parser.add_argument("--validation-tasks", type=int, default=30)
    parser.add_argument("--tuning-steps", type=int, default=50)
    parser.add_argument("--device", default="auto")
    options = parser.parse_args()
    named = ("encoders", "starts", "shots", "splits", "runs", "tasks")
    require_same_recipe(options, named)
    require_untested(options)
    training = make_training(options)
    wanted = [
        {"encoder": encoder, "shots": shots, "start": start, "split": split, "seed": seed}
        for encoder in options.encoders
        for shots in options.shots
        for split in range(options.splits)
        for seed in range(options.runs)
        for start in options.starts
    ]
    runs = [scores(run, training, options) for run in wanted]
    kept = ("ways", "tasks", "side", "iterations", "backbone_iterations", "batch_size", "splits")
    recipe = {key: getattr(options, key) for key in kept}
    found = {"summary": summary(runs), "runs": runs, "recipe": recipe, "hardware": hardware()}
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
