"""`evaluate boundaries`."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from napari_metallography.synthesis.polycrystals import PolycrystalParameters, polycrystal


@pytest.fixture
def pairs(tmp_path) -> tuple[Path, Path]:
    """Images without a pixel size, and masks of their boundaries."""
    images, masks = tmp_path / "images", tmp_path / "masks"
    images.mkdir(), masks.mkdir()
    for seed in range(2):
        made = polycrystal(PolycrystalParameters(height_px=200, width_px=260, grain_size=8), seed)
        Image.fromarray(made.image).save(images / f"field{seed}.png")
        Image.fromarray(made.boundaries).save(masks / f"field{seed}.png")
    return images, masks


def test_etched_boundaries_are_scored_without_a_pixel_size(run, pairs, tmp_path) -> None:
    done = run("evaluate", "boundaries", "--images", pairs[0], "--boundaries", pairs[1],
               "-o", tmp_path / "scores.json")  # fmt: skip
    assert done.code == 0
    found = json.loads((tmp_path / "scores.json").read_text("utf-8"))
    assert found["boundary_f1"] > 0.95
    assert abs(found["mean_intercept_error_percent"]) < 4
    assert found["n"] == len(found["images"]) == 2
    assert found["provenance"]["boundaries"] == "etched"
    assert "boundary F1" in done.out


def test_an_image_in_which_nothing_is_found_scores_nothing(run, pairs, tmp_path) -> None:
    noise = np.random.default_rng(0).normal(128, 6, (200, 260)).astype(np.uint8)
    Image.fromarray(noise).save(pairs[0] / "field1.png")
    done = run("evaluate", "boundaries", "--images", pairs[0], "--boundaries", pairs[1],
               "-o", tmp_path / "scores.json")  # fmt: skip
    assert done.code == 0
    assert "field1.png: no grain boundary" in done.err
    found = json.loads((tmp_path / "scores.json").read_text("utf-8"))
    assert found["images"][1]["recall"] == 0
    assert found["images"][1]["mean_intercept_px"] is None
    assert 0.3 < found["recall"] < 0.7


def test_the_contrast_that_a_notice_names_can_be_lowered(run, pairs, tmp_path) -> None:
    random = np.random.default_rng(0)
    for mask in pairs[1].iterdir():
        grooves = np.asarray(Image.open(mask)) > 0
        grey = np.where(grooves, 168, 180) + random.normal(0, 4, grooves.shape)
        # One scratch, much darker than any boundary.
        grey[100:104] = 0
        Image.fromarray(np.clip(grey, 0, 255).astype(np.uint8)).save(pairs[0] / mask.name)
    found = {}
    for contrast in ("0.9", "0.05"):
        output = tmp_path / f"{contrast}.json"
        done = run("evaluate", "boundaries", "--images", pairs[0], "--boundaries", pairs[1],
                   "--contrast", contrast, "-o", output)  # fmt: skip
        assert done.code == 0, done.err
        found[contrast] = json.loads(output.read_text("utf-8"))["recall"]
    assert found["0.05"] > found["0.9"] + 0.5


def test_options_of_the_other_way_to_find_boundaries_are_refused(run, pairs, tmp_path) -> None:
    for options in (("--threshold", "0.3"), ("--model", "grain-boundaries", "--contrast", "0.1")):
        done = run("evaluate", "boundaries", "--images", pairs[0], "--boundaries", pairs[1],
                   *options, "-o", tmp_path / "scores.json")  # fmt: skip
        assert done.code == 2
        assert f"{options[-2]}: has no effect" in done.err


def test_an_image_without_a_mask_is_refused(run, pairs, tmp_path) -> None:
    (pairs[1] / "field1.png").unlink()
    done = run("evaluate", "boundaries", "--images", pairs[0], "--boundaries", pairs[1],
               "-o", tmp_path / "scores.json")  # fmt: skip
    assert done.code == 2
    assert "no boundaries of field1.png" in done.err
    assert not (tmp_path / "scores.json").exists()


def test_a_model_without_boundaries_is_refused(run, pairs, tmp_path) -> None:
    done = run("evaluate", "boundaries", "--images", pairs[0], "--boundaries", pairs[1],
               "--model", "uhcs-carbides", "-o", tmp_path / "scores.json")  # fmt: skip
    assert done.code == 2
    assert 'no class "boundary"' in done.err


def test_values_of_masks_are_boundary_where_they_are_higher(run, pairs, tmp_path) -> None:
    for file in pairs[1].iterdir():
        Image.fromarray(np.where(np.asarray(Image.open(file)), 0, 255).astype(np.uint8)).save(file)
    done = run("evaluate", "boundaries", "--images", pairs[0], "--boundaries", pairs[1],
               "-o", tmp_path / "scores.json")  # fmt: skip
    assert done.code == 2
    assert "inverted" in done.err
