"""Speed of structure classification: saliency with shared features, and many crops of an image.

python benchmarks/structure_speed.py --model MODEL -o benchmarks/results/structure_speed.json

The image is 1024 × 768 px, a quarter each of four synthetic structures. Saliency is compared with
the same windows put through the whole network one batch after the other: time, and the share of
windows and of pixels with the same most probable class ("none" counts as one). 1000 crops of the
image are classified and compared with bare forward passes of 1000 ready crops in the same batches.
On a processor the times are those it spent, so that other programs on the machine do not count.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hardware import hardware
from napari_metallography.calibration import Calibration
from napari_metallography.classification.crops import Crops
from napari_metallography.classification.saliency import (
    Saliency,
    default_window,
    saliency_map,
    window_starts,
)
from napari_metallography.classification.structure import MOST_CROPS, classify_plane, plane_reader
from napari_metallography.classification.structure_model import (
    CropReader,
    StructureModel,
    load_structure_model,
)
from napari_metallography.classification.structure_parameters import SaliencyParameters
from napari_metallography.devices import choose_device, keep_freed_memory
from napari_metallography.events import drain
from napari_metallography.synthesis.structures import StructureParameters, structure
from timing import timed

NAMES = ("pearlite-fine", "spheroidite-fine", "ferrite-martensite", "network")
SHAPE = (768, 1024)
SIZE = Calibration.square(0.02, "synthetic")
STRIDE = 20.0
WINDOWS = 64
CROPS = 40


def mixed(variant: str, seed: int) -> NDArray[np.uint8]:
    """A quarter each of four structures."""
    rows, columns = (length // 2 for length in SHAPE)
    shared = {"height_px": rows, "width_px": columns, "pixel_size_um": SIZE.mean_um}
    parts = [
        structure(StructureParameters(name=name, variant=variant, **shared), seed).image
        for name in NAMES
    ]
    return np.vstack([np.hstack(parts[:2]), np.hstack(parts[2:])])


def one_by_one(reader: CropReader, model: StructureModel, window: float) -> Saliency:
    """The same windows through the whole network."""
    shape = (int(reader.atlas.shapes[0][0]), int(reader.atlas.shapes[0][1]))
    tops, lefts = (window_starts(length, window, STRIDE) for length in shape)
    corners = torch.tensor([(y, x) for y in tops for x in lefts], dtype=torch.float32)
    parts = [corners[begin : begin + WINDOWS] for begin in range(0, len(corners), WINDOWS)]
    found = [forward(reader, model, part, window) for part in parts]
    probabilities = model.network.gaussians.cpu().probabilities(torch.cat(found))
    windows = probabilities.reshape(len(tops), len(lefts), -1).numpy()
    return Saliency(windows, tops, lefts, window, shape)


def forward(reader: CropReader, model: StructureModel, corners: Tensor, window: float) -> Tensor:
    """Descriptors (B, 2) of windows that begin at corners (B, 2)."""
    still, sides = torch.zeros(len(corners)), torch.full((len(corners),), window)
    crops = Crops(still.long(), corners + window / 2, sides, still, still.bool())
    magnifications = reader.magnifications(still.long(), sides).to(reader.atlas.device)
    with torch.no_grad():
        pixels = reader.normalised(reader.atlas.cut(crops, model.shown.side))
        descriptors: Tensor = model.network(pixels, magnifications)
    return descriptors.cpu()


def saliency(model: StructureModel, device: torch.device, window: float, runs: int) -> Any:
    """Times and agreement on two images: of the training's kind, and of the other."""
    images = {variant: mixed(variant, 1000) for variant in ("a", "b")}
    readers = {
        variant: plane_reader(plane, SIZE, model, device, variant)
        for variant, plane in images.items()
    }
    window = window or default_window(readers["a"])
    parameters = SaliencyParameters(window_px=window, stride_px=STRIDE)
    shared = {
        variant: drain(saliency_map(plane, SIZE, model, device, parameters))
        for variant, plane in images.items()
    }
    alone = {variant: one_by_one(reader, model, window) for variant, reader in readers.items()}
    seconds = timed(
        {
            "shared": lambda: drain(saliency_map(images["a"], SIZE, model, device, parameters)),
            "one by one": lambda: one_by_one(readers["a"], model, window),
        },
        runs,
        clock(device),
    )
    return {
        "image": [*SHAPE],
        "window_px": window,
        "stride_px": STRIDE,
        "windows": int(np.prod(shared["a"].windows.shape[:2])),
        "seconds": seconds,
        "times_as_fast": ratio(seconds["one by one"], seconds["shared"]),
        "agreement": {variant: agreement(shared[variant], alone[variant]) for variant in images},
    }


def agreement(one: Saliency, other: Saliency) -> dict[str, float]:
    """Shares of windows and pixels with the same most probable class."""
    windows = one.windows.argmax(2) == other.windows.argmax(2)
    leads = np.diff(np.sort(other.windows, 2)[..., -2:], axis=2)
    return {
        "windows": float(windows.mean()),
        "pixels": float((one.labels() == other.labels()).mean()),
        "none_of_windows": float(other.windows[..., -1].mean()),
        "median_lead_of_windows": float(np.median(leads)),
    }


def crops(model: StructureModel, device: torch.device, runs: int) -> dict[str, Any]:
    """1000 crops of an image, and the bare passes of 1000 ready ones."""
    plane = mixed("a", 1000)
    side = model.shown.side
    ready = torch.zeros(CROPS, 1, side, side, device=device)
    ready = ready.contiguous(memory_format=torch.channels_last)
    magnifications = torch.zeros(CROPS, device=device)

    def passes() -> None:
        with torch.no_grad():
            for _ in range(MOST_CROPS // CROPS):
                model.network(ready, magnifications).cpu()

    def classified() -> None:
        drain(classify_plane(plane, SIZE, model, device, crops=MOST_CROPS))

    seconds = timed({"classified": classified, "bare passes": passes}, runs, clock(device))
    times = ratio(seconds["classified"], seconds["bare passes"])
    return {"crops": MOST_CROPS, "batch": CROPS, "seconds": seconds, "times_bare_passes": times}


def clock(device: torch.device) -> Callable[[], float]:
    return time.process_time if device.type == "cpu" else time.perf_counter


def ratio(slower: list[float], faster: list[float]) -> float:
    """Median of the ratios, run by run."""
    return statistics.median(s / f for s, f in zip(slower, faster, strict=True))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", required=True)
    parser.add_argument("-o", "--output", type=Path)
    parser.add_argument("--window", type=float, nargs="*", default=[0], help="0: the default one")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--device", default="auto")
    options = parser.parse_args()
    keep_freed_memory()
    model, device = load_structure_model(options.model), choose_device(options.device)
    model.network.core.to(device)
    report = {
        "hardware": hardware(),
        "model": {
            "digest": model.digest,
            "side_px": model.shown.side,
            "classes": list(model.names[:-1]),
            "iterations": model.card.training.get("iterations"),
            "scores": model.card.metrics,
        },
        "saliency": [saliency(model, device, window, options.runs) for window in options.window],
        "crops": crops(model, device, options.runs),
    }
    text = json.dumps(report, indent=1)
    print(text)
    if options.output:
        options.output.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
