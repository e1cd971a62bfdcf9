from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from napari_metallography.calibration import Calibration
from napari_metallography.classes import named_classes
from napari_metallography.classification.stacks import Named, Stack
from napari_metallography.classification.structure_model import (
    StructureNetwork,
    load_structure_model,
    save_structure_model,
)
from napari_metallography.classification.structure_parameters import (
    SaliencyParameters,
    StructureParameters,
    extrapolation_note,
)
from napari_metallography.classification.structure_stacks import (
    map_of_plane,
    name_structures,
    saliency_of_plane,
)
from napari_metallography.errors import InputError
from napari_metallography.events import Notice, Progress, drain
from napari_metallography.models.card import DataSource, ModelCard, Network, StructureInput

SIZE = Calibration.square(0.1, "test")
PLANES = np.random.default_rng(0).integers(60, 200, (3, 96, 128), np.uint8)


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> str:
    """The file of a network of random weights."""
    torch.manual_seed(0)
    shown = StructureInput(side=32, smallest_px=32, largest_px=64, px_per_um=(2.0, 20.0))
    card = ModelCard(
        name="random",
        task="structure",
        network=Network(architecture="triplets", encoder="resnet18"),
        classes=named_classes(("pearlite", "ferrite")),
        structure=shown,
        data=DataSource(name="none", digest="0"),
    )
    path: Path = tmp_path_factory.mktemp("stacks") / "random.safetensors"
    save_structure_model(path, card, StructureNetwork(2, shown))
    return str(path)


def _parameters(model: str) -> StructureParameters:
    return StructureParameters(model=model, device="cpu", crops=4)


def test_planes_are_named_in_order_and_told_of(model) -> None:
    steps: list[Progress] = []
    stacks = [Stack("one", PLANES, False, SIZE), Stack("two", PLANES, False, SIZE, (2,))]
    events = name_structures(stacks, _parameters(model))
    found = drain(events, lambda e: steps.append(e) if isinstance(e, Progress) else None)
    assert [(one.stack, one.number) for one in found.planes] == [
        ("one", 0), ("one", 1), ("one", 2), ("two", 2),
    ]  # fmt: skip
    # The same plane has the same answer.
    again = {**found.planes[3].row, "image": "one"}
    assert again == found.planes[2].row
    assert found.planes[0].descriptors.shape == (4, 2)
    assert {one.total for one in steps} == {4}
    assert found.provenance["parameters"] == {"crops": 4}


def test_colours_are_taken_as_grey_values(model) -> None:
    colour = np.repeat(PLANES[0][..., None], 3, axis=2)
    one, other = (
        drain(name_structures([Stack("steel", pixels, rgb, SIZE)], _parameters(model)))
        for pixels, rgb in ((PLANES[0], False), (colour, True))
    )
    assert (one.planes[0].descriptors == other.planes[0].descriptors).all()


def test_planes_that_cannot_be_used_are_skipped_and_listed(model) -> None:
    planes = PLANES.copy()
    planes[1] = 7
    notices: list[str] = []
    events = name_structures([Stack("steel", planes, False, SIZE)], _parameters(model))
    found = drain(events, lambda e: notices.append(e.message) if isinstance(e, Notice) else None)
    assert [one.number for one in found.planes] == [0, 2]
    assert any(said.startswith("1 skipped: steel, plane 1: ") for said in notices)
    with pytest.raises(InputError, match=r"steel, plane 1: .*; nor can 1 more be used"):
        drain(name_structures([Stack("steel", planes, False, SIZE, (1, 1))], _parameters(model)))


def test_each_answer_is_handed_over_as_soon_as_it_is_there(model) -> None:
    parts: list[Named] = []
    events = name_structures([Stack("steel", PLANES, False, SIZE)], _parameters(model))
    while not parts:
        event = next(events)
        if isinstance(event, Named):
            parts.append(event)
    events.close()
    (first,) = parts[0].planes
    assert (first.number, first.thumbnail.shape) == (0, (48, 64, 3))
    assert parts[0].provenance["model"] == "random"


def test_extrapolations_are_told_once(model) -> None:
    said: list[str] = []
    stack = Stack("steel", PLANES, False, Calibration.square(9.0, "test"))
    events = name_structures([stack], _parameters(model))
    found = drain(events, lambda e: said.append(e.message) if isinstance(e, Notice) else None)
    assert len(said) == 1
    assert said[0].startswith("3 of 3 answers are extrapolations")
    assert {extrapolation_note(one.row) for one in found.planes} == {
        "extrapolation: 100% of the crops"
    }


def test_saliency_leaves_the_data_bar_out(model) -> None:
    bar = np.zeros((24, 128), np.uint8)
    bar[8:16, 10:60:4] = 255
    pixels = np.vstack([PLANES[0], bar])
    windows = SaliencyParameters(window_px=48)
    found = drain(
        saliency_of_plane(Stack("steel", pixels, False, SIZE), 0, _parameters(model), windows)
    )
    assert found.box.shape == (96, 128)
    assert found.rgb.shape == (96, 128, 3)
    assert found.window_px == 48


def test_bad_input_is_one_line(model) -> None:
    with pytest.raises(InputError, match="steel: no pixel size is known"):
        drain(name_structures([Stack("steel", PLANES, False, None, (1,))], _parameters(model)))
    with pytest.raises(InputError, match="absent"):
        drain(map_of_plane(np.zeros((1, 2), np.float32), _parameters("absent"), ""))


def test_the_map_has_the_crops_of_the_plane(model) -> None:
    crops = np.array([[0.5, 0.25], [-1, 0]], np.float32)
    digest = load_structure_model(model).digest
    shown = drain(map_of_plane(crops, _parameters(model), digest))
    assert shown.crops == pytest.approx(crops.astype(float))
    with pytest.raises(InputError, match="the model file has changed; classify again"):
        drain(map_of_plane(crops, _parameters(model), "0"))
