from __future__ import annotations

import json
from dataclasses import replace

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_metallography.calibration import Calibration
from napari_metallography.classes import UNLABELLED, named_classes
from napari_metallography.errors import InputError
from napari_metallography.events import Notice, drain
from napari_metallography.io.labels import LabelImage
from napari_metallography.quantification import splitting
from napari_metallography.quantification.correctable import (
    by_number,
    measure_anew,
    measure_given,
)
from napari_metallography.quantification.corrections import (
    Correction,
    audit_rows,
    change_of,
    originals,
    replayed,
    require_inside,
)
from napari_metallography.quantification.measure import quantify
from napari_metallography.quantification.parameters import QuantifyParameters
from napari_metallography.quantification.splitting import _standing
from napari_metallography.regions import Box, Field

CLASSES = named_classes(["ferrite", "carbide", "inclusion"])


def scene() -> tuple[np.ndarray, np.ndarray]:
    """Carbides 1 (a dumb-bell), 2 and 3 (4 px apart), inclusion 4 right of 3."""
    ids = np.zeros((60, 80), np.int32)
    canvas = np.zeros(ids.shape, np.uint8)
    cv2.circle(canvas, (15, 15), 8, 1, -1)
    cv2.circle(canvas, (35, 15), 8, 1, -1)
    canvas[14:17, 15:35] = 1
    ids[canvas > 0] = 1
    ids[40:50, 5:15], ids[40:50, 19:29], ids[40:50, 40:50] = 2, 3, 4
    indices = (ids > 0).astype(np.uint8)
    indices[ids == 4] = 2
    return indices, ids


def made(correction: Correction, highest: int = 4) -> tuple[np.ndarray, np.ndarray, Correction]:
    indices, ids = scene()
    change = change_of(correction, indices, ids, highest)
    before = indices.copy(), ids.copy()
    np.testing.assert_array_equal(indices, scene()[0])
    change.apply(indices, ids)
    assert change.is_made(ids)
    again = indices.copy(), ids.copy()
    change.revert(*again)
    assert change.is_taken_back(again[1])
    np.testing.assert_array_equal(again, before)
    return indices, ids, change.correction


@pytest.mark.parametrize("to_class", [0, UNLABELLED])
def test_delete(to_class: int) -> None:
    indices, ids, correction = made(Correction("delete", (2,), to_class=to_class))
    assert 2 not in ids
    assert (indices[40:50, 5:15] == to_class).all()
    assert correction.pixels_changed == 100
    assert correction.from_classes == (1,)


def test_merge_draws_a_line_over_the_shortest_gap() -> None:
    indices, ids, correction = made(Correction("merge", (3, 2), width_px=3))
    assert 3 not in ids
    bridge = (ids == 2) & (scene()[1] == 0)
    assert (indices[bridge] == 1).all()
    # The line has round ends, which may reach over the corners of what it joins.
    assert {15, 16, 17, 18} <= set(np.flatnonzero(bridge.any(axis=0)))
    assert np.ptp(np.flatnonzero(bridge.any(axis=1))) < 3
    assert bridge.sum() <= 3 * (4 + 4)
    assert correction.pixels_changed == 100 + bridge.sum()


def test_merge_of_touching_parts_takes_a_split_back() -> None:
    indices, ids, split = made(Correction("split", (1,)))
    merged = change_of(Correction("merge", (1, *split.created)), indices, ids)
    merged.apply(indices, ids)
    np.testing.assert_array_equal(ids, scene()[1])
    np.testing.assert_array_equal(indices, scene()[0])


def test_split_at_the_neck_halves_a_dumb_bell_and_loses_no_pixel() -> None:
    indices, ids, correction = made(Correction("split", (1,)))
    assert correction.created == (5,)
    one, other = (ids == 1), (ids == 5)
    np.testing.assert_array_equal(one | other, scene()[1] == 1)
    assert abs(int(one.sum()) - int(other.sum())) <= 6
    np.testing.assert_array_equal(indices, scene()[0])


