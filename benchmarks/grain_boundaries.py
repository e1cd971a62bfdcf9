"""The model `grain-boundaries`: its training data, its training, and how exact it is.

python benchmarks/grain_boundaries.py --tbm TBM_FOLDER --work FOLDER -o RESULT.json

Two thirds of the training crops are synthetic polycrystals, whose truth leaves twins out, one
third are TBM pairs of twelve source images; the other four are held out. What is not in the work
folder is made, and trained with the command line (which goes on after a stop). Scores: boundary
F1 at two pixels and the mean intercept in pixels (TBM has no scale), with the annotated crops
measured by the same lines. The training needs the extra [imagenet].
"""

from __future__ import annotations

import argparse
import csv
import json
import math
import statistics
import subprocess
import sys
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from skimage import io

import other_polycrystals
from hardware import hardware
from napari_metallography.calibration import Calibration
from napari_metallography.evaluation.boundaries import evaluate_files
from napari_metallography.events import drain
from napari_metallography.grains.by_network import ByLineNetwork
from napari_metallography.grains.finding import ByEtching, Finding
from napari_metallography.grains.grading import Method
from napari_metallography.grains.line_model import load_line_model
from napari_metallography.grains.model_boundaries import ByModel, load_boundary_model
from napari_metallography.grains.plan import GradingPlan, graded
from napari_metallography.inputs import PixelSizes, image_files
from napari_metallography.samples import sample_path
from napari_metallography.synthesis.polycrystals import PolycrystalParameters, polycrystal
from timing import timed

CLASSES = "grain,boundary"
LICENCE = "synthetic: none needed; TBM: MIT"
ATTRIBUTION = "TBM: MLOgraphy++ data set, MIT licence"
EVERY = 4
"""One in so many TBM source images is held out, from the second on."""

SIDE = 256
MEAN_INTERCEPT_PX = (12.0, 70.0)
REPEATED = 2
_AROUND = 1

Bytes = NDArray[np.uint8]


def tbm_pairs(folder: Path, *, held_out: bool) -> Iterator[tuple[str, Bytes, Bytes]]:
    """Name, image and mask (0 or 1) of the pairs of the source images held out, or of the others.

    A file's name begins with the number of its source image.
    """
    images = folder / "AutoSAM_256" / "TrainDataset" / "images"
    files = sorted(images.glob("*.png"))
    sources = sorted({int(file.name.split("-")[0]) for file in files})
    kept_apart = set(sources[1::EVERY])
    for file in files:
        if (int(file.name.split("-")[0]) in kept_apart) == held_out:
            mask = io.imread(images.parent / "masks" / file.name)
            yield file.stem, io.imread(file), (mask > mask.max() / 2).astype(np.uint8)


def synthetic_pair(number: int) -> tuple[Bytes, Bytes]:
    """A polycrystal as different from the others as micrographs are, and its true boundaries."""
    rng = np.random.default_rng([number, 11])
    intercept_px = math.exp(rng.uniform(*np.log(MEAN_INTERCEPT_PX)))
    made = polycrystal(_parameters(intercept_px, rng), int(rng.integers(2**31)))
    return made.image, _widened(made.boundaries)


def _parameters(intercept_px: float, rng: np.random.Generator) -> PolycrystalParameters:
    def at_times(share: float, most: float) -> float:
        return float(rng.uniform(0, most)) if rng.random() < share else 0.0

    # 1 um a pixel: the network is not told the scale.
    grain_size = -6.643856 * math.log10(intercept_px / 1000) - 3.288
    return PolycrystalParameters(
        height_px=SIDE,
        width_px=SIDE,
        pixel_size_um=1.0,
        grain_size=grain_size,
        sigma_ln=rng.uniform(0, 0.9),
        etch=rng.choice(["boundaries", "grains", "colour"], p=[0.5, 0.25, 0.25]),
        boundary_px=rng.uniform(0.8, min(5.0, 0.2 * intercept_px)),
        contrast=math.exp(rng.uniform(*np.log((0.12, 0.7)))),
        missing=at_times(0.6, 0.25),
        grain_grey=rng.uniform(0, 25),
        twinned=at_times(0.4, 0.4),
        scratches=int(rng.poisson(1.5)),
        pits=at_times(0.6, 250),
        blur_px=rng.uniform(0.3, min(2.5, 0.1 * intercept_px)),
        illumination=rng.uniform(0, 0.35),
        noise=rng.uniform(0.5, 14),
    )


def _widened(lines: NDArray[np.bool_]) -> Bytes:
    """Lines of one pixel as wide as those drawn by people: three pixels."""
    wide = np.pad(lines, _AROUND)
    height, width = lines.shape
    reach = range(2 * _AROUND + 1)
    moved = [wide[y : y + height, x : x + width] for y in reach for x in reach]
    return np.asarray(np.logical_or.reduce(moved), np.uint8)


def write_training_data(tbm: Path, folder: Path, synthetic: int) -> None:
    """Images and labels (0 grain, 1 boundary) in folders of these names."""
    listing = folder / "sources.csv"
    if listing.exists():
        return
    rows = []
    for number in range(synthetic):
        _write(folder, f"synthetic-{number:04d}", *synthetic_pair(number))
        rows.append((f"synthetic-{number:04d}", "synthetic"))
    for name, image, mask in tbm_pairs(tbm, held_out=False):
        for copy in range(REPEATED):
            _write(folder, f"tbm-{name}-{copy}", image, mask)
            rows.append((f"tbm-{name}-{copy}", name.split("-")[0]))
    with listing.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("stem", "source"), *rows])


