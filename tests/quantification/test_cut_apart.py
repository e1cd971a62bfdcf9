from __future__ import annotations

import numpy as np
import pytest

from napari_metallography.classes import UNLABELLED
from napari_metallography.quantification.cut_apart import (
    CUT_APART,
    cut_apart_note,
    parts_of_others,
)


def bar(classes: tuple[int, int] = (1, 1)) -> tuple[np.ndarray, np.ndarray]:
    """Particles 1 and 2 side by side, and 3 apart."""
    indices, ids = np.zeros((9, 12), np.uint8), np.zeros((9, 12), np.int32)
    for number, columns in ((1, slice(1, 4)), (2, slice(4, 7)), (3, slice(9, 11))):
        ids[2:6, columns] = number
        indices[2:6, columns] = (*classes, 1)[number - 1]
    return indices, ids


def parts(indices: np.ndarray, ids: np.ndarray) -> int:
    return int(parts_of_others(indices, ids, 3).sum())


def test_both_sides_of_a_cut_are_parts() -> None:
    indices, ids = bar()
    assert parts(indices, ids) == 2


def test_particles_of_two_phases_touch_without_a_cut() -> None:
    indices, ids = bar((1, 2))
    assert parts(indices, ids) == 0


def test_the_other_part_need_have_no_number() -> None:
    indices, ids = bar()
    ids[ids == 2] = 0
    assert parts(indices, ids) == 1


@pytest.mark.parametrize("turns", range(4))
def test_parts_that_meet_at_a_corner_are_parts_whichever_way(turns: int) -> None:
    indices, ids = np.zeros((6, 6), np.uint8), np.zeros((6, 6), np.int32)
    ids[1:3, 1:3], ids[3:5, 3:5] = 1, 2
    indices[ids > 0] = 1
    turned = np.rot90(indices, turns)
    assert parts(turned, np.rot90(ids, turns)) == 2


def test_what_unlabelled_pixels_cut_off_is_no_part() -> None:
    indices = np.zeros((10, 8), np.uint8)
    indices[4:9, 2:5] = 1
    ids = np.zeros((10, 8), np.int32)
    ids[4:7, 2:5] = 1
    assert parts(indices, ids) == 1
    indices[7:] = UNLABELLED
    assert parts(indices, ids) == 0


def test_the_sentence_is_of_all_images_or_of_none() -> None:
    told = [{CUT_APART: 2}, {CUT_APART: 0}]
    assert cut_apart_note(told, 5).startswith("2 of 5 particles are parts of touching ones")
    assert cut_apart_note([*told, {}], 5) == cut_apart_note([], 0) == ""