@pytest.mark.parametrize(("aspect", "neck_column"), [(1.0, 70), (0.25, 40)])
def test_the_narrowest_neck_is_that_in_micrometres(aspect: float, neck_column: int) -> None:
    # Three blocks in a row: the neck at column 40 is 8 px high, that at column 70 is 6 px wide on
    # its way down, so that which is narrower depends on the height of a pixel.
    ids = np.zeros((110, 100), np.int32)
    ids[10:50, 4:38] = ids[10:50, 44:96] = ids[64:104, 44:96] = 1
    ids[26:34, 38:44] = 1
    ids[50:64, 67:73] = 1
    change = change_of(
        Correction("split", (1,), pixel_aspect=aspect), (ids > 0).astype(np.uint8), ids, 1
    )
    change.apply(np.zeros_like(ids, np.uint8), ids)
    left, right, below = ids[30, 20], ids[30, 60], ids[90, 60]
    assert (left == right) == (neck_column == 70)
    assert (right == below) == (neck_column == 40)


def test_labels_stored_before_corrections_knew_of_pixels_open_still() -> None:
    stored = Correction("split", (2,)).to_dict()
    del stored["pixel_aspect"]
    assert Correction.from_dict(stored) == Correction("split", (2,))


def test_split_along_a_line() -> None:
    _, ids, _ = made(Correction("split", (2,), line=((35.2, 8.1), (55.0, 8.1))))
    assert set(np.unique(ids[40:50, 5:8])) == {2}
    assert set(np.unique(ids[40:50, 9:15])) == {5}
    assert (ids[40:50, 5:15] > 0).all()


def test_split_along_a_diagonal_does_not_leak() -> None:
    _, ids, correction = made(Correction("split", (2,), line=((38, 3), (52, 17))))
    assert correction.created == (5,)
    assert 40 <= (ids == 5).sum() <= 60


def test_reclassify_gives_a_new_number_so_that_it_can_be_undone() -> None:
    indices, ids, correction = made(Correction("reclassify", (2, 4), to_class=2))
    assert correction.created == (5,)
    assert (indices[ids == 5] == 2).all()
    assert (ids == 4).sum() == 100


