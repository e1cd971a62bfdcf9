from __future__ import annotations

import numpy as np
import pytest

from napari_metallography.calibration import Calibration
from napari_metallography.classification.defect_parameters import DefectParameters
from napari_metallography.classification.named import heat_of_plane, name_stacks
from napari_metallography.classification.stacks import THUMBNAIL, Named, Stack
from napari_metallography.errors import InputError
from napari_metallography.events import Notice, Progress, drain
from napari_metallography.models.file import read_model, write_model


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


def test_a_scanned_strip_shows_which_defect_lies_where(
    striped, parameters, stripes_model, tmp_path
) -> None:
    strip = np.hstack([striped("lying", 1, (48, 144)), striped("upright", 2, (48, 144))])
    file = read_model(stripes_model, "defects")
    # Learnt from few images, it finds windows of a strip strange.
    shown = file.card.defects.model_copy(update={"most_strange": None})
    card = file.card.model_copy(update={"defects": shown})
    model = tmp_path / "stripes.safetensors"
    write_model(model, card, file.state)
    parameters = parameters.model_copy(update={"scan": True, "model": str(model)})
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


def test_planes_that_cannot_be_used_are_skipped_and_listed(striped, parameters) -> None:
    planes = np.stack([striped("lying", seed).astype(np.float32) for seed in range(5)])
    planes[3, 7, 7] = np.nan
    bad = Stack("bad", np.full((2, 48, 48), np.inf), False, None)
    told: list[object] = []
    stacks = [Stack("strip", planes, False, None), bad]
    found = drain(name_stacks(stacks, parameters), told.append)
    assert [(one.stack, one.number) for one in found.planes] == [("strip", n) for n in (0, 1, 2, 4)]
    # Each was handed over when it was there, with all that is needed to keep it.
    parts = [event for event in told if isinstance(event, Named)]
    assert [part.planes for part in parts] == [(one,) for one in found.planes]
    assert all(part.provenance == found.provenance for part in parts)
    (notice,) = [event.message for event in told if isinstance(event, Notice)]
    assert notice.startswith("3 skipped: strip, plane 3: holds NaN")
    assert "bad, plane 1" in notice
    with pytest.raises(InputError, match=r"bad, plane 0: holds NaN .+nor can 1 more"):
        drain(name_stacks([bad], parameters))


def test_a_plane_that_there_is_not_is_refused() -> None:
    stack = Stack("strip", np.zeros((2, 3, 9, 9)), False, None)
    assert [stack.index(n) for n in (0, 5)] == [(0, 0), (1, 2)]
    for number in (-1, 6):
        with pytest.raises(InputError, match=f"strip: has no plane {number}, only 0 to 5"):
            stack.index(number)


def test_a_pixel_size_is_told_for_each_image(striped, parameters, stripes_model, tmp_path) -> None:
    file = read_model(stripes_model, "defects")
    card = file.card.model_copy(update={"pixel_size_um": (0.5, 0.5)})
    write_model(tmp_path / "known.safetensors", card, file.state)
    parameters = parameters.model_copy(update={"model": str(tmp_path / "known.safetensors")})
    sizes = {"coarse": 3, "alike": 0.5, "unknown": None}
    planes = np.stack([striped("lying", 3), striped("upright", 3)])
    stacks = [
        Stack(name, planes, False, Calibration.square(um, "test") if um else None)
        for name, um in sizes.items()
    ]
    told: list[object] = []
    drain(name_stacks(stacks, parameters), told.append)
    notices = [event.message for event in told if isinstance(event, Notice)]
    # Once for all planes of a stack.
    assert [said.partition(": ")[0] for said in notices] == ["coarse", "unknown", "coarse"]
    assert "a pixel is 3 µm" in notices[0]
    assert "no pixel size is known" in notices[1]
    assert "scan it by windows" in notices[2]


def test_a_constant_plane_is_unsure_and_an_empty_stack_refused(parameters) -> None:
    flat = Stack("flat", np.zeros((1, 30, 30)), False, None)
    (plane,) = drain(name_stacks([flat], parameters)).planes
    assert plane.row["answer"] == "unsure"
    with pytest.raises(InputError, match="nothing: the image is empty"):
        drain(name_stacks([Stack("nothing", np.zeros((0, 30, 30)), False, None)], parameters))


def _probabilities(row) -> list[float]:
    return [value for name, value in row.items() if name.startswith("probability_")]
