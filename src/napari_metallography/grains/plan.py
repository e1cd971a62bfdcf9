"""How fields are graded: by which methods, and where each takes its grains from."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..calibration import Calibration
from ..errors import InputError
from ..events import Events, Notice, Progress, meanwhile
from .finding import ByEtching, Finding, Pixels
from .grading import FieldGrade, GradingParameters, Method, grade, with_square_pixels
from .partition import Partition
from .stages import staged
from .twins import TwinParameters, without_twins

if TYPE_CHECKING:
    # It needs torch, whose import takes seconds.
    from .by_network import ByLineNetwork


def needs_grains(methods: Iterable[Method]) -> bool:
    """Whether a method of the standards is among the methods."""
    return any(method != "network" for method in methods)


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
        if len(set(self.methods)) < len(self.methods):
            raise InputError(f"{', '.join(self.methods)}: choose each method once")
        if "network" in self.methods and self.network is None:
            raise InputError("the method network needs a line network; choose a model")

    def with_finding(self, finding: Finding) -> GradingPlan:
        """The same with grains from elsewhere."""
        return replace(self, finding=finding)

    def provenance(self) -> dict[str, Any]:
        """JSON form."""
        return {
            **(self._grains_provenance() if needs_grains(self.methods) else {}),
            **(self.network.provenance() if self.network else {}),
            "grading": self.grading.model_dump(),
        }

    def _grains_provenance(self) -> dict[str, Any]:
        rules = {"twin_parameters": self.twins.model_dump()} if self.twins else {}
        return {**self.finding.provenance(), **rules}


@dataclass(frozen=True)
class LeftOut(Notice):
    """A method that cannot measure a field, though another can.

    Attributes
    ----------
    reason
        Of its own, without the name of the field.
    """

    method: Method
    reason: str


def graded(
    plan: GradingPlan, pixels: Pixels, calibration: Calibration, name: str
) -> Events[dict[Method, FieldGrade]]:
    """Grade a field by each method of a plan that can measure it, in their order.

    Parameters
    ----------
    pixels
        (Y, X, 3) uint8 of the field.
    name
        What a refusal calls it.

    Yields
    ------
    Progress, Notice
        Of the stages: finding grains, looking for twins, and each method; `LeftOut` of those that
        cannot measure.

    Raises
    ------
    InputError
        When no method can measure.
    DeviceError
        When the device fails.
    """
    try:
        return (yield from _graded(plan, pixels, calibration, name))
    except InputError as error:
        raise InputError(f"{name}: {_without_name(str(error), name)}") from error


def _without_name(said: str, name: str) -> str:
    return said.removeprefix(f"{name}: ").removeprefix(f"{Path(name).name}: ")


def _graded(
    plan: GradingPlan, pixels: Pixels, calibration: Calibration, name: str
) -> Events[dict[Method, FieldGrade]]:
    looks_for_grains = needs_grains(plan.methods)
    stages = len(plan.methods) + (looks_for_grains and 1 + (plan.twins is not None))
    grains: _Grains | InputError | None = None
    if looks_for_grains:
        grains = yield from _grains_or_why(plan, pixels, calibration, name, stages)
    found: dict[Method, FieldGrade] = {}
    reasons: dict[Method, str] = {}
    for stage, method in enumerate(plan.methods, start=stages - len(plan.methods)):
        one = _by_method(plan, method, grains, pixels, calibration, name)
        try:
            found[method] = yield from staged(one, stage, stages)
        except InputError as error:
            reasons[method] = _without_name(str(error), name)
    if not found:
        raise InputError("; ".join(dict.fromkeys(reasons.values())))
    for method, reason in reasons.items():
        yield LeftOut(f"{name}: {method} is left out: {reason}", method, reason)
    return found


@dataclass(frozen=True)
class _Grains:
    """Grains of square pixels, so that no method makes them square once more."""

    partition: Partition
    calibration: Calibration
    twins_left_out: int | None = None


def _grains_or_why(
    plan: GradingPlan, pixels: Pixels, calibration: Calibration, name: str, stages: int
) -> Events[_Grains | InputError]:
    """The grains, or why there are none, where the network can do without."""
    try:
        return (yield from _grains(plan, pixels, calibration, name, stages))
    except InputError as error:
        if plan.network is None:
            raise
        return error


def _grains(
    plan: GradingPlan, pixels: Pixels, calibration: Calibration, name: str, stages: int
) -> Events[_Grains]:
    found = yield from staged(plan.finding.grains(pixels, calibration), 0, stages)
    square, pixel_um = with_square_pixels(found, calibration)
    size = Calibration.square(pixel_um, calibration.source)
    if plan.twins is None:
        return _Grains(square, size)
    enlarged = square.grains.size / found.grains.size
    looking = _without_twins(square, plan.twins.for_enlarged(enlarged))
    joined = yield from staged(looking, 1, stages)
    left_out = square.n - joined.n
    yield Notice(f"{name}: {left_out} of {square.n} regions are twins and left out")
    return _Grains(joined, size, left_out)


def _without_twins(grains: Partition, rules: TwinParameters) -> Events[Partition]:
    begun = Progress(0, 1, "twins")
    yield begun
    joined = yield from meanwhile(partial(without_twins, grains, rules), begun)
    yield Progress(1, 1, "twins")
    return joined


def _by_method(
    plan: GradingPlan,
    method: Method,
    grains: _Grains | InputError | None,
    pixels: Pixels,
    calibration: Calibration,
    name: str,
) -> Events[FieldGrade]:
    if method == "network":
        assert plan.network is not None
        return (yield from plan.network.graded(pixels, calibration, name))
    assert grains is not None
    if isinstance(grains, InputError):
        raise grains
    yield Progress(0, 1, method)
    rules = plan.grading.model_copy(update={"method": method})
    found = grade(grains.partition, grains.calibration, rules)
    yield Progress(1, 1, method)
    if grains.twins_left_out is None:
        return found
    return replace(found, measured={**found.measured, "twins_left_out": grains.twins_left_out})
