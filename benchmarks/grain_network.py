"""The line network: its cost, and its accuracy on images of another generator than its training's.

python benchmarks/grain_network.py --work FOLDER -o benchmarks/results/grain_network.json

The test images are those of `other_polycrystals.py`: another tessellation family, rendering code
and pixel sizes. Beside the shipped model, line networks are trained with either loss, and with
fewer images, and ResNet18 and MobileNetV2 (random weights) on crops of 224 pixels of images of
the same parameters; all see the same number of images. Every training and the test images are
kept in the work folder and go on where a stop ended them. `--only` names a part; the others of an
earlier run stay in the output.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torchvision.models import mobilenet_v2, resnet18

import other_polycrystals
from hardware import hardware
from napari_metallography.calibration import Calibration
from napari_metallography.classes import named_classes
from napari_metallography.devices import keep_freed_memory
from napari_metallography.evaluation.grain_size import (
    LINE_COUNTS,
    Votes,
    evaluate_images,
    scores,
)
from napari_metallography.events import Events, Notice, TrainingStep, drain
from napari_metallography.graded import GradedImage, read_graded_table
from napari_metallography.grains.grades import GRADES, REFERENCE_UM, STEP, scale_of
from napari_metallography.grains.image_lines import LineParameters, grey_values
from napari_metallography.grains.line_grading import grade
from napari_metallography.grains.line_model import LineModel, load_line_model, save_line_model
from napari_metallography.grains.line_network import (
    CHANNELS,
    GATED,
    POOLED,
    LineNetwork,
    Stage,
)
from napari_metallography.models.card import DataSource, LineInput, ModelCard, Network
from napari_metallography.plane import LUMA
from napari_metallography.synthesis.polycrystals import polycrystal
from napari_metallography.training.checkpoint import (
    Checkpoints,
    TrainingState,
    fingerprint,
    restore_checkpoint,
)
from napari_metallography.training.descent import Descent
from napari_metallography.training.grain_lines import random_parameters, synthetic_lines
from napari_metallography.training.grain_results import LineDescription, line_card
from napari_metallography.training.grain_size import (
    LOSSES,
    GrainSizeJob,
    TrainedLines,
    class_shares,
    train_lines,
)
from napari_metallography.training.loop import run
from napari_metallography.training.recipe import GrainSizeRecipe
from timing import timed

PAPER_PERCENT = {"line network": 84.198, "resnet18": 55.556, "mobilenet_v2": 51.852}
PAPER_LOSSES_PERCENT = {"focal": 84.198, "cross-entropy": 84.938}
PAPER_PERCENT_OF_1680 = 66.19

PARTS = ("cost", "shipped", "storage", "losses", "fewer", "resnet18", "mobilenet_v2")

CROP = 224
CROPS = 4

Bytes = NDArray[np.uint8]


# --- cost ------------------------------------------------------------------------------------


def line_flops(network: LineNetwork) -> int:
    """Multiplications with additions; 1 a ReLU, 2 a normalisation, 1 a value pooled or gated."""
    length, stages = 1376, [m for m in network.modules() if isinstance(m, Stage)]
    convolved = sum(length * (stage.weight.numel() + 3 * CHANNELS) for stage in stages)
    linear = [m for m in network.modules() if isinstance(m, nn.Linear)]
    normalised = sum(3 * m.num_features for m in network.modules() if isinstance(m, nn.BatchNorm1d))
    dense = sum(layer.weight.numel() for layer in linear) + normalised
    return convolved + dense + GATED * (length + POOLED)


def image_flops(network: nn.Module) -> int:
    """Multiplications with additions of a network's convolutions and matrices for a crop."""
    total = 0

    def count(module: nn.Module, _: Any, output: Tensor) -> None:
        nonlocal total
        weight = module.weight
        assert isinstance(weight, Tensor)
        places = output[0, 0].numel() if output.ndim == 4 else 1
        total += weight.numel() * places

    layers = [m for m in network.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    hooks = [layer.register_forward_hook(count) for layer in layers]
    with torch.inference_mode():
        network.eval()(torch.zeros(1, 3, CROP, CROP))
    for hook in hooks:
        hook.remove()
    return total


def cost(runs: int) -> dict[str, Any]:
    """Parameters, operations, and images a second beside ResNet18, run in turn."""
    lines, image = LineNetwork().eval(), resnet18(num_classes=len(GRADES)).eval()
    field = other_polycrystals.other_polycrystal(5).image
    model = LineModel(_untrained("untrained"), lines, "0")
    jobs: dict[str, Callable[[], Any]] = {
        "line network, 128 lines": lambda: _graded(field, model, 64),
        "line network, 8 lines": lambda: _graded(field, model, 4),
        "resnet18, one crop": lambda: _classified(image),
    }
    seconds = timed(jobs, runs)
    rates = {name: 1 / statistics.median(taken) for name, taken in seconds.items()}
    of_resnet = rates["resnet18, one crop"]
    return {
        "parameters": {"line network": _parameters(lines), "resnet18": _parameters(image)},
        "flops": {"line network, a line": line_flops(lines), "resnet18": image_flops(image)},
        "images_a_second": rates,
        "ratio_to_resnet18": {name: rate / of_resnet for name, rate in rates.items()},
        "runs": runs,
    }


def _parameters(network: nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())


def _graded(field: Bytes, model: LineModel, lines: int) -> float:
    few = LineParameters(rows=lines, columns=lines)
    return drain(grade(field, Calibration.square(0.3, "test"), model, few)).grain_size


def _classified(network: nn.Module) -> Tensor:
    with torch.inference_mode():
        found: Tensor = network(torch.zeros(1, 3, CROP, CROP))
    return found


# --- line networks ---------------------------------------------------------------------------


@dataclass(frozen=True)
class Budget:
    """Training images, lines or crops seen, and where everything is kept."""

    images: int
    seen: int
    work: Path
    device: torch.device

    def recipe(self, **changes: Any) -> GrainSizeRecipe:
        """The default recipe with as many steps as the images seen allow."""
        iterations = max(1, self.seen // GrainSizeRecipe().batch_size)
        return GrainSizeRecipe(iterations=iterations, validate_every=iterations, **changes)


def trained_lines(name: str, images: int, budget: Budget, recipe: GrainSizeRecipe) -> LineModel:
    """A line network on so many synthetic images; goes on where it was stopped."""
    made = shown(synthetic_lines(images, 0, budget.work / "lines"), "making lines")
    job = GrainSizeJob(made, None, recipe, budget.device, budget.work / f"{name}.safetensors")
    trained: TrainedLines = shown(train_lines(job, resume=True), name)
    description = LineDescription("synthetic polycrystals")
    return LineModel(line_card(name, job, trained, description), trained.network, "0")


def _untrained(name: str) -> ModelCard:
    return ModelCard(
        name=name,
        task="grain-size",
        network=Network(architecture="line-network", encoder="none"),
        classes=named_classes([f"G {g:g}" for g in GRADES]),
        lines=LineInput(pixel_um=REFERENCE_UM, grades=GRADES),
        data=DataSource(name="synthetic", digest="0"),
    )


def tested(model: LineModel, images: Sequence[GradedImage], device: torch.device) -> dict[str, Any]:
    events = evaluate_images(model, images, LineParameters(), device, LINE_COUNTS)
    found: dict[str, Any] = shown(events, model.card.name)
    print(f"{model.card.name}: accuracy {found['accuracy']:.4f}", flush=True)
    return found


def shown(events: Events[Any], what: str) -> Any:
    """The result; notices and every hundredth step are printed."""

    def show(event: object) -> None:
        if isinstance(event, Notice):
            print(f"{what}: {event.message}", flush=True)
        if isinstance(event, TrainingStep) and event.iteration % 100 == 0:
            print(f"{what}: iteration {event.iteration}, loss {event.loss:.3f}", flush=True)

    return drain(events, show)


def storage(model: LineModel, images: Sequence[GradedImage], budget: Budget) -> dict[str, Any]:
    """The same model stored in float32 and in 8 bits: size of the file, and scores."""
    found = {}
    for precision in ("float32", "int8"):
        path = budget.work / f"{model.card.name}-{precision}.safetensors"
        card = model.card.model_copy(update={"storage": precision})
        save_line_model(path, card, model.network)
        result = tested(load_line_model(str(path)), images, budget.device)
        found[precision] = {"mib": path.stat().st_size / 2**20, **result}
    return found


# --- networks of crops -----------------------------------------------------------------------


def crops_of(number: int, seed: int = 0) -> tuple[Bytes, float]:
    """Crops (4, 224, 224) at the reference pixel size of an image like that of the lines."""
    rng = np.random.default_rng([seed, number, 1])
    wanted = GRADES[number % len(GRADES)] + rng.uniform(-STEP / 2, STEP / 2)
    pixel_um = REFERENCE_UM * 2 ** rng.uniform(-0.125, 0.125)
    side = int(np.ceil(CROP * REFERENCE_UM / pixel_um)) + 1
    shape = {"height_px": 2 * side, "width_px": 2 * side}
    parameters = random_parameters(float(wanted), float(pixel_um), rng).model_copy(update=shape)
    made = polycrystal(parameters, int(rng.integers(2**31)))
    return _crops(_grey(made.image), pixel_um / REFERENCE_UM), made.intercept_g


def _grey(image: Bytes) -> NDArray[np.float32]:
    return np.asarray(image if image.ndim == 2 else image @ LUMA, np.float32)


def _crops(grey: NDArray[np.float32], ratio: float) -> Bytes:
    """The four quarters' first 224 pixels after resampling."""
    way = cv2.INTER_AREA if ratio < 1 else cv2.INTER_LINEAR
    scaled = np.asarray(cv2.resize(grey, None, fx=ratio, fy=ratio, interpolation=way))
    scaled = np.pad(scaled, [(0, max(0, 2 * CROP - n)) for n in scaled.shape], mode="symmetric")
    rows, columns = (n // 2 for n in scaled.shape)
    starts = [(y, x) for y in (0, rows) for x in (0, columns)]
    crops = [scaled[y : y + CROP, x : x + CROP] for y, x in starts]
    return np.rint(np.stack(crops)).clip(0, 255).astype(np.uint8)


def crop_bank(images: int, folder: Path) -> tuple[Bytes, NDArray[np.float64]]:
    """Crops of all images; each is made once."""
    folder.mkdir(parents=True, exist_ok=True)
    parts = []
    for number in range(images):
        path = folder / f"{number:06d}.npz"
        if not path.exists():
            crops, grain_size = crops_of(number)
            np.savez_compressed(path, crops=crops, grain_size=grain_size)
        with np.load(path) as part:
            parts.append((part["crops"], float(part["grain_size"])))
    return np.stack([crops for crops, _ in parts]), np.array([g for _, g in parts])


class CropTask(Descent):
    """Training of an image network on crops, in the product's own loop."""

    def __init__(
        self, bank: tuple[Bytes, NDArray[np.float64]], recipe: GrainSizeRecipe, device: torch.device
    ) -> None:
        super().__init__(recipe)
        self._crops, self._device = torch.from_numpy(bank[0]), device
        self._loss = LOSSES[recipe.loss]
        self._targets = class_shares(torch.from_numpy(bank[1]).float(), shared=True)

    def loss(self, state: TrainingState) -> Tensor:
        """Of random crops of random images."""
        size, random = state.batch_size, state.random
        images = torch.randint(len(self._targets), (size,), generator=random)
        which = torch.randint(self._crops.shape[1], (size,), generator=random)
        crops = _turned(self._crops[images, which].float(), random)
        logits = state.network(normalised(crops).to(self._device))
        return self._loss(logits, self._targets[images].to(self._device))


def _turned(crops: Tensor, random: torch.Generator) -> Tensor:
    """Quarter turns, mirror images, other brightness and contrast."""
    turns = int(torch.randint(4, (1,), generator=random))
    crops = torch.rot90(crops, turns, (1, 2))
    if torch.rand(1, generator=random) < 0.5:
        crops = crops.flip(2)
    gain, offset = (2 * torch.rand(2, len(crops), 1, 1, generator=random) - 1).unbind()
    mean = crops.mean((1, 2), keepdim=True)
    return ((crops - mean) * 2 ** (0.7 * gain) + mean + 40 * offset).clamp(0, 255)


def normalised(crops: Tensor) -> Tensor:
    """Crops (B, 224, 224) as the three channels of an image network."""
    return ((crops - 128) / 48)[:, None].expand(-1, 3, -1, -1)


def trained_crops(
    name: str, network: nn.Module, budget: Budget, recipe: GrainSizeRecipe
) -> nn.Module:
    bank = crop_bank(budget.images, budget.work / "crops")
    network.to(budget.device)
    optimiser = torch.optim.AdamW(
        network.parameters(), recipe.learning_rate, weight_decay=recipe.weight_decay
    )
    random = torch.Generator().manual_seed(recipe.seed)
    batch = recipe.batch_size
    state = TrainingState(network, optimiser, random, torch.get_rng_state(), None, [], batch)
    path = budget.work / f"{name}.safetensors"
    settings = fingerprint({"recipe": recipe.model_dump(), "images": budget.images})
    if path.exists():
        restore_checkpoint(path, state, settings)
    shown(run(state, CropTask(bank, recipe, budget.device), Checkpoints(path, settings)), name)
    return network.eval()


def tested_crops(
    network: nn.Module, images: Sequence[GradedImage], device: torch.device
) -> dict[str, Any]:
    """Scores with the votes of four crops an image."""
    votes = [_crop_votes(network, image, device) for image in images]
    return scores(votes, [image.grain_size for image in images], (1, CROPS))


def _crop_votes(network: nn.Module, image: GradedImage, device: torch.device) -> Votes:
    pixels, calibration, _ = image.read()
    assert calibration is not None
    scale = scale_of(calibration.mean_um)
    crops = torch.from_numpy(_crops(grey_values(pixels), scale.ratio)).float()
    with torch.inference_mode():
        logits = network(normalised(crops).to(device))
    return np.array(GRADES) - STEP * scale.steps, logits.softmax(1).double().cpu().numpy()


# --- all of it -------------------------------------------------------------------------------


def test_images(count: int, folder: Path) -> list[GradedImage]:
    """Images of the second generator; made once."""
    if not (folder / "index.csv").exists():
        other_polycrystals.write(count, 0, folder)
    return read_graded_table(folder / "index.csv")[:count]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--model", default="grain-line-net")
    parser.add_argument("--images", type=int, default=3780, help="in the full training set")
    parser.add_argument("--fewer", type=int, default=1680)
    parser.add_argument("--test-images", type=int, default=1400)
    parser.add_argument("--seen", type=int, default=75_600, help="lines, or crops, of a training")
    parser.add_argument("--runs", type=int, default=7)
    parser.add_argument("--device", default="cpu")
    parser.add_argument(
        "--only",
        action="append",
        choices=PARTS,
    )
    options = parser.parse_args()
    device = torch.device(options.device)
    if device.type == "cpu":
        keep_freed_memory()
    budget = Budget(options.images, options.seen, options.work, device)
    report = _earlier(options.output) | {
        "hardware": hardware(),
        "training_images": options.images,
        "images_seen": options.seen,
        "paper_percent": PAPER_PERCENT,
        "paper_percent_by_loss": PAPER_LOSSES_PERCENT,
        "paper_percent_of_1680_images": PAPER_PERCENT_OF_1680,
    }
    for part in options.only or PARTS:
        report |= measured(part, budget, options)
        options.output.parent.mkdir(parents=True, exist_ok=True)
        options.output.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


def _earlier(path: Path) -> dict[str, Any]:
    """Parts that were measured before; they stay unless they are measured again."""
    found: dict[str, Any] = json.loads(path.read_text("utf-8")) if path.exists() else {}
    return found


def measured(part: str, budget: Budget, options: argparse.Namespace) -> dict[str, Any]:
    """One part of the report."""
    if part == "cost":
        return {"cost": cost(options.runs)}
    images = test_images(options.test_images, budget.work / "test")
    if part == "shipped":
        return {"shipped": tested(load_line_model(options.model), images, budget.device)}
    if part == "storage":
        return {"storage": storage(load_line_model(options.model), images, budget)}
    if part == "losses":
        return {
            f"{loss} loss": _lines_result(f"lines-{loss}", budget.images, budget, images, loss=loss)
            for loss in LOSSES
        }
    if part == "fewer":
        found = _lines_result(f"lines-{options.fewer}", options.fewer, budget, images)
        return {f"{options.fewer} images": found}
    makers: dict[str, Callable[[], nn.Module]] = {
        "resnet18": lambda: resnet18(num_classes=len(GRADES)),
        "mobilenet_v2": lambda: mobilenet_v2(num_classes=len(GRADES)),
    }
    torch.manual_seed(0)
    recipe = budget.recipe(learning_rate=1e-3)
    network = trained_crops(part, makers[part](), budget, recipe)
    return {part: tested_crops(network, images, budget.device)}


def _lines_result(
    name: str, count: int, budget: Budget, images: Sequence[GradedImage], **recipe: Any
) -> dict[str, Any]:
    model = trained_lines(name, count, budget, budget.recipe(**recipe))
    return tested(model, images, budget.device)


if __name__ == "__main__":
    main()
