from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import tifffile
from PIL import Image

from napari_metallography.calibration import Calibration
from napari_metallography.grains.grading import grade
from napari_metallography.grains.partition import from_boundaries, from_labels
from napari_metallography.io.images import read_micrograph
from napari_metallography.io.labels import read_labels

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


def test_nothing_is_replaced_and_bad_values_are_told(run, tmp_path) -> None:
    (tmp_path / "index.csv").write_text("image\n")
    done = run("synthesize", "polycrystal", "-o", tmp_path, *SMALL)
    assert done.code == 2
    assert "exists already; name another folder" in done.err
    assert [path.name for path in tmp_path.iterdir()] == ["index.csv"]
    out = tmp_path / "out"
    for options, said in (
        (("--spread", 3), "--spread: Input should be less than or equal to 1"),
        (("--count", 0), "make one image at least"),
        (("--grain-size", -1, "--pixel-size", 0.1), "smaller than a grain"),
    ):
        done = run("synthesize", "polycrystal", "-o", out, *SMALL, *options)
        assert done.code == 2
        assert said in done.err
        assert not out.exists()
