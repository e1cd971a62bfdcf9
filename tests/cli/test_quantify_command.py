from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import openpyxl
import pandas as pd
import pytest
import tifffile

from napari_metallography.classes import named_classes
from napari_metallography.io.headings import heading
from napari_metallography.io.labels import LabelImage, write_labels
from napari_metallography.quantification import study_files
from napari_metallography.regions import Field

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


def test_the_region_is_named_where_it_is_signed_and_drawn(run, barred) -> None:
    out = barred / "out"
    given = ("--images", barred / "images", "--region", "10,0,70,60", "--pixel-size", 1)
    assert run("quantify", barred / "labels", "-o", out, *given).code == 0
    where = "rows 10 to 69, columns 0 to 59 of each image"
    signed = (out / "report.html").read_text("utf-8").split("<h2>Pixel size")[0]
    assert f"<th>Region of interest</th><td>{where}</td>" in signed
    assert where in pd.read_excel(out / "study.xlsx", sheet_name="method")["value"].to_list()
    picture = cv2.imread(str(out / "sem_overlay.png"))[:160]
    yellow = np.argwhere((picture == (0, 255, 255)).all(axis=-1))
    # On the edge, give or take the pixel that it runs through.
    np.testing.assert_allclose(yellow.min(axis=0), (10, 0), atol=1)
    np.testing.assert_allclose(yellow.max(axis=0), (69, 59), atol=1)


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


def _indexed(folder: Path, specimens: tuple[str, ...]) -> None:
    """Labels a.tif, b.tif, … with squares of growing sides, and an index of their specimens."""
    rows = ["image,pixel_size_um,specimen"]
    for number, specimen in enumerate(specimens):
        name = f"{'abcdef'[number]}.tif"
        tifffile.imwrite(folder / name, _squares(40 + 10 * number))
        rows.append(f"{name},0.5,{specimen}")
    (folder / "index.csv").write_text("\n".join(rows), encoding="utf-8")


def test_several_specimens_are_grouped_and_not_pooled(run, tmp_path) -> None:
    _indexed(tmp_path, ("16", "16", "37", "37"))
    done = run("quantify", tmp_path, "-o", tmp_path / "out")
    assert done.code == 0, done.err
    statistics = json.loads((tmp_path / "out/statistics.json").read_text("utf-8"))
    fraction = statistics["phases"]["class 1"]["area_fraction"]
    assert (fraction["n_fields"], fraction["ci95"]) == (4, None)
    assert "2 specimens are not independent" in fraction["reason"]
    first = statistics["specimens"]["16"]["phases"]["class 1"]["area_fraction"]
    assert (first["n_fields"], first["mean"]) == (2, pytest.approx((40**2 + 50**2) / 2 / 60000))
    assert first["ci95"] is not None
    assert statistics["point_count"]["phases"]["class 1"]["ci95"] is None
    over = statistics["over_specimens"]["phases"]["class 1"]["area_fraction"]
    assert over["n_specimens"] == 2
    assert over["mean"] == pytest.approx(fraction["mean"])
    assert pd.read_csv(tmp_path / "out/phases.csv")["specimen"].unique().tolist() == [16, 37]
    report = (tmp_path / "out/report.html").read_text("utf-8")
    assert "Specimen 16: 2 fields" in report
    assert "n specimens" in report


def test_fields_of_one_specimen_have_their_interval(run, tmp_path) -> None:
    _indexed(tmp_path, ("37", "37"))
    assert run("quantify", tmp_path, "-o", tmp_path / "out").code == 0
    statistics = json.loads((tmp_path / "out/statistics.json").read_text("utf-8"))
    assert statistics["phases"]["class 1"]["area_fraction"]["ci95"] is not None
    assert "over_specimens" not in statistics


