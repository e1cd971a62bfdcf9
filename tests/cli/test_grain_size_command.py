from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from napari_metallography.grains.boundary_probability import ModelBoundaryParameters
from napari_metallography.segmentation.model import load_model, save_model
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
    assert field["provenance"]["twin_parameters"]["bend_deg"] == 4
    assert "twin_parameters" not in counted["fields"][0]["provenance"]
    assert "twins_left_out" not in counted["fields"][0]
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
        (("--shown", 2), "--shown: must be 1 or less, not 2"),
        (("--line-spacing", 1), "--line-spacing"),
        (("--smallest-area", 0), "a grain has one pixel at least"),
        (("--wanted-accuracy", 0), "larger than 0 %"),
        (("--method", "guess"), "guess"),
    ],
)
def test_bad_options_are_told(run, fields, tmp_path, options, said) -> None:
    image = fields[0] / "field0.tif"
    done = run("grain-size", image, "-o", tmp_path / "out", "--pixel-size", 0.5, *options)
    assert done.code == 2
    assert said in done.err
    assert not (tmp_path / "out").exists()


@pytest.fixture(scope="module")
def boundaries_model(untrained, tmp_path_factory) -> Path:
    """A network of random weights, whose boundaries are grains of no meaning."""
    made = untrained(["grain", "boundary"], seed=1)
    path = tmp_path_factory.mktemp("model") / "random.safetensors"
    save_model(path, made.card, made.network)
    return path


def test_a_model_finds_the_boundaries(run, fields, boundaries_model, tmp_path) -> None:
    done = run(
        "grain-size", fields[0] / "field0.tif", "-o", tmp_path, "--pixel-size", 0.5,
        "--boundaries-model", boundaries_model, "--threshold", 0.4, "--smallest-area", 30,
        "--no-flips", "--no-multi-scale", "--device", "cpu",
    )  # fmt: skip
    assert done.code == 0, done.err
    (field,) = json.loads((tmp_path / "grain_size.json").read_text("utf-8"))["fields"]
    assert field["grains_in_field"] > 2
    told = field["provenance"]
    assert told["boundaries_model"] == "random"
    assert told["boundaries_model_digest"] == load_model(str(boundaries_model)).digest
    rules = ModelBoundaryParameters(threshold=0.4, smallest_area_px=30)
    assert told["model_boundaries"] == rules.model_dump()
    assert told["prediction"]["scales"] == [1.0]


def test_the_line_network_grades_beside_the_others(run, fields, tmp_path) -> None:
    folder, truth = fields
    done = run(
        "grain-size", folder / "field0.tif", "-o", tmp_path, "--pixel-size", 0.5, "--device",
        "cpu", "--method", "network", "--method", "lines", "--boundaries", folder / "masks",
    )  # fmt: skip
    assert done.code == 0, done.err
    found = json.loads((tmp_path / "grain_size.json").read_text("utf-8"))
    assert found["method"] == "network"
    assert found["G"] == pytest.approx(truth, abs=0.5)
    assert list(found["methods"]) == ["network", "lines"]
    told = found["fields"][0]["provenance"]
    assert (told["line_network"], told["boundaries"]) == ("grain-line-net", "field0_boundaries.png")
    assert (tmp_path / "field0_network.png").is_file()
    assert (tmp_path / "field0_lines.png").is_file()


@pytest.mark.parametrize("method", ["lines", "network"])
def test_no_method_grades_without_a_pixel_size(run, fields, tmp_path, method) -> None:
    done = run("grain-size", fields[0] / "field1.tif", "-o", tmp_path / "out", "--method", method)
    assert done.code == 2
    assert len(done.errors) == 1
    assert "no pixel size is known; give --pixel-size UM" in done.errors[0]
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--boundaries-model", "uhcs-carbides"), 'no class "boundary" but matrix,'),
        (("--boundaries-model", "grain-line-net"), "not for segmentation"),
        (("--boundaries-model", "none.safetensors"), "none.safetensors"),
        (("--method", "network", "--model", "uhcs-carbides"), "not for grain-size"),
        (("--boundaries", "masks", "--boundaries-model", "x"), "choose one of them"),
        (("--model", "grain-line-net"), "--model: has no effect; it counts only with --method net"),
        (("--threshold", "0.4"), "--threshold: has no effect; it counts only with --boundaries-mo"),
        (("--no-flips",), "--flips: has no effect"),
        (("--no-multi-scale",), "--multi-scale: has no effect"),
        (("--area", "circle"), "--area: has no effect; it counts only with --method planimetric"),
        (("--method", "circles", "--line-spacing", "9"), "--line-spacing: has no effect"),
        (("--boundaries-model", "x", "--groove", "4"), "--groove: has no effect"),
        (("--boundaries", "masks", "--contrast", "0.2"), "--contrast: has no effect"),
        (("--boundaries", "masks", "--shown", "0.4"), "--shown: has no effect"),
        *(
            (("--method", "network", *options), f"{options[0]}: has no effect")
            for options in [
                ("--boundaries", "masks"),
                ("--boundaries-model", "x"),
                ("--smallest-area", "9"),
                ("--ignore-twins",),
                ("--groove", "4"),
                ("--shown", "0.4"),
            ]
        ),
    ],
)
def test_options_that_cannot_be_used_are_refused_in_a_line(
    run, fields, tmp_path, options, said
) -> None:
    image = fields[0] / "field0.tif"
    done = run("grain-size", image, "-o", tmp_path / "out", "--pixel-size", 0.5, *options)
    assert done.code == 2
    assert len(done.errors) == 1
    assert said in done.errors[0]
    assert not (tmp_path / "out").exists()


