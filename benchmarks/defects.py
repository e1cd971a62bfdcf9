"""PDMSNet beside other networks: cost, and accuracy after equal trainings.

python benchmarks/defects.py split --data FOLDER -o FOLDER
python benchmarks/defects.py cost -o benchmarks/results/defects_cost.json
python benchmarks/defects.py compare --data FOLDER --split LIST --val-split LIST --work FOLDER \\
    --iterations 500 -o benchmarks/results/defects_comparison.json

`split` holds out a fifth of each class (outer.txt), and of the rest a part to make choices by
(inner_train.txt, inner_val.txt); near-duplicates stay together. `compare` trains each network with
the same batches, augmentation and schedule; what is done is kept in the work folder, and `--only`
names networks. Nothing is chosen by the scores: each is that of the last weights.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torchvision import models

from hardware import hardware
from napari_metallography.classification.images import ClassifiedImages, read_classified
from napari_metallography.classification.inference import deployed
from napari_metallography.classification.pdmsnet import DESIGNS, SIDE, Design, PdmsNet
from napari_metallography.classification.splitting import held_out
from napari_metallography.cli.options import stems
from napari_metallography.devices import choose_device, keep_freed_memory
from napari_metallography.evaluation.classes import class_scores
from napari_metallography.events import drain
from napari_metallography.models.card import DefectInput
from napari_metallography.training.descent import set_rate
from napari_metallography.training.image_samples import ImageSampler, varied
from napari_metallography.training.recipe import DefectRecipe
from network_cost import cost as network_cost
from timing import timed

OUTER_SHARE = 0.2
INNER_SHARE = 0.15

Maker = Callable[[int], nn.Module]


def _designed(design: Design) -> Maker:
    return lambda classes: PdmsNet(classes, design)


def _others() -> dict[str, Maker]:
    return {
        "resnet18": lambda classes: models.resnet18(num_classes=classes),
        "mobilenet_v3_large": lambda classes: models.mobilenet_v3_large(num_classes=classes),
        "squeezenet1_0": lambda classes: models.squeezenet1_0(num_classes=classes),
    }


def _ablation() -> dict[str, Maker]:
    whole, partly = DESIGNS["squeezenet-dms"], DESIGNS["pdmsnet"]
    kernels = [(3,), (3, 5), (3, 5, 7), (3, 5, 7, 9)]
    spliced = [(True, False), (False, True)]
    found = {f"dms {k}": _designed(replace(whole, kernels=k)) for k in kernels}
    return found | {f"spliced {s}": _designed(replace(partly, spliced=s)) for s in spliced}


def makers() -> dict[str, Maker]:
    rows = {name: _designed(design) for name, design in DESIGNS.items()}
    return rows | _others() | _ablation()


# --- split -----------------------------------------------------------------------------------


def split(data: Path, folder: Path, seed: int) -> dict[str, int]:
    images = _images(data)
    outer = held_out(images, OUTER_SHARE, seed)
    rest = images.where(~outer)
    inner = held_out(rest, INNER_SHARE, seed)
    parts = {
        "outer": images.where(outer).files,
        "rest": rest.files,
        "inner_val": rest.where(inner).files,
        "inner_train": rest.where(~inner).files,
    }
    folder.mkdir(parents=True, exist_ok=True)
    for name, files in parts.items():
        (folder / f"{name}.txt").write_text("\n".join(files) + "\n", encoding="utf-8")
    return {name: len(files) for name, files in parts.items()}


def _images(data: Path, listed: Path | None = None, side: int = SIDE) -> ClassifiedImages:
    files = stems(listed)
    quality = DefectInput().jpeg_quality
    return drain(read_classified(data, side=side, quality=quality, files=files))


# --- cost ------------------------------------------------------------------------------------


def cost(runs: int, classes: int = 6) -> dict[str, Any]:
    """Parameters, operations, and images a second as ratios to ResNet18, run in turn."""
    made = {name: make(classes).eval() for name, make in makers().items()}
    ready = {name: _ready(network) for name, network in made.items()}
    speeds = {f"batch {size}": _speeds(ready, size, runs) for size in (1, 64)}
    return {
        "networks": {name: network_cost(network) for name, network in made.items()},
        "images_a_second": speeds,
        "ratio_to_resnet18": {
            batch: {name: rate / rates["resnet18"] for name, rate in rates.items()}
            for batch, rates in speeds.items()
        },
        "runs": runs,
    }


def _ready(network: nn.Module) -> nn.Module:
    """Each in the form that it is fastest in."""
    if isinstance(network, PdmsNet):
        return deployed(network)
    return network.to(memory_format=torch.channels_last)


def _speeds(networks: dict[str, nn.Module], size: int, runs: int) -> dict[str, float]:
    images = torch.zeros(size, 3, SIDE, SIDE).contiguous(memory_format=torch.channels_last)
    jobs: dict[str, Callable[[], Any]] = {
        name: partial(_applied, network, images) for name, network in networks.items()
    }
    seconds = timed(jobs, runs)
    return {name: size / statistics.median(taken) for name, taken in seconds.items()}


def _applied(network: nn.Module, images: Tensor) -> Tensor:
    with torch.inference_mode():
        logits: Tensor = network(images)
    return logits


# --- comparison ------------------------------------------------------------------------------


def compare(options: argparse.Namespace) -> dict[str, Any]:
    training = _images(options.data, options.split, options.side)
    validation = _images(options.val_data or options.data, options.val_split, options.side)
    recipe = DefectRecipe(iterations=options.iterations)
    names = options.only or [*makers()]
    shown = (training.digest() + validation.digest())[:: len(training.digest()) // 4]
    found = {}
    for name in names:
        for seed in range(options.runs):
            kept = options.work / f"{name} {recipe.iterations} {seed} {shown}.json"
            if not kept.exists():
                changed = recipe.model_copy(update={"seed": seed})
                scores = _scored(name, training, validation, changed, options.device)
                kept.parent.mkdir(parents=True, exist_ok=True)
                kept.write_text(json.dumps(scores), encoding="utf-8")
            found[f"{name}, run {seed}"] = json.loads(kept.read_text(encoding="utf-8"))
    return {
        "networks": found,
        "side": options.side,
        "recipe": recipe.model_dump(),
        "epochs": recipe.iterations * recipe.batch_size / len(training),
        "images": {"training": len(training), "validation": len(validation)},
    }


def _scored(
    name: str,
    training: ClassifiedImages,
    validation: ClassifiedImages,
    recipe: DefectRecipe,
    device: torch.device,
) -> dict[str, Any]:
    torch.manual_seed(recipe.seed)
    network = makers()[name](len(training.names)).to(device).to(memory_format=torch.channels_last)
    start = time.perf_counter()
    _train(network, training, recipe, device)
    seconds = time.perf_counter() - start
    logits = _logits(network.eval(), validation, _scale(training), device)
    found = class_scores(validation.classes, logits.argmax(1).numpy(), validation.names)
    scores = {key: found[key] for key in ("accuracy", "macro_f1")}
    return {**scores, **network_cost(network.cpu()), "seconds_of_training": seconds}


def _scale(images: ClassifiedImages) -> tuple[float, float]:
    values = images.pixels[:, ::4, ::4].astype(np.float32)
    return float(values.mean()), float(values.std())


def _train(
    network: nn.Module, images: ClassifiedImages, recipe: DefectRecipe, device: torch.device
) -> None:
    sampler = ImageSampler(images, recipe.balance, recipe.seed, device)
    optimiser = torch.optim.AdamW(network.parameters(), recipe.learning_rate, weight_decay=0)
    random = torch.Generator().manual_seed(recipe.seed)
    mean, std = _scale(images)
    network.train()
    for iteration in range(recipe.iterations):
        set_rate(optimiser, recipe.learning_rate_at(iteration))
        pixels, shares = sampler.batch(iteration, recipe.batch_size)
        batch = (varied(pixels, recipe.augmentation, random) - mean) / std
        optimiser.zero_grad()
        loss = functional.cross_entropy(
            network(batch.contiguous(memory_format=torch.channels_last)), shares
        )
        torch.autograd.backward(loss)
        optimiser.step()


def _logits(
    network: nn.Module, images: ClassifiedImages, scale: tuple[float, float], device: torch.device
) -> Tensor:
    mean, std = scale
    pixels = torch.from_numpy(images.pixels).permute(0, 3, 1, 2)
    parts = [
        _applied(network, (pixels[start : start + 32].to(device) - mean) / std).cpu()
        for start in range(0, len(pixels), 32)
    ]
    return torch.cat(parts)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("part", choices=("split", "cost", "compare"))
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--val-data", type=Path, help="default: the same folder")
    parser.add_argument("--split", type=Path)
    parser.add_argument("--val-split", type=Path)
    parser.add_argument("--work", type=Path, default=Path("work"))
    parser.add_argument("--side", type=int, default=SIDE, help="of the images in `compare`")
    parser.add_argument("--iterations", type=int, default=500)
    parser.add_argument("--runs", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", nargs="*")
    parser.add_argument("--device", type=choose_device, default=choose_device("auto"))
    options = parser.parse_args()
    keep_freed_memory()
    if options.part == "split":
        print(split(options.data, options.output, options.seed))
        return
    found = cost(options.runs) if options.part == "cost" else compare(options)
    options.output.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps({**found, "hardware": hardware()}, indent=1)
    options.output.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