def test_the_workbook_holds_every_table_sheet_by_sheet(run, barred) -> None:
    out = barred / "out"
    options = ("--images", barred / "images", "--pixel-size", 0.5, "--compare-thresholds")
    told = ("--edge-rule", "guard-frame", "--operator", "Müller")
    done = run("quantify", barred / "labels", "-o", out, *options, *told, "--parquet")
    assert done.code == 0, done.err
    book = openpyxl.load_workbook(out / "study.xlsx")
    assert book.sheetnames[:4] == ["particles", "phases", "fields", "statistics"]
    assert book.sheetnames[4:7] == ["point count", "all particles", "sizes"]
    assert book.sheetnames[7:] == ["method", "provenance", "thresholds"]
    method = dict(book["method"].iter_rows(min_row=2, values_only=True))
    assert method["Operator"] == "Müller"
    assert method["Edge rule"].startswith("guard-frame: ")
    for name in ("particles", "phases"):
        table = pd.read_csv(out / f"{name}.csv")
        rows = list(book[name].iter_rows(values_only=True))
        assert rows[0] == tuple(heading(column) for column in table.columns)
        assert len(rows) == len(table) + 1
        for row, expected in zip(rows[1:], table.to_numpy(object), strict=True):
            _same(row, expected)
        parquet = pd.read_parquet(out / f"{name}.parquet")
        assert parquet["area_um2"].tolist() == table["area_um2"].tolist()
    fields = _records(book["fields"])
    assert fields[0]["field area (µm²)"] == 160 * 300 / 4
    assert fields[0]["pixel size x (µm)"] == 0.5
    statistics = _records(book["statistics"])
    row = next(r for r in statistics if (r["phase"], r["quantity"]) == ("class 1", "area_fraction"))
    assert row["mean"] == pytest.approx(40 * 40 / (160 * 300))
    assert (row["n"], row["reason"]) == (1, "one field alone gives no confidence interval")
    sizes = _records(book["sizes"])
    assert sum(r["number (%)"] for r in sizes) == pytest.approx(100)
    provenance = {r["what"]: r["value"] for r in _records(book["provenance"])}
    assert provenance["calibration: source"] == "stated by the user"
    assert {r["method"] for r in _records(book["thresholds"])} >= {
        "labels",
        "best single threshold",
    }
    thresholds = pd.read_csv(out / "thresholds.csv")
    assert thresholds["count_error_percent"][0] == 0
    assert thresholds["counted"].str.contains("touching particles as one").all()
    overlay = cv2.imdecode(np.fromfile(out / "sem_overlay.png", np.uint8), cv2.IMREAD_COLOR)
    assert overlay.shape[1] == 300
    assert overlay.shape[0] > 200


def _records(sheet) -> list[dict]:
    titles, *rows = sheet.iter_rows(values_only=True)
    return [dict(zip(titles, row, strict=True)) for row in rows]


def _same(row, expected) -> None:
    for cell, value in zip(row, expected, strict=True):
        if isinstance(value, float) and np.isnan(value):
            assert cell is None
        else:
            assert cell == (pytest.approx(value, rel=1e-14) if type(value) is float else value)
            assert isinstance(cell, str) == isinstance(value, str)


def test_a_workbook_held_open_gets_a_new_name_and_a_sentence(run, tmp_path, monkeypatch) -> None:
    tifffile.imwrite(tmp_path / "a.tif", _squares())
    out = tmp_path / "out"
    out.mkdir()
    (out / "study.xlsx").write_bytes(b"open in a spreadsheet")
    replace = Path.replace

    def refuse(self: Path, target: Path) -> Path:
        if Path(target).name == "study.xlsx":
            raise PermissionError(13, "Permission denied")
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", refuse)
    done = run("quantify", tmp_path / "a.tif", "-o", out, "--pixel-size", 1)
    assert done.code == 0
    said = [line for line in done.err.splitlines() if "study (2).xlsx" in line]
    assert len(said) == 1
    assert "is open in another program" in said[0]
    assert (out / "study.xlsx").read_bytes() == b"open in a spreadsheet"
    assert openpyxl.load_workbook(out / "study (2).xlsx").sheetnames[0] == "particles"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--wanted-accuracy", 0), "--wanted-accuracy 0.0: it is larger than 0 %"),
        (("--point-grid", "ten"), "'ten' is no grid of points; give ROWSxCOLUMNS"),
        (("--point-grid", "0x5"), "has no point"),
        (("--compare-thresholds",), "give --images"),
    ],
)
def test_options_that_mean_nothing_are_refused(run, tmp_path, options, message) -> None:
    tifffile.imwrite(tmp_path / "a.tif", _squares())
    done = run("quantify", tmp_path / "a.tif", "-o", tmp_path / "out", *options)
    assert done.code == 2
    assert len(done.errors) == 1
    assert message in done.errors[0]
    assert not (tmp_path / "out").exists()


def test_the_fields_needed_follow_the_wanted_accuracy(run, tmp_path) -> None:
    _indexed(tmp_path, ("", "", ""))
    needed = []
    for wanted in (10, 5):
        out = tmp_path / f"out{wanted}"
        options = ("--wanted-accuracy", wanted, "--laboratory", "Lab 3", "--point-grid", "20x30")
        assert run("quantify", tmp_path, "-o", out, *options).code == 0
        statistics = json.loads((out / "statistics.json").read_text("utf-8"))
        needed.append(statistics["phases"]["class 1"]["area_fraction"]["fields_needed"])
        assert statistics["point_count"]["points_per_field"] == 600
        assert "<td>Lab 3</td>" in (out / "report.html").read_text("utf-8")
    assert needed[1] > 3 * needed[0]


