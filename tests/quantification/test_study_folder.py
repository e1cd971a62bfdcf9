from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tifffile

from napari_metallography.calibration import Calibration
from napari_metallography.classes import named_classes
from napari_metallography.errors import InputError
from napari_metallography.events import drain
from napari_metallography.io.images import read_micrograph
from napari_metallography.io.labels import LabelImage
from napari_metallography.quantification import study_folder
from napari_metallography.quantification.correctable import measure_anew, measure_given
from napari_metallography.quantification.corrections import Correction, change_of
from napari_metallography.quantification.files import MeasuredImage
from napari_metallography.quantification.parameters import QuantifyParameters
from napari_metallography.quantification.study_folder import (
    StudyField,
    StudyImage,
    read_study_folder,
    write_study_folder,
)
from napari_metallography.regions import Box, Field
from napari_metallography.reports import ReportHead

RULES = QuantifyParameters(edge_rule="exclude-border", smallest_area_px=4)
HEAD = ReportHead("Phases and particles", specimen="S-1", operator="A. B.", laboratory="L")


def field(name: str, shift: int, calibrated: bool = True, corrected: bool = True) -> StudyField:
    indices = np.zeros((40, 50), np.uint8)
    indices[5:11, 5:11], indices[20:25, 10 + shift : 20 + shift], indices[30:34, 30:34] = 1, 1, 1
    calibration = Calibration.square(0.5, "test") if calibrated else None
    region = Field((40, 50), Box(38, 0, 40, 50), (((0, 0), (0, 49), (39, 49), (39, 0)),))
    labels = LabelImage(indices, named_classes(["ferrite", "carbide"]), calibration, region)
    found = drain(measure_anew(labels, RULES, None, name))
    if not corrected:
        return StudyField(MeasuredImage(name, labels, found.result, None), found.ids, RULES)
    change = change_of(Correction("delete", (1,), made="2026-01-01"), indices, found.ids, 3)
    change.apply(indices, found.ids)
    again = drain(measure_given(labels, found.ids, RULES, None, name, [change.correction]))
    measured = MeasuredImage(name, labels, again.result, None, specimen="S-1")
    return StudyField(measured, found.ids, RULES, (change,))


@pytest.fixture
def image(tmp_path: Path) -> StudyImage:
    pixels = np.random.default_rng(0).integers(0, 255, (40, 50), np.uint8)
    tifffile.imwrite(tmp_path / "steel.tif", pixels)
    return StudyImage(tmp_path / "steel.tif", pixels=pixels)


def test_a_study_is_read_as_it_was_written(tmp_path: Path, image: StudyImage) -> None:
    fields = [replace(field("a", 0), image=image), field("b", 3, corrected=False)]
    write_study_folder(tmp_path / "study", fields, "id-1", head=HEAD)
    stored = read_study_folder(tmp_path / "study")
    assert (stored.identity, stored.parameters) == ("id-1", RULES)
    assert (stored.head.operator, stored.head.laboratory) == ("A. B.", "L")
    for one, was in zip(stored.fields, fields, strict=True):
        assert one.name == was.measured.name
        assert one.problem == ""
        assert one.labels.measured == was.measured.labels.measured
        assert one.labels.calibration == was.measured.labels.calibration
        np.testing.assert_array_equal(one.labels.indices, was.measured.labels.indices)
        np.testing.assert_array_equal(one.ids, was.ids)
        assert [change.correction for change in one.changes] == was.trail
        trail = [change.correction for change in one.changes]
        again = drain(measure_given(one.labels, one.ids, RULES, None, one.name, trail))
        pd.testing.assert_frame_equal(again.result.particles, was.measured.result.particles)
        assert again.result.statistics == was.measured.result.statistics
    assert stored.fields[0].image is not None
    assert stored.fields[0].image.path == image.path
    assert stored.fields[1].image is None


def test_a_study_holds_tables_report_and_the_labels_before_corrections(tmp_path: Path) -> None:
    write_study_folder(tmp_path / "study", [field("a", 0), field("b", 3)], "id", head=HEAD)
    names = {path.name for path in (tmp_path / "study").iterdir()}
    assert {"study.json", "particles.csv", "phases.csv", "study.xlsx", "report.html"} <= names
    assert "labels" in names
    assert len(list((tmp_path / "study" / "labels").iterdir())) == 8
    assert "correction(s) by hand" in (tmp_path / "study" / "report.html").read_text("utf-8")
    assert [path.name for path in tmp_path.iterdir()] == ["study"]


