"""The benchmark of the line network, in small."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import torch
from torchvision.models import resnet18

import grain_network as benchmark


def test_parameters_and_operations_are_those_of_the_paper() -> None:
    network = benchmark.LineNetwork()
    assert benchmark.line_flops(network) == pytest.approx(62.07e6, abs=0.005e6)
    other = resnet18(num_classes=14)
    assert benchmark._parameters(other) == pytest.approx(11.183e6, abs=0.001e6)
    assert benchmark.image_flops(other) == pytest.approx(1.82e9, rel=0.01)


def test_crops_lie_at_the_reference_and_know_their_grain_size() -> None:
    crops, grain_size = benchmark.crops_of(9)
    assert crops.shape == (4, 224, 224)
    assert crops.dtype == np.uint8
    assert grain_size == pytest.approx(benchmark.GRADES[9], abs=0.3)
    again, _ = benchmark.crops_of(9)
    assert (crops == again).all()


@pytest.fixture
def budget(tmp_path):
    return benchmark.Budget(images=2, seen=64, work=tmp_path, device=torch.device("cpu"))


def test_an_image_network_trains_and_is_scored(budget) -> None:
    recipe = budget.recipe().model_copy(update={"iterations": 2, "batch_size": 2})
    make = torch.nn.Sequential(
        torch.nn.Conv2d(3, 4, 9, 8), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(),
        torch.nn.Linear(4, 14),
    )  # fmt: skip
    network = benchmark.trained_crops("small", make, budget, recipe)
    benchmark.other_polycrystals.write(1, 0, budget.work / "test")
    images = benchmark.test_images(1, budget.work / "test")
    found = benchmark.tested_crops(network, images, budget.device)
    assert found["n"] == 1
    assert set(found["by_lines"]) == {"1", "4"}
    # Done already: nothing is learnt again.
    weights = [p.clone() for p in network.parameters()]
    again = benchmark.trained_crops("small", make, budget, recipe)
    assert all(torch.equal(*pair) for pair in zip(weights, again.parameters(), strict=True))


def test_its_report_names_the_hardware(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(benchmark, "cost", lambda runs: {"runs": runs})
    output = tmp_path / "report.json"
    arguments = ["grain_network.py", "--work", str(tmp_path), "-o", str(output), "--only", "cost"]
    monkeypatch.setattr(sys, "argv", arguments)
    benchmark.main()
    text = output.read_text(encoding="utf-8")
    assert "processor" in text
    assert '"runs": 7' in text
