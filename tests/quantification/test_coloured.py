from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from napari_metallography.classes import PhaseClass
from napari_metallography.io.labels import LabelImage
from napari_metallography.quantification.coloured import (
    matrix_first,
    pixels_by_colour,
    with_colours,
)
from napari_metallography.regions import Field


@given(
    indices=st.lists(st.sampled_from([0, 1, 2, 255]), min_size=1, max_size=30),
    other=st.integers(0, 50),
)
def test_the_order_changes_no_pixel_s_colour(indices: list[int], other: int) -> None:
    values = np.array([indices], np.uint8)
    names = ["#000001", "#0000ff", "#ff0000"]
    classes = tuple(PhaseClass(name=name, colour=name) for name in names)
    labels = LabelImage(values, classes, None, Field(values.shape), assumed="colours")
    pixels = pixels_by_colour(labels)
    pixels["#00ff00"] += other
    order = matrix_first(pixels)
    assert [pixels[name] for name in order] == sorted(pixels.values(), reverse=True)
    again = with_colours(labels, order)
    assert [None if i == 255 else again.classes[i].name for i in again.indices[0]] == [
        None if i == 255 else names[i] for i in indices
    ]
