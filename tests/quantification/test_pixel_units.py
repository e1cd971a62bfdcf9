from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from napari_metallography.calibration import Calibration
from napari_metallography.classes import named_classes
from napari_metallography.events import Notice, drain, ignore
from napari_metallography.io.labels import LabelImage
from napari_metallography.quantification.columns import in_pixels
from napari_metallography.quantification.measure import quantify
from napari_metallography.quantification.parameters import QuantifyParameters
from napari_metallography.quantification.pixel_units import NO_PIXEL_SIZE, measure_labels
from napari_metallography.regions import Field

CLASSES = named_classes(["matrix", "carbide"])
RULES = QuantifyParameters(smallest_area_px=3)


def labels(size_um: float | None) -> LabelImage:
    """Two planes of noise, so that phases touch everywhere."""
    indices = np.random.default_rng(3).integers(0, 2, (2, 30, 40)).astype(np.uint8)
    size = Calibration.square(size_um, "test") if size_um else None
    return LabelImage(indices, CLASSES, size, Field((30, 40)), {"method": "by hand"})


def test_with_a_pixel_size_labels_are_measured_as_they_are() -> None:
    one, told = labels(0.5), []
    result = drain(measure_labels(one, RULES, one.indices, "a.tif"), told.append)
    plain = drain(
        quantify(
            *(one.indices, CLASSES, one.calibration, one.measured, RULES, one.indices),
            name="a.tif",
            labels_provenance=one.provenance,
        ),
        ignore,
    )
    for what in ("phases", "particles"):
        pd.testing.assert_frame_equal(getattr(result, what), getattr(plain, what))
    np.testing.assert_array_equal(result.ids, plain.ids)
    assert result.statistics == plain.statistics
    assert result.statistics["provenance"]["labels"] == {"method": "by hand"}
    assert not any(NO_PIXEL_SIZE in e.message for e in told if isinstance(e, Notice))


@pytest.mark.parametrize(
    ("called", "said"),
    [(None, f"a.tif: {NO_PIXEL_SIZE}"), ("a.tif, plane 2", f"a.tif, plane 2: {NO_PIXEL_SIZE}")],
)
def test_without_a_pixel_size_all_is_in_pixels_and_that_is_said_first(called, said) -> None:
    told: list[object] = []
    found = drain(measure_labels(labels(None), RULES, None, "a.tif", called=called), told.append)
    assert told[0] == Notice(said)
    of_one_um = drain(measure_labels(labels(1.0), RULES, None, "a.tif"), ignore)
    for what in ("phases", "particles"):
        pd.testing.assert_frame_equal(getattr(found, what), in_pixels(getattr(of_one_um, what)))
    provenance = found.statistics["provenance"]
    assert (provenance["image"], provenance["calibration"]) == ("a.tif", None)
    assert provenance["notes"] == [NO_PIXEL_SIZE, *of_one_um.statistics["provenance"]["notes"]]
    assert "_um" not in str(found.statistics["phases"])


def test_given_numbers_values_and_paint_are_those_of_the_measurement() -> None:
    one = labels(None)
    one = replace(one, indices=np.zeros((30, 40), np.uint8))
    one.indices[4:9, 4:12] = 1
    halves = np.where(one.indices, 7, 0)
    halves[:, 8:][one.indices[:, 8:] == 1] = 9
    events = measure_labels(
        one, RULES, None, "a.tif", ids=halves, label_values=(0, 200), paint=False
    )
    found = drain(events, ignore)
    assert found.particles["area_px"].tolist() == [20, 20]
    assert set(found.particles["label_value"]) == {200}
    assert found.ids.shape == (0, 0)
