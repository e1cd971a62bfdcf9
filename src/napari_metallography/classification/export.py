"""Models of surface defects for other runtimes: line computers and mobile devices."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from ..segmentation.export import write_network
from .inference import deployed
from .model import DefectModel

_BATCH = {0: "batch"}


def write_defects_onnx(path: Path, model: DefectModel) -> None:
    """Write a model as ONNX, its card in the metadata; batch, height and width are free.

    Input `images`: (B, 3, H, W) float32, red, green, blue from 0 to 255, compressed and resized
    as the card's `defects` says. Outputs: calibrated `probabilities` (B, classes), and
    `strangeness` (B,), which the card's `most_strange` bounds.

    Raises
    ------
    InputError
        As for `segmentation.export.write_onnx`.
    """
    outputs = {"probabilities": _BATCH, "strangeness": _BATCH}
    write_network(path, _Answering(model), model.card, outputs)


class _Answering(nn.Module):
    """From grey values to answers."""

    def __init__(self, model: DefectModel) -> None:
        super().__init__()
        by = model.card.normalisation
        self.mean = torch.tensor(by.mean).view(1, 3, 1, 1)
        self.std = torch.tensor(by.std).view(1, 3, 1, 1)
        self.temperature = model.input.temperature
        self.network = deployed(model.network.core)
        self.familiarity = model.network.familiarity

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        features = self.network.features((images - self.mean) / self.std)
        logits = self.network.evidence(features).mean((2, 3))
        probabilities = (logits / self.temperature).softmax(1)
        return probabilities, self.familiarity.strangeness(features.mean((2, 3)))
