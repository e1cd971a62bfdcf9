from __future__ import annotations

import base64
import re
from dataclasses import replace
from io import BytesIO
from typing import Any

import numpy as np
import pytest
from PIL import Image

from napari_metallography.calibration import Calibration
from napari_metallography.grains.grading import GradingParameters, Method, grade
from napari_metallography.grains.partition import from_boundaries
from napari_metallography.grains.report import write_report
from napari_metallography.grains.study import GradedField, grain_size_of
from napari_metallography.synthesis.chart import chart


def made(name: str, pixel_um: float, methods: tuple[Method, ...] = ("lines",)) -> GradedField:
    calibration = Calibration.square(pixel_um, "scale bar")
    grains = from_boundaries(chart(9, (300, 400), 0.5))
    by_method = {
        method: grade(grains, calibration, GradingParameters(method=method)) for method in methods
    }
    provenance = {
        "boundaries": "etched",
        "calibration": calibration.to_dict(),
        "box": [0, 0, 300, 400],
        "grading": GradingParameters().model_dump(mode="json"),
    }
    return GradedField(name, by_method, "A7", provenance)


def by_network(field: GradedField) -> GradedField:
    """As a method that knows no grains gives it."""
    one = next(iter(field.by_method.values()))
    alone = replace(one, method="network", grains=None, notes=("lines differ",))
    provenance = {**field.provenance, "boundaries": None, "line_network": "grain-line-net"}
    return replace(field, by_method={"network": alone}, provenance=provenance)


def with_measured(field: GradedField, **measured: float) -> GradedField:
    one = field.by_method["lines"]
    told = replace(one, measured={**one.measured, **measured})
    return replace(field, by_method={"lines": told})


def written(tmp_path: Any, fields: list[GradedField], pictures: Any = None) -> str:
    path = tmp_path / "grain_size.html"
    write_report(path, grain_size_of(fields, 5.0), fields, pictures or {}, 5.0)
    return path.read_text("utf-8")


def cells(text: str) -> list[str]:
    return re.findall(r"<td[^>]*>(.*?)</td>", text)


def test_the_first_page_states_the_result_with_its_interval_and_what_is_needed(tmp_path) -> None:
    fields = [made(f"f{n}.tif", 0.5 + 0.02 * n) for n in range(3)]
    found = grain_size_of(fields, 5.0)
    text = written(tmp_path, fields)
    low, high = found["ci95"]
    stated = f"G {found['G']:.2f} (95 % confidence: {low:.2f} to {high:.2f}) by lines"
    assert f"<b>{stated}</b>, n = 3 fields" in text
    assert f"{found['relative_accuracy_percent']:.3g}" in cells(text)
    assert str(found["fields_still_needed"]) in cells(text)
    needed = found["intersections_per_mm"]["fields_still_needed"]
    assert (
        f"those for 5 %, and for the 5 that ASTM E112 asks for at least: by lines {needed} and 2"
        in text
    )
    assert text.index("<h2>Result") < text.index('class="signature"') < text.index("<h2>Fields")
    assert "ASTM E112-13, ISO 643" in text
    assert "A7" in text


def test_one_field_has_no_interval_and_the_page_says_why(tmp_path) -> None:
    text = written(tmp_path, [made("f.tif", 0.5)])
    assert "No confidence interval: one field alone" in text
    assert "95 % confidence:" not in text
    assert "ASTM E112 asks for 5 or more" in text


def test_methods_stand_side_by_side_and_their_disagreement_is_a_caution(tmp_path) -> None:
    field = made("f.tif", 0.5, ("lines", "automatic"))
    found = grain_size_of([field])
    assert "disagree" not in written(tmp_path, [field])
    for method in ("lines", "automatic"):
        assert f"{found['methods'][method]['G']:.2f}" in cells(written(tmp_path, [field]))
    coarser = replace(field.by_method["automatic"], value=4 * field.by_method["automatic"].value)
    field = replace(field, by_method={**field.by_method, "automatic": coarser})
    text = written(tmp_path, [field])
    assert '<p class="caution">the methods disagree: automatic gives' in text
    assert "ASTM E112-13, ASTM E1382-97" in text


def test_ways_of_measuring_are_told_once_with_their_images(tmp_path) -> None:
    fields = [made("a.tif", 0.5), made("b.tif", 0.5), made("c.tif", 0.25)]
    text = written(tmp_path, fields)
    assert "a.tif, b.tif" in cells(text)
    assert cells(text).count("found in the image, without a network") == 2
    assert "rows 0 to 299, columns 0 to 399" in cells(text)
    assert "0.25 µm" in cells(text)
    assert cells(text).count("scale bar") >= 2


def test_the_rules_of_a_method_are_those_chosen(tmp_path) -> None:
    field = made("f.tif", 0.5, ("lines", "planimetric"))
    grading = {"area": "circle", "directions_deg": [0, 90]}
    field = replace(field, provenance={**field.provenance, "grading": grading})
    spacing = field.by_method["lines"].measured["line_spacing_px"]
    text = written(tmp_path, [field])
    assert f"in the directions 0°, 90°, {spacing:.4g} pixels apart; ASTM E112-13, clause" in text
    assert "the test area is the largest circle in the field; ASTM E112-13, clause 11" in text


