from __future__ import annotations

import numpy as np
import tifffile


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
