"""*Segment*: phases of an image or a stack, by a trained model or by grey value."""

from __future__ import annotations

import weakref
from dataclasses import replace
from functools import partial
from typing import Any
from weakref import WeakSet

import napari.viewer
import numpy as np
from magicgui.widgets import CheckBox, ComboBox, FloatSlider, Label, LineEdit, Widget
from magicgui.widgets.bases import ValueWidget
from napari.layers import Image, Shapes
from qtpy.compat import isalive
from qtpy.QtCore import QTimer

from ..calibration import Calibration
from ..classes import PhaseClass, named_classes
from ..errors import InputError
from ..plane import leading_shape
from ..regions import Field
from ..segmentation.prediction import PAPER_SCALES, PredictionParameters
from ..segmentation.segment import THRESHOLD_CLASSES, Segmentation, SegmentParameters, segment
from ..segmentation.thresholding import ThresholdParameters
from .device_choice import devices
from .form import (
    Form,
    chosen,
    layer_choice,
    micrograph_choice,
    parameter_fields,
    read,
    show_all,
    wrap,
)
from .layers import (
    add_labels_layer,
    field_of,
    find_or_add_data_bar,
    layer_calibration,
    pixels_of,
    plane_placement,
    snapshot,
)
from .model_choice import ModelChoice, reliable_html
from .recipe_step import RecipeStep, marked_by
from .results import mark_computed, origin_of, remove_untouched
from .threshold_preview import PreparedPlane, PreviewLayer, prepare
from .worker import Run, one_step

_METHODS = {"model": "Trained model", "threshold": "Grey-value threshold"}
_MODES = {"fast": "fast (large windows)", "paper": "as in the paper (overlapping 256 px windows)"}
_THRESHOLDS = {"otsu": "found by Otsu's method", "manual": "set by hand"}
_PHASES = {"bright": "bright", "dark": "dark"}
_REGION = "a Shapes layer: only what its rectangles, ellipses and polygons enclose is segmented"
_DATA_BAR = (
    "the microscope's text bar; found by itself and shown as a rectangle you may move or delete; "
    "when its layer is deleted it is looked for again"
)
_NAMES = "as in the labels to compare with, or in the model to train further"
_RELIABLE = (
    "diameter from which three in four particles of the images held back in training were found"
)


