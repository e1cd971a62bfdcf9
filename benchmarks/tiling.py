"""Speed and memory of tiled segmentation; its peer is MONAI's sliding_window_inference.

python benchmarks/tiling.py -o benchmarks/results/tiling.json      (needs: monai)
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from hardware import hardware
from napari_metallography.events import drain
from napari_metallography.inputs import PixelSizes, read_image
from napari_metallography.plane import as_plane
from napari_metallography.regions import Field
from napari_metallography.samples import sample_path
from napari_metallography.segmentation.folding import folded
from napari_metallography.segmentation.model import load_model
from napari_metallography.segmentation.prediction import (
    QUICK,
    Predictor,
    predict,
)
from timing import timed

WINDOW, STRIDE, BATCH = 256, 128, 8
MEMORY_SIDE = 8192


def micrograph(shape: tuple[int, int]) -> NDArray[np.uint8]:
    """A sample micrograph repeated by reflection to any shape."""
    tile = np.asarray(read_image(sample_path("uhcs1061"), PixelSizes()).pixels)
    rows, columns = (max(0, n - m) for n, m in zip(shape, tile.shape, strict=True))
    padded = np.pad(tile, ((0, rows), (0, columns)), mode="symmetric")
    return np.ascontiguousarray(padded[: shape[0], : shape[1]])


def predictor(device: str, mode: str = "fast") -> Predictor:
    model = load_model("uhcs-carbides")
    classes = len(model.card.classes)
    parameters = QUICK.model_copy(update={"mode": mode})
    return Predictor(
        model.network, model.card.normalisation, classes, torch.device(device), parameters
    )


def ours(image: NDArray[np.uint8], network: Predictor) -> NDArray[np.uint8]:
    return drain(predict(as_plane(image), Field(image.shape), network)).indices


def monai(
    image: NDArray[np.uint8], network: Predictor, model: torch.nn.Module
) -> NDArray[np.uint8]:
    """The peer with a model that lies on the device in channels-last order, as ours does."""
    from monai.inferers.utils import sliding_window_inference

    plane = as_plane(image)
    pixels = plane.rgb8(slice(None), slice(None))
    with torch.inference_mode():
        tensor = torch.from_numpy(pixels).to(network.device).permute(2, 0, 1)[None].float()
        mean, std = (
            torch.tensor(values, device=network.device).view(1, 3, 1, 1)
            for values in (network.normalisation.mean, network.normalisation.std)
        )
        normalised = ((tensor - mean) / std).contiguous(memory_format=torch.channels_last)
        logits = sliding_window_inference(
            normalised, (WINDOW, WINDOW), BATCH, model, overlap=0.5, mode="constant"
        )
        indices: NDArray[np.uint8] = logits[0].argmax(0).byte().cpu().numpy()
        return indices


def speed(shape: tuple[int, int], runs: int, device: str) -> dict[str, Any]:
    image, network, by_paper = micrograph(shape), predictor(device), predictor(device, "paper")
    plain = network.network.to(network.device).to(memory_format=torch.channels_last)
    light = folded(plain).to(memory_format=torch.channels_last)
    seconds = timed(
        {
            "fast": lambda: ours(image, network),
            "paper": lambda: ours(image, by_paper),
            "monai": lambda: monai(image, network, plain),
            "monai_folded": lambda: monai(image, network, light),
        },
        runs,
    )
    fast, paper = ours(image, network), ours(image, by_paper)
    return {
        "image": list(shape),
        "runs": runs,
        "seconds": seconds,
        "median_seconds": {name: statistics.median(s) for name, s in seconds.items()},
        "fast_over_paper_throughput": ratio(seconds["paper"], seconds["fast"]),
        "paper_over_monai_throughput": ratio(seconds["monai"], seconds["paper"]),
        "paper_over_monai_with_our_folded_network": ratio(
            seconds["monai_folded"], seconds["paper"]
        ),
        "paper_agrees_with_monai": float((paper == monai(image, network, plain)).mean()),
        "fast_agrees_with_paper": float((fast == paper).mean()),
    }


def ratio(slower: list[float], faster: list[float]) -> float:
    """Median of the ratios, run by run."""
    return statistics.median(s / f for s, f in zip(slower, faster, strict=True))


def peak_memory() -> dict[str, Any]:
    """Peak resident memory beyond that before the call, in a process of its own."""
    done = subprocess.run(
        [sys.executable, __file__, "--memory"], capture_output=True, text=True, check=True
    )
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def peak_resident_kib() -> int:
    """The `VmHWM` of Linux: `getrusage` would begin with the peak of the parent process."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))


def print_memory() -> None:
    """Segment 8192×8192 and print the growth of the peak resident memory."""
    image, network = micrograph((MEMORY_SIDE, MEMORY_SIDE)), predictor("cpu")
    before = peak_resident_kib()
    start = time.perf_counter()
    ours(image, network)
    peak = peak_resident_kib()
    report = {
        "image": [MEMORY_SIDE, MEMORY_SIDE],
        "extra_gib": (peak - before) / 2**20,
        "seconds": time.perf_counter() - start,
    }
    print(json.dumps(report))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-o", "--output", type=Path)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--memory", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    if options.memory:
        print_memory()
        return
    report = {"hardware": hardware(), "speed": speed((1536, 2048), options.runs, options.device)}
    report["memory"] = peak_memory()
    text = json.dumps(report, indent=1)
    print(text)
    if options.output:
        options.output.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
