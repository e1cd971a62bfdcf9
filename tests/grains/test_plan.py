import numpy as np
import pytest

from napari_metallography.calibration import Calibration
from napari_metallography.errors import InputError
from napari_metallography.events import Event, drain
from napari_metallography.grains.finding import Given
from napari_metallography.grains.plan import GradingPlan, LeftOut, graded

UM = Calibration.square(1, "test")
GREY = np.full((90, 90, 3), 100, np.uint8)


def _corner() -> Given:
    """A small grain in a corner, which no circle meets."""
    grains = np.ones((90, 90), np.int32)
    grains[:8, :8] = 2
    return Given("corner", grains)


def test_a_method_that_cannot_measure_is_left_out_by_name() -> None:
    plan = GradingPlan(("circles", "automatic", "planimetric"), finding=_corner())
    events: list[Event] = []
    by_method = drain(graded(plan, GREY, UM, "a.tif"), events.append)
    assert list(by_method) == ["planimetric"]
    left_out = [event for event in events if isinstance(event, LeftOut)]
    assert [event.method for event in left_out] == ["circles", "automatic"]
    assert left_out[0].message.startswith("a.tif: circles is left out: no test circle meets")
    assert left_out[1].reason.startswith("no grain lies wholly in the field")


def test_where_no_method_can_measure_each_reason_is_told_once() -> None:
    plan = GradingPlan(("circles", "automatic"), finding=_corner())
    with pytest.raises(InputError, match=r"^a\.tif: no test circle meets .*; no grain lies wholly"):
        drain(graded(plan, GREY, UM, "a.tif"))
    one = GradingPlan(("lines", "circles"), finding=Given("one", np.ones((90, 90), np.int32)))
    with pytest.raises(InputError, match=r"^a\.tif: one: every pixel is 1; there is no boundary"):
        drain(graded(one, GREY, UM, "a.tif"))
