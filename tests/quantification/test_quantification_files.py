"""From images to a study, by thresholds: no network is asked."""

from __future__ import annotations

import hashlib
import json
import tracemalloc
from dataclasses import replace
from datetime import date
from io import BytesIO
from pathlib import Path

import cv2
import numpy as np
import openpyxl
import pandas as pd
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from napari_metallography.classes import UNLABELLED, named_classes
from napari_metallography.errors import InputError
from napari_metallography.events import Notice, drain, ignore
from napari_metallography.inputs import PixelSizes
from napari_metallography.io.labels import LabelImage, write_labels
from napari_metallography.quantification.files import (
    MeasuredImage,
    Picture,
    points_of,
    provenance_table,
    quantify_file,
    survey,
    with_classes,
    without_pixels,
)
from napari_metallography.quantification.parameters import QuantifyParameters
from napari_metallography.quantification.point_count import PointGrid
from napari_metallography.quantification.study_files import study_of, write_study
from napari_metallography.regions import Box, Field
from napari_metallography.reports import ReportHead
from napari_metallography.segmentation.files import phase_rows, segment_file
from napari_metallography.segmentation.segment import SegmentParameters

THRESHOLD = SegmentParameters(method="threshold")
PIXEL_UM = 0.25
SIDE_PX = 8
"""Squares of this side stand 40 px apart: their area is exact on the grid."""


def squares(rows: int = 3, columns: int = 4) -> np.ndarray:
    truth = np.zeros((40 * rows, 40 * columns), np.uint8)
    for row, column in np.ndindex(rows, columns):
        top, left = 40 * row + 10, 40 * column + 15
        truth[top : top + SIDE_PX, left : left + SIDE_PX] = 1
    return truth


def grey_of(truth: np.ndarray) -> np.ndarray:
    noise = np.random.default_rng(5).normal(0, 6, truth.shape)
    return np.clip(np.where(truth == 1, 190, 90) + noise, 0, 255).astype(np.uint8)


