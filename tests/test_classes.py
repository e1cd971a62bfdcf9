import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from napari_metallography.classes import (
    PALETTE,
    UNLABELLED,
    class_count,
    indices_to_layer,
    layer_to_indices,
    named_classes,
    numbered_classes,
    require_same_classes,
)
from napari_metallography.errors import InputError

names = st.lists(st.text("abc", min_size=1), max_size=4)


def _require(first: list[str], second: list[str]) -> None:
    require_same_classes(first, second, first_of="the labels", second_of="model steel")


@given(names, names)
def test_classes_that_differ_are_refused_and_unknown_ones_accepted(
    first: list[str], second: list[str]
) -> None:
    if not first or not second or first == second:
        _require(first, second)
        return
    with pytest.raises(InputError):
        _require(first, second)


@pytest.mark.parametrize(
    "second", [["carbide", "matrix"], ["matrix"], ["matrix", "carbide", "ferrite"]]
)
def test_the_refusal_shows_both_lists_in_one_line(second: list[str]) -> None:
    with pytest.raises(InputError) as refused:
        _require(["matrix", "carbide"], second)
    message = str(refused.value)
    assert f"the labels: matrix, carbide; model steel: {', '.join(second)};" in message
    assert "\n" not in message


def test_tuples_and_lists_of_the_same_names_agree() -> None:
    require_same_classes(("a", "b"), ["a", "b"], first_of="one", second_of="other")


@given(arrays(np.uint8, (4, 5)))
def test_layer_values_are_one_more_and_lead_back(indices: np.ndarray) -> None:
    layer = indices_to_layer(indices)
    known = indices != UNLABELLED
    assert (layer[known] == indices[known].astype(int) + 1).all()
    assert (layer[~known] == 0).all()
    assert (layer_to_indices(layer) == indices).all()


def test_layer_values_beyond_255_are_refused() -> None:
    with pytest.raises(ValueError, match="0 to 255"):
        layer_to_indices(np.array([[0, 256]]))


def test_an_empty_layer_stays_empty() -> None:
    assert layer_to_indices(np.zeros((0, 3), np.int64)).shape == (0, 3)


def test_the_colours_begin_again_when_they_run_out() -> None:
    classes = named_classes([f"phase {i}" for i in range(len(PALETTE) + 1)])
    assert classes[-1].colour == classes[0].colour == PALETTE[0]
    assert len({phase.colour for phase in classes}) == len(PALETTE)
    assert classes[1].rgb == (0xE6, 0x9F, 0x00)


def test_classes_are_counted_from_the_labels_and_two_at_least() -> None:
    assert class_count([]) == 2
    assert class_count([np.zeros((2, 2), np.uint8)]) == 2
    assert class_count([np.full((2, 2), UNLABELLED, np.uint8)]) == 2
    assert class_count([np.zeros((2, 2), np.uint8), np.array([[3, UNLABELLED]], np.uint8)]) == 4


def test_classes_without_names_are_the_matrix_and_numbers_by_index() -> None:
    assert numbered_classes(3) == named_classes(["matrix", "class 1", "class 2"])
    assert numbered_classes(1) == named_classes(["matrix"])