def test_how_far_apart_lines_lay_is_said_of_all_fields(tmp_path) -> None:
    wide, close = (with_measured(made("f.tif", 0.5), line_spacing_px=s) for s in (25.0, 8.25))
    assert ", 25 pixels apart" in written(tmp_path, [wide, wide])
    assert ", 8.25 to 25 pixels apart" in written(tmp_path, [wide, close])


def test_the_signed_page_says_that_twins_were_left_out(tmp_path) -> None:
    one, other = (with_measured(made("f.tif", 0.5), twins_left_out=n) for n in (40, 2))
    regions = 42 + 2 * one.by_method["lines"].grains.n
    signed = written(tmp_path, [one, other]).split('class="signature"')[0]
    assert f"left out: 42 of {regions:,} regions, crumbs beside twins included" in signed
    signed = written(tmp_path, [one, made("b.tif", 0.5)]).split('class="signature"')[0]
    assert "left out in 1 of 2 fields: 40 of" in signed
    assert "regions, crumbs" not in written(tmp_path, [made("b.tif", 0.5)])


def test_an_interval_without_a_limit_is_said_on_the_page(tmp_path) -> None:
    field = made("f.tif", 0.5, ("automatic",))
    one = field.by_method["automatic"]
    fields = [
        replace(field, by_method={"automatic": replace(one, value=value)}) for value in (100, 300)
    ]
    low, high = grain_size_of(fields)["ci95"]
    assert high is None
    assert f"(95 % confidence: above {low:.2f}, no upper limit)" in written(tmp_path, fields)


def test_a_method_that_knows_no_grains_has_no_sizes(tmp_path) -> None:
    text = written(tmp_path, [by_network(made("f.tif", 0.5))])
    assert "Sizes of the grains" not in text
    assert "E930" not in text
    assert "no standard" in text
    assert "<th>Standard" not in text
    assert any(cell.endswith(" independent lines") for cell in cells(text))
    assert "grain-line-net" in cells(text)
    assert "f.tif: network: lines differ" in text


def test_sizes_of_all_fields_are_together(tmp_path) -> None:
    fields = [made("a.tif", 0.5), by_network(made("b.tif", 0.5))]
    sizes = fields[0].by_method["lines"].sizes
    assert sizes is not None
    found = grain_size_of([fields[0]])
    path = tmp_path / "r.html"
    write_report(path, found, [fields[0], fields[0]], {}, 10.0)
    assert f"{2 * len(sizes.areas_um2)} whole grains" in path.read_text("utf-8")
    write_report(path, found, fields, {}, 10.0)
    assert f"{len(sizes.areas_um2)} whole grains" in path.read_text("utf-8")


def test_pictures_are_embedded_small_and_nothing_else_is_loaded(tmp_path) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (1600, 2000, 3), np.uint8)
    buffer = BytesIO()
    Image.fromarray(noise).save(buffer, "PNG")
    text = written(tmp_path, [made("<f>.tif", 0.5)], {"<f>.tif, lines": buffer.getvalue()})
    (data,) = re.findall(r'src="data:image/jpeg;base64,([^"]+)"', text)
    assert Image.open(BytesIO(base64.b64decode(data))).size == (1600, 1280)
    assert "<f>" not in text
    assert re.findall(r'(?:src|href)="(?!data:)', text) == []


@pytest.mark.parametrize(
    ("made_from", "said"),
    [
        ({"boundaries": "mask.png"}, "given: mask.png"),
        ({"boundaries": "model", "boundaries_model": "mine"}, "found by the model mine"),
    ],
)
def test_where_boundaries_came_from_is_said(tmp_path, made_from, said) -> None:
    field = made("f.tif", 0.5)
    field = replace(field, provenance={**field.provenance, **made_from})
    assert said in cells(written(tmp_path, [field]))


def test_specimens_stand_beside_the_interval_over_fields(tmp_path) -> None:
    fields = [
        replace(made(f"{name}{n}.tif", size + 0.01 * n), specimen=name)
        for name, size in (("A", 0.5), ("B", 0.6))
        for n in range(2)
    ]
    found = grain_size_of(fields)
    text = written(tmp_path, fields)
    signed = cells(text.split('class="signature"')[0])
    assert f"{found['over_specimens']['G']:.2f}" in signed
    for specimen in ("A", "B"):
        at = signed.index(specimen)
        assert signed[at + 1 : at + 3] == ["2", f"{found['specimens'][specimen]['G']:.2f}"]
    assert "4 fields of 2 specimens are taken together" in text


def test_a_method_that_cannot_measure_is_a_row_with_its_reason(tmp_path) -> None:
    field = replace(made("f.tif", 0.5), left_out={"circles": "no test circle meets a boundary"})
    text = written(tmp_path, [field])
    assert "circles" in cells(text)
    assert "circles could not measure: no test circle meets a boundary" in text
