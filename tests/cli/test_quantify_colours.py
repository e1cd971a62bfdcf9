from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

RED, BLUE, BLACK, GREEN = (255, 0, 0), (0, 0, 255), (0, 0, 0), (0, 255, 0)


def _squares(path: Path, ground: tuple[int, ...], *squares: tuple[int, ...]) -> Path:
    pixels = np.full((60, 90, 3), ground, np.uint8)
    for number, colour in enumerate(squares):
        pixels[10:25, 10 + 25 * number : 25 + 25 * number] = colour
    Image.fromarray(pixels).save(path)
    return path


@pytest.mark.parametrize(
    ("ground", "squares", "matrix"),
    [(RED, (BLUE, GREEN), "#ff0000"), (RED, (BLACK, GREEN), "#000000")],
)
def test_black_or_else_the_largest_area_is_the_matrix(
    run, tmp_path: Path, ground, squares, matrix
) -> None:
    path = _squares(tmp_path / "a.png", ground, *squares)
    done = run("quantify", path, "-o", tmp_path / "out", "--pixel-size", 1)
    assert done.code == 0, done.err
    assert f"{matrix} is taken as the matrix, whose particles are not measured" in done.err
    phases = pd.read_csv(tmp_path / "out/phases.csv").set_index("phase")
    assert phases.index[0] == matrix
    assert np.isnan(phases["n_particles"][matrix])
    assert phases["n_particles"].drop(matrix).tolist() == [1, 1]


def test_all_files_of_a_run_have_one_matrix_and_the_colours_of_all(run, tmp_path: Path) -> None:
    (tmp_path / "labels").mkdir()
    _squares(tmp_path / "labels/a.png", RED, BLUE)
    _squares(tmp_path / "labels/b.png", RED, GREEN)
    _squares(tmp_path / "labels/c.png", BLUE)
    done = run("quantify", tmp_path / "labels", "-o", tmp_path / "out", "--pixel-size", 1)
    assert done.code == 0, done.err
    phases = pd.read_csv(tmp_path / "out/phases.csv").set_index(["image", "phase"])
    fractions = phases["area_fraction"].unstack()
    assert fractions["#00ff00"].tolist() == pytest.approx([0, 225 / 5400, 0])
    assert fractions["#0000ff"].tolist() == pytest.approx([225 / 5400, 0, 1])
    counts = phases["n_particles"].unstack()
    assert counts["#ff0000"].isna().all()
    assert counts["#0000ff"].tolist() == [1, 0, 1]