def test_images_are_copied_on_request(tmp_path: Path, image: StudyImage) -> None:
    one = replace(field("a", 0), image=image)
    write_study_folder(tmp_path / "study", [one], "id", copy_images=True)
    image.path.unlink()  # type: ignore[union-attr]
    shutil.move(tmp_path / "study", tmp_path / "elsewhere")
    found = read_study_folder(tmp_path / "elsewhere").fields[0].image
    assert found is not None
    assert found.path == tmp_path / "elsewhere" / "images" / "01_a.tif"
    np.testing.assert_array_equal(read_micrograph(found.path).pixels, image.pixels)
    # Saved again, with the image from the folder that is replaced.
    again = replace(one, image=replace(found, pixels=image.pixels))
    write_study_folder(tmp_path / "elsewhere", [again], "id")
    assert read_study_folder(tmp_path / "elsewhere").fields[0].problem == ""


@pytest.mark.parametrize("moved", [True, False])
def test_an_image_that_moved_or_changed_is_said(
    tmp_path: Path, image: StudyImage, moved: bool
) -> None:
    write_study_folder(tmp_path / "study", [replace(field("a", 0), image=image)], "id")
    if moved:
        image.path.rename(tmp_path / "other.tif")  # type: ignore[union-attr]
    else:
        image.path.write_bytes(b"other")  # type: ignore[union-attr]
    stored = read_study_folder(tmp_path / "study").fields[0]
    assert stored.image is not None
    assert stored.image.pixels is None
    assert ("no longer there" if moved else "has changed") in stored.problem
    assert "\n" not in stored.problem
    assert stored.labels.indices.any()


@pytest.mark.parametrize("moved", [True, False])
def test_saved_again_a_missing_image_keeps_path_and_digest(
    tmp_path: Path, image: StudyImage, moved: bool
) -> None:
    folder, path = tmp_path / "study", image.path
    assert path is not None
    write_study_folder(folder, [replace(field("a", 0), image=image)], "id")
    path.rename(tmp_path / "away.tif")
    if not moved:
        path.write_bytes(b"other")
    stored = read_study_folder(folder).fields[0]
    write_study_folder(folder, [replace(field("a", 0), image=stored.image)], "id")
    assert read_study_folder(folder).fields[0].problem
    (tmp_path / "away.tif").replace(path)
    found = read_study_folder(folder).fields[0]
    assert (found.problem, found.image and found.image.path) == ("", path)


def test_saved_again_copies_and_files_of_others_stay(tmp_path: Path, image: StudyImage) -> None:
    folder = tmp_path / "study"
    one = replace(field("a", 0), image=image)
    write_study_folder(folder, [one, field("b", 3)], "id", copy_images=True)
    (folder / "report_signed.pdf").write_text("signed")
    (folder / "mine" / "deep").mkdir(parents=True)
    (folder / "mine" / "deep" / "notes.txt").write_text("x")
    copied = (folder / "images" / "01_a.tif").read_bytes()
    # Without its image at hand, and without the field "b".
    stored = read_study_folder(folder).fields[0]
    write_study_folder(folder, [replace(one, image=stored.image)], "id")
    assert (folder / "report_signed.pdf").read_text() == "signed"
    assert (folder / "mine" / "deep" / "notes.txt").read_text() == "x"
    assert (folder / "images" / "01_a.tif").read_bytes() == copied
    assert read_study_folder(folder).fields[0].problem == ""
    assert not [path for path in (folder / "labels").iterdir() if "_b_" in path.name]
    # And again with the copy asked for: no second one, and nothing beside the folder.
    write_study_folder(folder, [one], "id", copy_images=True)
    assert [path.name for path in (folder / "images").iterdir()] == ["01_a.tif"]
    assert {path.name for path in tmp_path.iterdir()} == {"study", "steel.tif"}


def test_another_image_gets_a_name_of_its_own(tmp_path: Path, image: StudyImage) -> None:
    folder = tmp_path / "study"
    one = replace(field("a", 0), image=image)
    write_study_folder(folder, [one], "id", copy_images=True)
    other = StudyImage(None, pixels=np.zeros((40, 50), np.uint8))
    write_study_folder(folder, [replace(one, image=other)], "id")
    names = {path.name for path in (folder / "images").iterdir()}
    assert names == {"01_a.tif", "01_a (2).tif"}
    found = read_study_folder(folder).fields[0].image
    assert found is not None
    assert found.path is not None
    assert not np.asarray(read_micrograph(found.path).pixels).any()


