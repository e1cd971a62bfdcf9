from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pytest
import torch
from skimage import io

import defects
import network_cost


@pytest.fixture
def data(tmp_path: Path) -> Path:
    random = np.random.default_rng(0)
    for name in ("a", "b"):
        (tmp_path / "data" / name).mkdir(parents=True)
        for number in range(10):
            image = random.integers(0, 255, (40, 40), np.uint8)
            path = tmp_path / "data" / name / f"{name}{number}.png"
            io.imsave(path, image, check_contrast=False)
    return tmp_path / "data"


def test_outer_and_inner_parts_make_up_the_data_once(data, tmp_path) -> None:
    counts = defects.split(data, tmp_path / "lists", 0)
    assert counts == {"outer": 4, "rest": 16, "inner_val": 2, "inner_train": 14}
    parts = [
        set((tmp_path / "lists" / f"{name}.txt").read_text().split())
        for name in ("outer", "inner_val", "inner_train")
    ]
    assert len(set.union(*parts)) == sum(map(len, parts)) == 20


@pytest.mark.parametrize(
    ("name", "parameters"),
    [("resnet18", 11_179_590), ("mobilenet_v3_large", 4_209_718), ("squeezenet1_0", 738_502)],
)
def test_the_networks_compared_have_the_parameters_the_paper_gives(name, parameters) -> None:
    assert network_cost.parameters(defects.makers()[name](6)) == parameters


def test_every_network_is_trained_and_scored_alike(data, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(defects, "SIDE", 64)
    options = argparse.Namespace(
        data=data,
        split=None,
        val_data=None,
        val_split=None,
        side=64,
        iterations=1,
        runs=1,
        only=["pdmsnet", "squeezenet1_0"],
        work=tmp_path / "work",
        device=torch.device("cpu"),
    )
    found = defects.compare(options)
    assert [*found["networks"]] == ["pdmsnet, run 0", "squeezenet1_0, run 0"]
    for scores in found["networks"].values():
        assert 0 <= scores["macro_f1"] <= 1
        assert 0 <= scores["accuracy"] <= 1
    assert found["networks"]["squeezenet1_0, run 0"]["parameters"] == 736_450
    assert found["epochs"] == pytest.approx(32 / 20)
    again = defects.compare(options)
    assert again["networks"] == found["networks"]


def test_speeds_are_given_as_ratios_to_resnet18(monkeypatch) -> None:
    made = defects.makers()
    few = {name: made[name] for name in ("pdmsnet", "resnet18")}
    monkeypatch.setattr(defects, "makers", lambda: few)
    monkeypatch.setattr(defects, "SIDE", 64)
    found = defects.cost(1)
    assert found["networks"]["pdmsnet"] == {"parameters": 168_014, "mflops": 272.0}
    for ratios in found["ratio_to_resnet18"].values():
        assert ratios["resnet18"] == 1
        assert ratios["pdmsnet"] > 0
