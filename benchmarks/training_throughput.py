"""Speed of making training samples and of whole training steps; the peer is a DataLoader.

python benchmarks/training_throughput.py --data UHCS_FOLDER \
    -o benchmarks/results/training_throughput.json                     (needs: torchvision)

The peer does what a conventional training does: a Dataset of decoded images, torchvision v2
transforms an image at a time in two worker processes, collation, transfer to the device. Both
make the same kind of sample: a crop at a random angle, scale and mirroring, changed in brightness
and contrast, with holes, normalised.
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision import tv_tensors
from torchvision.transforms import InterpolationMode, v2

from hardware import hardware
from napari_metallography.inputs import PixelSizes
from napari_metallography.labelled import LabelledImage, read_labelled_folder
from napari_metallography.models.card import Network
from napari_metallography.training.job import TrainingJob
from napari_metallography.training.recipe import SegmentationRecipe
from napari_metallography.training.segmentation import initial_state, several_devices
from napari_metallography.training.start import Start
from napari_metallography.training.step import Step

BATCH, CROP, CLASSES, WORKERS = 8, 256, 4, 2
NETWORK = Network(architecture="unet", encoder="efficientnet-lite0")

Batch = tuple[Tensor, Tensor]


class Crops(Dataset[Batch]):
    """Crops of decoded images by torchvision, one at a time."""

    def __init__(self, images: Sequence[LabelledImage], length: int) -> None:
        self.pairs = [
            (
                tv_tensors.Image(torch.from_numpy(image.pixels).permute(2, 0, 1)),
                tv_tensors.Mask(torch.from_numpy(image.labels)),
            )
            for image in images
        ]
        self.length = length
        self.transform = v2.Compose(
            [
                v2.RandomHorizontalFlip(),
                v2.RandomAffine(
                    180,
                    scale=(1 / 1.5, 1.5),
                    interpolation=InterpolationMode.BILINEAR,
                    fill={tv_tensors.Image: 0, tv_tensors.Mask: 255},
                ),
                v2.RandomCrop(CROP, pad_if_needed=True),
                v2.ColorJitter(brightness=0.25, contrast=0.5),
                v2.ToDtype({tv_tensors.Image: torch.float32, "others": None}, scale=True),
                v2.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
                v2.RandomErasing(scale=(0.0004, 0.0005), ratio=(1, 1)),
            ]
        )

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> Batch:
        image, labels = self.transform(*self.pairs[index % len(self.pairs)])
        return image, labels


def peer(images: Sequence[LabelledImage], batches: int, device: torch.device) -> Iterator[Batch]:
    loader = DataLoader(
        Crops(images, batches * BATCH), batch_size=BATCH, num_workers=WORKERS, drop_last=True
    )
    for pixels, labels in loader:
        yield pixels.to(device), labels.to(device).long()


def seconds_each(make: Callable[[], Any], warm_up: int, count: int, device: torch.device) -> float:
    """Mean seconds of `count` calls after some that warm up."""
    for _ in range(warm_up):
        make()
    synchronise(device)
    start = time.perf_counter()
    for _ in range(count):
        make()
    synchronise(device)
    return (time.perf_counter() - start) / count


def synchronise(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


def job(images: Sequence[LabelledImage], device: torch.device) -> TrainingJob:
    recipe = SegmentationRecipe(batch_size=BATCH, crop=CROP)
    return TrainingJob(images, [], Start(NETWORK), CLASSES, recipe, device)


def learn(step: Step, source: Iterator[Batch], state: Any) -> None:
    """The same step of descent on batches from elsewhere."""
    step.learn(*next(source), state)


def throughput(images: Sequence[LabelledImage], device: torch.device, runs: int) -> dict[str, Any]:
    task = job(images, device)
    state = initial_state(task)
    step = Step(state, task, several_devices(task))
    loaded, memory = peer(images, 100_000, device), next(peer(images, 1, device))
    sources: dict[str, Callable[[], Any]] = {
        "samples": lambda: step.batch(state),
        "samples_dataloader": lambda: next(loaded),
        "step": lambda: step.run(state),
        "step_dataloader": lambda: learn(step, loaded, state),
        "step_synthetic": lambda: learn(step, itertools.repeat(memory), state),
    }
    measured: dict[str, list[float]] = {name: [] for name in sources}
    for _, (name, make) in itertools.product(range(runs), sources.items()):
        # What the workers have prepared beforehand, two batches each, must not count.
        warm_up, count = (4 * WORKERS, 40) if name.startswith("samples") else (1, 5)
        measured[name].append(seconds_each(make, warm_up, count, device))
    return report(measured)


def report(measured: dict[str, list[float]]) -> dict[str, Any]:
    """Seconds a batch, and our throughput over the peer's: medians of the run-by-run ratios."""

    def ratio(slower: str, faster: str) -> float:
        pairs = zip(measured[slower], measured[faster], strict=True)
        return statistics.median(s / f for s, f in pairs)

    return {
        "batch": [BATCH, 3, CROP, CROP],
        "seconds_a_batch": measured,
        "median_seconds": {name: statistics.median(s) for name, s in measured.items()},
        "samples_over_dataloader": ratio("samples_dataloader", "samples"),
        "step_over_dataloader": ratio("step_dataloader", "step"),
        "step_over_synthetic": ratio("step_synthetic", "step"),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    images, _ = read_labelled_folder(
        options.data / "images", options.data / "labels", sizes=PixelSizes()
    )
    found = throughput(images, torch.device(options.device), options.runs)
    text = json.dumps({"hardware": hardware(), **found}, indent=1)
    print(text)
    options.output.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
