import numpy as np
import pandas as pd
import pytest
import tifffile

RECIPE = "segment: {method: threshold}\nquantify: {smallest_area_px: 4}\n"


@pytest.fixture
def recipe(tmp_path):
    path = tmp_path / "recipe.yaml"
    path.write_text(RECIPE)
    return path


@pytest.fixture
def scans(tmp_path):
    """Two images and one that is none."""
    folder = tmp_path / "scans"
    folder.mkdir()
    random = np.random.default_rng(0)
    for name in "ab":
        pixels = random.normal(60, 5, (40, 50))
        pixels[5:20, 8:30] += 120
        tifffile.imwrite(folder / f"{name}.tif", pixels.clip(0, 255).astype(np.uint8))
    (folder / "bad.tif").write_bytes(b"no image")
    return folder


def test_what_can_be_done_is_done_and_the_exit_code_tells_of_the_rest(run, recipe, scans, tmp_path):
    out = tmp_path / "out"
    found = run("batch", recipe, scans, "-o", out, "--pixel-size", 0.2)
    assert found.code == 2
    assert len(found.errors) == 1
    assert "bad.tif: not a TIFF" in found.errors[0]
    assert "2 of 3 done, 1 failed" in found.err
    table = pd.read_csv(out / "results.csv")
    assert set(table["image"]) == {"a.tif", "b.tif"}
    assert (table["pixel_size_um"] == 0.2).all()
    assert list(pd.read_csv(out / "items.csv")["state"]) == ["done", "done", "failed"]
    assert "why it failed" in (out / "report.html").read_text()


def test_a_batch_is_gone_on_with_or_begun_anew_as_it_is_asked_for(run, recipe, scans, tmp_path):
    out = tmp_path / "out"
    (scans / "bad.tif").unlink()
    assert run("batch", recipe, scans, "-o", out).code == 0
    again = run("batch", recipe, scans, "-o", out)
    assert again.code == 2
    assert "holds a batch already; go on with --resume" in again.errors[0]
    assert run("batch", recipe, scans, "-o", out, "--resume").code == 0
    other = run("batch", recipe, scans, "-o", out, "--resume", "--pixel-size", 0.3)
    assert "calibrate of the recipe changed" in other.errors[0]
    assert run("batch", recipe, scans, "-o", out, "--recompute", "--pixel-size", 0.3).code == 0


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--resume", "--recompute"], "--resume and --recompute: choose one"),
        (["--scheduler", "tcp://a:1", "--workers", "2"], "--scheduler has workers of its own"),
        (["--pixel-size", "0"], "--pixel-size 0.0: a pixel size is larger than zero"),
        (["--index", "nothing.csv"], "nothing.csv: no such file"),
    ],
)
def test_what_cannot_be_asked_for_is_refused_first(run, recipe, scans, tmp_path, words, said):
    found = run("batch", recipe, scans, "-o", tmp_path / "out", *words)
    assert found.code == 2
    assert said in found.errors[0]
    assert not (tmp_path / "out").exists()


def test_a_wrong_recipe_is_told_in_a_line(run, recipe, scans, tmp_path):
    recipe.write_text("quantify: {edge_rul: all}")
    found = run("batch", recipe, scans, "-o", tmp_path / "out")
    assert found.code == 2
    assert found.errors == [
        f"error: {recipe}: unknown key edge_rul in quantify; did you mean edge_rule?"
    ]
