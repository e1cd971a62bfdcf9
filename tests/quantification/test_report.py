from __future__ import annotations

import base64
import re
from dataclasses import replace
from datetime import date
from html.parser import HTMLParser
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from napari_metallography.calibration import Calibration
from napari_metallography.classes import named_classes
from napari_metallography.errors import InputError
from napari_metallography.events import drain
from napari_metallography.io.overlays import png_bytes
from napari_metallography.quantification.measure import quantify
from napari_metallography.quantification.parameters import QuantifyParameters
from napari_metallography.quantification.report import (
    ReportField,
    specimen_note,
    write_report,
)
from napari_metallography.quantification.study import combine
from napari_metallography.quantification.threshold_sweep import Counted, GreyField, compare
from napari_metallography.regions import Box, Field
from napari_metallography.reports import ReportHead, number
from napari_metallography.segmentation.thresholding import ThresholdParameters

NASTY = '<script>alert("x")</script> & $x^2$ 炭化物'
VOID = {"meta", "img", "br", "wbr"}


class Reader(HTMLParser):
    """Takes an HTML page apart and holds it to be well nested."""

    def __init__(self, text):
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.texts: list[str] = []
        self.sources: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.sources += [value for name, value in attrs if name in ("src", "href")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "style" not in self.open:
            self.texts.append(data)


def result_of(phase="carbide", planes=1, parameters=None, measured=None):
    indices = np.zeros((planes, 30, 40), np.uint8)
    for number_, plane in enumerate(indices):
        plane[2:6, 3 : 7 + number_] = 1
        plane[10:12, 10:13] = 1
    return drain(
        quantify(
            indices,
            named_classes(["matrix", phase]),
            Calibration.square(0.1, "t"),
            measured or Field((30, 40)),
            parameters or QuantifyParameters(),
        )
    )


def report(path, result, head=None, comparisons=None, **field):
    field = {"overlay_png": None, "calibration": Calibration.square(0.1, "scale bar"), **field}
    fields = [ReportField("specimen 7", **field)]
    study = combine([("specimen 7", result)])
    write_report(path, head or ReportHead("Carbides"), fields, study, comparisons)
    return Reader(path.read_text("utf-8"))


def test_the_report_says_how_it_was_measured(tmp_path):
    head = ReportHead("Carbides", "S-7", "A. Operator", "ASTM E1245", date(2024, 5, 6))
    parameters = QuantifyParameters(smallest_area_px=3, edge_rule="exclude-border")
    calibration = Calibration(0.1, 0.2, "scale bar", 0.01)
    page = report(
        tmp_path / "r.html",
        result_of(parameters=parameters),
        head,
        calibration=calibration,
        provenance={"model": {"name": "uhcs", "digest": "abc"}},
    )
    text = "\n".join(page.texts)
    for expected in (
        "S-7", "A. Operator", "ASTM E1245", "2024-05-06", "scale bar", "0.1 µm × 0.2 µm (x × y)",
        "0.01", "model: digest", "abc", "exclude-border: ", "3 px", "area fraction", "carbide",
    ):  # fmt: skip
        assert expected in text
    assert len(page.sources) == 1


@pytest.mark.parametrize(
    ("split", "said"),
    [
        ("none", "none: touching particles of a phase count as one"),
        ("distance", "distance: cut apart at necks narrower by a share of 0.3 or more than the "),
    ],
)
def test_the_report_says_what_was_split_and_measured(tmp_path, split, said):
    parameters = QuantifyParameters(split=split, split_depth=0.3, rolling_direction="vertical")
    texts = report(tmp_path / "r.html", result_of(parameters=parameters)).texts
    assert texts[texts.index("Touching particles") + 1].startswith(said)
    assert texts[texts.index("Measured as particles") + 1] == "carbide"
    assert texts[texts.index("Rolling direction") + 1].startswith("vertical, along the columns")


def test_one_field_has_a_reason_in_place_of_an_interval(tmp_path):
    text = "\n".join(report(tmp_path / "r.html", result_of()).texts)
    reason = "No confidence interval: one field alone gives no confidence interval; measure more"
    assert reason in text
    assert "1 field, 2 particles (carbide: 2)" in text
    assert "95 % confidence interval" not in text[: text.index("Definitions")]
    assert "fields needed" not in text


def test_several_fields_have_an_interval(tmp_path):
    fields = QuantifyParameters(planes_are_fields=True)
    result = result_of(planes=3, parameters=fields)
    text = "\n".join(report(tmp_path / "r.html", result).texts)
    low, high = result.statistics["phases"]["carbide"]["area_fraction"]["ci95"]
    assert f"{low:.4g} to {high:.4g}" in text
    assert "No confidence interval" not in text


def test_nothing_a_user_writes_is_taken_for_html(tmp_path):
    head = ReportHead(NASTY, NASTY, NASTY, NASTY)
    picture_ = np.zeros((4, 4, 3), np.uint8)
    page = report(
        tmp_path / "r.html",
        result_of(NASTY),
        head,
        overlay_png=png_bytes(picture_),
        calibration=Calibration.square(0.1, NASTY),
        provenance={NASTY: NASTY},
    )
    assert "script" not in page.tags
    assert page.texts.count(NASTY) >= 8


def test_the_report_needs_no_other_file(tmp_path):
    picture_ = np.zeros((40, 30, 3), np.uint8)
    page = report(tmp_path / "r.html", result_of(), overlay_png=png_bytes(picture_))
    assert len(page.sources) == 2
    assert all(source.startswith("data:image/png;base64,") for source in page.sources)
    assert {"link", "script", "iframe"}.isdisjoint(page.tags)
    assert [p.name for p in tmp_path.iterdir()] == ["r.html"]


def test_the_picture_is_embedded_as_it_is(tmp_path):
    rgb = np.random.default_rng(0).integers(0, 255, (20, 30, 3), dtype=np.uint8)
    report(tmp_path / "r.html", result_of(), overlay_png=png_bytes(rgb))
    found = re.search(r"base64,([^\"]+)", (tmp_path / "r.html").read_text("utf-8"))
    image = Image.open(BytesIO(base64.b64decode(found[1])))
    np.testing.assert_array_equal(np.asarray(image), rgb)


def test_an_image_without_particles_gives_a_sentence(tmp_path):
    parameters = QuantifyParameters(smallest_area_px=999)
    page = report(tmp_path / "r.html", result_of(parameters=parameters))
    assert "No particle was measured." in page.texts
    assert page.sources == []


def test_histograms_stand_in_the_order_of_the_classes(tmp_path):
    indices = np.zeros((9, 9), np.uint8)
    indices[1, 1], indices[4, 4] = 2, 1
    classes = named_classes(["matrix", "first", "second"])
    pixel = Calibration.square(0.1, "t")
    result = drain(quantify(indices, classes, pixel, Field((9, 9)), QuantifyParameters()))
    texts = report(tmp_path / "r.html", result).texts
    after = texts[texts.index("Particle sizes") :]
    assert after.index("first") < after.index("second")


def test_the_report_speaks_in_words_and_units(tmp_path):
    made = {"parameters": {"smallest_area_px": 3}, "grey_value_thresholds": [135.0, 1.25]}
    page = report(tmp_path / "r.html", result_of(planes=2), provenance=made)
    for expected in (
        "area fraction", "area (µm²)", "field area (µm²)", "particles", "plane",
        "mean radius (µm)", "number density (1/mm²)", "parameters: smallest area (px)",
    ):  # fmt: skip
        assert expected in page.texts
    assert page.texts[page.texts.index("grey value thresholds") + 1] == "135, 1.25"
    assert "_" not in "".join(page.texts)


def test_a_single_image_has_no_column_of_planes(tmp_path):
    assert "plane" not in report(tmp_path / "r.html", result_of()).texts


def test_the_report_says_what_part_of_the_image_was_measured(tmp_path):
    region = ((-0.5, -0.5), (-0.5, 30.5), (20.5, 30.5), (20.5, -0.5))
    measured = Field((30, 40), Box(25, 0, 30, 40), (region,))
    texts = report(tmp_path / "r.html", result_of(measured=measured)).texts
    assert texts[texts.index("Data bar") + 1] == "rows 25 to 29 left out"
    assert texts[texts.index("Region") + 1] == "rows 0 to 20, columns 0 to 30"
    signed = texts[texts.index("Region of interest") + 1]
    assert signed == "rows 0 to 20, columns 0 to 30 of each image"


def test_the_report_warns_of_particles_too_small_to_resolve(tmp_path):
    small = np.zeros((30, 40), np.uint8)
    small[::4, ::4] = 1
    classes = named_classes(["matrix", "carbide"])
    pixel = Calibration.square(0.1, "t")
    result = drain(quantify(small, classes, pixel, Field((30, 40)), QuantifyParameters()))
    warned = "carbide: 80 of 80 particles are below 12 px"
    assert any(t.startswith(warned) for t in report(tmp_path / "r.html", result).texts)
    fine = report(tmp_path / "r.html", result_of(parameters=QuantifyParameters(smallest_area_px=7)))
    assert not any("below 12 px" in text for text in fine.texts)


def test_a_report_that_cannot_be_written_leaves_nothing(tmp_path):
    (tmp_path / "r.html").mkdir()
    with pytest.raises(InputError, match=r"r\.html: cannot be written"):
        report(tmp_path / "r.html", result_of())
    assert [p.name for p in tmp_path.iterdir()] == ["r.html"]


def corrected(result, corrections):
    provenance = {**result.statistics["provenance"], "corrections": corrections}
    return replace(result, statistics={**result.statistics, "provenance": provenance})


def test_corrections_by_hand_are_listed_in_their_order(tmp_path):
    made = [
        {"action": "delete", "particle": 7},
        {"action": "merge", "particle": 3, "with": 4, "reason": NASTY},
    ]
    texts = report(tmp_path / "r.html", corrected(result_of(), made)).texts
    assert "2 correction(s) by hand, in the order in which they were made." in texts
    assert texts.index("delete") < texts.index("merge") < texts.index(NASTY)


def test_without_corrections_there_is_no_chapter_of_them(tmp_path):
    assert "Corrections" not in report(tmp_path / "r.html", result_of()).texts
    assert "Corrections" not in report(tmp_path / "r.html", corrected(result_of(), [])).texts


def test_the_laboratory_stands_in_the_head(tmp_path):
    texts = report(tmp_path / "r.html", result_of(), ReportHead("C", laboratory=NASTY)).texts
    assert texts[texts.index("Laboratory") + 1] == NASTY


def test_thresholds_stand_beside_the_labels(tmp_path):
    grey = np.full((30, 40), 50, np.float32)
    grey[2:6, 3:7] = 200
    field = GreyField(grey, np.ones(grey.shape, bool), 0.1)
    compared = compare([field], Counted(1, 0.2), phase=ThresholdParameters())
    page = report(tmp_path / "r.html", result_of(), comparisons={"carbide": compared})
    assert compared.sentence in page.texts
    assert "best single threshold" in page.texts
    assert len(page.sources) == 2


def test_specimens_are_shown_each_and_together(tmp_path):
    names = ["a", "b", "c"]
    results = [(name, result_of(planes=n + 1)) for n, name in enumerate(names)]
    study = combine(results, {"a": NASTY, "b": NASTY, "c": "T"})
    fields = [ReportField(name, None, Calibration.square(0.1, "t")) for name in names]
    write_report(tmp_path / "r.html", ReportHead("C"), fields, study)
    texts = Reader((tmp_path / "r.html").read_text("utf-8")).texts
    assert f"Specimen {NASTY}: 3 fields" in texts
    assert any(text.startswith("2 specimens: each has the mean of its fields") for text in texts)


def test_a_specimen_of_one_field_is_listed_with_its_mean(tmp_path):
    rule = QuantifyParameters(planes_are_fields=True)
    results = [(name, result_of(planes=n, parameters=rule)) for n, name in ((1, "a"), (3, "b"))]
    fields = [ReportField(name, None, Calibration.square(0.1, "t")) for name, _ in results]
    study = combine(results, {"a": "S", "b": "T"})
    write_report(tmp_path / "r.html", ReportHead("C"), fields, study)
    signed = (tmp_path / "r.html").read_text("utf-8").split('<section class="new-page">', 1)[0]
    mean = number(study.statistics["specimens"]["S"]["phases"]["carbide"]["mean_radius_um"]["mean"])
    row = signed[signed.index("<td>S</td><td>carbide</td><td>mean radius (µm)</td>") :]
    row = row[: row.index("</tr>")]
    assert f">{mean}</td>" in row
    assert "no interval from one field" in row


def test_specimens_of_one_field_are_listed_where_none_has_more(tmp_path):
    names = ["a", "b"]
    study = combine([(name, result_of()) for name in names], {"a": "S", "b": "T"})
    fields = [ReportField(name, None, Calibration.square(0.1, "t")) for name in names]
    write_report(tmp_path / "r.html", ReportHead("C"), fields, study)
    signed = (tmp_path / "r.html").read_text("utf-8").split('<section class="new-page">', 1)[0]
    assert all(
        f"<td>{name}</td><td>carbide</td><td>mean radius (µm)</td>" in signed for name in "ST"
    )
    assert "one field alone gives no confidence interval" in signed


def test_a_specimen_that_contradicts_the_index_is_a_caution(tmp_path):
    study = combine([("a", result_of()), ("b", result_of())], {"a": "S", "b": "T"})
    fields = [ReportField(name, None, Calibration.square(0.1, "t")) for name in ("a", "b")]
    write_report(tmp_path / "r.html", ReportHead("C", specimen="S"), fields, study)
    text = (tmp_path / "r.html").read_text("utf-8")
    assert "the specimen stated is S, but the index of the images names T:" in text


def test_what_agrees_with_the_index_or_is_not_stated_is_no_contradiction():
    assert specimen_note("S", ["S", ""]) == specimen_note("", ["S"]) == specimen_note("S", []) == ""
    assert specimen_note("S", ["U", "T", "T"]).startswith("the specimen stated is S, but")


def test_pixel_sizes_that_differ_are_a_caution(tmp_path):
    fields = [ReportField(n, None, Calibration.square(s, "t")) for n, s in (("a", 0.1), ("b", 0.4))]
    study = combine([(one.name, result_of()) for one in fields])
    write_report(tmp_path / "r.html", ReportHead("C"), fields, study)
    assert "the pixel sizes reach from 0.1 to 0.4 µm" in (tmp_path / "r.html").read_text("utf-8")


def titles(text):
    return re.findall(r"<h2>([^<]*)</h2>", text)


def test_what_is_signed_stands_before_pictures_and_long_tables(tmp_path):
    picture_ = np.zeros((40, 30, 3), np.uint8)
    made = {"method": "model", "model": "uhcs", "model_digest": "abc123"}
    report(tmp_path / "r.html", result_of(), overlay_png=png_bytes(picture_), provenance=made)
    text = (tmp_path / "r.html").read_text("utf-8")
    assert titles(text)[:4] == ["Result", "How it was measured", "Pixel size", "Labels"]
    assert titles(text)[4:6] == ["Overlays", "Particle sizes"]
    signed, behind = text.split('<section class="new-page">', 1)
    for expected in ("mean radius (µm)", "number density", "model uhcs", "abc123", "signature"):
        assert expected in signed
    assert "<img" not in signed
    assert "mean chord horizontal" not in signed
    assert "mean chord" in behind


def test_specimens_stand_before_what_is_over_specimens_and_fields_are_not_pooled(tmp_path):
    fields = QuantifyParameters(planes_are_fields=True)
    results = [(name, result_of(planes=n, parameters=fields)) for n, name in ((2, "a"), (3, "b"))]
    study = combine(results, {"a": "S-1", "b": "S-2"})
    images = [ReportField(name, None, Calibration.square(0.1, "t")) for name, _ in results]
    write_report(tmp_path / "r.html", ReportHead("C"), images, study)
    text = (tmp_path / "r.html").read_text("utf-8")
    signed = text.split('<section class="new-page">', 1)[0]
    assert "<td>S-1, S-2</td>" in signed
    assert signed.index("n fields") < signed.index("n specimens")
    assert "not independent" not in signed
    over = study.statistics["over_specimens"]["phases"]["carbide"]["area_fraction"]
    assert f"<td>{number(over['ci95'][0])} to {number(over['ci95'][1])}</td>" in signed


def test_no_table_of_statistics_holds_a_column_of_dashes(tmp_path):
    report(tmp_path / "r.html", result_of())
    signed = (tmp_path / "r.html").read_text("utf-8").split('<section class="new-page">', 1)[0]
    result = signed[signed.index("<h2>Result") : signed.index("<h2>How")]
    assert "<td>–</td>" not in result
    assert "<th>s</th>" not in result


def test_cautions_are_told_once_for_all_images(tmp_path):
    small = np.zeros((30, 40), np.uint8)
    small[::4, ::4] = 1
    classes, pixel = named_classes(["matrix", "carbide"]), Calibration.square(0.1, "t")
    result = drain(quantify(small, classes, pixel, Field((30, 40)), QuantifyParameters()))
    names = [f"field {n}" for n in range(9)]
    images = [ReportField(name, None, pixel) for name in names]
    study = combine([(name, result) for name in names])
    write_report(tmp_path / "r.html", ReportHead("C"), images, study)
    text = (tmp_path / "r.html").read_text("utf-8")
    assert text.count('<p class="caution">') == 2
    assert "carbide: 720 of 720 particles are below 12 px" in text


def test_the_first_page_marks_cut_intervals_and_keeps_other_quantities_for_later(tmp_path):
    names, results = ["a", "b", "c"], []
    classes, pixel = named_classes(["matrix", "carbide"]), Calibration.square(0.1, "t")
    for size in (2, 9, 9):
        indices = np.zeros((30, 40), np.uint8)
        indices[5 : 5 + size, 5 : 5 + size] = 1
        events = quantify(indices, classes, pixel, Field((30, 40)), QuantifyParameters())
        results.append(drain(events))
    study = combine(list(zip(names, results, strict=True)), {"a": "S", "b": "S", "c": "T"})
    fields = [ReportField(name, None, pixel) for name in names]
    write_report(tmp_path / "r.html", ReportHead("C"), fields, study)
    text = (tmp_path / "r.html").read_text("utf-8")
    signed, behind = text.split("<h2>How it was measured")
    assert re.search(r">≥ 0 to 0\.\d+</td>", signed)
    assert "that is possible (" not in signed
    assert "the interval is cut at what is possible" in signed
    assert "Intervals from n = 2 are very wide" in signed
    assert "rest on too few intercepts in 3 of 3 images: see Images" in signed
    assert "lines of pixels (" not in signed
    assert behind.count("rest on too few intercepts of lines of pixels (") == 3


def test_print_repeats_heads_and_names_each_page(tmp_path):
    head = ReportHead("Carbides", specimen='</style>"; x')
    report(tmp_path / "r.html", result_of(), head)
    text = (tmp_path / "r.html").read_text("utf-8")
    style = text[text.index("<style>") : text.index("</style>")]
    assert "table-header-group" in style
    assert "counter(page)" in style
    assert "Carbides" in style.split("@bottom-left")[1]
    assert text.count("</style>") == 1
    assert text.count("<table") == text.count("</table>")
