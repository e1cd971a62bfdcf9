"""Nothing measured depends on the strips that planes are read in."""

from __future__ import annotations

import json
import tracemalloc
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import ndimage

from napari_metallography.calibration import Calibration
from napari_metallography.classes import UNLABELLED, named_classes
from napari_metallography.errors import InputError
from napari_metallography.events import drain
from napari_metallography.quantification.measure import Quantification, quantify
from napari_metallography.quantification.parameters import QuantifyParameters
from napari_metallography.quantification.runs import runs_of
from napari_metallography.quantification.strips import LabelledPlane, PlaneOf, stretches_of
from napari_metallography.regions import Box, Field

CLASSES = named_classes(["matrix", "carbide", "network"])
PIXEL = Calibration(0.1, 0.13, "test")
RULES = ("all", "exclude-border", "miles-lantuejoul", "guard-frame")


class Stored:
    """An array that is read in parts only and counts how often each of its rows is."""

    def __init__(self, array: NDArray[Any]) -> None:
        self.array = array
        self.shape, self.dtype = array.shape, array.dtype
        self.reads = np.zeros(array.shape[0], int)

    def __getitem__(self, key: Any) -> Any:
        rows = key[0] if isinstance(key, tuple) else key
        self.reads[rows] += 1
        return self.array[key].copy()


def grains(seed: int, shape: tuple[int, int], roughness: float) -> NDArray[np.uint8]:
    """Random labels of three classes."""
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).random(shape), roughness)
    return np.digitize(noise, np.quantile(noise, [0.5, 0.8])).astype(np.uint8)


def measured(
    indices: NDArray[Any], rows: int | None, field: Field, rules: dict[str, Any], **more: Any
) -> Quantification | str:
    events = quantify(
        indices,
        CLASSES,
        PIXEL,
        field,
        QuantifyParameters(**rules),
        rows_at_a_time=rows,
        **more,
    )
    try:
        return drain(events, lambda event: None)
    except InputError as error:
        return str(error)


def require_same(first: Quantification | str, second: Quantification | str) -> None:
    if isinstance(first, str) or isinstance(second, str):
        assert first == second
        return
    pd.testing.assert_frame_equal(first.particles, second.particles, check_exact=True)
    pd.testing.assert_frame_equal(first.phases, second.phases, check_exact=True)
    assert json.dumps(first.statistics) == json.dumps(second.statistics)
    np.testing.assert_array_equal(first.ids, second.ids)


polygon = (((2.3, 30.1), (40.7, 44.0), (63.2, 12.8), (20.0, 3.5)),)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("split", ["none", "distance", "intensity"])
@pytest.mark.parametrize(
    ("bar", "region", "labelled"),
    [(None, (), 1.0), (Box(58, 0, 67, 50), (), 0.97), (None, polygon, 1.0)],
)
@pytest.mark.parametrize("rows", [1, 7, 64])
def test_tables_are_those_of_the_whole_image(
    rule: str, split: str, bar: Box | None, region: Any, labelled: float, rows: int
) -> None:
    random = np.random.default_rng(2)
    indices = grains(1, (67, 50), 2.0)
    indices[random.random(indices.shape) > labelled] = UNLABELLED
    # Thirds are not exact in binary: what is added in another order is another sum.
    grey = random.random(indices.shape) / 3 + indices
    grey[5, 5] = np.nan
    field = Field(indices.shape, bar, region)
    rules = {"edge_rule": rule, "split": split, "smallest_area_px": 3, "classes": (0, 1, 2)}
    whole = measured(indices, 67, field, rules, intensity=grey)
    if rule != "guard-frame" or (not region and labelled == 1):
        assert not isinstance(whole, str)
    require_same(measured(indices, rows, field, rules, intensity=grey), whole)


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 100_000),
    shape=st.tuples(st.integers(1, 24), st.integers(1, 24)),
    roughness=st.floats(0, 2),
    labelled=st.sampled_from([1.0, 0.95, 0.5]),
    rule=st.sampled_from(RULES),
    split=st.sampled_from(["none", "distance", "intensity"]),
    numbered=st.booleans(),
    rows=st.integers(1, 9),
)
def test_any_labels_in_any_strips(
    seed: int,
    shape: tuple[int, int],
    roughness: float,
    labelled: float,
    rule: str,
    split: str,
    numbered: bool,
    rows: int,
) -> None:
    random = np.random.default_rng(seed)
    indices = grains(seed, shape, roughness)
    indices[random.random(shape) > labelled] = UNLABELLED
    more: dict[str, Any] = {"intensity": random.random(shape).astype(np.float32)}
    if numbered:
        more["ids"] = random.integers(0, 6, shape).astype(np.int32)
    field, rules = Field(shape), {"edge_rule": rule, "split": split}
    whole = measured(indices, shape[0], field, rules, **more)
    require_same(measured(indices, rows, field, rules, **more), whole)