def test_a_file_of_the_same_name_as_a_new_one_stays_beside_it(tmp_path: Path) -> None:
    folder = tmp_path / "study"
    write_study_folder(folder, [field("a", 0)], "id")
    (folder / "labels" / "02_b_labels.tif").write_text("mine")
    write_study_folder(folder, [field("a", 0), field("b", 3)], "id")
    assert (folder / "labels" / "02_b_labels (2).tif").read_text() == "mine"
    assert len(read_study_folder(folder).fields) == 2


def test_another_study_is_never_overwritten(tmp_path: Path) -> None:
    write_study_folder(tmp_path / "study", [field("a", 0)], "one")
    before = (tmp_path / "study" / "study.json").read_bytes()
    with pytest.raises(InputError, match="something else"):
        write_study_folder(tmp_path / "study", [field("b", 0)], "two")
    assert (tmp_path / "study" / "study.json").read_bytes() == before
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "mine.txt").write_text("x")
    with pytest.raises(InputError, match="something else"):
        write_study_folder(tmp_path / "notes", [field("b", 0)], "two")
    write_study_folder(tmp_path / "study", [field("a", 0), field("b", 1)], "one")
    assert len(read_study_folder(tmp_path / "study").fields) == 2


def test_a_failure_leaves_the_former_study(tmp_path: Path, monkeypatch) -> None:
    write_study_folder(tmp_path / "study", [field("a", 0)], "one")

    def fail(*_: object, **__: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(study_folder, "_write_ids", fail)
    with pytest.raises(InputError, match="disk full"):
        write_study_folder(tmp_path / "study", [field("a", 0), field("b", 1)], "one")
    assert len(read_study_folder(tmp_path / "study").fields) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["study"]


def test_mixed_calibrations_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no pixel size"):
        write_study_folder(
            tmp_path / "study", [field("a", 0), field("b", 1, calibrated=False)], "id"
        )
    assert not list(tmp_path.iterdir())


def test_a_folder_without_a_study_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"holds no study\.json"):
        read_study_folder(tmp_path)


@pytest.mark.parametrize(
    "damage",
    [
        lambda stored: "{",
        lambda stored: json.dumps([]),
        lambda stored: json.dumps({**stored, "format": 99}),
        lambda stored: json.dumps({**stored, "fields": [{"name": "a"}]}),
        lambda stored: json.dumps({**stored, "parameters": {"edge_rule": "none"}}),
        lambda stored: json.dumps({**stored, "head": []}),
    ],
)
def test_a_damaged_description_is_one_line(tmp_path: Path, damage) -> None:
    write_study_folder(tmp_path / "study", [field("a", 0)], "id")
    path = tmp_path / "study" / "study.json"
    path.write_text(damage(json.loads(path.read_text())))
    with pytest.raises(InputError) as error:
        read_study_folder(tmp_path / "study")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("what", "value"),
    [
        ("to_class", 300),
        ("to_class", 7),
        ("to_class", "x"),
        ("to_class", None),
        ("plane", 0.5),
        ("width_px", []),
        ("particles", [1e400]),
        ("from_classes", [9]),
        ("line", [[float("nan"), 0]]),
    ],
)
def test_a_damaged_correction_is_one_line(tmp_path: Path, what: str, value: object) -> None:
    write_study_folder(tmp_path / "study", [field("a", 0)], "id")
    path = tmp_path / "study" / "study.json"
    stored = json.loads(path.read_text())
    stored["fields"][0]["corrections"][0][what] = value
    path.write_text(json.dumps(stored))
    with pytest.raises(InputError, match="damaged") as error:
        read_study_folder(tmp_path / "study")
    assert "\n" not in str(error.value)


def test_labels_edited_behind_its_back_are_noticed(tmp_path: Path) -> None:
    write_study_folder(tmp_path / "study", [field("a", 0)], "id")
    labels = tmp_path / "study" / "labels"
    shutil.copy(labels / "01_a_original_labels.tif", labels / "01_a_labels.tif")
    with pytest.raises(InputError, match="not what its corrections lead to"):
        read_study_folder(tmp_path / "study")
