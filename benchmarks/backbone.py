"""What a backbone tells of classes it has never seen, without any tuning.

python benchmarks/backbone.py --data FOLDER --seen FOLDER FOLDER -o benchmarks/results/backbone.json

Tasks of few examples are drawn from the classes of FOLDER and named by prototypes: of the features
of the backbone, of its whitened textures, and of both with random weights, whose batch statistics
settle on the images below `--seen`, some of what the backbone has learnt from, as their whitening
is learnt from these.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from hardware import hardware
from napari_metallography.classification.backbone import Backbone, EncoderName, encoder_named
from napari_metallography.classification.few_shot_model import (
    FewShotModel,
    FewShotNetwork,
    load_few_shot_model,
    square_reader,
)
from napari_metallography.classification.library import SMALLEST_PX
from napari_metallography.devices import choose_device
from napari_metallography.evaluation.few_shot import evaluate_few_shot
from napari_metallography.events import drain
from napari_metallography.training.recipe import BackboneRecipe
from napari_metallography.training.tasks import Tasks
from napari_metallography.training.unlabelled import read_micrographs_below
from napari_metallography.training.views import learnt_whitening

SETTLING_STEPS = 12
BATCH = 32


def of_random_weights(model: FewShotModel, seen: list[Path], seed: int) -> FewShotModel:
    """The same network of random weights, with statistics and whitening of the images seen."""
    images = drain(read_micrographs_below(seen, SMALLEST_PX))
    unknown = [None] * len(images)
    grey = model.card.normalisation
    reader = square_reader(images.planes, unknown, model.shown, grey, torch.device("cpu"))
    random = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)
    backbone = Backbone(encoder_of(model)).train()
    with torch.no_grad():
        for _ in range(SETTLING_STEPS):
            backbone(reader.clean(torch.randint(len(images), (BATCH,), generator=random)))
    backbone.eval()
    whitening = drain(learnt_whitening(backbone, reader, BackboneRecipe().views, seed))
    network = FewShotNetwork(encoder_of(model), model.shown.metric, whitening)
    network.backbone.load_state_dict(backbone.state_dict())
    return replace(model, network=network.eval())


def encoder_of(model: FewShotModel) -> EncoderName:
    """The encoder of a model."""
    return encoder_named(model.card.network.encoder)


def of_features(model: FewShotModel) -> FewShotModel:
    """The same without its whitened textures."""
    network = FewShotNetwork(encoder_of(model), model.shown.metric)
    network.backbone = model.network.backbone
    return replace(model, network=network.eval())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--model", default="microstructure-resnet18")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--seen", type=Path, nargs="+", required=True)
    parser.add_argument("--ways", type=int, default=5)
    parser.add_argument("--shots", type=int, nargs="*", default=[1, 5])
    parser.add_argument("--tasks", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="auto")
    options = parser.parse_args()
    model = load_few_shot_model(options.model)
    if model.network.whitening is None:
        raise SystemExit(f"{options.model}: its textures are not whitened; train it anew")
    random = of_random_weights(model, options.seen, options.seed)
    compared = {
        f"{name}, {what}": change(one)
        for name, one in (("random", random), (model.card.name, model))
        for what, change in (("features", of_features), ("whitened textures", lambda one: one))
    }
    device = choose_device(options.device)
    found: dict[str, Any] = {}
    for shots in options.shots:
        tasks = Tasks(options.ways, shots, options.tasks, options.seed)
        for name, one in compared.items():
            scores = drain(evaluate_few_shot(one, options.data, device, tasks))
            found[f"{name}, {shots}-shot"] = scores["accuracy_prototypes"]
            write(found, options)


def write(found: dict[str, Any], options: argparse.Namespace) -> None:
    """Write what there is."""
    recipe = {key: getattr(options, key) for key in ("ways", "tasks", "seed")}
    recipe["seen"] = [folder.name for folder in options.seen]
    options.output.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps({"accuracy": found, "recipe": recipe, "hardware": hardware()}, indent=1)
    options.output.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
