"""What is asked for by name becomes a plan when its models are loaded."""

from __future__ import annotations

import pytest

from napari_metallography.errors import InputError
from napari_metallography.grains.choice import GradingChoice, ModelChosen
from napari_metallography.grains.etched import EtchedParameters
from napari_metallography.grains.finding import ByEtching
from napari_metallography.grains.grading import GradingParameters
from napari_metallography.grains.twins import TwinParameters


def test_the_plan_is_what_was_asked_for() -> None:
    finding = ByEtching(EtchedParameters(shown=0.4))
    rules, twins = GradingParameters(area="circle"), TwinParameters(bend_deg=5)
    plan = GradingChoice(("planimetric", "lines"), rules, finding, twins=twins).plan()
    assert plan.methods == ("planimetric", "lines")
    assert (plan.grading, plan.finding, plan.twins) == (rules, finding, twins)


def test_a_line_network_is_loaded_only_where_it_grades() -> None:
    assert GradingChoice(("lines",), line_network="none.safetensors").plan().network is None
    network = GradingChoice(("network",), device="cpu").plan().network
    assert network is not None
    assert network.model.card.name == "grain-line-net"
    with pytest.raises(InputError, match="none"):
        GradingChoice(("network",), line_network="none.safetensors", device="cpu").plan()


def test_a_model_that_finds_no_boundaries_is_refused_when_it_is_loaded() -> None:
    choice = GradingChoice(("lines",), finding=ModelChosen("uhcs-carbides"), device="cpu")
    with pytest.raises(InputError, match='no class "boundary"'):
        choice.plan()
