from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from napari_metallography.synthesis.polycrystals import PolycrystalParameters, polycrystal


@pytest.fixture(scope="module")
def fields(tmp_path_factory) -> tuple[Path, float]:
    """Three fields of one grain size with masks of their boundaries; the mean of their true G."""
    folder = tmp_path_factory.mktemp("fields")
    (folder / "masks").mkdir()
    made = [
        polycrystal(PolycrystalParameters(height_px=300, width_px=400, grain_size=9.5), seed)
        for seed in range(3)
    ]
    for seed, one in enumerate(made):
        tifffile.imwrite(folder / f"field{seed}.tif", one.image)
        mask = Image.fromarray(one.boundaries.astype(np.uint8) * 255)
        mask.save(folder / "masks" / f"field{seed}_boundaries.png")
    return folder, float(np.mean([one.intercept_g for one in made]))


def test_fields_give_a_grain_size_and_pictures(run, fields, tmp_path) -> None:
    folder, truth = fields
    done = run(
        "grain-size", folder, "-o", tmp_path, "--pixel-size", 0.5, "--boundaries",
        folder / "masks", "--method", "lines", "--method", "planimetric",
    )  # fmt: skip
    assert done.code == 0
    found = json.loads((tmp_path / "grain_size.json").read_text("utf-8"))
    assert found["method"] == "lines"
    assert found["G"] == pytest.approx(truth, abs=0.12)
    low, high = found["ci95"]
    assert low < found["G"] < high
    assert found["n_fields"] == len(found["fields"]) == 3
    assert found["methods"]["planimetric"]["grains_per_mm2"]["n_fields"] == 3
    assert found["relative_accuracy_percent"] > 0
    assert (tmp_path / "field2_planimetric.png").is_file()
    assert f"G {found['G']:.2f} by lines (3 fields" in done.err


def test_twins_are_left_out_when_asked(run, tmp_path) -> None:
    made = polycrystal(
        PolycrystalParameters(height_px=300, width_px=400, grain_size=9, twinned=0.3), 4
    )
    tifffile.imwrite(tmp_path / "twinned.tif", made.image)
    found = {}
    for option in ("--no-ignore-twins", "--ignore-twins"):
        done = run("grain-size", tmp_path / "twinned.tif", "-o", tmp_path, "--pixel-size", 0.5,
                   option)  # fmt: skip
        assert done.code == 0
        found[option] = json.loads((tmp_path / "grain_size.json").read_text("utf-8"))
    counted, left_out = found.values()
    assert left_out["G"] < counted["G"] - 0.2
    field = left_out["fields"][0]
    assert field["provenance"]["twins_left_out"]["bend_deg"] == 4
    assert "twins_left_out" not in counted["fields"][0]["provenance"]
    assert field["twins_left_out"] > 10
    regions = field["twins_left_out"] + field["grains_in_field"]
    assert f"{field['twins_left_out']} of {regions} regions are twins" in " ".join(done.err.split())


def test_without_a_pixel_size_nothing_is_written(run, fields, tmp_path) -> None:
    out = tmp_path / "out"
    done = run("grain-size", fields[0] / "field0.tif", "-o", out)
    assert done.code == 2
    assert "no pixel size is known; give --pixel-size UM" in done.err
    assert not out.exists()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--shown", 2), "--shown: Input should be less than or equal to 1"),
        (("--line-spacing", 1), "--line-spacing"),
        (("--smallest-area", 0), "a grain has one pixel at least"),
        (("--wanted-accuracy", 0), "larger than 0 %"),
        (("--method", "guess"), "guess"),
        (("--method", "network", "--ignore-twins"), "no effect on the line network"),
    ],
)
def test_bad_options_are_told(run, fields, tmp_path, options, said) -> None:
    image = fields[0] / "field0.tif"
    done = run("grain-size", image, "-o", tmp_path / "out", "--pixel-size", 0.5, *options)
    assert done.code == 2
    assert said in done.err
    assert not (tmp_path / "out").exists()