class SegmentWidget(Form):
    """The dock *Segment*."""

    def __init__(self, viewer: napari.viewer.Viewer) -> None:
        self.image = micrograph_choice(viewer)
        self.region = layer_choice(
            viewer, Shapes, "Region of interest", optional=True, tooltip=_REGION
        )
        self.data_bar = CheckBox(
            value=True, label="", text="Leave out the data bar", tooltip=_DATA_BAR
        )
        methods = parameter_fields(SegmentParameters, ["method"], choices={"method": _METHODS})
        self.method = methods["method"]
        self.by_model = ModelFields()
        self.by_threshold = ThresholdFields()
        super().__init__(
            viewer,
            "segment",
            [
                self.image,
                self.region,
                self.data_bar,
                self.method,
                *self.by_model.widgets,
                *self.by_threshold.widgets,
            ],
            {
                "data_bar": self.data_bar,
                "method": self.method,
                **self.by_model.remembered,
                **self.by_threshold.remembered,
            },
            "Segment",
            "Segment phases",
        )
        self._previewer = _Previewer(self)
        self.method.changed.connect(self._show_method)
        self._show_method()
        self._followed: Image | None = None
        self.image.changed.connect(self._follow)
        for source in self.by_model.reliability_depends_on:
            source.changed.connect(self._show_reliable)
        self._follow()

    def compute(self) -> None:
        """Segment the chosen image."""
        image: Image = chosen(self.image, "an image")
        classes = self.by_threshold.classes() if self.method.value == "threshold" else None
        array, rgb = snapshot(image)
        events = segment(
            array,
            rgb=rgb,
            calibration=layer_calibration(image),
            measured=self.measured(image),
            parameters=self.parameters(),
            name=image.name,
        )
        region = self.region.value.name if self.region.value is not None else ""
        self.controls.start(
            events, f"Segment {image.name}", partial(self._show, image, region, classes)
        )

    def recipe_step(self) -> RecipeStep:
        """What the form says, as a step of a recipe."""
        named = self.method.value == "threshold" and self.by_threshold.are_named
        left_out = (*marked_by(self.region.value), *(("names of the phases",) if named else ()))
        with_bar = not self.data_bar.value
        return RecipeStep("segment", self.parameters(), with_bar, left_out)

    def abandon(self) -> None:
        """End the preview's preparation too."""
        super().abandon()
        self._previewer.abandon()

    def closed(self) -> None:
        """Take the preview away."""
        super().closed()
        self._previewer.stop()

    def parameters(self) -> SegmentParameters:
        """What the form says; `InputError` when something is missing."""
        if self.method.value == "threshold":
            return SegmentParameters(method="threshold", threshold=self.by_threshold.parameters())
        return self.by_model.parameters()

    def measured(self, image: Image) -> Field:
        """The field that the region and the data bar leave."""
        return field_of(image, *self.shapes(image))

    def shapes(self, image: Image) -> tuple[Shapes | None, Shapes | None]:
        """The layers of the region and of the data bar."""
        bar = find_or_add_data_bar(self.viewer, image) if self.data_bar.value else None
        return self.region.value, bar

    def _show(
        self,
        image: Image,
        region: str,
        classes: tuple[PhaseClass, ...] | None,
        result: Segmentation,
    ) -> None:
        result = replace(result, classes=classes or result.classes)
        self._previewer.stop()
        origin = origin_of(image, result.measured)
        # A region's result does not take the place of the whole field's.
        where = f" ({region})" if result.measured.region else ""
        name = f"{image.name} phases{where}"
        remove_untouched(self.viewer, name, origin)
        if result.uncertainty is not None:
            self._show_uncertainty(image, f"{image.name} uncertainty{where}", result, origin)
        metadata = {"provenance": result.provenance, "field": result.measured.to_dict()}
        layer = add_labels_layer(self.viewer, image, result.indices, result.classes, name, metadata)
        mark_computed(layer, origin)
        shares = ", ".join(_shares(result))
        self.controls.say(f"{layer.name}: {shares}")

    def _show_uncertainty(self, image: Image, name: str, result: Segmentation, origin: str) -> None:
        assert result.uncertainty is not None
        remove_untouched(self.viewer, name, origin)
        layer = Image(
            result.uncertainty.astype(np.float32) / 255,
            name=name,
            colormap="magma",
            contrast_limits=(0, 1),
            opacity=0.7,
            blending="translucent",
            visible=False,
            **plane_placement(image, image.ndim),
        )
        mark_computed(layer, origin)
        self.viewer.add_layer(layer)

    def _follow(self, *_: object) -> None:
        """Follow the pixel size of the chosen image, which *Calibrate* may change."""
        if self._followed is not None:
            for event in (self._followed.events.scale, self._followed.events.units):
                event.disconnect(self._show_reliable)
        self._followed = self.image.value
        if self._followed is not None:
            for event in (self._followed.events.scale, self._followed.events.units):
                event.connect(self._show_reliable)
        self._show_reliable()

    def _show_reliable(self, *_: object) -> None:
        image = self.image.value
        try:
            calibration = layer_calibration(image) if image is not None else None
        except InputError:
            # Run says what is wrong with it.
            calibration = None
        self.by_model.show_reliable(calibration)

    def _show_method(self) -> None:
        by_threshold = self.method.value == "threshold"
        show_all(self.by_model.widgets, not by_threshold)
        show_all(self.by_threshold.widgets, by_threshold)
        self._previewer.update()


class ModelFields:
    """How a network is applied."""

    def __init__(self) -> None:
        self.model = ModelChoice("segmentation", SegmentParameters().model)
        self.fields = parameter_fields(
            SegmentParameters,
            ("resample", "uncertainty"),
            {"resample": "Resample to the trained pixel size", "uncertainty": "Uncertainty map"},
        )
        self.prediction = parameter_fields(
            PredictionParameters,
            ("mode", "flips"),
            {"flips": "Average over mirror images"},
            {"mode": _MODES},
        )
        self.reliable = Label(value="", label="Reliable from", tooltip=_RELIABLE)
        wrap(self.reliable)
        scales = ", ".join(map(str, PAPER_SCALES))
        self.multi_scale = CheckBox(
            value=len(PredictionParameters().scales) > 1,
            label="",
            text=f"Average over scales {scales}",
            tooltip="as the model was scored; without it, three times as fast",
        )
        self.device = ComboBox(choices=devices(), label="Compute on", value="auto")
        self.remembered = {
            "multi_scale": self.multi_scale,
            "device": self.device,
            **self.prediction,
            **self.fields,
        }
        self.widgets: list[Widget] = [
            *self.model.widgets,
            self.reliable,
            *self.prediction.values(),
            self.multi_scale,
            *self.fields.values(),
            self.device,
        ]

    @property
    def reliability_depends_on(self) -> list[ValueWidget[Any]]:
        """The fields that `show_reliable` reads."""
        return [self.model.combo, self.fields["resample"]]

    def show_reliable(self, calibration: Calibration | None) -> None:
        """Say how large particles must be in an image of this pixel size."""
        card, resample = self.model.chosen_card(), bool(self.fields["resample"].value)
        self.reliable.value = reliable_html(card, calibration, resample) if card else ""

    def parameters(self) -> SegmentParameters:
        """What the fields say."""
        scales = PAPER_SCALES if self.multi_scale.value else (1.0,)
        return read(
            SegmentParameters,
            self.fields,
            model=self.model.value,
            device=self.device.value,
            prediction=read(PredictionParameters, self.prediction, scales=scales),
        )


