"""The benchmark of few-shot networks, its data and its summary."""

from __future__ import annotations

import argparse
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest

import few_shot as benchmark
from napari_metallography.classification.images import listed_images
from work_folder import require_same_recipe


def _folder(folder: Path, names, count: int = 2) -> Path:
    random = np.random.default_rng(0)
    for name in names:
        (folder / name).mkdir(parents=True)
        for number in range(count):
            plane = random.integers(0, 255, (40, 60), np.uint8)
            cv2.imwrite(str(folder / name / f"{number}.png"), plane)
    return folder


@pytest.fixture
def options(tmp_path) -> argparse.Namespace:
    return argparse.Namespace(
        work=tmp_path / "work",
        test=_folder(tmp_path / "test", "abcde"),
        output=tmp_path / "scores.json",
        train=[],
        val=[("more", _folder(tmp_path / "more", "xy"))],
        materials=[("steel", _folder(tmp_path / "steel", ["deep"], 3))],
        unlabelled=[],
        ways=3,
        images=2,
    )


def test_classes_of_a_split_test_or_validate(options) -> None:
    seen = set()
    for split in range(4):
        validation, test = benchmark.make_split(split, options)
        tested = {name for _, name in listed_images(test)}
        others = {name for _, name in listed_images(validation)}
        assert len(tested) == 3
        assert tested | others == set("abcdexy")
        assert not tested & others
        seen.add(frozenset(tested))
    assert len(seen) > 1
    # Every file is a JPEG now, whatever it was.
    assert {path.suffix for path, _ in listed_images(test)} == {".jpg"}
    before = sorted(test.rglob("*"))
    assert benchmark.make_split(3, options)[1] == test
    assert sorted(test.rglob("*")) == before


def test_parts_of_a_material_know_their_image(options) -> None:
    folder = benchmark.made(
        options.work / "materials", lambda beside: benchmark.cut_materials(options, beside)
    )
    table = pd.read_csv(folder / "index.csv")
    assert len(table) == 2 * benchmark.PARTS
    assert table["specimen"].value_counts().tolist() == [benchmark.PARTS] * 2
    assert all((folder / image).is_file() for image in table["image"])


def test_what_is_tested_on_is_not_learnt_from(options) -> None:
    benchmark.require_untested(options)
    for folder in (options.test / "a", options.test, options.test.parent):
        options.unlabelled = [folder]
        with pytest.raises(SystemExit, match="must not be learnt from"):
            benchmark.require_untested(options)
    options.unlabelled = []
    options.train = [("same", options.test / "a")]
    with pytest.raises(SystemExit, match="must not be learnt from"):
        benchmark.require_untested(options)


def test_specimens_of_an_index_are_kept(options) -> None:
    lines = ["image,specimen", *(f"{name}/{n}.png,s{n}" for name in "abcde" for n in range(2))]
    (options.test / "index.csv").write_text("\n".join(lines), encoding="utf-8")
    _, test = benchmark.make_split(0, options)
    assert sorted(pd.read_csv(test / "index.csv")["specimen"]) == ["s0"] * 3 + ["s1"] * 3


def test_a_work_folder_of_another_recipe_is_refused(options, monkeypatch, capsys) -> None:
    require_same_recipe(options, ("ways",))
    options.ways, options.output = 2, options.work
    require_same_recipe(options, ("ways",))
    assert capsys.readouterr().err == ""
    monkeypatch.setattr("work_folder.code_digest", lambda: "another")
    require_same_recipe(options, ("ways",))
    assert "begun with other code" in capsys.readouterr().err
    options.images = 9
    with pytest.raises(SystemExit, match="other values of images"):
        require_same_recipe(options, ("ways",))


def test_runs_are_summed_up_by_start_and_shots() -> None:
    def run(start: str, split: int, accuracy: float) -> dict:
        scores = {name: {"mean": accuracy} for name in benchmark.SCORES}
        return {"encoder": "resnet18", "shots": 1, "start": start, "split": split, **scores}

    rows = benchmark.summary([run("random", 0, 0.4), run("dino", 0, 0.6), run("random", 1, 0.5)])
    assert [(row["start"], row["runs"]) for row in rows] == [("random", 2), ("dino", 1)]
    assert rows[0]["gain"] == pytest.approx({"mean": 0.45, "smallest": 0.4, "largest": 0.5})
