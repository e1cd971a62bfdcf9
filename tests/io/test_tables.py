from __future__ import annotations

import csv
import json
import math
from pathlib import Path

import numpy as np
import openpyxl
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_metallography.errors import InputError
from napari_metallography.io import tables
from napari_metallography.io.tables import (
    plain,
    write_csv,
    write_json,
    write_or_rename,
    write_parquet,
    write_xlsx,
)

FRAME = pd.DataFrame(
    {
        "phase": ["carbide", "network"],
        "n_particles": pd.array([3, None], dtype="Int64"),
        "mean_radius_um": [0.1 + 0.2, math.nan],
        "touches_border": [True, False],
    }
)


def test_csv_keeps_every_digit_and_leaves_missing_cells_empty(tmp_path):
    write_csv(tmp_path / "a.csv", FRAME)
    assert (tmp_path / "a.csv").read_text("utf-8").splitlines() == [
        "phase,n_particles,mean_radius_um,touches_border",
        "carbide,3,0.30000000000000004,True",
        "network,,,False",
    ]


def test_csv_with_decimal_commas(tmp_path):
    write_csv(tmp_path / "a.csv", FRAME, decimal=",", separator=";")
    lines = (tmp_path / "a.csv").read_text("utf-8").splitlines()
    assert lines[1] == "carbide;3;0,30000000000000004;True"
    again = pd.read_csv(tmp_path / "a.csv", decimal=",", sep=";")
    assert again["mean_radius_um"][0] == FRAME["mean_radius_um"][0]


def test_one_character_cannot_part_digits_and_columns(tmp_path):
    with pytest.raises(InputError, match="cannot part both digits and columns"):
        write_csv(tmp_path / "a.csv", FRAME, decimal=",")
    assert not list(tmp_path.iterdir())


def test_the_byte_order_mark_is_there_only_when_excel_needs_it(tmp_path):
    write_csv(tmp_path / "plain.csv", FRAME)
    write_csv(tmp_path / "marked.csv", FRAME.replace("network", "Widmanstätten"))
    assert (tmp_path / "plain.csv").read_bytes().startswith(b"phase")
    assert (tmp_path / "marked.csv").read_bytes().startswith(b"\xef\xbb\xbfphase")
    with (tmp_path / "marked.csv").open(encoding="utf-8-sig", newline="") as file:
        assert [row["phase"] for row in csv.DictReader(file)] == ["carbide", "Widmanstätten"]


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1))
def test_numbers_survive_csv(tmp_path_factory, numbers):
    path = tmp_path_factory.mktemp("csv") / "a.csv"
    write_csv(path, pd.DataFrame({"x": numbers}))
    with path.open(newline="") as file:
        assert [float(row["x"]) for row in csv.DictReader(file)] == numbers


def test_a_workbook_has_a_bold_frozen_header_and_empty_missing_cells(tmp_path):
    write_xlsx(tmp_path / "a.xlsx", {"phases": FRAME, "empty": FRAME.iloc[:0]})
    book = openpyxl.load_workbook(tmp_path / "a.xlsx")
    assert book.sheetnames == ["phases", "empty"]
    sheet = book["phases"]
    assert [cell.value for cell in sheet[1]] == [
        "phase",
        "particles",
        "mean radius (µm)",
        "touches the border",
    ]
    assert all(cell.font.bold for cell in sheet[1])
    assert not sheet["A2"].font.bold
    assert sheet.freeze_panes == "A2"
    assert [cell.value for cell in sheet[2]] == ["carbide", 3, 0.3, True]
    assert [cell.value for cell in sheet[3]] == ["network", None, None, False]
    assert sheet.column_dimensions["B"].width > len("particles")
    assert book["empty"].max_row == 1


def test_text_that_looks_like_a_formula_stays_text(tmp_path):
    write_xlsx(tmp_path / "a.xlsx", {"phases": pd.DataFrame({"=x": ["=1+1", "+1"]})})
    sheet = openpyxl.load_workbook(tmp_path / "a.xlsx")["phases"]
    assert [(cell.value, cell.data_type) for cell in sheet["A"]] == [
        ("=x", "s"),
        ("=1+1", "s"),
        ("+1", "s"),
    ]