def _cross(boundary: int, grain: int) -> np.ndarray:
    drawn = np.full((60, 80), grain, np.uint8)
    drawn[30] = drawn[:, 40] = boundary
    return drawn


@pytest.mark.parametrize(
    ("pixels", "said"),
    [
        (_cross(0, 255), "seems inverted"),
        (np.random.default_rng(0).normal(100, 5, (60, 80)).astype(np.uint8), "no grain boundary"),
        (np.where(np.indices((60, 80))[1] == 0, 255, 0).astype(np.uint8), "one grain fills"),
    ],
)
def test_a_field_without_boundaries_is_refused_by_its_name(run, tmp_path, pixels, said) -> None:
    tifffile.imwrite(tmp_path / "bad.tif", pixels)
    done = run("grain-size", tmp_path / "bad.tif", "-o", tmp_path / "out", "--pixel-size", 0.5)
    assert done.code == 2
    assert len(done.errors) == 1
    assert "bad.tif: " in done.errors[0]
    assert said in done.errors[0]
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("asked", "way"),
    [((), "mask.tif"), (("--smallest-area", 9), "mask.tif"), (("--groove", 4), "etched")],
)
def test_a_mask_takes_no_place_of_what_was_asked_for(run, tmp_path, asked, way) -> None:
    tifffile.imwrite(tmp_path / "mask.tif", _cross(255, 0))
    done = run("grain-size", tmp_path / "mask.tif", "-o", tmp_path, "--pixel-size", 0.5, *asked)
    assert done.code == 0, done.err
    (field,) = json.loads((tmp_path / "grain_size.json").read_text("utf-8"))["fields"]
    assert field["provenance"]["boundaries"] == way
    assert ("taken for a mask" in " ".join(field["notes"])) == (way == "mask.tif")


def test_a_region_is_cut_at_the_data_bar(run, tmp_path) -> None:
    made = polycrystal(PolycrystalParameters(height_px=260, width_px=400, grain_size=9.5), 3)
    image = np.zeros((300, 400), np.uint8)
    image[:260] = made.image
    image[275:285, 20:120:3] = 255
    tifffile.imwrite(tmp_path / "bar.tif", image)
    done = run("grain-size", tmp_path / "bar.tif", "-o", tmp_path, "--pixel-size", 0.5,
               "--region", "20,0,300,400")  # fmt: skip
    assert done.code == 0, done.err
    (field,) = json.loads((tmp_path / "grain_size.json").read_text("utf-8"))["fields"]
    assert field["provenance"]["box"] == [20, 0, 260, 400]
    assert any("rows 20 to 259" in note for note in field["notes"])
    assert "the region is cut at the data bar" in " ".join(done.err.split())
    done = run("grain-size", tmp_path / "bar.tif", "-o", tmp_path / "out", "--pixel-size", 0.5,
               "--region", "265,0,300,400")  # fmt: skip
    assert done.code == 2
    assert "bar.tif: the region holds no pixel of the image less its data bar" in done.errors[0]


def test_few_intersections_are_answered_and_said(run, tmp_path) -> None:
    tifffile.imwrite(tmp_path / "few.tif", _cross(255, 0))
    done = run("grain-size", tmp_path / "few.tif", "-o", tmp_path / "out", "--pixel-size", 0.5)
    assert done.code == 0
    assert "few.tif: lines: " in done.err
    assert "G cannot be relied on" in done.err
    (field,) = json.loads((tmp_path / "out" / "grain_size.json").read_text("utf-8"))["fields"]
    assert field["G"] > 0
    assert any("far too few" in note for note in field["notes"])


def test_its_own_pictures_are_no_fields(run, tmp_path) -> None:
    tifffile.imwrite(tmp_path / "few.tif", _cross(255, 0))
    for said in ("", "1 picture made by this program is left out"):
        done = run("grain-size", tmp_path, "-o", tmp_path, "--pixel-size", 0.5)
        assert done.code == 0
        assert said in done.err
        assert json.loads((tmp_path / "grain_size.json").read_text("utf-8"))["n_fields"] == 1
    done = run("grain-size", tmp_path / "few_lines.png", "-o", tmp_path / "o", "--pixel-size", 0.5)
    assert done.code == 2
    assert done.errors[0].endswith("no micrograph; name the image it was made of")
