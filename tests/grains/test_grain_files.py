import json
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from napari_metallography.errors import InputError
from napari_metallography.events import Event, Events, Notice, Progress, drain
from napari_metallography.grains.files import (
    GradedFile,
    grade_file,
    measured_box,
    write_grain_sizes,
)
from napari_metallography.grains.finding import MASK
from napari_metallography.grains.partition import Partition, from_labels
from napari_metallography.grains.plan import GradingPlan
from napari_metallography.inputs import PixelSizes
from napari_metallography.regions import Box
from napari_metallography.synthesis.polycrystals import PolycrystalParameters, polycrystal

HALF_UM = PixelSizes(stated_um=0.5)
LINES = GradingPlan(("lines",))


@pytest.fixture(scope="module")
def made():
    return polycrystal(
        PolycrystalParameters(height_px=300, width_px=400, grain_size=9.5, contrast=0.5), 8
    )


def _graded(path: Path, **options) -> GradedFile:
    sizes = options.pop("sizes", HALF_UM)
    return drain(grade_file(path, LINES, sizes=sizes, **options))


def test_given_boundaries_and_numbered_grains_give_the_same(made, tmp_path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", made.image)
    (tmp_path / "masks").mkdir()
    Image.fromarray(made.boundaries.astype(np.uint8) * 255).save(tmp_path / "masks" / "a.png")
    tifffile.imwrite(tmp_path / "grains.tif", made.grains.astype(np.uint16))
    by_mask = _graded(tmp_path / "a.tif", boundaries=tmp_path / "masks").fields[0]
    by_grains = _graded(tmp_path / "a.tif", boundaries=tmp_path / "grains.tif").fields[0]
    found = [one.by_method["lines"].g for one in (by_mask, by_grains)]
    assert found[0] == pytest.approx(found[1], abs=0.05)
    assert found[0] == pytest.approx(made.intercept_g, abs=0.12)
    assert by_mask.provenance["boundaries"] == "a.png"


def test_a_mask_is_measured_as_it_is(made, tmp_path) -> None:
    Image.fromarray(made.boundaries.astype(np.uint8) * 255).save(tmp_path / "mask.png")
    events = []
    running = grade_file(tmp_path / "mask.png", LINES, sizes=HALF_UM)
    found = drain(running, events.append)
    assert found.fields[0].by_method["lines"].g == pytest.approx(made.intercept_g, abs=0.12)
    assert any(isinstance(e, Notice) and "taken for a mask" in e.message for e in events)
    assert found.fields[0].notes == (MASK,)


def test_a_mask_takes_no_place_of_a_finding_that_was_chosen(made, tmp_path) -> None:
    class Halves:
        def grains(self, pixels, calibration) -> Events[Partition]:
            yield from ()
            return from_labels((np.indices(pixels.shape[:2])[1] // 200 + 1).astype(np.int32))

        def provenance(self) -> dict[str, Any]:
            return {"boundaries": "halves"}

    Image.fromarray(made.boundaries.astype(np.uint8) * 255).save(tmp_path / "mask.png")
    plan = LINES.with_finding(Halves())
    (field,) = drain(grade_file(tmp_path / "mask.png", plan, sizes=HALF_UM)).fields
    assert field.by_method["lines"].grains.n == 2
    assert field.provenance["boundaries"] == "halves"
    assert field.notes == ()


def test_planes_are_fields_and_a_region_is_cut(made, tmp_path) -> None:
    tifffile.imwrite(tmp_path / "stack.tif", np.stack([made.image, made.image]))
    found = _graded(tmp_path / "stack.tif", region=Box(0, 0, 200, 250))
    assert [one.name for one in found.fields] == ["stack.tif, plane 0", "stack.tif, plane 1"]
    assert found.fields[0].by_method["lines"].grains.shape == (200, 250)
    assert list(found.pictures) == ["lines"]


def _boxes() -> st.SearchStrategy[Box]:
    sides = st.tuples(st.integers(0, 30), st.integers(0, 30), st.integers(1, 9), st.integers(1, 9))
    return sides.map(lambda side: Box(side[0], side[1], side[0] + side[2], side[1] + side[3]))


@given(_boxes(), _boxes())
def test_what_is_measured_lies_in_the_region_and_in_the_frame(frame: Box, region: Box) -> None:
    pixels = np.zeros((2, 40, 40), bool)
    pixels[0][frame.slices] = pixels[1][region.slices] = True
    if not pixels.all(0).any():
        with pytest.raises(InputError, match=r"^a\.tif: the region holds no pixel"):
            measured_box(frame, region, "a.tif")
        return
    box, said = measured_box(frame, region, "a.tif")
    within = np.zeros((40, 40), bool)
    within[box.slices] = True
    assert (within == pixels.all(0)).all()
    assert bool(said) == (box != region)
    assert measured_box(frame, None, "a.tif") == (frame, ())


def test_no_pixel_size_no_grade(made, tmp_path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", made.image)
    with pytest.raises(InputError, match="no pixel size is known"):
        _graded(tmp_path / "a.tif", sizes=PixelSizes())


def test_boundaries_of_another_image_are_refused(made, tmp_path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", made.image)
    mask = made.boundaries[:100].astype(np.uint8) * 255
    tifffile.imwrite(tmp_path / "mask.tif", mask)
    with pytest.raises(InputError, match=r"100 x 400 pixels, but a\.tif has 300 x 400"):
        _graded(tmp_path / "a.tif", boundaries=tmp_path / "mask.tif")
    (tmp_path / "none").mkdir()
    with pytest.raises(InputError, match=r"holds no boundaries of a\.tif"):
        _graded(tmp_path / "a.tif", boundaries=tmp_path / "none")


def test_an_inverted_mask_is_told_by_its_name(made, tmp_path) -> None:
    inverted = np.where(made.boundaries, 0, 255).astype(np.uint8)
    Image.fromarray(inverted).save(tmp_path / "mask.png")
    with pytest.raises(InputError, match=r"^[^:]*mask\.png: the mask takes \d+% .* inverted"):
        _graded(tmp_path / "mask.png")


def test_progress_of_a_stack_ends_at_its_total(made, tmp_path) -> None:
    tifffile.imwrite(tmp_path / "stack.tif", np.stack([made.image, made.image]))
    events: list[Event] = []
    drain(grade_file(tmp_path / "stack.tif", LINES, sizes=HALF_UM), events.append)
    seen = [event for event in events if isinstance(event, Progress)]
    assert [event.done for event in seen] == sorted(event.done for event in seen)
    assert len({event.total for event in seen}) == 1
    assert seen[-1].done == seen[-1].total


def test_pictures_of_an_earlier_run_make_way_unless_they_were_changed(made, tmp_path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", made.image)
    tifffile.imwrite(tmp_path / "b.tif", made.image)
    one, other = (_graded(tmp_path / name) for name in ("a.tif", "b.tif"))
    said: list[str] = []
    out = tmp_path / "out"
    write_grain_sizes(out, [one, other], 10, said.append)
    known = json.loads((out / "grain_size.json").read_text("utf-8"))["files"]
    assert set(known) == {"grain_size.html", "a_lines.png", "b_lines.png"}
    write_grain_sizes(out, [one], 10, said.append)
    assert not (out / "b_lines.png").exists()
    assert said == []
    (out / "a_lines.png").write_bytes(b"painted over")
    write_grain_sizes(out, [other], 10, said.append)
    assert (out / "a_lines.png").read_bytes() == b"painted over"
    assert len(said) == 1
    assert "a_lines.png is of an earlier run and was changed since" in said[0]


def test_why_a_method_is_left_out_stays_with_the_field(made, tmp_path) -> None:
    grains = np.ones((300, 400), np.uint16)
    grains[:20, :20] = 2
    tifffile.imwrite(tmp_path / "a.tif", made.image)
    tifffile.imwrite(tmp_path / "grains.tif", grains)
    plan = GradingPlan(("circles", "planimetric"))
    running = grade_file(
        tmp_path / "a.tif", plan, sizes=HALF_UM, boundaries=tmp_path / "grains.tif"
    )
    found = drain(running)
    assert list(found.pictures) == ["planimetric"]
    assert "no test circle meets" in found.fields[0].left_out["circles"]


def test_small_images_are_drawn_enlarged(made, tmp_path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", made.image)
    png = _graded(tmp_path / "a.tif").pictures["lines"]
    with Image.open(BytesIO(png)) as picture:
        assert picture.width == 1600
        assert picture.height >= 1200
        assert picture.info["dpi"][0] / 0.0254 == pytest.approx(8e6, rel=1e-4)