@pytest.mark.parametrize(
    ("correction", "message"),
    [
        (Correction("delete", ()), "choose a particle first"),
        (Correction("delete", (9,)), "no particle 9"),
        (Correction("merge", (2,)), "two particles"),
        (Correction("merge", (3, 4)), "several phases"),
        (Correction("split", (2,)), "no neck"),
        (Correction("split", (1, 2)), "one particle"),
        (Correction("split", (2,), line=((42, 7), (44, 8))), "right across"),
        (Correction("reclassify", (4,), to_class=2), "nothing would change"),
        (Correction("merge", (2, 3), width_px=0), "px wide"),
        (Correction("reclassify", (2,), to_class=255), "255 is no class"),
        (Correction("reclassify", (2,), to_class=-1), "-1 is no class"),
        (Correction("delete", (2,), to_class=256), "256 is no class"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line(correction: Correction, message: str) -> None:
    indices, ids = scene()
    with pytest.raises(InputError, match=message) as error:
        change_of(correction, indices, ids)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(("between", "said"), [(2, "another phase"), (UNLABELLED, "unlabelled")])
def test_merging_over_another_phase_or_unlabelled_pixels_is_refused(between: int, said) -> None:
    indices, ids = scene()
    indices[:, 16:18] = between
    ids[:, 16:18] = 0
    with pytest.raises(InputError, match=said):
        change_of(Correction("merge", (2, 3)), indices, ids, 4)


def test_merging_out_of_the_field_is_refused() -> None:
    indices, ids = scene()
    change = change_of(Correction("merge", (2, 3)), indices, ids, 4)
    field = np.ones(ids.shape, bool)
    require_inside(change, field)
    field[:, 16] = False
    with pytest.raises(InputError, match="leave the measured field"):
        require_inside(change, field)


def test_a_large_particle_is_split_in_little_time() -> None:
    canvas = np.zeros((300, 620), np.uint8)
    cv2.circle(canvas, (150, 150), 140, 1, -1)
    cv2.circle(canvas, (450, 150), 140, 1, -1)
    canvas[130:170, 150:450] = 1
    calls = []

    def counted(*arguments: object) -> object:
        calls.append(arguments)
        return _standing(*arguments)  # type: ignore[arg-type]

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(splitting, "_standing", counted)
        change = change_of(Correction("split", (1,)), canvas, canvas.astype(np.int32), 1)
    assert len(calls) <= 8
    assert change.correction.pixels_changed == pytest.approx((canvas > 0).sum() / 2, rel=0.01)


def test_merging_over_another_particle_is_refused() -> None:
    indices, ids = scene()
    ids[40:50, 16:17], indices[40:50, 16:17] = 7, 1
    with pytest.raises(InputError, match="particle 7 lies between"):
        change_of(Correction("merge", (2, 3)), indices, ids)


def test_a_damaged_correction_is_refused() -> None:
    good = Correction("split", (2,), line=((1, 2), (3, 4))).to_dict()
    assert Correction.from_dict(json.loads(json.dumps(good))) == Correction.from_dict(good)
    strange = ({"action": "melt"}, {"particles": "x"}, {"line": [1]}, {"more": 1})
    for change in (*strange, {"pixel_aspect": 0}, {"pixel_aspect": "wide"}):
        with pytest.raises(InputError, match="damaged"):
            Correction.from_dict({**good, **change})


def test_a_trail_of_other_labels_is_refused() -> None:
    indices, ids = scene()
    trail = [change_of(Correction("delete", (2,)), indices, ids).correction]
    ids[ids == 3], indices[42:50, 5:15] = 2, 2
    with pytest.raises(InputError, match="other labels"):
        replayed(indices, ids, trail)
    with pytest.raises(InputError, match="no plane 3"):
        replayed(indices, ids, [Correction("delete", (2,), plane=3)])


@st.composite
def requests(draw: st.DrawFn) -> list[Correction]:
    """Corrections of particles 1 to 8, most of which can be made on a scene of rectangles."""
    number = st.integers(1, 8)
    point = st.tuples(st.floats(-2, 42), st.floats(-2, 42))
    one = st.builds(
        Correction,
        action=st.sampled_from(["delete", "merge", "split", "reclassify"]),
        particles=st.lists(number, min_size=1, max_size=3, unique=True).map(tuple),
        plane=st.integers(0, 1),
        to_class=st.sampled_from([0, 1, 2, 255]),
        line=st.lists(point, min_size=2, max_size=3).map(tuple),
        width_px=st.integers(1, 5),
    )
    return draw(st.lists(one, max_size=8))


def crowded(seed: int) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    ids = np.zeros((2, 40, 40), np.int32)
    for number in range(1, 6):
        for plane in ids:
            row, column = random.integers(0, 32, 2)
            plane[row : row + 8, column : column + 8] = number
    return (ids % 3).astype(np.uint8), ids


@given(st.integers(0, 1000), requests())
def test_replaying_a_trail_gives_the_labels_bit_for_bit(seed: int, asked: list[Correction]) -> None:
    original = crowded(seed)
    indices, ids = (array.copy() for array in original)
    changes, highest = [], 8
    for correction in asked:
        plane = indices[correction.plane], ids[correction.plane]
        try:
            change = change_of(correction, *plane, highest)
        except InputError:
            continue
        change.apply(*plane)
        changes.append(change)
        highest = max(highest, *change.correction.created, 0)
    stored = json.loads(json.dumps([change.correction.to_dict() for change in changes]))
    trail = [Correction.from_dict(one) for one in stored]
    again = replayed(*original, trail)
    np.testing.assert_array_equal(again[0], indices)
    np.testing.assert_array_equal(again[1], ids)
    for before, found in zip(original, originals(indices, ids, changes), strict=True):
        np.testing.assert_array_equal(found, before)


def test_the_audit_names_phases() -> None:
    _, _, correction = made(Correction("reclassify", (2,), to_class=2, made="2026-01-02T03:04"))
    assert audit_rows([correction], CLASSES) == [
        {
            "plane": 0,
            "correction": "reclassify",
            "particles": "2",
            "new_particles": "5",
            "phase_before": "carbide",
            "phase_after": "inclusion",
            "pixels_changed": 100,
            "made": "2026-01-02T03:04",
        }
    ]


# --- measuring -------------------------------------------------------------------------------


def labelled(indices: np.ndarray, calibrated: bool = True) -> LabelImage:
    calibration = Calibration.square(0.5, "test") if calibrated else None
    return LabelImage(indices, CLASSES, calibration, Field(indices.shape[-2:]))


@pytest.mark.parametrize("rule", ["all", "exclude-border", "guard-frame"])
@pytest.mark.parametrize("split", ["none", "distance"])
def test_what_is_not_corrected_is_measured_as_ever(rule: str, split: str) -> None:
    indices = np.stack([scene()[0], np.roll(scene()[0], 12, 0)])
    labels = labelled(indices)
    parameters = QuantifyParameters(edge_rule=rule, split=split, smallest_area_px=20)
    plain = drain(
        quantify(indices, CLASSES, labels.calibration, labels.measured, parameters, name="x")
    )
    found = drain(measure_anew(labels, parameters, None, "x"))
    for name in ("phases", "particles"):
        expected, table = getattr(plain, name), getattr(found.result, name)
        assert table.equals(expected), name
    np.testing.assert_array_equal(found.result.ids, plain.ids)
    assert found.result.statistics == plain.statistics
    counted = found.ids <= len(plain.particles)
    np.testing.assert_array_equal(found.ids * counted, plain.ids)


def test_numbers_stay_with_corrected_particles() -> None:
    indices, ids = scene()
    change = change_of(Correction("delete", (2,)), indices, ids)
    change.apply(indices, ids)
    found = drain(
        measure_given(labelled(indices), ids, QuantifyParameters(), None, "x", [change.correction])
    )
    table = found.result.particles
    assert sorted(table["particle"]) == [1, 3, 4]
    rows = by_number(table, 4)
    assert rows["area_px"].tolist() == [0, (ids == 1).sum(), 0, 100, 100]
    assert rows["phase"].tolist() == ["", "carbide", "", "carbide", "inclusion"]
    (told,) = found.result.statistics["provenance"]["corrections"]
    assert told["phase_after"] == "ferrite"


def test_a_particle_that_the_field_cuts_in_two_counts_twice() -> None:
    indices, ids = scene()
    # The field leaves out the middle of the dumb-bell, particle 1.
    bar = Box(0, 20, 30, 26)
    labels = replace(labelled(indices), measured=Field(indices.shape, bar))
    found = drain(measure_given(labels, ids, QuantifyParameters(), None, "x"))
    anew = drain(measure_anew(labels, QuantifyParameters(), None, "x"))
    assert found.result.particles["area_px"].tolist() == anew.result.particles["area_px"].tolist()
    assert found.result.particles["particle"].tolist() == [1, 5, 2, 3, 4]
    np.testing.assert_array_equal(found.ids, ids)
    shown = by_number(found.result.particles, 5)
    assert (found.result.ids == 5).sum() == shown["area_px"][5] > 0


def test_without_a_pixel_size_columns_are_in_pixels() -> None:
    events: list[object] = []
    found = drain(
        measure_anew(labelled(scene()[0], calibrated=False), QuantifyParameters(), None, "x"),
        events.append,
    )
    assert not [name for name in found.result.particles if "_um" in name]
    assert "equivalent_radius_px" in found.result.particles
    assert any(isinstance(e, Notice) and "no pixel size" in e.message for e in events)


def test_painted_pixels_of_another_phase_do_not_count() -> None:
    indices, ids = scene()
    indices[40:50, 5:8] = 2
    found = drain(measure_given(labelled(indices), ids, QuantifyParameters(), None, "x"))
    areas = by_number(found.result.particles, 4)["area_px"]
    assert areas[2] in (30, 70)


def test_corrections_that_labels_came_with_are_told_in_the_same_place() -> None:
    labels = replace(labelled(scene()[0]), provenance={"method": "x", "corrections": [{"a": 1}]})
    found = drain(measure_anew(labels, QuantifyParameters(), None, "x"))
    assert found.result.statistics["provenance"]["corrections"] == [{"a": 1}]
    assert found.result.statistics["provenance"]["labels"] == {"method": "x"}
