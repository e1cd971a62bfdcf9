"""What is asked for to grade fields, by name: models are loaded where it is carried out."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from ..models import registry
from .boundary_probability import ModelBoundaryParameters
from .finding import ByEtching, Finding
from .grading import GradingParameters, Method
from .plan import GradingPlan, needs_grains
from .twins import TwinParameters

if TYPE_CHECKING:
    # They need torch, whose import takes seconds.
    from ..segmentation.model import SegmentationModel
    from .by_network import ByLineNetwork
    from .line_model import LineModel
    from .model_boundaries import ByModel


@dataclass(frozen=True)
class ModelChosen:
    """Boundaries by a segmentation model that is not loaded yet.

    Attributes
    ----------
    model
        Its name or file.
    flips, multi_scale
        Whether it is averaged over mirror images, and over the scales of the paper.
    """

    model: str
    parameters: ModelBoundaryParameters = field(default_factory=ModelBoundaryParameters)
    flips: bool = True
    multi_scale: bool = True

    def loaded(self, device: str) -> ByModel:
        """The model on a device; errors as for `GradingChoice.plan`."""
        from ..devices import choose_device
        from ..segmentation.prediction import PAPER_SCALES, PredictionParameters
        from .model_boundaries import ByModel

        scales = PAPER_SCALES if self.multi_scale else (1.0,)
        prediction = PredictionParameters(flips=self.flips, scales=scales)
        model = _boundary_model(*registry.changing_file(self.model))
        return ByModel(model, choose_device(device), self.parameters, prediction)


@dataclass(frozen=True)
class GradingChoice:
    """A grading plan whose models are not loaded yet.

    Attributes
    ----------
    line_network
        Name or file; counts where "network" is among the methods.
    device
        Where models compute, as `devices.choose_device` takes it.
    """

    methods: tuple[Method, ...]
    grading: GradingParameters = field(default_factory=GradingParameters)
    finding: Finding | ModelChosen = field(default_factory=ByEtching)
    line_network: str = "grain-line-net"
    device: str = "auto"
    twins: TwinParameters | None = None

    @property
    def needs_model(self) -> bool:
        """Whether a model is to be loaded."""
        by_model = needs_grains(self.methods) and isinstance(self.finding, ModelChosen)
        return by_model or "network" in self.methods

    def plan(self) -> GradingPlan:
        """The plan, its models loaded.

        Raises
        ------
        InputError
            When a model cannot be loaded, or the device is not there.
        """
        chosen = self.finding
        finding = chosen.loaded(self.device) if isinstance(chosen, ModelChosen) else chosen
        network = self._loaded_network() if "network" in self.methods else None
        return GradingPlan(self.methods, self.grading, finding, network, self.twins)

    def _loaded_network(self) -> ByLineNetwork:
        from ..devices import choose_device
        from .by_network import ByLineNetwork

        model = _line_model(*registry.changing_file(self.line_network))
        return ByLineNetwork(model, choose_device(self.device))


# The last model of each kind is kept, until its file changes.
@lru_cache(maxsize=1)
def _boundary_model(path: Path, changed_at: int) -> SegmentationModel:
    from .model_boundaries import load_boundary_model

    return load_boundary_model(str(path))


@lru_cache(maxsize=1)
def _line_model(path: Path, changed_at: int) -> LineModel:
    from .line_model import load_line_model

    return load_line_model(str(path))
