"""Values that do not fit a model, in one line."""

from __future__ import annotations

from typing import Any

import pytest

from napari_metallography.errors import InputError, validated
from napari_metallography.segmentation.segment import SegmentParameters
from napari_metallography.segmentation.thresholding import ThresholdParameters


def test_values_that_fit_make_the_model() -> None:
    assert validated(ThresholdParameters, {"smoothing_px": 2}).smoothing_px == 2


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"smoothing_px": -1}, "smoothing_px: must be 0 or more, not -1"),
        ({"smoothing_px": "wide"}, "smoothing_px: must be a number, not wide"),
        ({"method": "guess"}, "method: must be 'otsu' or 'manual', not guess"),
        ({"method": "manual"}, "a manual threshold needs its grey value; give it, or choose otsu"),
    ],
)
def test_a_refusal_is_the_field_if_one_is_wrong_and_what_is_wrong(
    values: dict[str, Any], said: str
) -> None:
    with pytest.raises(InputError) as refused:
        validated(ThresholdParameters, values)
    assert str(refused.value).startswith(said)
    assert "Input should" not in str(refused.value)


def test_a_field_within_a_field_is_named_by_both() -> None:
    with pytest.raises(InputError, match=r"^threshold: a manual threshold needs its grey value"):
        validated(SegmentParameters, {"threshold": {"method": "manual"}})
    with pytest.raises(InputError, match=r"^THRESHOLD SMALLEST_AREA_PX: must be"):
        validated(SegmentParameters, {"threshold": {"smallest_area_px": -1}}, str.upper)
