"""The line network as a method beside others, by the network that is shipped."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from napari_metallography.calibration import Calibration
from napari_metallography.errors import InputError
from napari_metallography.events import Event, Notice, Progress, drain
from napari_metallography.grains import by_network
from napari_metallography.grains.by_network import ByLineNetwork
from napari_metallography.grains.drawing import drawn, grade_colours, half_numbers, legend
from napari_metallography.grains.finding import Given
from napari_metallography.grains.grade_numbers import numbers_of
from napari_metallography.grains.grading import FieldGrade
from napari_metallography.grains.image_lines import LineParameters
from napari_metallography.grains.line_model import load_line_model
from napari_metallography.grains.plan import GradingPlan, graded
from napari_metallography.grains.study import GradedField, grain_size_of, over_fields
from napari_metallography.grains.voted_lines import VotedLines
from napari_metallography.synthesis.polycrystals import PolycrystalParameters, polycrystal

HALF_UM = Calibration.square(0.5, "test")


@pytest.fixture(scope="module")
def network() -> ByLineNetwork:
    model = load_line_model("grain-line-net")
    return ByLineNetwork(model, torch.device("cpu"), LineParameters(rows=12, columns=8))


@pytest.fixture(scope="module")
def made():
    return polycrystal(PolycrystalParameters(height_px=300, width_px=400, grain_size=9.5), 3)


@pytest.fixture(scope="module")
def pixels(made) -> np.ndarray:
    return np.repeat(made.image[..., None], 3, axis=2)


@pytest.fixture(scope="module")
def found(network, pixels) -> FieldGrade:
    return drain(network.graded(pixels, HALF_UM))


def test_a_field_is_graded_without_grains(found, made) -> None:
    assert found.g == pytest.approx(made.intercept_g, abs=0.5)
    assert found.grains is None
    assert found.sizes is None
    numbers = numbers_of(found)
    assert numbers["G"] == pytest.approx(found.g)
    assert numbers["lines"] == 20
    assert numbers["outside"] is False
    assert 1 < numbers["independent_lines"] == found.count <= 20
    assert sum(numbers["mean_probability_by_G"].values()) == pytest.approx(1)
    mean = sum(float(g) * share for g, share in numbers["mean_probability_by_G"].items())
    assert mean == pytest.approx(found.g)
    assert 0 < numbers["spread_of_lines_G"] < 1
    assert numbers["mean_intercept_um"] == pytest.approx(1000 / found.value)


def test_lines_of_all_rounds_are_counted_together(network, pixels) -> None:
    many = replace(network, parameters=LineParameters(rows=64, columns=64))
    steps: list[Event] = []
    drain(many.graded(pixels, HALF_UM), steps.append)
    done = [event.done for event in steps if isinstance(event, Progress)]
    assert done == [32, 96, 128, 128]


def test_g_over_fields_is_that_of_the_mean_of_the_quantity(found) -> None:
    study = over_fields([found, replace(found, value=2 * found.value)])
    assert study["G"] == pytest.approx(found.g + 6.643856 * np.log10(1.5), abs=1e-5)
    assert study["count"] == 2 * found.count


def test_it_stands_beside_the_methods_of_the_standards(network, made, pixels) -> None:
    halved = made.boundaries.copy()
    halved[::6] = True
    plan = GradingPlan(("network", "lines"), finding=Given("mask", halved), network=network)
    events: list[Event] = []
    by_method = drain(graded(plan, pixels, HALF_UM, "a.tif"), events.append)
    assert list(by_method) == ["network", "lines"]
    study = grain_size_of([GradedField("a.tif", by_method)])
    assert study["method"] == "network"
    assert study["size_distribution"]["whole_grains"] > 0
    assert any("the line network disagrees: network gives G" in note for note in study["notes"])
    steps = [event for event in events if isinstance(event, Progress)]
    assert [one.done for one in steps] == sorted(one.done for one in steps)
    assert steps[-1].done == steps[-1].total


def test_alone_it_looks_for_no_boundaries(network, pixels) -> None:
    class Never:
        def grains(self, pixels, calibration):
            raise AssertionError("asked for grains")

        def provenance(self):
            raise AssertionError("asked where grains are from")

    plan = GradingPlan(("network",), finding=Never(), network=network)
    assert list(drain(graded(plan, pixels, HALF_UM, "a.tif"))) == ["network"]
    told = plan.provenance()
    assert told["line_network"] == "grain-line-net"
    assert told["line_network_digest"] == network.model.digest


def test_a_plan_needs_a_method_and_its_network() -> None:
    with pytest.raises(InputError, match="choose at least one method"):
        GradingPlan(())
    with pytest.raises(InputError, match="needs a line network"):
        GradingPlan(("network",))
    with pytest.raises(InputError, match="choose each method once"):
        GradingPlan(("lines", "circles", "lines"))


def test_refusals_name_the_image_once(network) -> None:
    plan = GradingPlan(("network",), network=network)
    with pytest.raises(InputError) as refused:
        drain(graded(plan, np.full((40, 50, 3), 90, np.uint8), HALF_UM, "a.tif"))
    assert str(refused.value).count("a.tif") == 1


def test_what_it_has_to_say_stands_in_the_notes(network, pixels) -> None:
    lines = network.model.lines.model_copy(update={"pixel_um": None})
    card = network.model.card.model_copy(update={"lines": lines})
    paper = replace(network, model=replace(network.model, card=card))
    events: list[Event] = []
    found = drain(paper.graded(pixels, HALF_UM, "a.tif"), events.append)
    assert found.notes[0].startswith("this model was trained in paper mode")
    assert not [event for event in events if isinstance(event, Notice)]
    assert isinstance(found.drawn, VotedLines)
    assert found.drawn.extent == (1376, 1376)
    assert drawn(pixels, found).shape == pixels.shape


def test_lines_that_differ_are_told(network, pixels, monkeypatch) -> None:
    monkeypatch.setattr(by_network, "LARGEST_SPREAD", 0.0)
    assert "the lines differ" in drain(network.graded(pixels, HALF_UM)).notes[-1]


def test_a_field_of_few_grains_is_told(network, pixels) -> None:
    found = drain(network.graded(pixels[:60, :60], HALF_UM))
    assert any("independent line" in note for note in found.notes)


def test_lines_end_at_the_edges_in_the_colour_of_their_grade(found, pixels) -> None:
    votes = found.drawn
    assert isinstance(votes, VotedLines)
    picture = drawn(pixels, found)
    colours = grade_colours(votes)
    assert legend(found) == list(colours.values())
    for line, grade in zip(votes.lines, half_numbers(votes), strict=True):
        ends = (line.place, [5, 394]) if line.direction == "row" else ([5, 294], line.place)
        assert (picture[ends] == colours[grade].rgb).all()
    assert (picture != pixels).any(2)[100:200, 100:300].mean() < 0.2


def test_grains_beyond_what_it_can_grade_are_told(network) -> None:
    steps = np.indices((80, 100)).sum(0) % 2 * 90 + 80
    fine = np.repeat(np.kron(steps, np.ones((4, 4)))[..., None], 3, 2).astype(np.uint8)
    found = drain(network.graded(fine, HALF_UM))
    assert found.measured["outside"] is True
    assert any("at the end of what the network can grade" in note for note in found.notes)


def test_oblong_pixels_are_graded_as_square_ones_up_to_two_to_one(network, pixels) -> None:
    oblong = Calibration(x_um=1.0, y_um=0.5, source="test")
    wide = drain(network.graded(np.ascontiguousarray(pixels[:, ::2]), oblong))
    square = drain(network.graded(pixels, HALF_UM))
    assert wide.g == pytest.approx(square.g, abs=0.4)
    assert "one side of the pixels is 2 times the other" in wide.notes[-1]
    assert not any("pixels" in note for note in square.notes)


def test_oblong_pixels_are_drawn_square(network, pixels) -> None:
    oblong = Calibration(x_um=1.0, y_um=0.5, source="test")
    found = drain(network.graded(np.ascontiguousarray(pixels[:, ::2]), oblong))
    assert found.shape == (300, 400)
    assert found.pixel_um == 0.5
    votes = found.drawn
    assert isinstance(votes, VotedLines)
    columns = [
        ends
        for line, ends in zip(votes.lines, votes.ends, strict=True)
        if line.direction == "column"
    ]
    assert max(end[0][1] for end in columns) > 200
    assert drawn(pixels[:, ::2], found).shape == (300, 400, 3)


def test_a_network_without_a_score_is_said_to_have_none(network, pixels, found) -> None:
    assert not any("score" in note for note in found.notes)
    card = network.model.card.model_copy(update={"metrics": {}})
    unscored = replace(network, model=replace(network.model, card=card))
    assert "no validation score" in drain(unscored.graded(pixels, HALF_UM)).notes[-1]