def with_data_bar(grey: np.ndarray, rows: int) -> np.ndarray:
    bar = np.zeros((rows, grey.shape[-1]), np.uint8)
    cv2.putText(bar, "20 um", (8, rows // 2 + 5), 0, rows / 60, 255, 1, cv2.LINE_AA)
    return np.concatenate([grey, bar])


def saved(path: Path, pixels: np.ndarray, **options: object) -> Path:
    tifffile.imwrite(path, pixels, photometric="minisblack", **options)
    return path


@pytest.fixture
def steel(tmp_path: Path) -> Path:
    return saved(tmp_path / "steel.tif", grey_of(squares()))


def segmented(path: Path, folder: Path, size: float | None = PIXEL_UM, **options):
    return drain(segment_file(path, folder, THRESHOLD, sizes=PixelSizes(size), **options))


def measured(
    path: Path,
    *,
    size: float | None = None,
    notices: list[str] | None = None,
    **options: object,
):
    told: list[str] = [] if notices is None else notices
    return drain(
        quantify_file(path, lambda _: QuantifyParameters(), sizes=PixelSizes(size), **options),
        lambda event: told.append(event.message) if isinstance(event, Notice) else None,
    )


def test_numbers_are_those_of_the_drawn_squares(steel: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    labels = segmented(steel, out)
    np.testing.assert_array_equal(labels.indices, squares())
    result = measured(out / "steel_labels.tif", images=steel).result
    phase = result.phases.set_index("phase").loc["phase"]
    field_px, phase_px = 120 * 160, 12 * SIDE_PX**2
    assert phase["area_fraction"] == phase_px / field_px
    assert phase["n_particles"] == 12
    assert phase["area_um2"] == phase_px * PIXEL_UM**2
    assert phase["mean_radius_um"] == pytest.approx(SIDE_PX * PIXEL_UM / np.sqrt(np.pi))
    assert phase["std_radius_um"] == pytest.approx(0)
    assert phase["number_density_per_mm2"] == pytest.approx(12 / (field_px * (PIXEL_UM / 1e3) ** 2))
    assert result.particles["enclosing_radius_um"].to_numpy() == pytest.approx(
        SIDE_PX * PIXEL_UM / np.sqrt(2)
    )
    assert result.particles["mean_grey"].to_numpy() == pytest.approx(190, abs=3)


@settings(max_examples=5)
@given(st.floats(0.01, 50))
def test_lengths_follow_the_pixel_size_and_fractions_do_not(tmp_path_factory, size_um) -> None:
    folder = tmp_path_factory.mktemp("sizes")
    segmented(saved(folder / "steel.tif", grey_of(squares())), folder, None)
    once, scaled = (
        measured(folder / "steel_labels.tif", size=size).result.phases.iloc[1]
        for size in (1.0, size_um)
    )
    assert scaled["area_fraction"] == once["area_fraction"]
    assert scaled["mean_radius_um"] == pytest.approx(size_um * once["mean_radius_um"])
    assert scaled["area_um2"] == pytest.approx(size_um**2 * once["area_um2"])


def test_the_data_bar_is_left_out_unless_it_is_kept(tmp_path: Path) -> None:
    image = saved(tmp_path / "sem.tif", with_data_bar(grey_of(squares(8, 10)), 30))
    without = segmented(image, tmp_path / "a")
    assert without.measured.data_bar == Box(320, 0, 350, 400)
    assert (without.indices[320:] == UNLABELLED).all()
    np.testing.assert_array_equal(without.indices[:320], squares(8, 10))
    phases = measured(tmp_path / "a/sem_labels.tif").result.phases
    assert set(phases["field_area_um2"]) == {320 * 400 * PIXEL_UM**2}
    assert phases["area_fraction"].tolist()[1] == SIDE_PX**2 / 40**2
    kept = segmented(image, tmp_path / "b", keep_data_bar=True)
    assert not (kept.indices == UNLABELLED).any()


def test_only_the_region_is_measured(steel: Path, tmp_path: Path) -> None:
    labels = segmented(steel, tmp_path, region=Box(40, 40, 120, 160))
    inside = np.zeros(labels.indices.shape, bool)
    inside[40:, 40:] = True
    assert (labels.indices[~inside] == UNLABELLED).all()
    np.testing.assert_array_equal(labels.indices[inside], squares()[inside])
    result = measured(tmp_path / "steel_labels.tif").result
    assert len(result.particles) == 6
    assert set(result.phases["field_area_um2"]) == {80 * 120 * PIXEL_UM**2}


def test_each_plane_of_a_stack_is_a_field(tmp_path: Path) -> None:
    truths = np.stack([squares(), np.roll(squares(), 3, axis=1), squares() * 0])
    truths[2, 60:70, 60:70] = 1
    stack = saved(tmp_path / "stack.tif", grey_of(truths), metadata={"axes": "ZYX"})
    labels = segmented(stack, tmp_path / "out")
    np.testing.assert_array_equal(labels.indices, truths)
    notices: list[str] = []
    result = measured(tmp_path / "out/stack_labels.tif", images=stack, notices=notices).result
    assert "stack_labels.tif: 3 planes, each measured as a flat field" in notices
    assert result.statistics["n_fields"] == 3
    assert result.particles.groupby("plane").size().tolist() == [12, 12, 1]
    fractions = (truths == 1).mean(axis=(1, 2))
    values = result.statistics["phases"]["phase"]["area_fraction"]
    assert values["mean"] == pytest.approx(fractions.mean())
    assert values["s"] == pytest.approx(fractions.std(ddof=1))


def test_without_a_pixel_size_everything_is_in_pixels(steel: Path, tmp_path: Path) -> None:
    assert segmented(steel, tmp_path, None).calibration is None
    notices: list[str] = []
    image = measured(tmp_path / "steel_labels.tif", notices=notices, images=steel)
    assert "no pixel size is known, so all tables are in pixels; give --pixel-size" in notices[0]
    out = tmp_path / "out"
    write_study(out, [image])
    book = openpyxl.load_workbook(out / "study.xlsx", read_only=True)
    titles = [str(cell.value) for sheet in book for cell in next(sheet.iter_rows())]
    names = [*pd.read_csv(out / "phases.csv"), *pd.read_csv(out / "particles.csv")]
    assert not [name for name in [*titles, *names] if "µm" in name or "um" in name.split("_")]
    assert not [name for name in [*titles, *names] if "mm" in name]
    phase = pd.read_csv(out / "phases.csv").iloc[1]
    assert phase["area_px2"] == 12 * SIDE_PX**2
    assert phase["mean_radius_px"] == pytest.approx(SIDE_PX / np.sqrt(np.pi))
    assert phase["number_density_per_px2"] == pytest.approx(12 / (120 * 160))
    statistics = json.loads((out / "statistics.json").read_text("utf-8"))
    assert statistics["phases"]["phase"]["mean_radius_px"]["mean"] == phase["mean_radius_px"]
    assert statistics["provenance"][0]["calibration"] is None
    report = (out / "report.html").read_text("utf-8")
    assert "not known: all sizes are in pixels" in report
    assert "radius (µm)" not in report
    assert measured(tmp_path / "steel_labels.tif", size=2.0).labels.calibration.x_um == 2


def test_images_with_and_without_a_pixel_size_are_not_put_together(tmp_path: Path) -> None:
    files = [saved(tmp_path / name, squares()) for name in ("a.tif", "b.tif")]
    images = [measured(path, size=size) for path, size in zip(files, (1.0, None), strict=True)]
    with pytest.raises(InputError, match=r"b\.tif has no pixel size but a\.tif has one") as refused:
        write_study(tmp_path / "out", images)
    assert "\n" not in str(refused.value)
    assert not (tmp_path / "out").exists()


def test_rows_of_the_summary_tell_what_quantify_tells(steel: Path, tmp_path: Path) -> None:
    summary = pd.DataFrame(phase_rows(steel.name, segmented(steel, tmp_path)))
    write_study(tmp_path / "tables", [measured(tmp_path / "steel_labels.tif")])
    phases = pd.read_csv(tmp_path / "tables/phases.csv")
    joined = summary.merge(phases, on=["image", "plane", "phase"], suffixes=("", "_measured"))
    assert len(joined) == len(summary) == len(phases) == 2
    assert joined["area_fraction"].tolist() == joined["area_fraction_measured"].tolist()
    assert (joined["area_px"] * PIXEL_UM**2).tolist() == joined["area_um2"].tolist()


def test_a_study_is_named_after_its_images(steel: Path, tmp_path: Path) -> None:
    segmented(steel, tmp_path)
    made = tmp_path / "steel_labels.tif"
    assert measured(made).name == "steel.tif"
    renamed = made.rename(tmp_path / "steel-2_labels.tif")
    assert measured(renamed).name == "steel-2.tif"
    foreign = saved(tmp_path / "steel.tiff", squares())
    assert measured(foreign, size=1.0).name == "steel.tiff"
    assert measured(foreign, size=1.0, images=steel).name == "steel.tif"


def test_a_study_holds_the_same_numbers_in_every_file(steel: Path, tmp_path: Path) -> None:
    segmented(steel, tmp_path)
    image = measured(tmp_path / "steel_labels.tif", images=steel)
    out = tmp_path / "tables"
    write_study(out, [image], head=ReportHead("Carbides", "plate 7"))
    phases = pd.read_csv(out / "phases.csv")
    sheet = openpyxl.load_workbook(out / "study.xlsx")["phases"]
    titles = [cell.value for cell in sheet[1]]
    assert "mean_radius_um" in phases.columns
    assert {"mean radius (µm)", "area (µm²)", "number density (1/mm²)"} < set(titles)
    radius = sheet.cell(3, titles.index("mean radius (µm)") + 1).value
    assert radius == pytest.approx(phases["mean_radius_um"][1], rel=1e-14)
    statistics = json.loads((out / "statistics.json").read_text("utf-8"))
    mean = statistics["phases"]["phase"]["mean_radius_um"]["mean"]
    assert mean == phases["mean_radius_um"][1]
    report = (out / "report.html").read_text("utf-8")
    assert "plate 7" in report
    assert f"{mean:.4g}" in report
    assert "mean radius (µm)" in report
    assert len(pd.read_csv(out / "particles.csv")) == 12


def test_the_provenance_has_a_row_for_each_value(steel: Path, tmp_path: Path) -> None:
    segmented(steel, tmp_path, region=Box(0, 0, 120, 80))
    table = provenance_table([measured(tmp_path / "steel_labels.tif", size=0.5)])
    assert set(table["image"]) == {"steel.tif"}
    values = dict(zip(table["what"], table["value"], strict=True))
    assert values["calibration: pixel size (µm)"] == "[0.5, 0.5]"
    assert values["calibration: source"] == "stated by the user"
    assert values["labels: parameters: smoothing (px)"] == 0.0
    assert values["field: data bar"] == "null"


def test_particles_too_small_to_resolve_are_noted_everywhere(tmp_path: Path) -> None:
    dots = np.zeros((60, 60), np.uint8)
    dots[::6, ::6] = 1
    labels = saved(tmp_path / "dots.tif", dots)
    notices: list[str] = []
    image = measured(labels, size=1.0, notices=notices)
    write_study(tmp_path / "out", [image])
    told = "100 of 100 particles are below 12 px"
    assert sum(told in notice for notice in notices) == 1
    assert told in (tmp_path / "out/report.html").read_text("utf-8")
    assert told in (tmp_path / "out/statistics.json").read_text("utf-8")
    sheet = openpyxl.load_workbook(tmp_path / "out/study.xlsx")["provenance"]
    assert any(told in str(row[2]) for row in sheet.iter_rows(values_only=True))


@pytest.mark.parametrize(
    "name", ["phases.csv", "particles.csv", "statistics.json", "study.xlsx", "report.html"]
)
def test_a_study_that_cannot_be_written_leaves_no_part_of_a_file(
    steel: Path, tmp_path: Path, name: str
) -> None:
    segmented(steel, tmp_path)
    image = measured(tmp_path / "steel_labels.tif")
    (tmp_path / "out" / name).mkdir(parents=True)
    with pytest.raises(InputError, match=f"{name}: cannot be written"):
        write_study(tmp_path / "out", [image])
    assert not [path for path in (tmp_path / "out").iterdir() if ".part" in path.name]


def test_an_input_that_is_missing_writes_nothing(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"gone\.tif: no such file"):
        segmented(tmp_path / "gone.tif", tmp_path / "out")
    with pytest.raises(InputError, match=r"gone_labels\.tif: no such file"):
        measured(tmp_path / "gone_labels.tif", size=1.0)
    assert list(tmp_path.iterdir()) == []


def test_an_image_of_another_size_is_refused(steel: Path, tmp_path: Path) -> None:
    segmented(steel, tmp_path / "out")
    (tmp_path / "images").mkdir()
    saved(tmp_path / "images/steel.tif", grey_of(squares(2, 2)))
    with pytest.raises(InputError, match="but its labels have"):
        measured(tmp_path / "out/steel_labels.tif", images=tmp_path / "images")


def test_labels_whose_image_is_not_in_the_folder_are_refused(steel: Path, tmp_path: Path) -> None:
    segmented(steel, tmp_path / "out")
    (tmp_path / "images").mkdir()
    saved(tmp_path / "images/other.tif", grey_of(squares()))
    with pytest.raises(InputError, match="holds no image 'steel'"):
        measured(tmp_path / "out/steel_labels.tif", images=tmp_path / "images")
    for ending in ("tif", "bmp"):
        cv2.imencode(f".{ending}", grey_of(squares()))[1].tofile(
            tmp_path / f"images/steel.{ending}"
        )
    with pytest.raises(InputError, match="Name one with --images"):
        measured(tmp_path / "out/steel_labels.tif", images=tmp_path / "images")


def test_foreign_labels_are_named_by_number(tmp_path: Path) -> None:
    labels = saved(tmp_path / "a.tif", squares() * 2)
    image = measured(labels, size=1.0)
    assert [phase.name for phase in image.labels.classes] == ["matrix", "class 2"]
    assert image.result.phases["n_particles"].tolist()[1:] == [12]


def test_only_values_that_occur_are_classes(tmp_path: Path) -> None:
    pixels = squares() * 77
    pixels[:5, :5] = 200
    pixels[-5:, -5:] = UNLABELLED
    notices: list[str] = []
    image = measured(saved(tmp_path / "a.tif", pixels), size=1.0, notices=notices)
    assert image.result.phases["phase"].tolist() == ["matrix", "class 77", "class 200"]
    assert image.result.phases["area_um2"].tolist()[1:] == [12 * SIDE_PX**2, 25]
    assert image.result.phases["label_value"].tolist() == [0, 77, 200]
    assert set(image.result.particles["label_value"]) == {77, 200}
    assert "0 = matrix, 77 = class 77, 200 = class 200, 255 = unlabelled" in notices[0]


@given(st.sets(st.integers(0, 255), max_size=20))
def test_pixels_keep_the_name_of_their_value(occurring: set[int]) -> None:
    values = np.array([sorted(occurring) or [0]], np.uint8)
    named = with_classes(LabelImage(values, (), None, Field(values.shape)))
    for value, index in zip(values[0], named.indices[0], strict=True):
        expected = "matrix" if value == 0 else f"class {value}"
        assert index == value == UNLABELLED or named.classes[index].name == expected
    assert len(named.classes) == max(2, len(occurring - {0, UNLABELLED}) + 1)


def test_a_phase_missing_from_a_foreign_file_is_zero_there(tmp_path: Path) -> None:
    files = [saved(tmp_path / "a.tif", squares() * 2), saved(tmp_path / "b.tif", squares())]
    values = survey([*files, tmp_path / "missing.tif"], sizes=PixelSizes()).values
    assert values == (0, 1, 2)
    write_study(tmp_path / "out", [measured(path, size=1.0, values=values) for path in files])
    statistics = json.loads((tmp_path / "out/statistics.json").read_text("utf-8"))
    fraction = statistics["phases"]["class 2"]["area_fraction"]
    assert fraction["n_fields"] == 2
    assert fraction["mean"] == pytest.approx((squares() == 1).mean() / 2)


def test_the_classes_of_files_that_name_their_own_are_not_counted(tmp_path: Path) -> None:
    own = LabelImage(squares() * 3, named_classes("abcd"), None, Field((120, 160)))
    write_labels(tmp_path / "own.tif", own)
    assert survey([tmp_path / "own.tif"], sizes=PixelSizes()).values == ()
    foreign = saved(tmp_path / "a.tif", squares())
    assert survey([tmp_path / "own.tif", foreign], sizes=PixelSizes()).values == (0, 1)


@pytest.fixture
def foreign(tmp_path: Path) -> Path:
    """Foreign labels of an image with a data bar, which they call matrix."""
    saved(tmp_path / "sem.tif", with_data_bar(grey_of(squares(8, 10)), 30))
    (tmp_path / "labels").mkdir()
    return saved(tmp_path / "labels/sem.tif", np.pad(squares(8, 10), ((0, 30), (0, 0))))


def test_the_data_bar_of_foreign_labels_is_that_of_their_image(
    foreign: Path, tmp_path: Path
) -> None:
    def fraction(**options: object) -> float:
        image = measured(foreign, size=1.0, images=tmp_path / "sem.tif", **options)
        return image.result.phases["area_fraction"][1]

    assert fraction() == SIDE_PX**2 / 40**2
    assert fraction(keep_data_bar=True) == 80 * SIDE_PX**2 / (350 * 400)
    assert fraction(region=Box(0, 0, 40, 20)) == 8 * 5 / (40 * 20)


def test_a_region_takes_the_place_of_the_one_that_labels_state(steel: Path, tmp_path: Path) -> None:
    segmented(steel, tmp_path, region=Box(0, 0, 80, 160))
    result = measured(tmp_path / "steel_labels.tif", region=Box(0, 0, 40, 160)).result
    assert len(result.particles) == 4
    assert set(result.phases["field_area_um2"]) == {40 * 160 * PIXEL_UM**2}
    with pytest.raises(InputError, match=r"steel_labels\.tif: the region .* beyond the image"):
        measured(tmp_path / "steel_labels.tif", region=Box(0, 0, 40, 161))


def _index(folder: Path, size_um: float) -> None:
    rows = f"image,pixel_size_um\nsteel.tif,{size_um}\n"
    (folder / "index.csv").write_text(rows, encoding="utf-8")


def test_an_image_of_another_pixel_size_than_its_labels_is_refused(
    steel: Path, tmp_path: Path
) -> None:
    _index(tmp_path, 0.05)
    segmented(steel, tmp_path / "out", None)
    labels = tmp_path / "out/steel_labels.tif"
    assert measured(labels, images=steel).labels.calibration.x_um == 0.05
    _index(tmp_path, 0.5)
    with pytest.raises(InputError) as refused:
        measured(labels, images=steel)
    assert "0.05 µm a pixel (index.csv), but" in str(refused.value)
    assert "has 0.5 µm a pixel (index.csv); choose with --pixel-size" in str(refused.value)
    assert measured(labels, images=steel, size=0.5).labels.calibration.x_um == 0.5


def test_a_pixel_size_that_replaces_that_of_the_labels_is_said(steel: Path, tmp_path: Path) -> None:
    notices: list[str] = []
    segmented(steel, tmp_path / "out", 0.05)
    labels = tmp_path / "out/steel_labels.tif"
    _index(tmp_path / "out", 0.5)
    assert measured(labels, notices=notices).labels.calibration.x_um == 0.5
    assert notices[0].startswith("steel_labels.tif: made at 0.05 µm a pixel (stated by the user)")
    assert "measured at 0.5 µm a pixel (index.csv)" in notices[0]


def test_a_size_that_the_user_stated_goes_before_that_of_the_image(
    steel: Path, tmp_path: Path
) -> None:
    notices: list[str] = []
    segmented(steel, tmp_path / "out", 0.05)
    _index(tmp_path, 0.5)
    image = measured(tmp_path / "out/steel_labels.tif", images=steel, notices=notices)
    assert image.labels.calibration.x_um == 0.05
    assert "what the user stated is taken" in notices[0]


def test_digests_and_dates_are_the_same_in_the_workbook_and_the_statistics(
    steel: Path, tmp_path: Path
) -> None:
    segmented(steel, tmp_path)
    labels = tmp_path / "steel_labels.tif"
    out = tmp_path / "out"
    write_study(out, [measured(labels, images=steel)], head=ReportHead("C", "plate", "A. N."))
    statistics = json.loads((out / "statistics.json").read_text("utf-8"))
    provenance = statistics["provenance"][0]
    sheet = openpyxl.load_workbook(out / "study.xlsx")["provenance"]
    told = {what: value for _, what, value in sheet.iter_rows(min_row=2, values_only=True)}
    for what, path in (("labels", labels), ("image", steel)):
        expected = hashlib.sha256(path.read_bytes()).hexdigest()
        assert provenance["sources"][what] == {"file": path.name, "sha256": expected}
        assert told[f"sources: {what}: SHA-256"] == expected
        assert expected in (out / "report.html").read_text("utf-8")
    assert told["measured on"] == provenance["measured_on"] == date.today().isoformat()
    assert told["version"] == statistics["version"]
    assert (statistics["head"]["specimen"], statistics["head"]["operator"]) == ("plate", "A. N.")
    assert statistics["head"]["day"] == date.today().isoformat()


def test_corrections_that_labels_state_have_a_sheet_and_a_chapter(tmp_path: Path) -> None:
    made = [{"correction": "delete", "particles": "7", "phase_before": "carbide"}]
    classes = named_classes(["matrix", "carbide"])
    labels = LabelImage(squares(), classes, None, Field((120, 160)), {"corrections": made})
    write_labels(tmp_path / "a_labels.tif", labels)
    write_study(tmp_path / "out", [measured(tmp_path / "a_labels.tif", size=1.0)])
    book = openpyxl.load_workbook(tmp_path / "out/study.xlsx")
    assert list(book["corrections"].iter_rows(values_only=True)) == [
        ("image", "correction", "particles", "phase before"),
        ("a.tif", "delete", "7", "carbide"),
    ]
    statistics = json.loads((tmp_path / "out/statistics.json").read_text("utf-8"))
    assert statistics["provenance"][0]["corrections"] == made
    assert "1 correction(s) by hand" in (tmp_path / "out/report.html").read_text("utf-8")
    plain = measured(saved(tmp_path / "b.tif", squares()), size=1.0)
    write_study(tmp_path / "plain", [plain])
    assert "corrections" not in openpyxl.load_workbook(tmp_path / "plain/study.xlsx").sheetnames


def test_numbers_are_painted_only_where_an_overlay_shows_cuts_by_them(tmp_path: Path) -> None:
    classes = named_classes(["matrix", "carbide"])
    dumb_bell = np.zeros((40, 70), np.uint8)
    for x in (22, 46):
        cv2.circle(dumb_bell, (x, 20), 13, 1, -1)
    write_labels(tmp_path / "a_labels.tif", LabelImage(dumb_bell, classes, None, Field((40, 70))))
    image = saved(tmp_path / "a.tif", grey_of(dumb_bell))

    def found(split: str, images: Path | None = None) -> MeasuredImage:
        rules, path = QuantifyParameters(split=split), tmp_path / "a_labels.tif"
        return drain(
            quantify_file(path, lambda _: rules, sizes=PixelSizes(), images=images), ignore
        )

    assert [found(split).result.ids.size for split in ("none", "distance")] == [0, 0]
    whole, halves = found("none", image), found("distance", image)
    assert [len(one.result.particles) for one in (whole, halves)] == [1, 2]
    assert (whole.result.ids.size, halves.result.ids.max()) == (0, 2)
    shown = [np.asarray(Image.open(BytesIO(one.picture.png))) for one in (whole, halves)]
    rows, columns = np.nonzero((shown[0] != shown[1]).any(axis=-1))
    # The neck, which is as high as the circles are deep in each other.
    assert rows.size > 0
    assert (abs(rows - 20) <= 6).all()
    assert (abs(columns - 34) <= 2).all()
    np.testing.assert_array_equal(shown[1][rows, columns], [classes[1].rgb] * rows.size)


def test_overlays_of_one_stem_do_not_replace_each_other(steel: Path, tmp_path: Path) -> None:
    segmented(steel, tmp_path)
    image = measured(tmp_path / "steel_labels.tif", images=steel)
    names = ("steel.tif", "Steel.png", "a/steel.tif", "0.5 h")
    write_study(tmp_path / "out", [replace(image, name=name) for name in names])
    assert {path.name for path in (tmp_path / "out").glob("*.png")} == {
        "steel_overlay.png",
        "Steel (2)_overlay.png",
        "a_steel_overlay.png",
        "0.5 h_overlay.png",
    }


def test_a_large_picture_is_reduced_for_the_report() -> None:
    picture = Picture.of(np.zeros((700, 2800, 3), np.uint8), None)
    shapes = [Image.open(BytesIO(png)).size for png in (picture.png, picture.small)]
    assert shapes == [(2800, 700), (1400, 350)]


def test_memory_does_not_grow_by_the_pixels_of_each_field(tmp_path: Path) -> None:
    side = 800
    pixels = np.zeros((side, side), np.uint8)
    pixels[100:120, 100:120] = 1
    labels = saved(tmp_path / "a.tif", pixels)
    image = saved(tmp_path / "grey.tif", pixels * 90)
    grid, kept, held = PointGrid(), [], []
    tracemalloc.start()
    for _ in range(4):
        kept.append(without_pixels(measured(labels, size=1.0, images=image), grid))
        held.append(tracemalloc.get_traced_memory()[0])
    tracemalloc.stop()
    assert held[-1] - held[0] < 3 * side * side, "less than a byte a pixel and field stays"
    study = study_of([replace(one, name=str(n)) for n, one in enumerate(kept)])
    whole = measured(labels, size=1.0, images=image)
    assert study.statistics["n_fields"] == 4
    assert points_of(kept[0], grid).equals(points_of(whole, grid))


@pytest.mark.parametrize(("b_um", "said"), [(None, "b.tif has no pixel size"), (30, "correct the")])
def test_fields_that_have_no_common_mean_are_refused_before_they_are_measured(
    tmp_path: Path, b_um: float | None, said: str
) -> None:
    files = [saved(tmp_path / name, squares()) for name in ("a.tif", "b.tif")]
    index = f"image,pixel_size_um\na.tif,0.1\nb.tif,{b_um or ''}\n"
    (tmp_path / "index.csv").write_text(index, encoding="utf-8")
    with pytest.raises(InputError, match=said) as refused:
        survey(files, sizes=PixelSizes())
    assert "\n" not in str(refused.value)


def test_pixel_sizes_that_differ_are_said_before_anything_is_measured(tmp_path: Path) -> None:
    files = [saved(tmp_path / name, squares()) for name in ("a.tif", "b.tif")]
    index = "image,pixel_size_um\na.tif,0.1\nb.tif,0.4\n"
    (tmp_path / "index.csv").write_text(index, encoding="utf-8")
    (note,) = survey(files, sizes=PixelSizes()).notes
    assert note.startswith("the pixel sizes reach from 0.1 to 0.4 µm")
    assert survey(files, sizes=PixelSizes(0.2)).notes == ()
