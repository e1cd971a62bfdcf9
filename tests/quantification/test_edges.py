from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from napari_metallography.calibration import Calibration
from napari_metallography.errors import InputError
from napari_metallography.quantification.edges import edge_notes, select
from napari_metallography.quantification.particles import measure_particles
from napari_metallography.quantification.pixel_counts import count_pixels
from napari_metallography.quantification.runs import runs_of
from napari_metallography.quantification.strips import LabelledPlane

PIXELS = Calibration.square(1.0, "test")


def selection(rule, mask, known=None):
    known = np.ones(mask.shape, bool) if known is None else known
    runs, _ = runs_of(mask & known).parted()
    plane = LabelledPlane(mask.astype(np.uint8), runs_of(known), 2)
    counts = count_pixels(plane, runs)
    table = measure_particles(runs, counts.touches_border, PIXELS)
    return select(rule, table, runs, counts.known)


def particles_at(shape, *boxes):
    mask = np.zeros(shape, bool)
    for top, left, bottom, right in boxes:
        mask[top:bottom, left:right] = True
    return mask


FOUR = particles_at((30, 40), (0, 10, 3, 14), (10, 0, 13, 3), (27, 20, 30, 24), (15, 20, 19, 26))
"""Above, left, below, and one inside, in reading order: above, left, inside, below."""


def test_all_counts_everything():
    chosen = selection("all", FOUR)
    assert chosen.kept.tolist() == [True] * 4
    assert (chosen.weights.tolist(), chosen.counted_px) == ([1.0] * 4, 1200)


def test_exclude_border_leaves_out_what_is_cut():
    chosen = selection("exclude-border", FOUR)
    assert chosen.kept.sum() == 1
    assert (chosen.weights.tolist(), chosen.counted_px) == ([1.0], 1200)


def test_miles_lantuejoul_weights_by_the_box():
    chosen = selection("miles-lantuejoul", FOUR)
    assert chosen.kept.sum() == 1
    assert chosen.weights == pytest.approx([40 * 30 / ((40 - 6 - 1) * (30 - 4 - 1))])


def test_the_guard_frame_has_two_sides_that_count_and_two_that_do_not():
    right = particles_at((30, 40), (5, 37, 9, 40))
    chosen = selection("guard-frame", FOUR | right)
    assert chosen.kept.sum() == 3
    assert not selection("guard-frame", right).kept.any()
    assert chosen.counted_px == 39 * 29


@pytest.mark.parametrize("rule", ["all", "exclude-border", "miles-lantuejoul", "guard-frame"])
def test_rules_are_relative_to_the_region(rule):
    known = np.zeros((50, 70), bool)
    known[10:40, 20:60] = True
    outer = np.pad(FOUR, ((10, 10), (20, 10)))
    inside, alone = selection(rule, outer, known), selection(rule, FOUR)
    np.testing.assert_array_equal(inside.kept, alone.kept)
    np.testing.assert_allclose(inside.weights, alone.weights)
    assert inside.counted_px == alone.counted_px


def test_a_particle_along_an_angle_counts_although_its_box_does_not_fit():
    known = np.zeros((40, 40), bool)
    known[:, :6] = known[34:, :] = True
    bent = np.zeros_like(known)
    bent[5:37, 2:4] = bent[36:38, 2:35] = True
    # A pixel up or down, and a pixel left or right.
    (weight,) = selection("miles-lantuejoul", bent, known).weights
    assert known.sum() / weight == pytest.approx(3 * 3)


def table_of(boxes, touches):
    names = ("top_px", "left_px", "bottom_px", "right_px")
    return pd.DataFrame(np.array(boxes), columns=names).assign(touches_border=touches)


@pytest.mark.parametrize(("height", "width"), [(1, 1), (3, 5), (6, 2)])
def test_counts_are_unbiased_over_all_places_of_a_box(height, width):
    # The box once at every place where a pixel of it shows: a rule that is unbiased counts it as
    # often as there are pixels in the area counted.
    shape = (20, 25)
    known = runs_of(np.ones(shape, bool))
    framed, weighted, all_counted = 0, 0.0, 0
    for top in range(1 - height, shape[0]):
        for left in range(1 - width, shape[1]):
            box = (max(0, top), max(0, left), min(20, top + height), min(25, left + width))
            runs = runs_of(particles_at(shape, box))
            touches = box[0] == 0 or box[1] == 0 or box[2] == 20 or box[3] == 25
            table = table_of([box], touches)
            framed += int(select("guard-frame", table, runs, known).kept.sum())
            weighted += float(select("miles-lantuejoul", table, runs, known).weights.sum())
            all_counted += 1
    assert framed == selection("guard-frame", np.zeros(shape, bool)).counted_px
    assert all_counted > 20 * 25 or height * width == 1
    assert weighted == pytest.approx(20 * 25)


@pytest.mark.parametrize(
    ("rule", "said"),
    [("all", "numbers per area come out too large"), ("guard-frame", "are of what shows")],
)
def test_what_a_rule_makes_of_cut_particles_is_said(rule, said):
    cut = pd.DataFrame({"touches_border": [True, False]})
    (note,) = edge_notes(rule, cut)
    assert note.startswith("1 of 2 particles counted touch the border")
    assert said in note
    assert edge_notes(rule, cut[1:]) == edge_notes("miles-lantuejoul", cut) == []


def test_a_guard_frame_is_a_rectangle():
    known = np.ones(FOUR.shape, bool)
    known[20, 8] = False
    with pytest.raises(InputError, match="a guard frame is a rectangle"):
        selection("guard-frame", FOUR, known)


@pytest.mark.parametrize("upwards", [True, False])
def test_what_a_guard_frame_makes_of_slanting_needles(upwards):
    # A needle once at every place where a pixel of it shows. Those that leave by the upper edge
    # and lie to the right of the field further up count, though they should not.
    shape, length = (20, 25), 8
    known, framed, wrong = runs_of(np.ones(shape, bool)), 0, 0
    steps = np.arange(length)
    for top in range(1 - length, 20):
        for left in range(1 - length, 25):
            rows = top + (length - 1 - steps if upwards else steps)
            columns = left + steps
            shows = (rows >= 0) & (rows < 20) & (columns >= 0) & (columns < 25)
            if not shows.any():
                continue
            needle = np.zeros(shape, bool)
            needle[rows[shows], columns[shows]] = True
            runs = runs_of(needle)
            kept = bool(select("guard-frame", table_of(runs.boxes, True), runs, known).kept[0])
            framed += kept
            wrong += kept and bool(((rows < 0) & (columns >= 24)).any())
    counted = selection("guard-frame", np.zeros(shape, bool)).counted_px
    assert framed - wrong == counted
    assert (wrong > 0) == upwards
    assert wrong <= length**2 / 2