class ThresholdFields:
    """How grey values become phases."""

    def __init__(self) -> None:
        self.fields = parameter_fields(
            ThresholdParameters,
            (
                "method",
                "phase",
                "shading_px",
                "smoothing_px",
                "smallest_area_px",
                "smallest_hole_px",
            ),
            {"method": "Threshold", "phase": "The phase is", "shading_px": "Even out shading (px)"},
            {"method": _THRESHOLDS, "phase": _PHASES},
        )
        self.value = FloatSlider(
            value=0, min=0, max=255, label="Grey value", tooltip="in the image's own grey values"
        )
        self.names = [
            LineEdit(value=phase.name, label=f"Name of the {phase.name}", tooltip=_NAMES)
            for phase in THRESHOLD_CLASSES
        ]
        self.preview = CheckBox(value=False, label="", text="Live preview")
        self.found = Label(value="", label="")
        wrap(self.found)
        names = [name for name in self.fields if name != "method"]
        # The hand-set value belongs to one image: it is not remembered.
        self.remembered = {f"threshold_{name}": self.fields[name] for name in names}
        for phase, widget in zip(THRESHOLD_CLASSES, self.names, strict=True):
            self.remembered[f"threshold_{phase.name}_name"] = widget
        self.widgets: list[Widget] = [
            self.fields["method"],
            self.value,
            *(self.fields[name] for name in names),
            *self.names,
            self.preview,
            self.found,
        ]

    @property
    def by_hand(self) -> bool:
        """Whether the user sets the grey value."""
        return bool(self.fields["method"].value == "manual")

    @property
    def are_named(self) -> bool:
        """Whether the user gave the phases names of their own."""
        return self.classes() != THRESHOLD_CLASSES

    def classes(self) -> tuple[PhaseClass, ...]:
        """The two classes by the names the user gave them."""
        names = [widget.value.strip() for widget in self.names]
        if not all(names) or len(set(names)) < len(names):
            raise InputError("give matrix and phase a name each, not the same one")
        return named_classes(names)

    def parameters(self) -> ThresholdParameters:
        """What the fields say."""
        value = self.value.value if self.by_hand else None
        return read(ThresholdParameters, self.fields, value=value)


