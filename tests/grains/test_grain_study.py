import math
from dataclasses import replace

import numpy as np
import pytest

from napari_metallography.calibration import Calibration
from napari_metallography.grains.grading import (
    QUANTITIES,
    FieldGrade,
    GradingParameters,
    Method,
    g_of,
    grade,
)
from napari_metallography.grains.partition import from_labels
from napari_metallography.grains.study import (
    GradedField,
    disagreement,
    grain_size_of,
    interval_words,
    over_fields,
    over_specimens,
)

HALF_UM = Calibration.square(0.5, "test")


def _squares(side: int) -> FieldGrade:
    rows, columns = np.indices((120, 160)) // side
    return grade(from_labels((rows * 160 + columns + 1).astype(np.int32)), HALF_UM)


def test_g_is_that_of_the_mean_and_not_the_mean_g() -> None:
    fields = [_squares(8), _squares(16)]
    found = over_fields(fields)
    mean = sum(one.value for one in fields) / 2
    assert found["G"] == pytest.approx(g_of("lines", mean))
    assert found["G"] > sum(one.g for one in fields) / 2


def test_the_interval_is_that_of_students_t_over_fields() -> None:
    fields = [_squares(side) for side in (8, 9, 10)]
    found = over_fields(fields)
    values = np.array([one.value for one in fields])
    half = 4.30265 * values.std(ddof=1) / math.sqrt(3)
    expected = [g_of("lines", values.mean() - half), g_of("lines", values.mean() + half)]
    assert found["ci95"] == pytest.approx(expected, abs=1e-4)
    assert found["relative_accuracy_percent"] == pytest.approx(100 * half / values.mean(), rel=1e-4)
    assert found["n_fields"] == 3
    assert found["count"] == sum(one.count for one in fields)


def test_areas_give_an_interval_in_order() -> None:
    rules = GradingParameters(method="automatic")
    fields = [grade(_squares(side).grains, HALF_UM, rules) for side in (8, 9, 11)]
    low, high = over_fields(fields)["ci95"]
    assert low < over_fields(fields)["G"] < high


@pytest.mark.parametrize("method", QUANTITIES)
@pytest.mark.parametrize("values", [(100, 300), (1, 1000, 1), (200, 201, 202)])
def test_the_interval_runs_from_coarse_to_fine_by_every_quantity(
    method: Method, values: tuple[float, ...]
) -> None:
    field = _squares(8)
    found = over_fields([replace(field, method=method, value=one) for one in values])
    low, high = found["ci95"]
    reaches_zero = found[QUANTITIES[method]]["ci95"][0] == 0
    assert reaches_zero == (max(values) > 202)
    # Areas of 0 would be the finest grains, as no crossing at all would be the coarsest.
    assert (high is None) == (reaches_zero and method == "automatic")
    assert (low is None) == (reaches_zero and method != "automatic")
    assert low is None or low < found["G"]
    assert high is None or high > found["G"]


def test_an_interval_without_a_limit_is_said_so() -> None:
    assert interval_words((7.912, 8.1)) == "7.91 to 8.10"
    assert interval_words((7.912, None)) == "above 7.91, no upper limit"
    assert interval_words((None, 8.1)) == "below 8.10, no lower limit"


def test_one_field_has_no_interval_and_is_below_what_is_asked() -> None:
    found = grain_size_of([GradedField("a.tif", {"lines": _squares(8)}, "plate 7")])
    assert found["ci95"] is None
    assert "one field" in found["reason"]
    assert any("asks for 5" in note for note in found["notes"])
    assert found["fields"][0]["specimen"] == "plate 7"


def test_methods_that_disagree_are_told() -> None:
    assert not disagreement({"lines": 9.0, "planimetric": 9.4})
    (said,) = disagreement({"lines": 9.0, "planimetric": 9.6, "circles": 9.2})
    assert "lines gives G 9.00" in said
    assert "planimetric G 9.60" in said


def test_a_method_without_a_number_disagrees_with_none() -> None:
    assert not disagreement({"circles": math.nan, "lines": 9.0})
    assert not disagreement({"circles": math.nan})
    (said,) = disagreement({"circles": math.nan, "lines": 9.0, "planimetric": 9.6})
    assert "circles" not in said