def test_particles_beyond_what_a_sheet_bears_are_in_the_csv(run, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(study_files, "_MOST_SHEET_ROWS", 0)
    tifffile.imwrite(tmp_path / "a.tif", _squares())
    out = tmp_path / "out"
    assert run("quantify", tmp_path / "a.tif", "-o", out, "--pixel-size", 1).code == 0
    sheet = openpyxl.load_workbook(out / "study.xlsx")["particles"]
    assert sheet["A2"].value == "1 particles: they are in particles.csv"
    assert len(pd.read_csv(out / "particles.csv")) == 1


def test_labels_without_a_particle_are_measured(run, tmp_path) -> None:
    matrix, classes = np.zeros((40, 50), np.uint8), named_classes(["ferrite", "carbide"])
    write_labels(tmp_path / "a.tif", LabelImage(matrix, classes, None, Field(matrix.shape)))
    out = tmp_path / "out"
    done = run("quantify", tmp_path / "a.tif", "-o", out, "--pixel-size", 1)
    assert done.code == 0, done.err
    assert pd.read_csv(out / "phases.csv")["n_particles"].tolist()[1] == 0
    assert openpyxl.load_workbook(out / "study.xlsx")["particles"].max_row == 1
    assert "No particle was measured." in (out / "report.html").read_text("utf-8")


def test_nothing_but_0_is_refused_where_no_file_names_a_phase(run, tmp_path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((40, 50), np.uint8))
    done = run("quantify", tmp_path / "a.tif", "-o", tmp_path / "out", "--pixel-size", 1)
    assert done.code == 2
    assert done.errors == [
        "error: a.tif: every pixel is 0, which is taken as the matrix; there is no phase to "
        "measure: are these the labels you mean?"
    ]
    assert not (tmp_path / "out").exists()
    # Beside a field that has the phase it is one without.
    tifffile.imwrite(tmp_path / "b.tif", _squares()[:40, :50])
    done = run("quantify", tmp_path, "-o", tmp_path / "out", "--pixel-size", 1)
    assert done.code == 0, done.err
    assert pd.read_csv(tmp_path / "out/phases.csv")["n_particles"].fillna(0).tolist() == [
        0,
        0,
        0,
        1,
    ]


def test_files_that_could_not_be_measured_are_named_everywhere(run, tmp_path) -> None:
    _indexed(tmp_path, ("S", "S"))
    (tmp_path / "b.tif").write_bytes(b"II*\0 not an image")
    out = tmp_path / "out"
    done = run("quantify", tmp_path, "-o", out)
    assert done.code == 2
    assert done.err.splitlines()[-1] == f"1 of 2 measured; tables and report.html in {out}"
    statistics = json.loads((out / "statistics.json").read_text("utf-8"))
    assert statistics["not_measured"] == ["b.tif"]
    said = "1 of 2 files measured; missing, as they could not be: b.tif"
    assert said in (out / "report.html").read_text("utf-8")
    assert said in pd.read_excel(out / "study.xlsx", sheet_name="method")["value"].to_list()
    (tmp_path / "b.tif").unlink()
    run("quantify", tmp_path, "-o", out)
    assert "missing" not in (out / "report.html").read_text("utf-8")


def test_a_folder_holds_the_files_of_one_run_and_what_a_user_put_there(run, barred) -> None:
    out, images = barred / "out", ("--images", barred / "images")
    command = ("quantify", barred / "labels", "-o", out, "--pixel-size", 1)
    more = (*images, "--compare-thresholds")
    assert run(*command, *more).code == 0
    first = {path.name for path in out.iterdir()}
    assert first - {"thresholds.csv", "sem_overlay.png"} < first
    (out / "remarks.txt").write_text("mine", encoding="utf-8")
    (out / "thresholds.csv").write_text("my remarks", encoding="utf-8")
    done = run(*command)
    assert done.code == 0
    (note,) = [line for line in done.err.splitlines() if "of an earlier run" in line]
    assert "thresholds.csv is of an earlier run and was changed since" in note
    left = {path.name for path in out.iterdir()}
    assert left == first - {"sem_overlay.png"} | {"remarks.txt"}
    stated = json.loads((out / "statistics.json").read_text("utf-8"))["files"]
    assert left == {*stated, "statistics.json", "remarks.txt", "thresholds.csv"}


@pytest.mark.parametrize("stated", [(), ("--specimen", "16, 37")])
def test_specimens_that_the_index_names_contradict_nobody(run, tmp_path, stated) -> None:
    _indexed(tmp_path, ("37", "37", "16"))
    done = run("quantify", tmp_path, "-o", tmp_path / "out", *stated)
    assert done.code == 0
    report = (tmp_path / "out/report.html").read_text("utf-8")
    assert "specimen stated" not in done.err + report
    assert (f"<td>{stated[1]}</td>" if stated else "<td>37, 16</td>") in report


def test_a_specimen_stated_beside_an_index_that_names_another_is_said(run, tmp_path) -> None:
    _indexed(tmp_path, ("16", "16"))
    done = run("quantify", tmp_path, "-o", tmp_path / "out", "--specimen", "37")
    assert done.code == 0
    said = "the specimen stated is 37, but the index of the images names 16"
    assert sum(said in line for line in done.err.splitlines()) == 1
    assert said in (tmp_path / "out/report.html").read_text("utf-8")
    done = run("quantify", tmp_path, "-o", tmp_path / "out", "--specimen", "16")
    assert "the specimen stated" not in done.err


def test_how_many_particles_are_parts_of_others_is_said(run, tmp_path) -> None:
    rows, columns = np.indices((60, 90))
    discs = [np.hypot(rows - 30, columns - place) < 10 for place in (20, 37, 70)]
    tifffile.imwrite(tmp_path / "a.tif", np.any(discs, axis=0).astype(np.uint8))
    options = (tmp_path / "a.tif", "-o", tmp_path / "out", "--pixel-size", 1)
    done = run("quantify", *options, "--split", "distance")
    assert "2 of 3 particles are parts of touching ones that were cut apart" in done.err
    report = (tmp_path / "out/report.html").read_text("utf-8")
    assert "; 2 of 3 particles are parts of touching ones that were cut apart" in report
    done = run("quantify", *options)
    assert "cut apart" not in done.err
    assert "parts of touching" not in (tmp_path / "out/report.html").read_text("utf-8")


def _two_with_one_at_the_edge(path: Path) -> Path:
    indices = np.zeros((80, 100), np.uint8)
    indices[20:30, 20:40] = indices[70:, 80:90] = 1
    tifffile.imwrite(path, indices)
    return path


@pytest.mark.parametrize(
    ("rule", "n"),
    [("all", 2), ("exclude-border", 1), ("miles-lantuejoul", 1), ("guard-frame", 1)],
)
def test_edge_rules_are_chosen_and_printed(run, tmp_path, rule, n) -> None:
    out = tmp_path / "out"
    labels = _two_with_one_at_the_edge(tmp_path / "a.tif")
    assert run("quantify", labels, "-o", out, "--pixel-size", 1, "--edge-rule", rule).code == 0
    assert len(pd.read_csv(out / "particles.csv")) == n
    report = (out / "report.html").read_text("utf-8")
    assert f"<td>{rule}: " in report
    assert f"<td>class 1: {2 - n}</td>" in report
    statistics = json.loads((out / "statistics.json").read_text("utf-8"))
    assert statistics["n_excluded"] == {"class 1": 2 - n}


def test_the_weights_of_the_edge_rule_reach_the_sizes(run, tmp_path) -> None:
    indices = np.zeros((100, 100), np.uint8)
    indices[5:15, 5:15] = indices[20:80, 20:80] = 1
    tifffile.imwrite(tmp_path / "a.tif", indices)
    out = tmp_path / "out"
    options = ("--pixel-size", 1, "--edge-rule", "miles-lantuejoul")
    assert run("quantify", tmp_path / "a.tif", "-o", out, *options).code == 0
    weights = pd.read_csv(out / "particles.csv")["weight"].to_numpy()
    assert weights[1] > 2 * weights[0]
    sizes = _records(openpyxl.load_workbook(out / "study.xlsx")["sizes"])
    assert [r["number (%)"] for r in sizes] == pytest.approx(
        (100 * weights / weights.sum()).tolist()
    )
    statistics = json.loads((out / "statistics.json").read_text("utf-8"))
    radii = np.array([10, 60]) / np.sqrt(np.pi)
    pooled = statistics["phases"]["class 1"]["pooled_mean_radius_um"]
    assert pooled == pytest.approx(np.average(radii, weights=weights))


def test_touching_particles_are_split_on_request(run, tmp_path) -> None:
    rows, columns = np.indices((60, 90))
    discs = (np.hypot(rows - 30, columns - 30) < 15) | (np.hypot(rows - 30, columns - 58) < 15)
    tifffile.imwrite(tmp_path / "a.tif", discs.astype(np.uint8))
    found = []
    for split in ("none", "distance"):
        out = tmp_path / split
        done = run("quantify", tmp_path / "a.tif", "-o", out, "--pixel-size", 1, "--split", split)
        assert done.code == 0, done.err
        found.append(len(pd.read_csv(out / "particles.csv")))
    assert found == [1, 2]


def test_a_parameter_out_of_range_is_named_as_its_option(run, tmp_path) -> None:
    labels = _two_with_one_at_the_edge(tmp_path / "a.tif")
    done = run("quantify", labels, "-o", tmp_path / "out", "--pixel-size", 1, "--split-depth", 2)
    assert done.code == 2
    assert done.errors[0].startswith("error: --split-depth: ")


def test_mixed_calibrations_are_refused_before_anything_is_measured(run, tmp_path) -> None:
    _indexed(tmp_path, ("", ""))
    index = "image,pixel_size_um\na.tif,0.5\nb.tif,\n"
    (tmp_path / "index.csv").write_text(index, encoding="utf-8")
    done = run("quantify", tmp_path, "-o", tmp_path / "out")
    assert done.code == 2
    assert "b.tif has no pixel size but a.tif has one" in done.errors[0]
    assert "measured" not in done.err.replace(done.errors[0], "")
    assert not (tmp_path / "out").exists()


def test_tables_in_german_form_hold_the_same_numbers(run, barred) -> None:
    options = ("--images", barred / "images", "--pixel-size", 0.3, "--compare-thresholds")
    german = ("--decimal", ",", "--separator", ";")
    for folder, form in (("plain", ()), ("german", german)):
        done = run("quantify", barred / "labels", "-o", barred / folder, *options, *form)
        assert done.code == 0, done.err
    for name in ("phases.csv", "particles.csv", "thresholds.csv"):
        plain = pd.read_csv(barred / "plain" / name)
        again = pd.read_csv(barred / "german" / name, sep=";", decimal=",")
        pd.testing.assert_frame_equal(again, plain, check_exact=True)
        assert "." not in (barred / "german" / name).read_text("utf-8-sig").replace("sem.tif", "")


def test_the_workbook_and_the_statistics_agree(run, tmp_path) -> None:
    _indexed(tmp_path, ("", "", ""))
    out = tmp_path / "out"
    assert run("quantify", tmp_path, "-o", out).code == 0
    statistics = json.loads((out / "statistics.json").read_text("utf-8"))
    book = openpyxl.load_workbook(out / "study.xlsx")
    for row in _records(book["statistics"]):
        stated = statistics["phases"][row["phase"]][row["quantity"]]
        assert row["n"] == stated["n_fields"]
        assert row["mean"] == pytest.approx(stated["mean"], rel=1e-14)
        low = (stated["ci95"] or [None])[0]
        assert row["95 % confidence from"] == (low if low is None else pytest.approx(low))
    for row in _records(book["point count"]):
        stated = statistics["point_count"]["phases"][row["phase"]]
        assert (row["n"], row["mean"]) == (stated["n_fields"], pytest.approx(stated["mean"]))
    for row in _records(book["all particles"]):
        stated = statistics["phases"][row["phase"]]
        assert row["particles"] == stated["n_particles"]
        assert row["pooled mean radius (µm)"] == pytest.approx(stated["pooled_mean_radius_um"])


@pytest.mark.parametrize(("chosen", "n"), [("77", 1), ("class 200", 1), ("77,200", 2)])
def test_a_class_without_a_name_is_chosen_by_its_value(run, tmp_path, chosen, n) -> None:
    pixels = _squares() * 77
    pixels[150:160, 150:160] = 200
    tifffile.imwrite(tmp_path / "a.tif", pixels)
    out = tmp_path / "out"
    options = ("--pixel-size", 1, "--classes", chosen)
    assert run("quantify", tmp_path / "a.tif", "-o", out, *options).code == 0
    assert len(pd.read_csv(out / "particles.csv")) == n
    assert pd.read_csv(out / "phases.csv")["phase"].tolist() == ["matrix", "class 77", "class 200"]


def test_a_value_that_does_not_occur_is_no_class(run, tmp_path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", _squares() * 2)
    options = ("--pixel-size", 1, "--classes", "1")
    done = run("quantify", tmp_path / "a.tif", "-o", tmp_path / "out", *options)
    assert done.code == 2
    assert "--classes 1: the classes are matrix, class 2" in done.errors[0]