def _write(folder: Path, stem: str, image: Bytes, labels: Bytes) -> None:
    for kind, pixels in (("images", image), ("labels", labels)):
        (folder / kind).mkdir(parents=True, exist_ok=True)
        io.imsave(folder / kind / f"{stem}.png", pixels, check_contrast=False)


def train(folder: Path, model: Path, options: list[str]) -> None:
    """Train through the command line unless the model is there."""
    if model.exists():
        return
    model.parent.mkdir(parents=True, exist_ok=True)
    subprocess.run(
        [
            *(sys.executable, "-m", "napari_metallography", "train", "segmentation"),
            *("--images", str(folder / "images"), "--labels", str(folder / "labels")),
            *("--classes", CLASSES, "--crop", "224", "--batch-size", "6"),
            *("--data-name", "synthetic polycrystals and TBM", "--licence", LICENCE),
            *("--attribution", ATTRIBUTION, "--resume", "--output", str(model), *options),
        ],
        check=True,
    )


# --- scores ------------------------------------------------------------------------------------


def of_tbm(tbm: Path, folder: Path, findings: Mapping[str, Finding]) -> dict[str, Any]:
    """Scores on the pairs held out."""
    pairs = list(tbm_pairs(tbm, held_out=True))
    for name, image, mask in pairs:
        _write(folder, name, image, mask)
    files = image_files([folder / "images"])
    found: dict[str, Any] = {"pairs": len(pairs), "held_out_sources": _sources(pairs)}
    for name, finding in findings.items():
        running = evaluate_files(files, folder / "labels", finding, PixelSizes())
        found[name] = drain(running)
    return found


def _sources(pairs: list[tuple[str, Bytes, Bytes]]) -> list[int]:
    return sorted({int(name.split("-")[0]) for name, _, _ in pairs})


def of_nist(findings: Mapping[str, Finding], network: ByLineNetwork) -> dict[str, Any]:
    """G of the raw steel, 10.3 by the boundaries that were highlighted by hand."""
    pixels = np.asarray(io.imread(sample_path("grain_structures_steel")))
    pixels = np.repeat(pixels[..., None], 3, 2) if pixels.ndim == 2 else pixels[..., :3]
    size = Calibration.square(50 / 222, "scale bar")
    methods: tuple[Method, ...] = ("lines", "circles", "planimetric", "automatic")
    found: dict[str, Any] = {}
    for name, finding in findings.items():
        by_method = drain(graded(GradingPlan(methods, finding=finding), pixels, size, "NIST"))
        found[name] = {method: one.g for method, one in by_method.items()}
    alone = GradingPlan(("network",), network=network)
    return {**found, "line network": drain(graded(alone, pixels, size, "NIST"))["network"].g}


def of_other_polycrystals(findings: Mapping[str, Finding], images: int) -> dict[str, Any]:
    """Errors of G by lines on the second generator's images."""
    errors: dict[str, list[float]] = {name: [] for name in findings}
    for number in range(images):
        made = other_polycrystals.other_polycrystal(number, seed=5)
        pixels = np.repeat(made.image[..., None], 3, 2)
        size = Calibration.square(made.pixel_size_um, "synthetic")
        for name, finding in findings.items():
            plan = GradingPlan(("lines",), finding=finding)
            found = drain(graded(plan, pixels, size, "image"))["lines"]
            errors[name].append(found.g - made.grain_size)
    return {"images": images, **{name: _spread(values) for name, values in errors.items()}}


def _spread(errors: list[float]) -> dict[str, float]:
    return {
        "bias_G": statistics.mean(errors),
        "mean_abs_error_G": statistics.mean(map(abs, errors)),
        "largest_abs_error_G": max(map(abs, errors)),
    }


def seconds(findings: Mapping[str, Finding], runs: int) -> dict[str, Any]:
    """To the grains of an image of 832 x 1144 pixels, run in turn."""
    made = other_polycrystals.other_polycrystal(5)
    pixels = np.repeat(made.image[..., None], 3, 2)

    def job(finding: Finding) -> int:
        return drain(finding.grains(pixels, None)).n

    taken = timed({name: partial(job, one) for name, one in findings.items()}, runs)
    medians = {name: statistics.median(values) for name, values in taken.items()}
    return {"runs": runs, "median_seconds": medians}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tbm", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--model", help="score this one; default: train it in the work folder")
    parser.add_argument("--synthetic", type=int, default=160, help="images to train on")
    parser.add_argument("--iterations", type=int, default=700)
    parser.add_argument("--images", type=int, default=28, help="of the second generator")
    parser.add_argument("--runs", type=int, default=5)
    options = parser.parse_args()
    name = options.model
    if name is None:
        name = str(options.work / "grain-boundaries.safetensors")
        write_training_data(options.tbm, options.work / "training", options.synthetic)
        iterations = ["--iterations", str(options.iterations)]
        train(options.work / "training", Path(name), iterations)
    cpu = torch.device("cpu")
    model = load_boundary_model(name)
    findings: dict[str, Finding] = {"etched": ByEtching(), "model": ByModel(model, cpu)}
    network = ByLineNetwork(load_line_model("grain-line-net"), cpu)
    report = {
        "hardware": hardware(),
        "model_digest": model.digest,
        "training": model.card.training,
        "tbm": of_tbm(options.tbm, options.work / "held_out", findings),
        "nist_raw_G": of_nist(findings, network),
        "second_generator": of_other_polycrystals(findings, options.images),
        "cost": seconds(findings, options.runs),
    }
    options.output.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