def test_the_shape_of_grains_is_named_where_it_may_be_why() -> None:
    (said,) = disagreement({"lines": 9.0, "planimetric": 9.6}, elongated=True)
    assert "the likely cause is the elongated shape" in said


def test_a_network_that_stands_alone_is_told_apart() -> None:
    (said,) = disagreement({"lines": 9.0, "circles": 9.1, "network": 10.0})
    assert said.startswith("the line network disagrees: lines gives G 9.00, network G 10.00")
    (said,) = disagreement({"lines": 9.0, "circles": 9.9, "network": 10.0})
    assert said.startswith("the methods disagree")


def test_fields_still_needed_are_those_of_the_standard_too() -> None:
    alike = [replace(_squares(8), value=one) for one in (100.0, 100.1)]
    found = over_fields(alike)
    assert found[QUANTITIES["lines"]]["fields_still_needed"] == 0
    assert found["fields_still_needed"] == 3
    spread = [replace(_squares(8), value=one) for one in (100.0, 140.0)]
    found = over_fields(spread)
    assert found["fields_still_needed"] == found[QUANTITIES["lines"]]["fields_still_needed"] > 3


def test_over_specimens_counts_their_means() -> None:
    field = _squares(8)
    by_specimen = {
        name: [replace(field, value=mean + off) for off in (-1, 1)]
        for name, mean in (("B", 100.0), ("A", 110.0), ("", 500.0))
    }
    found = over_specimens(by_specimen)
    assert list(found["specimens"]) == ["A", "B"]
    assert found["specimens"]["A"]["n_fields"] == 2
    over = found["over_specimens"]
    assert over["n_specimens"] == over[QUANTITIES["lines"]]["n_specimens"] == 2
    assert over["G"] == pytest.approx(g_of("lines", 105.0))
    half = 12.7062 * math.sqrt(50) / math.sqrt(2)
    low, high = over["ci95"]
    assert high == pytest.approx(g_of("lines", 105 + half), abs=1e-3)
    assert low == pytest.approx(g_of("lines", 105 - half), abs=1e-3)
    assert over_specimens({"A": [field]}) == {}


def test_a_method_that_cannot_measure_is_null_with_its_reason() -> None:
    whole = _squares(8)
    circles = replace(whole, method="circles")
    fields = [
        GradedField("a", {"lines": whole}, left_out={"circles": "no test circle meets one"}),
        GradedField("b", {"circles": circles, "lines": whole}),
    ]
    found = grain_size_of(fields)
    assert list(found["methods"]) == ["circles", "lines"]
    assert found["methods"]["circles"]["n_fields"] == 1
    assert any("could not measure 1 of 2 fields" in note for note in found["notes"])
    alone = grain_size_of(fields[:1])
    assert alone["method"] == "lines"
    assert alone["methods"]["circles"]["G"] is None
    assert alone["methods"]["circles"]["reason"] == "no test circle meets one"
    assert alone["fields"][0]["methods"]["circles"]["G"] is None


def test_sizes_that_one_g_does_not_describe_are_told_once_a_field() -> None:
    numbers = np.arange(1, 501).reshape(20, 25).repeat(6, axis=0).repeat(6, axis=1)
    numbers[6:54, 6:54] = 1000
    mixed = from_labels(numbers.astype(np.int32))
    by_method = {
        method: grade(mixed, HALF_UM, GradingParameters(method=method))
        for method in ("lines", "planimetric")
    }
    found = grain_size_of([GradedField("a", by_method)])
    assert found["size_distribution"]["duplex"]
    largest = found["size_distribution"]["largest_grain_G"]
    assert found["notes"][0].endswith(
        f"one G does not describe them; largest grain G {largest:.2f}"
    )
    assert "size_distribution" not in found["methods"]["lines"]
    assert "size_distribution" in found["fields"][0]
    even = grain_size_of([GradedField("a", {"lines": _squares(8)})])
    assert not any("one G" in note for note in even["notes"])
