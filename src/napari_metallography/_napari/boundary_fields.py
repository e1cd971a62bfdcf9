"""Where the form *Grade grain size* takes grains from."""

from __future__ import annotations

from typing import Any

import napari.viewer
import numpy as np
from magicgui.widgets import CheckBox, ComboBox, Label, Widget
from magicgui.widgets.bases import ValueWidget
from napari.layers import Image, Labels, Layer

from ..errors import InputError
from ..grains.boundary_probability import BOUNDARY_CLASS, ModelBoundaryParameters
from ..grains.choice import ModelChosen
from ..grains.etched import EtchedParameters
from ..grains.finding import ByEtching, Finding, Given
from ..grains.twins import TwinParameters
from ..io.labels import looks_like_mask
from .form import parameter_fields, read, show_all, wrap
from .grain_layers import BOUNDARIES, SHOWN
from .layers import calibrate_layer, layer_calibration, plane_shape
from .model_choice import ModelChoice

IN_IMAGE, BY_MODEL = "in the image", "by a model"
"""Values of the choice of boundaries that are found: without a network, or with one."""

_MODEL = "grain-boundaries"
_ETCHED = ("groove_px", "contrast", "shown", "smallest_area_px")
_LABELS = {
    "threshold": "Probability from",
    "shown": "Part shown",
    "smallest_area_px": "Smallest grain (px)",
}


class BoundaryFields:
    """Boundaries found in the image, by a model, or in a layer: `widgets`.

    `choice` holds `IN_IMAGE`, `BY_MODEL` or a layer.
    """

    def __init__(self, viewer: napari.viewer.Viewer) -> None:
        self.choice = _boundary_choice(viewer)
        self.etched = parameter_fields(EtchedParameters, _ETCHED, _LABELS)
        self.by_model = ModelBoundaryFields()
        self.twins = CheckBox(value=False, label="", text="Leave out twins", tooltip=_TWINS)
        self.remembered: dict[str, ValueWidget[Any]] = {
            **self.etched,
            **self.by_model.remembered,
            "twins": self.twins,
        }
        self.widgets: list[Widget] = [
            self.choice,
            *self.etched.values(),
            *self.by_model.widgets,
            self.twins,
        ]

    @property
    def are_by_model(self) -> bool:
        """Whether a model is to find them."""
        return bool(self.choice.value == BY_MODEL)

    @property
    def are_etched(self) -> bool:
        """Whether they are to be found without a network."""
        return bool(self.choice.value == IN_IMAGE)

    def show(self, needed: bool) -> None:
        """Show the fields that count; none unless grains are looked for."""
        show_all([self.choice, self.twins], needed)
        show_all(self.etched.values(), needed and self.are_etched)
        self.by_model.show(needed and self.are_by_model)

    def finding(self, image: Image, leading: tuple[int, ...]) -> Finding | ModelChosen:
        """What the fields say for a plane of an image; `InputError` when it cannot be."""
        if self.are_by_model or self.are_etched:
            return self.found()
        return given_by(self.choice.value, image, leading)

    def found(self) -> ByEtching | ModelChosen:
        """How boundaries are found in any image; `InputError` when a layer holds them."""
        if self.are_by_model:
            return self.by_model.chosen()
        if self.are_etched:
            return ByEtching(read(EtchedParameters, self.etched))
        raise InputError(
            f"the boundaries in {self.choice.value.name} belong to one image; let them be found "
            "in the image or by a model"
        )

    def twin_rules(self) -> TwinParameters | None:
        """How twins are told from grains; None when they are taken for grains."""
        return TwinParameters() if self.twins.value else None


