"""What the form *Grade grain size* asks for; models are loaded where it is carried out."""

from __future__ import annotations

from dataclasses import dataclass

from ..devices import choose_device
from ..grains.by_network import ByLineNetwork
from ..grains.finding import Finding
from ..grains.grading import GradingParameters, Method
from ..grains.line_model import load_line_model
from ..grains.model_boundaries import ByModel, ModelBoundaryParameters, load_boundary_model
from ..grains.plan import GradingPlan
from ..grains.twins import TwinParameters
from ..segmentation.prediction import PredictionParameters


@dataclass(frozen=True)
class ModelChosen:
    """Boundaries by a model that is not loaded yet: its name or file, and how it is applied."""

    model: str
    parameters: ModelBoundaryParameters
    prediction: PredictionParameters


@dataclass(frozen=True)
class GradingChoice:
    """A grading plan whose models are not loaded yet.

    Attributes
    ----------
    line_network
        Name or file; empty where "network" is not among the methods.
    device
        Where models compute, as `devices.choose_device` takes it.
    """

    methods: tuple[Method, ...]
    grading: GradingParameters
    finding: Finding | ModelChosen
    line_network: str = ""
    device: str = "auto"
    twins: TwinParameters | None = None

    @property
    def needs_grains(self) -> bool:
        """Whether a method of the standards is among the methods."""
        return any(method != "network" for method in self.methods)

    def plan(self) -> GradingPlan:
        """The plan, its models loaded.

        Raises
        ------
        InputError
            When a model cannot be loaded, or the device is not there.
        """
        network = self._loaded_network() if "network" in self.methods else None
        return GradingPlan(self.methods, self.grading, self._loaded_finding(), network, self.twins)

    def _loaded_finding(self) -> Finding:
        chosen = self.finding
        if not isinstance(chosen, ModelChosen):
            return chosen
        model, device = load_boundary_model(chosen.model), choose_device(self.device)
        return ByModel(model, device, chosen.parameters, chosen.prediction)

    def _loaded_network(self) -> ByLineNetwork:
        return ByLineNetwork(load_line_model(self.line_network), choose_device(self.device))
