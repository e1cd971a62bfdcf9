from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import tifffile
from PIL import Image

from napari_metallography.calibration import Calibration
from napari_metallography.cli.synthesize import StructureClass
from napari_metallography.grains.grading import grade
from napari_metallography.grains.partition import from_boundaries, from_labels
from napari_metallography.io.images import read_micrograph
from napari_metallography.io.labels import read_labels
from napari_metallography.synthesis.structures import STRUCTURES

SMALL = ("--height", 200, "--width", 260)


def test_polycrystals_come_with_their_truth(run, tmp_path) -> None:
    done = run(
        "synthesize", "polycrystal", "-o", tmp_path, "--count", 2, "--seed", 7, *SMALL,
        "--grain-size", 10, "--pixel-size", 0.4, "--twinned", 0.5,
    )  # fmt: skip
    assert done.code == 0
    index = pd.read_csv(tmp_path / "index.csv")
    assert list(index["image"]) == ["polycrystal-7.tif", "polycrystal-8.tif"]
    assert index["G"].tolist() == pytest.approx([10, 10], abs=0.01)
    image = read_micrograph(tmp_path / "polycrystal-7.tif")
    assert image.shape == (200, 260)
    assert image.calibration is not None
    assert image.calibration.x_um == pytest.approx(0.4)
    mask = np.array(Image.open(tmp_path / "boundaries" / "polycrystal-7_boundaries.png"))
    grains = tifffile.imread(tmp_path / "grains" / "polycrystal-7_grains.tif")
    size = Calibration.square(0.4, "test")
    for found in (from_boundaries(mask > 0), from_labels(grains.astype(np.int32))):
        assert grade(found, size).g == pytest.approx(10, abs=0.15)
    assert (tmp_path / "twins" / "polycrystal-7_twins.png").is_file()


def test_carbides_come_with_their_truth(run, tmp_path) -> None:
    assert run("synthesize", "carbides", "-o", tmp_path, "--count", 1, *SMALL).code == 0
    labels = read_labels(tmp_path / "labels" / "carbides-0_labels.tif")
    assert [phase.name for phase in labels.classes] == ["matrix", "carbide"]
    ids = tifffile.imread(tmp_path / "particles" / "carbides-0_ids.tif")
    assert ((ids > 0) == (labels.indices == 1)).all()
    truth = pd.read_csv(tmp_path / "particles.csv")
    assert truth["particle"].tolist() == np.unique(ids[ids > 0]).tolist()
    (row,) = pd.read_csv(tmp_path / "index.csv").to_dict("records")
    assert row["mean_radius_um"] == pytest.approx(12 * np.exp(0.08) * 0.0031)


def test_structures_come_with_class_scale_and_specimen(run, tmp_path) -> None:
    done = run(
        "synthesize", "structure", "-o", tmp_path, "--count", 3, "--seed", 4, *SMALL,
        "--class", "network", "--class", "pearlite-fine",
        "--pixel-size", 0.02, "--pixel-size", 0.05, "--variant", "b",
    )  # fmt: skip
    assert done.code == 0
    index = pd.read_csv(tmp_path / "index.csv")
    assert index["class"].tolist() == ["network"] * 3 + ["pearlite-fine"] * 3
    assert index["pixel_size_um"].tolist() == [0.02, 0.05, 0.02] * 2
    assert index["specimen"].is_unique
    for row in index.to_dict("records"):
        image = read_micrograph(tmp_path / row["image"])
        assert image.shape == (200, 260)
        assert image.calibration is not None
        assert image.calibration.x_um == pytest.approx(row["pixel_size_um"])
    assert index["image"][0] == "network/network-b-4.tif"


def test_all_structures_at_four_magnifications_are_the_default(run, tmp_path) -> None:
    tiny = ("--height", 64, "--width", 64)
    few = [name for name in STRUCTURES if name != "polycrystal"]
    chosen = [part for name in few for part in ("--class", name)]
    assert run("synthesize", "structure", "-o", tmp_path, *tiny, "--count", 4, *chosen).code == 0
    index = pd.read_csv(tmp_path / "index.csv")
    assert set(index["class"]) == set(few)
    assert sorted(index["pixel_size_um"].unique()) == [0.008, 0.016, 0.032, 0.064]
    assert [one.value for one in StructureClass] == list(STRUCTURES)
    for options, said in (
        (("--pixel-size", -1), "--pixel-size: must be larger than 0, not -1"),
        (("--class", "bainite"), "bainite"),
    ):
        done = run("synthesize", "structure", "-o", tmp_path / "out", *options)
        assert done.code == 2
        assert said in done.err
        assert not (tmp_path / "out").exists()


def test_nothing_is_replaced_and_bad_values_are_told(run, tmp_path) -> None:
    (tmp_path / "index.csv").write_text("image\n")
    done = run("synthesize", "polycrystal", "-o", tmp_path, *SMALL)
    assert done.code == 2
    assert "exists already; name another folder" in done.err
    assert [path.name for path in tmp_path.iterdir()] == ["index.csv"]
    out = tmp_path / "out"
    for options, said in (
        (("--spread", 3), "--spread: must be 1 or less, not 3"),
        (("--count", 0), "make one image at least"),
        (("--grain-size", -1, "--pixel-size", 0.1), "smaller than a grain"),
    ):
        done = run("synthesize", "polycrystal", "-o", out, *SMALL, *options)
        assert done.code == 2
        assert said in done.err
        assert not out.exists()


def test_structures_without_room_for_a_grain_leave_nothing(run, tmp_path) -> None:
    out = tmp_path / "out"
    classes = ("--class", "network", "--class", "polycrystal")
    small = ("--height", 64, "--width", 64, "--pixel-size", 0.008)
    done = run("synthesize", "structure", "-o", out, "--count", 1, *classes, *small)
    assert done.code == 2
    assert "polycrystal at 0.008 µm/px: the image is smaller than a grain" in done.err
    assert not out.exists()