class ModelBoundaryFields:
    """A model that finds boundaries, and how it is applied."""

    def __init__(self) -> None:
        self.model = ModelChoice("segmentation", _MODEL, phase=BOUNDARY_CLASS)
        self.missing = Label(value=_MISSING, label="")
        wrap(self.missing)
        names = list(ModelBoundaryParameters.model_fields)
        self.parameters = parameter_fields(ModelBoundaryParameters, names, _LABELS)
        self.flips = CheckBox(
            value=True,
            label="",
            text="Average over mirror images",
            tooltip="surer; without it, four times as fast",
        )
        self.multi_scale = CheckBox(
            value=True,
            label="",
            text="Average over three scales",
            tooltip="surer; without it, three times as fast",
        )
        self.remembered: dict[str, ValueWidget[Any]] = {
            **{f"model_{name}": widget for name, widget in self.parameters.items()},
            "flips": self.flips,
            "multi_scale": self.multi_scale,
        }
        self._visible = False
        self.widgets: list[Widget] = [
            self.model.combo,
            self.missing,
            *self.parameters.values(),
            self.flips,
            self.multi_scale,
        ]
        self.model.combo.changed.connect(self._model_chosen)
        self._model_chosen()

    def show(self, visible: bool) -> None:
        """Show or hide the fields."""
        self._visible = visible
        show_all(self.widgets, visible)
        self._model_chosen()

    def chosen(self) -> ModelChosen:
        """What the fields say; `InputError` when there is no model."""
        return ModelChosen(
            self.model.value,
            read(ModelBoundaryParameters, self.parameters),
            flips=self.flips.value,
            multi_scale=self.multi_scale.value,
        )

    def _model_chosen(self, *_: object) -> None:
        self.model.combo.tooltip = self.model.card.value or _MODEL_TIP
        self.missing.visible = self._visible and not self.model.is_chosen


def given_by(layer: Layer, image: Image, leading: tuple[int, ...]) -> Given:
    """The boundaries or grains that a layer holds of a plane of an image.

    Raises
    ------
    InputError
        When it is of another size, or has other planes.
    """
    values = np.asarray(layer.data[0] if layer.multiscale else layer.data)
    if values.shape[-2:] != plane_shape(image):
        raise InputError(
            f"{layer.name}: {values.shape[-2]} x {values.shape[-1]} pixels, but {image.name} "
            f"has {plane_shape(image)[0]} x {plane_shape(image)[1]}; boundaries must be drawn "
            "on the image they belong to"
        )
    known = layer_calibration(image)
    if known is not None and layer_calibration(layer) is None:
        # Else it would not lie on its image.
        calibrate_layer(layer, known)
    lengths = values.shape[:-2]
    if all(length == 1 for length in lengths):
        plane = values.reshape(values.shape[-2:])
    elif len(lengths) == len(leading) and all(np.less(leading, lengths)):
        plane = values[leading]
    else:
        raise InputError(f"{layer.name}: has other planes than {image.name}; choose others")
    return Given(layer.name, plane.copy(), BOUNDARIES in layer.metadata)


def _boundary_choice(viewer: napari.viewer.Viewer) -> ComboBox:
    def offered(_: object) -> list[tuple[str, Layer | str]]:
        given = [layer for layer in viewer.layers if _may_hold_grains(layer)]
        ways = [("found in the image", IN_IMAGE), ("found by a model", BY_MODEL)]
        return [*ways, *((layer.name, layer) for layer in given)]

    return ComboBox(choices=offered, label="Boundaries", tooltip=_BOUNDARIES)


def _may_hold_grains(layer: Layer) -> bool:
    """Whether a layer may be boundaries or numbered grains."""
    if isinstance(layer, Labels):
        return SHOWN not in layer.metadata or BOUNDARIES in layer.metadata
    if not isinstance(layer, Image) or layer.multiscale or type(layer.data) is not np.ndarray:
        return False
    if SHOWN in layer.metadata:
        return False
    return layer.data.ndim == 2 and (layer.data.dtype == bool or looks_like_mask(layer.data))


_BOUNDARIES = (
    "found in the image without a network, by a model, or a layer: a mask, whose higher value is "
    "boundary, or grains with a number each; paint on it, then press Measure"
)
_MODEL_TIP = f'a segmentation model that has a class "{BOUNDARY_CLASS}"'
_MISSING = (
    f'No model with a class "{BOUNDARY_CLASS}" is installed: choose a file, or teach one with '
    "Fine-tune."
)
_TWINS = (
    "joins what straight twin boundaries part, as ASTM E112 counts a grain once whatever twins it "
    "has; not where grains are long or meet like bricks: grains that look like twins are lost"
)