@pytest.mark.parametrize("rows", [1, 3, 7])
def test_seams_along_boundaries_are_found_across_strips(rows: int) -> None:
    indices = np.zeros((40, 30), np.uint8)
    indices[22:] = 1
    # Only lines downwards lead over it, and it is higher than a strip.
    indices[18:22] = UNLABELLED
    found = measured(indices, rows, Field((40, 30)), {})
    assert not isinstance(found, str)
    assert found.phases["specific_boundary_length_per_mm"][:2].isna().all()
    require_same(found, measured(indices, 40, Field((40, 30)), {}))


def test_a_label_without_a_class_is_told_from_any_strip() -> None:
    indices = grains(3, (40, 30), 1.0).astype(np.int16)
    indices[33, 7] = -4
    told = {measured(indices, rows, Field((40, 30)), {}) for rows in (1, 8, 40)}
    assert len(told) == 1
    assert "label -4 has no class" in str(told)


@pytest.mark.parametrize("split", ["none", "intensity"])
def test_planes_are_read_by_rows_and_few_times(split: str) -> None:
    indices, grey = Stored(grains(4, (60, 40), 2.0)), Stored(grains(5, (60, 40), 2.0))
    rules = {"split": split, "classes": (1,)}
    result = measured(indices, 8, Field((60, 40)), rules, intensity=grey)
    assert not isinstance(result, str)
    assert set(indices.reads) == {2 if split == "none" else 3}
    if split == "none":
        assert set(grey.reads) == {1}
    require_same(result, measured(indices.array, 60, Field((60, 40)), rules, intensity=grey.array))


def test_planes_of_a_stack_are_read_by_rows() -> None:
    stack = np.stack([grains(seed, (30, 20), 1.5) for seed in range(3)])
    plane = PlaneOf(stack, 1)
    assert (plane.shape, plane.dtype) == ((30, 20), np.uint8)
    np.testing.assert_array_equal(plane[4:9], stack[1, 4:9])
    np.testing.assert_array_equal(plane[4:9, 2:3], stack[1, 4:9, 2:3])
    np.testing.assert_array_equal(PlaneOf(stack[2], 0)[4:9], stack[2, 4:9])
    rules = {"smallest_area_px": 2}
    require_same(
        measured(stack, 4, Field((30, 20)), rules), measured(stack, 30, Field((30, 20)), rules)
    )


@given(
    height=st.integers(1, 30),
    rows=st.integers(1, 12),
    above=st.integers(0, 2),
    below=st.integers(0, 4),
)
def test_strips_follow_each_other_with_the_rows_around_them(
    height: int, rows: int, above: int, below: int
) -> None:
    indices = np.arange(height * 3, dtype=np.uint8).reshape(height, 3)
    plane = LabelledPlane(indices, runs_of(np.ones((height, 3), bool)), 255, rows_at_a_time=rows)
    reached = 0
    for strip in plane.strips(above, below):
        assert strip.rows.start == reached
        reached = strip.rows.stop
        assert strip.window.start <= max(0, strip.rows.start - above)
        assert strip.window.stop >= min(height, reached + below)
        np.testing.assert_array_equal(strip.coded, indices[strip.window])
        np.testing.assert_array_equal(strip.coded[strip.own()], indices[strip.rows])
    assert reached == height


def test_the_field_is_the_same_in_strips_of_any_height() -> None:
    # Vertices at tenths, so that edges meet pixels' centres and moving them would round.
    field = Field((50, 60), Box(45, 0, 50, 60), (((5.1, 29.7), (29.3, 56.9), (47.3, 24.1)),))
    for rows in (1, 7, 50):
        runs = stretches_of(field, rows)
        mask = runs.painted(np.ones(1, bool), slice(0, 50), 60)
        np.testing.assert_array_equal(mask, field.mask())


def test_memory_does_not_grow_with_the_area() -> None:
    peaks = []
    for height in (1000, 8000):
        indices = np.zeros((height, 1500), np.uint8)
        indices[100:120, 700:730] = 1
        # Strips of one height, as what is read together is bounded.
        field = Field(indices.shape)
        tracemalloc.start()
        result = measured(indices, 250, field, {"edge_rule": "exclude-border"}, paint=False)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert not isinstance(result, str)
        assert result.ids.shape == (0, 0)
        assert result.particles["area_px"].tolist() == [600]
    # A pixel of the larger takes less than a quarter of a byte more.
    assert peaks[1] - peaks[0] < 7000 * 1500 / 4
