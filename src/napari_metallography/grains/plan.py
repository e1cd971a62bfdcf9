"""How fields are graded: by which methods, and where each takes its grains from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..calibration import Calibration
from ..errors import InputError
from ..events import Events, Notice, Progress
from .finding import ByEtching, Finding, Pixels
from .grading import FieldGrade, GradingParameters, Method, grade
from .partition import Partition
from .stages import staged
from .twins import TwinParameters, without_twins

if TYPE_CHECKING:
    # It needs torch, whose import takes seconds.
    from .by_network import ByLineNetwork


@dataclass(frozen=True)
class GradingPlan:
    """How fields are graded.

    Attributes
    ----------
    methods
        One or more, each once; those of the standards measure the same grains.
    grading
        How they measure.
    finding
        Where grains come from. They are not looked for when "network" is the only method.
    network
        What grades by "network"; needed when it is one of the methods.
    twins
        How twins are told from grains, to be left out; None takes them for grains.
    """

    methods: tuple[Method, ...]
    grading: GradingParameters = field(default_factory=GradingParameters)
    finding: Finding = field(default_factory=ByEtching)
    network: ByLineNetwork | None = None
    twins: TwinParameters | None = None

    def __post_init__(self) -> None:
        if not self.methods:
            raise InputError("choose at least one method")
        if "network" in self.methods and self.network is None:
            raise InputError("the method network needs a line network; choose a model")

    @property
    def needs_grains(self) -> bool:
        """Whether a method of the standards is among the methods."""
        return any(method != "network" for method in self.methods)

    def with_finding(self, finding: Finding) -> GradingPlan:
        """The same with grains from elsewhere."""
        return replace(self, finding=finding)

    def provenance(self) -> dict[str, Any]:
        """JSON form."""
        return {
            **(self._grains_provenance() if self.needs_grains else {}),
            **(self.network.provenance() if self.network else {}),
            "grading": self.grading.model_dump(),
        }

    def _grains_provenance(self) -> dict[str, Any]:
        left_out = {"twins_left_out": self.twins.model_dump()} if self.twins else {}
        return {**self.finding.provenance(), **left_out}


def graded(
    plan: GradingPlan, pixels: Pixels, calibration: Calibration, name: str
) -> Events[dict[Method, FieldGrade]]:
    """Grade a field by each method of a plan, in their order.

    Parameters
    ----------
    pixels
        (Y, X, 3) uint8 of the field.
    name
        What a refusal calls it.

    Yields
    ------
    Progress, Notice
        Of the stages: finding grains, and each method.

    Raises
    ------
    InputError
        When no grain boundary is found, or a method cannot measure.
    DeviceError
        When the device fails.
    """
    try:
        return (yield from _graded(plan, pixels, calibration, name))
    except InputError as error:
        said = str(error).removeprefix(f"{name}: ").removeprefix(f"{Path(name).name}: ")
        raise InputError(f"{name}: {said}") from error


def _graded(
    plan: GradingPlan, pixels: Pixels, calibration: Calibration, name: str
) -> Events[dict[Method, FieldGrade]]:
    stages, done = len(plan.methods) + plan.needs_grains, 0
    grains: Partition | None = None
    left_out: dict[str, int] = {}
    if plan.needs_grains:
        running = _grains(plan, pixels, calibration, name)
        (grains, left_out), done = (yield from staged(running, 0, stages)), 1
    found: dict[Method, FieldGrade] = {}
    for stage, method in enumerate(plan.methods, start=done):
        one = _by_method(plan, method, grains, pixels, calibration, name)
        found[method] = yield from staged(one, stage, stages)
    return {method: _told(one, left_out) for method, one in found.items()}


def _grains(
    plan: GradingPlan, pixels: Pixels, calibration: Calibration, name: str
) -> Events[tuple[Partition, dict[str, int]]]:
    """The grains, and what is told of twins left out."""
    found = yield from plan.finding.grains(pixels, calibration)
    if plan.twins is None:
        return found, {}
    joined = without_twins(found, plan.twins)
    left_out = found.n - joined.n
    yield Notice(f"{name}: {left_out} of {found.n} regions are twins and left out")
    return joined, {"twins_left_out": left_out}


def _told(found: FieldGrade, left_out: Mapping[str, int]) -> FieldGrade:
    if found.grains is None:
        return found
    return replace(found, measured={**found.measured, **left_out})


def _by_method(
    plan: GradingPlan,
    method: Method,
    grains: Partition | None,
    pixels: Pixels,
    calibration: Calibration,
    name: str,
) -> Events[FieldGrade]:
    if method == "network":
        assert plan.network is not None
        return (yield from plan.network.graded(pixels, calibration, name))
    assert grains is not None
    yield Progress(0, 1, method)
    found = grade(grains, calibration, plan.grading.model_copy(update={"method": method}))
    yield Progress(1, 1, method)
    return found