def test_a_table_longer_than_a_sheet_is_refused(tmp_path):
    long = pd.DataFrame({"x": np.zeros(1_048_576, np.int8)})
    with pytest.raises(
        InputError, match="'particles' do not fit on a sheet, which holds 1048575; "
    ):
        write_xlsx(tmp_path / "a.xlsx", {"particles": long})
    assert not list(tmp_path.iterdir())


def test_a_file_held_open_elsewhere_is_named_and_kept(tmp_path, monkeypatch):
    path = tmp_path / "a.xlsx"
    path.write_bytes(b"before")

    def refuse(self: Path, target: Path) -> Path:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "replace", refuse)
    for write in (lambda: write_xlsx(path, {"a": FRAME}), lambda: write_csv(path, FRAME)):
        with pytest.raises(InputError, match=r"a\.xlsx: is open in another program; close it"):
            write()
    assert path.read_bytes() == b"before"
    assert [p.name for p in tmp_path.iterdir()] == ["a.xlsx"]


@pytest.mark.parametrize("held", [["a.xlsx"], ["a.xlsx", "a (2).xlsx"]])
def test_a_new_name_is_taken_where_a_file_is_held_open(tmp_path, monkeypatch, held):
    for name in held:
        (tmp_path / name).write_bytes(b"before")
    replace = Path.replace

    def refuse(self: Path, target: Path) -> Path:
        if Path(target).name in held:
            raise PermissionError(13, "Permission denied")
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", refuse)
    written = write_or_rename(tmp_path / "a.xlsx", lambda path: write_xlsx(path, {"a": FRAME}))
    assert written.name == f"a ({len(held) + 1}).xlsx"
    assert openpyxl.load_workbook(written).sheetnames == ["a"]
    assert all((tmp_path / name).read_bytes() == b"before" for name in held)
    assert len(list(tmp_path.iterdir())) == len(held) + 1


def test_a_file_that_nobody_holds_keeps_its_name(tmp_path):
    (tmp_path / "a.csv").write_bytes(b"before")
    assert write_or_rename(tmp_path / "a.csv", lambda p: write_csv(p, FRAME)) == tmp_path / "a.csv"
    assert (tmp_path / "a.csv").read_bytes().startswith(b"phase")


def test_parquet_keeps_numbers_and_types(tmp_path):
    write_parquet(tmp_path / "a.parquet", FRAME)
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "a.parquet"), FRAME, check_dtype=False)
    assert [p.name for p in tmp_path.iterdir()] == ["a.parquet"]


def test_without_pyarrow_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(tables, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"need pyarrow; install napari-metallography\[parquet\]"):
        tables.require_parquet()


def test_a_file_that_is_a_folder_is_refused(tmp_path):
    (tmp_path / "a.json").mkdir()
    with pytest.raises(InputError, match=r"a\.json: cannot be written"):
        write_json(tmp_path / "a.json", {})
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]


def test_json_holds_plain_values_only(tmp_path):
    data = {
        "float": np.float32(0.5),
        "array": np.array([[1, 2]]),
        "missing": [math.nan, math.inf, pd.NA, None, np.float64("nan")],
        "path": Path("a") / "b",
        "flag": np.bool_(True),
        3: ("ä", 1),
    }
    write_json(tmp_path / "a.json", data)
    text = (tmp_path / "a.json").read_text("utf-8")
    assert "ä" in text
    assert text.endswith("}\n")
    assert json.loads(text) == {
        "float": 0.5,
        "array": [[1, 2]],
        "missing": [None] * 5,
        "path": str(Path("a") / "b"),
        "flag": True,
        "3": ["ä", 1],
    }


json_data = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@settings(max_examples=30)
@given(json_data)
def test_what_json_can_say_stays_as_it_is(data):
    assert json.loads(json.dumps(plain(data), allow_nan=False)) == data