class _Previewer:
    """Keeps the preview in step with the form.

    Shading and smoothing run in a thread when they, the image or the field change; a move of the
    slider is one comparison.
    """

    def __init__(self, form: SegmentWidget) -> None:
        self._form = form
        self._layer = PreviewLayer(form.viewer)
        self._run: Run[PreparedPlane] | None = None
        self._key: object = None
        self._plane: PreparedPlane | None = None
        self._measured: Field | None = None
        self._followed: WeakSet[Shapes] = WeakSet()
        fields = form.by_threshold
        for choice in (form.image, form.region, form.data_bar):
            choice.changed.connect(self._measure_again)
        sources: list[ValueWidget[Any]] = [fields.value, fields.preview, *fields.fields.values()]
        for widget in sources:
            widget.changed.connect(self.update)
        form.viewer.dims.events.current_step.connect(self.update)
        form.viewer.layers.events.removed.connect(self._removed)

    def stop(self) -> None:
        """Untick the preview and take it away."""
        self._form.by_threshold.preview.value = False
        self.remove()

    def remove(self) -> None:
        """Take the preview layer away."""
        self._layer.remove()

    def abandon(self) -> None:
        """Let no preparation touch the form again."""
        if self._run is not None:
            self._run.abandon()
            self._run = None

    def update(self) -> None:
        """Show what the form says now."""
        fields = self._form.by_threshold
        fields.value.enabled = fields.by_hand
        by_threshold = self._form.method.value == "threshold"
        if not (by_threshold and (fields.preview.value or fields.by_hand)):
            self._layer.remove()
            return
        if self._form.image.value is None:
            self._key = self._plane = None
            return
        try:
            self._show()
        except InputError as error:
            self._layer.remove()
            self._form.controls.say(str(error))

    def _show(self) -> None:
        measured = self._field()
        key = self._wanted(measured)
        if key == self._key and self._plane is not None:
            self._compare()
        elif self._run is None:
            self._prepare(key, measured)

    def _measure_again(self, *_: object) -> None:
        self._measured = None
        self.update()

    def _removed(self, event: Any) -> None:
        if event.value in self._followed:
            # Not at once: looking for the data bar may add a layer amid the removal of several.
            QTimer.singleShot(0, self._look_again)

    def _look_again(self) -> None:
        if isalive(self._form.native):  # type: ignore[no-untyped-call]
            self._measure_again()

    def _field(self) -> Field:
        """The field; kept, because looking for a data bar takes longer than a slider may."""
        if self._measured is None:
            image = self._form.image.value
            shapes = self._form.shapes(image)
            self._follow([layer for layer in shapes if layer is not None])
            self._measured = field_of(image, *shapes)
        return self._measured

    def _follow(self, shapes: list[Shapes]) -> None:
        for layer in self._followed:
            for event in _moves(layer):
                event.disconnect(self._measure_again)
        self._followed = WeakSet(shapes)
        for layer in self._followed:
            for event in _moves(layer):
                event.connect(self._measure_again)

    def _wanted(self, measured: Field) -> object:
        """What the prepared plane depends on."""
        image = self._form.image.value
        fields = self._form.by_threshold.fields
        return (
            # Weakly: a removed image is not to stay in the memory.
            weakref.ref(image),
            self._plane_index(image),
            fields["shading_px"].value,
            fields["smoothing_px"].value,
            measured,
        )

    def _plane_index(self, image: Image) -> tuple[int, ...]:
        point = image.world_to_data(self._form.viewer.dims.point)
        array, rgb = pixels_of(image)
        leading = leading_shape(array, rgb=rgb)
        return tuple(
            int(np.clip(round(at), 0, n - 1))
            for at, n in zip(point[: len(leading)], leading, strict=True)
        )

    def _prepare(self, key: object, measured: Field) -> None:
        form = self._form
        image = form.image.value
        parameters = read(ThresholdParameters, _without_method(form.by_threshold.fields))
        array, _ = pixels_of(image)
        plane = array[self._plane_index(image)]
        self._key, self._plane = key, None
        self._run = Run(
            one_step(partial(prepare, plane, measured, parameters, image.name), "grey values"),
            "Threshold preview",
            on_event=lambda event: None,
            on_result=self._prepared,
            on_end=self._ended,
            is_wanted=partial(isalive, form.native),
        )

    def _prepared(self, plane: PreparedPlane) -> None:
        self._plane = plane
        fields = self._form.by_threshold
        inside = plane.low <= fields.value.value <= plane.high
        moved = fields.value.max == 255 and fields.value.value == 0
        with fields.value.changed.blocked():
            fields.value.min, fields.value.max = _limits(plane, fields.value.value)
            if moved or not inside:
                fields.value.value = plane.otsu
            fields.value.min, fields.value.max = plane.low, plane.high

    def _ended(self, message: str) -> None:
        self._run = None
        if message:
            self._form.controls.say(message)
        else:
            # The form may have changed while the plane was prepared.
            self.update()

    def _compare(self) -> None:
        assert self._plane is not None
        fields = self._form.by_threshold
        fields.found.value = f"Otsu's threshold: {self._plane.otsu:.4g}"
        if fields.preview.value:
            self._layer.show(self._plane.phase(fields.parameters()), self._form.image.value)


def _moves(shapes: Shapes) -> list[Any]:
    """What tells that shapes lie elsewhere: drawn anew, or the whole layer transformed."""
    events = shapes.events
    return [events.data, events.scale, events.translate, events.rotate, events.shear, events.affine]


def _shares(result: Segmentation) -> list[str]:
    counts = np.bincount(result.indices.ravel(), minlength=256)[: len(result.classes)]
    return [
        f"{phase.name} {100 * count / max(1, counts.sum()):.1f} %"
        for phase, count in zip(result.classes, counts, strict=True)
    ]


def _without_method(fields: dict[str, Any]) -> dict[str, Any]:
    return {name: widget for name, widget in fields.items() if name != "method"}


def _limits(plane: PreparedPlane, value: float) -> tuple[float, float]:
    """Limits that hold the old value and the plane's, as a slider's value must lie in its own."""
    return min(plane.low, value), max(plane.high, value)
