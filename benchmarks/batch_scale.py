"""Batches: memory of large images and stacks, what workers earn, what the batch layer costs.

python benchmarks/batch_scale.py --images FOLDER -o benchmarks/results/batch_scale.json

"large": an image of 16384² pixels segmented by a network and measured, at its peak of memory.
"stack": the same of 10, 50 and 200 planes. "workers": the images of FOLDER, several times over, by
one process of two threads, one worker and two workers of one thread each; all must find the same.
"overhead": a batch of 100 images in this process beside a loop over the core's own functions that
ends in a study with the same tables and report. Every
run is a process of its own, in turns; medians of the seconds.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from hardware import hardware
from large_images import peak_mib, write_plain, write_stack
from napari_metallography.batch.recipe import Recipe, parse_recipe
from napari_metallography.batch.results import write_results
from napari_metallography.batch.run import ItemState, run_batch
from napari_metallography.events import Event, drain, ignore
from napari_metallography.inputs import PixelSizes, image_files
from napari_metallography.quantification.files import quantify_file, without_pixels
from napari_metallography.quantification.point_count import PointGrid
from napari_metallography.quantification.study_files import write_study
from napari_metallography.reports import ReportHead
from napari_metallography.segmentation.files import segment_file
from napari_metallography.segmentation.model import load_model

QUICK = "segment: {prediction: {flips: false, scales: [1.0]}}\nquantify: {smallest_area_px: 16}\n"
THOROUGH = "segment:\nquantify: {smallest_area_px: 16}\n"
BY_VALUE = "segment: {method: threshold}\nquantify: {smallest_area_px: 16}\n"
SCALED = "calibrate: {pixel_size_um: 0.1}\n"
PLANES = (10, 50, 200)


# --- one run, in a process of its own --------------------------------------------------------


def batch_run(recipe: Recipe, inputs: Path, folder: Path) -> dict[str, float]:
    """Seconds of the whole and of the work alone, and MiB at the peak."""
    began = time.perf_counter()
    marks: list[float] = []

    def hear(event: Event) -> None:
        if isinstance(event, ItemState) and event.state in ("running", "done"):
            marks.append(time.perf_counter())

    done = drain(run_batch(recipe, [inputs], folder), hear)
    drain(write_results(done), ignore)
    if done.failed:
        raise SystemExit(f"{done.failed[0]}")
    work = marks[-1] - marks[0]
    return {"seconds": time.perf_counter() - began, "work_s": work, "peak_mib": peak_mib()}


def loop_run(recipe: Recipe, inputs: Path, folder: Path) -> dict[str, float]:
    """The same images by the core's functions, one after the other, and one study of them."""
    assert recipe.segment is not None
    assert recipe.quantify is not None
    rules = recipe.quantify
    sizes = PixelSizes(recipe.calibrate.pixel_size_um)
    began = time.perf_counter()
    model = load_model(recipe.segment.model) if recipe.segment.method == "model" else None
    measured = []
    for path in image_files([inputs]):
        drain(segment_file(path, folder, recipe.segment, sizes=sizes, model=model), ignore)
        labels = folder / f"{path.stem}_labels.tif"
        image = drain(quantify_file(labels, lambda _: rules, sizes=sizes, images=path), ignore)
        measured.append(without_pixels(image, PointGrid()))
    work = time.perf_counter() - began
    write_study(folder, measured, head=ReportHead("Loop"))
    seconds = time.perf_counter() - began
    return {"seconds": seconds, "work_s": work, "peak_mib": peak_mib()}


RUNS: dict[str, Callable[[Recipe, Path, Path], dict[str, float]]] = {
    "batch": batch_run,
    "loop": loop_run,
}


def in_a_process(how: str, recipe: str, inputs: Path, folder: Path, threads: int) -> dict[str, Any]:
    command = [sys.executable, __file__, "--of", how, recipe, str(inputs), str(folder)]
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


# --- what is compared ------------------------------------------------------------------------


def large(options: argparse.Namespace, work: Path) -> dict[str, Any]:
    """Peak of memory and seconds of one large image."""
    image = work / "large.tif"
    write_plain(image, options.side)
    recipes = {"threshold": BY_VALUE, "network": QUICK}
    found = {}
    for name in options.methods:
        found[name] = in_a_process("batch", SCALED + recipes[name], image, work / name, 1)
        told(f"large, {name}", found[name])
    return {"side_px": options.side, **found}


