from __future__ import annotations

import numpy as np
import pytest

from napari_metallography.calibration import Calibration
from napari_metallography.classification.defects import DefectParameters
from napari_metallography.classification.named import (
    THUMBNAIL,
    Stack,
    heat_of_plane,
    name_stacks,
)
from napari_metallography.errors import InputError
from napari_metallography.events import Notice, Progress, drain


@pytest.fixture
def parameters(stripes_model) -> DefectParameters:
    return DefectParameters(model=str(stripes_model), device="cpu", risk=1)


def test_every_plane_of_a_stack_has_its_answer(striped, parameters) -> None:
    kinds = ["lying", "upright", "upright", "lying", "upright", "lying"]
    planes = np.stack([striped(kind, 40 + n) for n, kind in enumerate(kinds)])
    stack = Stack("stack", planes.reshape(2, 3, 48, 48), False, None)
    single = Stack("single", np.repeat(striped("lying", 9)[..., None], 3, 2), True, None)
    told: list[object] = []
    found = drain(name_stacks([stack, single], parameters), told.append)
    assert [one.row["most_probable"] for one in found.planes] == [*kinds, "lying"]
    assert [(one.stack, one.number) for one in found.planes][-2:] == [("stack", 5), ("single", 0)]
    assert all(one.probability == max(_probabilities(one.row)) for one in found.planes)
    assert [e.total for e in told if isinstance(e, Progress)] == [7] * 14
    some = Stack("stack", stack.array, False, None, planes=(4,))
    assert stack.index(4) == (1, 1)
    (again,) = drain(name_stacks([some], parameters)).planes
    assert again.row == found.planes[4].row


def test_a_scanned_strip_shows_which_defect_lies_where(striped, parameters) -> None:
    strip = np.hstack([striped("lying", 1, (48, 144)), striped("upright", 2, (48, 144))])
    parameters = parameters.model_copy(update={"scan": True})
    found = drain(name_stacks([Stack("strip", strip, False, None)], parameters))
    (plane,) = found.planes
    assert plane.defects is not None
    assert plane.windows is not None
    assert plane.defects.shape == strip.shape
    left, right = plane.defects[:, :96], plane.defects[:, -96:]
    lying, upright = (
        [one.name for one in found.classes].index(name) for name in ("lying", "upright")
    )
    assert (left == lying).mean() > 0.5
    assert (right == upright).mean() > 0.5
    # What is not right is unsure.
    assert not (left == upright).any()
    assert not (right == lying).any()
    assert plane.thumbnail.shape == (round(THUMBNAIL * 48 / 288), THUMBNAIL, 3)


def test_heat_is_where_the_class_is(striped, parameters) -> None:
    strip = np.hstack([striped("lying", 1, (48, 96)), striped("upright", 2, (48, 96))])
    parameters = parameters.model_copy(update={"scan": True})
    stack = Stack("strip", strip, False, None)
    heat = drain(heat_of_plane(stack, 0, "upright", parameters))
    assert heat.shape == strip.shape
    assert heat[:, 96:].mean() > heat[:, :96].mean()
    with pytest.raises(InputError, match="does not know the class 'dent'"):
        drain(heat_of_plane(stack, 0, "dent", parameters))


def test_a_pixel_size_is_told_for_each_image(striped, parameters, stripes_model) -> None:
    coarse = Stack("coarse", striped("lying", 3), False, Calibration.square(3, "test"))
    told: list[object] = []
    drain(name_stacks([coarse], parameters), told.append)
    # The model knows of no pixel size: nothing to tell.
    assert not [event for event in told if isinstance(event, Notice)]


def test_a_constant_plane_is_unsure_and_an_empty_stack_refused(parameters) -> None:
    flat = Stack("flat", np.zeros((1, 30, 30)), False, None)
    (plane,) = drain(name_stacks([flat], parameters)).planes
    assert plane.row["answer"] == "unsure"
    with pytest.raises(InputError, match="nothing: the image is empty"):
        drain(name_stacks([Stack("nothing", np.zeros((0, 30, 30)), False, None)], parameters))


def _probabilities(row) -> list[float]:
    return [value for name, value in row.items() if name.startswith("probability_")]
