from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
import tifffile

WITHOUT_NETWORKS = """
import sys
from napari_metallography.cli import main
try:
    main()
except SystemExit as ended:
    assert not ended.code, ended.code
print(sorted({"torch", "timm", "segmentation_models_pytorch"} & sys.modules.keys()))
"""


def test_the_report_names_specimen_operator_and_standard(run, tmp_path) -> None:
    indices = np.zeros((30, 30), np.uint8)
    indices[5:15, 5:15] = 1
    tifffile.imwrite(tmp_path / "a.tif", indices)
    head = ("--specimen", "plate 7", "--operator", "A. Nonymous", "--standard", "ASTM E1245")
    out = tmp_path / "out"
    assert run("quantify", tmp_path / "a.tif", "-o", out, "--pixel-size", 1, *head).code == 0
    report = (out / "report.html").read_text("utf-8")
    for expected in head[1::2]:
        assert f"<td>{expected}</td>" in report


def _squares(side: int = 40) -> np.ndarray:
    indices = np.zeros((200, 300), np.uint8)
    indices[20 : 20 + side, 20 : 20 + side] = 1
    return indices


@pytest.fixture
def barred(tmp_path: Path) -> Path:
    """An image with a data bar, and labels of another program that call it matrix."""
    grey = np.random.default_rng(0).normal(120, 12, (200, 300)).clip(1, 254).astype(np.uint8)
    grey[160:] = 0
    cv2.putText(grey, "20 um  15.0 kV  x500", (8, 186), 0, 0.6, 255, 1)
    for folder, pixels in (("images", grey), ("labels", _squares())):
        (tmp_path / folder).mkdir()
        tifffile.imwrite(tmp_path / folder / "sem.tif", pixels)
    return tmp_path


@pytest.mark.parametrize(
    ("options", "field_px"),
    [
        (("--images",), 160 * 300),
        (("--images", "--keep-data-bar"), 200 * 300),
        (("--images", "--region", "0,0,70,60"), 70 * 60),
        ((), 200 * 300),
        (("--region", "0,0,70,60"), 70 * 60),
    ],
)
def test_the_field_is_that_of_the_image_or_as_asked_for(run, barred, options, field_px) -> None:
    given = [text for o in options for text in ((o, barred / "images") if "im" in o else (o,))]
    out = barred / "out"
    done = run("quantify", barred / "labels", "-o", out, "--pixel-size", 1, *given)
    assert done.code == 0, done.err
    phases = pd.read_csv(out / "phases.csv")
    assert phases["field_area_um2"].tolist() == [field_px] * 2
    assert phases["area_fraction"][1] == pytest.approx(40 * 40 / field_px)


def test_labels_are_measured_without_loading_networks(tmp_path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", _squares())
    command = [sys.executable, "-c", WITHOUT_NETWORKS, "quantify", tmp_path / "a.tif"]
    command += ["-o", tmp_path / "out", "--pixel-size", "1"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[]"
    assert (tmp_path / "out/report.html").exists()


def test_a_class_that_one_foreign_file_lacks_counts_as_zero_there(run, tmp_path) -> None:
    (tmp_path / "labels").mkdir()
    tifffile.imwrite(tmp_path / "labels/a.tif", _squares() * 2)
    tifffile.imwrite(tmp_path / "labels/b.tif", _squares())
    out = tmp_path / "out"
    assert run("quantify", tmp_path / "labels", "-o", out, "--pixel-size", 1).code == 0
    phases = pd.read_csv(out / "phases.csv").set_index(["image", "phase"])["area_fraction"]
    assert phases["b.tif", "class 2"] == 0
    assert phases["a.tif", "class 2"] == phases["b.tif", "class 1"] > 0


@pytest.mark.parametrize(("specimens", "is_said"), [(("37", "16"), True), (("37", "37"), False)])
def test_a_mean_over_several_specimens_is_called_one(run, tmp_path, specimens, is_said) -> None:
    rows = ["image,pixel_size_um,specimen"]
    for name, specimen in zip(("a.tif", "b.tif"), specimens, strict=True):
        tifffile.imwrite(tmp_path / name, _squares())
        rows.append(f"{name},0.5,{specimen}")
    (tmp_path / "index.csv").write_text("\n".join(rows), encoding="utf-8")
    done = run("quantify", tmp_path, "-o", tmp_path / "out")
    assert done.code == 0, done.err
    assert ("pool the specimens 16, 37" in done.err) == is_said