def stack(options: argparse.Namespace, work: Path) -> dict[str, Any]:
    """Peak of memory by the number of planes."""
    found = {}
    for planes in PLANES:
        path = work / f"stack{planes}.tif"
        write_stack(path, planes)
        out = work / f"out{planes}"
        found[str(planes)] = in_a_process("batch", SCALED + BY_VALUE, path, out, 1)
        told(f"{planes} planes", found[str(planes)])
    return found


def workers(options: argparse.Namespace, work: Path) -> dict[str, Any]:
    """Seconds of the whole command by who works; the digests of what was found must agree."""
    inputs = copied(options.images, work / "inputs", options.count)
    recipe = work / "recipe.yaml"
    recipe.write_text(THOROUGH, encoding="utf-8")
    cases = {
        "one process, two threads": ["--threads", "2"],
        "one worker, one thread": ["--workers", "1", "--threads", "1"],
        "two workers, one thread each": ["--workers", "2", "--threads", "1"],
    }
    seconds: dict[str, list[float]] = {name: [] for name in cases}
    digests = set()
    for run in range(options.runs):
        for name, words in cases.items():
            out = work / f"{name} {run}"
            began = time.perf_counter()
            call("batch", recipe, inputs, "-o", out, "--device", "cpu", *words)
            seconds[name].append(time.perf_counter() - began)
            digests.add(digest_of(out))
            told(name, {"seconds": seconds[name][-1]})
            shutil.rmtree(out)
    median = {name: statistics.median(one) for name, one in seconds.items()}
    two = median["two workers, one thread each"]
    return {
        "images": len(image_files([inputs])),
        "seconds": seconds,
        "median_seconds": median,
        "two_workers_to_one": median["one worker, one thread"] / two,
        "two_workers_to_one_process_of_two_threads": median["one process, two threads"] / two,
        "all_found_the_same": len(digests) == 1,
    }


def overhead(options: argparse.Namespace, work: Path) -> dict[str, Any]:
    """Seconds of a batch over those of a loop over the core."""
    inputs = copied(options.images, work / "inputs", 100)
    seconds: dict[str, list[float]] = {how: [] for how in RUNS}
    for run in range(options.runs):
        for how in RUNS:
            found = in_a_process(how, QUICK, inputs, work / f"{how}{run}", 1)
            seconds[how].append(found["seconds"])
            told(how, found)
    median = {how: statistics.median(one) for how, one in seconds.items()}
    return {
        "images": 100,
        "seconds": seconds,
        "median_seconds": median,
        "overhead": median["batch"] / median["loop"] - 1,
    }


def copied(images: Path, folder: Path, count: int) -> Path:
    """So many images: those there are, over and over."""
    folder.mkdir(parents=True)
    files = image_files([images])
    lines = ["image,pixel_size_um"]
    for number in range(count):
        name = f"{number:03d}{files[number % len(files)].suffix}"
        shutil.copy(files[number % len(files)], folder / name)
        lines.append(f"{name},0.1")
    (folder / "index.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


def digest_of(folder: Path) -> str:
    """Of all tables and labels of a batch."""
    whole = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if path.suffix in (".csv", ".tif", ".npz"):
            whole.update(str(path.relative_to(folder)).encode() + path.read_bytes())
    return whole.hexdigest()


def call(*words: object) -> None:
    """Run a command of the program."""
    command = [sys.executable, "-m", "napari_metallography", *map(str, words)]
    subprocess.run(command, check=True, capture_output=True)


def told(name: str, found: dict[str, Any]) -> None:
    print(f"{name}: {json.dumps(found)}", file=sys.stderr, flush=True)


PARTS = {"large": large, "stack": stack, "workers": workers, "overhead": overhead}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--of", nargs=4, help=argparse.SUPPRESS)
    parser.add_argument("--images", type=Path, help="folder of micrographs")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=[*PARTS])
    parser.add_argument("--methods", nargs="+", default=["threshold", "network"])
    parser.add_argument("--side", type=int, default=16384)
    parser.add_argument("--count", type=int, default=40, help="images of the workers")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("-o", "--output", type=Path)
    options = parser.parse_args()
    if options.of:
        how, recipe, inputs, folder = options.of
        print(json.dumps(RUNS[how](parse_recipe(recipe), Path(inputs), Path(folder))))
        return
    # Parts that were measured before stay, so that they can be measured one by one.
    found = json.loads(options.output.read_text()) if options.output.exists() else {}
    for name in options.only:
        with TemporaryDirectory() as work:
            found[name] = PARTS[name](options, Path(work)) | {"hardware": hardware()}
        options.output.parent.mkdir(parents=True, exist_ok=True)
        options.output.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
