"""*Grade grain size*: the methods of the standards side by side, and what they counted."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import napari.viewer
import numpy as np
from magicgui.widgets import CheckBox, ComboBox, Container, Label, PushButton, Table, Widget
from napari.layers import Image, Shapes

from ..calibration import require
from ..classes import PhaseClass
from ..errors import InputError
from ..grains.choice import GradingChoice, ModelChosen
from ..grains.drawing import WEIGHTS
from ..grains.files import measured_box
from ..grains.finding import ByEtching, Finding
from ..grains.grading import METHODS, GradingParameters, Method
from ..plane import leading_shape
from ..regions import Box, Field
from ..synthesis.chart import Plate, plates
from .boundary_fields import BoundaryFields
from .device_choice import devices
from .form import (
    Form,
    align_labels,
    as_result,
    button_row,
    chosen,
    fill,
    keep_narrow,
    layer_choice,
    micrograph_choice,
    parameter_fields,
    read,
    show_all,
    wrap,
)
from .graded_plane import GradedPlane, PlaneSource, graded_events
from .grain_chart import chart_field, hide_charts, show_chart
from .grain_fields import GrainFields, field_lines, fit_rows, method_table
from .grain_layers import SHOWN, GradedLayers
from .intersections_layer import IntersectionsLayer
from .layers import (
    field_of,
    find_or_add_data_bar,
    layer_calibration,
    pixels_of,
    specimen_of,
)
from .measured import file_of
from .model_choice import ModelChoice
from .recipe_step import RecipeStep, grain_size_step, marked_by

_LINE_NETWORK = "grain-line-net"
_SHORT = 7
_GRADING = ("area", "line_spacing_px")


class GrainSizeWidget(Form):
    """The dock *Grade grain size*."""

    def __init__(self, viewer: napari.viewer.Viewer) -> None:
        self.image = micrograph_choice(viewer, tooltip="its pixel size must be known")
        self.methods: dict[Method, CheckBox] = {
            method: CheckBox(value=method in METHODS, label="", text=method, tooltip=tip)
            for method, tip in _METHODS.items()
        }
        self.line_network = ModelChoice("grain-size", _LINE_NETWORK, label="Line network")
        self.line_network.combo.tooltip = _LINE_NETWORK_TIP
        self.grains = BoundaryFields(viewer)
        self.boundaries = self.grains.choice
        self.device = ComboBox(choices=lambda _: devices(), label="Compute on", value="auto")
        self.grading = parameter_fields(
            GradingParameters,
            _GRADING,
            {"area": "Planimetric area"},
            {"area": {"rectangle": "whole field", "circle": "largest circle"}},
        )
        self.grading["line_spacing_px"].native.setSpecialValueText("as needed")
        self.region = layer_choice(
            viewer,
            Shapes,
            "Region of interest",
            optional=True,
            tooltip="a Shapes layer with one rectangle",
            accepts=lambda layer: SHOWN not in layer.metadata,
        )
        self.data_bar = CheckBox(
            value=True, label="", text="Leave out the data bar", tooltip=_DATA_BAR
        )
        self.results = GrainResults(self._show_layers)
        self.study = GrainFields(self, self._require_result)
        self._all: dict[tuple[Image, tuple[int, ...]], GradedLayers] = {}
        self._shown: GradedLayers | None = None
        rows = [button_row(*list(self.methods.values())[i : i + 2]) for i in (0, 2, 4)]
        # A label of nothing keeps the rows below the first.
        for row, label in zip(rows, ("Methods", " ", " "), strict=True):
            row.label = label
        super().__init__(
            viewer,
            "grain size",
            [
                self.image,
                self.results,
                self.study,
                self.region,
                self.data_bar,
                *rows,
                self.line_network.combo,
                *self.grading.values(),
                *self.grains.widgets,
                self.device,
            ],
            {
                "data_bar": self.data_bar,
                "device": self.device,
                **{str(method): box for method, box in self.methods.items()},
                **self.grains.remembered,
                **self.grading,
            },
            "Measure",
            "Grade grain size",
        )
        for widget in (self.boundaries, *self.methods.values()):
            widget.changed.connect(self._show_fields)
        self.image.changed.connect(self._show_own)
        self.viewer.layers.events.removed.connect(self._forget)
        self.results.weight.changed.connect(self._weight_chosen)
        self.results.undo.changed.connect(lambda _: self._step(IntersectionsLayer.undo))
        self.results.redo.changed.connect(lambda _: self._step(IntersectionsLayer.redo))
        self.results.chart.changed.connect(partial(self.attempt, self._compare))
        self._show_fields()
        self._show_own()

    def compute(self) -> None:
        """Measure the plane shown of the chosen image."""
        image: Image = chosen(self.image, "a micrograph")
        leading = self._plane_shown(image)
        source = self._source(image, leading)
        choice = self._grading(partial(self.grains.finding, image, leading))
        self.controls.start(
            graded_events(source, choice),
            f"Grade {source.name}",
            partial(self._take, image, leading),
        )
        self._mark_earlier(self._all.get((image, leading)))

    def recipe_step(self) -> RecipeStep:
        """What the form says, as a step of a recipe."""
        settings = grain_size_step(self._grading(self.grains.found))
        with_bar = not self.data_bar.value
        return RecipeStep("grain_size", settings, with_bar, marked_by(self.region.value))

    def closed(self) -> None:
        """The dock was closed: follow no intersection any more."""
        super().closed()
        for graded in self._all.values():
            graded.close()

    # --- results ---------------------------------------------------------------------------

    def _take(self, image: Image, leading: tuple[int, ...], plane: GradedPlane) -> None:
        if image not in self.viewer.layers:
            raise InputError(
                f"{image.name}: was removed while it was measured; open it again, then measure"
            )
        graded = GradedLayers(
            image,
            leading,
            plane,
            self._changed,
            self._show_weight,
            self._painted,
        )
        former = self._all.pop(graded.key, None)
        if former is not None:
            former.close()
            former.hide()
        # Layers that come choose no others: the result is of what was chosen.
        graded.add_to(self.viewer)
        self._all[graded.key] = graded
        self._present(graded)
        self._scroll_to_top()
        self.controls.say(f"{plane.source.name}: {_said(graded)}")

    def _show_outcome(self, is_there: bool) -> None:
        self.results.visible = is_there
        self.study.visible = is_there or bool(self.study.names)

    def _scroll_to_top(self) -> None:
        self.fields.native.parentWidget().parentWidget().verticalScrollBar().setValue(0)

    def _mark_earlier(self, graded: GradedLayers | None) -> None:
        """Whatever comes of a run, the numbers before must not pass for it; they may be used."""
        if graded is not None:
            graded.is_earlier = True
            if graded is self._shown:
                self.results.present(graded)

    def _present(self, graded: GradedLayers) -> None:
        self._shown = graded
        for other in self._all.values():
            if other.image is not graded.image:
                other.hide()
        hide_charts(self.viewer, graded.image)
        self.results.enabled = not graded.painted
        self._show_outcome(True)
        self.results.present(graded)
        self._show_layers(self.results.counted_by.value)

    def _show_own(self, *_: object) -> None:
        """Show the numbers of the chosen image, or none."""
        image = self.image.value
        if self._shown is not None and self._shown.image is image:
            return
        own = [one for one in self._all.values() if one.image is image]
        if own:
            self._present(own[-1])
        else:
            self._shown = None
            self._show_outcome(False)

    def _show_layers(self, method: Method | None) -> None:
        if self._shown is not None and method is not None:
            self._shown.show(self.viewer, method)
            self.results.offer(self._shown)

    def _changed(self) -> None:
        """Intersections were moved, added, deleted, or given another weight."""
        graded = self._shown
        if graded is not None:
            self.results.present(graded)
            self.results.offer(graded)
            self.controls.say(f"{graded.plane.source.name}: {_said(graded)}")
        self.study.show_fields()

    def _painted(self, graded: GradedLayers) -> None:
        """Boundaries were corrected, and are measured next; or that was taken back."""
        boundaries = graded.boundaries
        if graded.painted and boundaries in self.viewer.layers:
            self.boundaries.value = boundaries
        if graded is self._shown:
            self.results.enabled = not graded.painted
        said = _PAINTED if graded.painted else _AS_MEASURED
        self.controls.say(said.format(boundaries=boundaries))

    def _require_result(self) -> GradedLayers:
        if self._shown is None:
            raise InputError("measure first")
        if self._shown.painted:
            raise InputError(_PAINTED.format(boundaries=self._shown.boundaries))
        return self._shown

    def _forget(self, event: Any) -> None:
        for key in [key for key in self._all if key[0] is event.value]:
            self._all.pop(key).close()

    # --- intersections -----------------------------------------------------------------------

    def _points(self) -> IntersectionsLayer | None:
        if self._shown is None:
            return None
        return self._shown.intersections.get(self.results.counted_by.value)

    def _step(self, step: Callable[[IntersectionsLayer], None]) -> None:
        points = self._points()
        if points is not None:
            step(points)

    def _weight_chosen(self, weight: float) -> None:
        points = self._points()
        if points is not None:
            points.set_weight(weight)

    def _show_weight(self, weight: float) -> None:
        self.results.weight.value = weight

    # --- comparison chart --------------------------------------------------------------------

    def _compare(self) -> None:
        graded = self._require_result()
        found = graded.by_method[self.results.counted_by.value].g
        source = graded.plane.source
        self.controls.start(
            plates(found, *chart_field(source.box, source.calibration)),
            f"Chart for {source.name}",
            partial(self._show_chart, graded, found),
        )

    def _show_chart(self, graded: GradedLayers, found: float, drawn: Sequence[Plate]) -> None:
        if graded.image not in self.viewer.layers:
            raise InputError(f"{graded.image.name}: was removed; open it again, then measure")
        # The eye is to compare grains, not marks on them.
        graded.hide()
        show_chart(self.viewer, graded.image, graded.plane.source.box, found, drawn)
        grades = ", ".join(f"{plate.grain_size:g}" for plate in drawn)
        self.controls.say(f"{graded.image.name}: chart of G {grades} beside it; marks are hidden")

    # --- what is measured --------------------------------------------------------------------

    def _plane_shown(self, image: Image) -> tuple[int, ...]:
        pixels, rgb = pixels_of(image)
        lengths = leading_shape(pixels, rgb=rgb)
        if not lengths:
            return ()
        point = image.world_to_data(self.viewer.dims.point[-image.ndim :])
        numbers = np.clip(np.rint(point[: len(lengths)]), 0, np.array(lengths) - 1)
        return tuple(int(number) for number in numbers)

    def _source(self, image: Image, leading: tuple[int, ...]) -> PlaneSource:
        calibration = require(layer_calibration(image), image.name)
        bar = find_or_add_data_bar(self.viewer, image) if self.data_bar.value else None
        field = field_of(image, self.region.value, bar)
        box, notes = measured_box(field.frame(), _region_of(field, self.region.value), image.name)
        pixels = pixels_of(image)[0]
        plane = pixels[leading] if leading else pixels
        file = file_of(image)
        return PlaneSource(
            ", ".join([image.name, *(f"plane {number}" for number in leading)]),
            plane.copy() if isinstance(plane, np.ndarray) else plane,
            calibration,
            field,
            box,
            file.path if file else None,
            specimen_of(image),
            notes,
        )

    def _grading(self, finding: Callable[[], Finding | ModelChosen]) -> GradingChoice:
        methods = self._chosen_methods()
        by_grains = any(method in METHODS for method in methods)
        return GradingChoice(
            methods,
            read(GradingParameters, self.grading),
            finding() if by_grains else ByEtching(),
            self.line_network.value if "network" in methods else _LINE_NETWORK,
            self.device.value,
            self.grains.twin_rules(),
        )

    def _chosen_methods(self) -> tuple[Method, ...]:
        found = tuple(method for method, box in self.methods.items() if box.value)
        if not found:
            raise InputError("choose at least one method")
        return found

    def _show_fields(self, *_: object) -> None:
        """Show the fields that count for the methods chosen."""
        is_chosen = {method: bool(box.value) for method, box in self.methods.items()}
        by_grains = any(is_chosen[method] for method in METHODS)
        self.grading["area"].visible = is_chosen["planimetric"]
        self.grading["line_spacing_px"].visible = is_chosen["lines"]
        self.line_network.combo.visible = is_chosen["network"]
        self.grains.show(by_grains)
        computes = is_chosen["network"] or (by_grains and self.grains.are_by_model)
        self.device.visible = computes


class GrainResults(Container[Widget]):
    """The numbers of a field and how its intersections are corrected."""

    def __init__(self, on_show: Callable[[Method | None], None]) -> None:
        self.table = Table(value=None, label="")
        self.summary = Label(value="", label="")
        self._methods: tuple[Method, ...] = METHODS
        # A list would be forgotten when layers come or go.
        self.counted_by = ComboBox(
            choices=lambda _: self._methods,
            label="Show",
            tooltip="the layers of one method",
        )
        self.legend = Label(value="", label="")
        self.how = Label(value=_HOW, label="")
        self.weight = ComboBox(
            choices=[(phase.name, weight) for weight, phase in WEIGHTS.items()],
            value=1.0,
            label="Counts",
            tooltip="weight of the selected intersections and of those you add",
        )
        self.undo = PushButton(text="Undo", tooltip="as Ctrl+Z in the image")
        self.redo = PushButton(text="Redo", tooltip="as Ctrl+Shift+Z in the image")
        self._steps = button_row(self.undo, self.redo)
        self.chart = PushButton(text="Comparison chart", label="", tooltip=_CHART)
        super().__init__(
            widgets=[
                self.table,
                self.summary,
                self.counted_by,
                self.legend,
                self.how,
                self.weight,
                self._steps,
                self.chart,
            ],
            visible=False,
        )
        self.margins = (0, 0, 0, 0)
        align_labels(self)
        for choice in (self.counted_by, self.weight):
            keep_narrow(choice)
        as_result(self.table)
        for label in (self.summary, self.legend, self.how):
            wrap(label)
        self.counted_by.changed.connect(on_show)

    def present(self, graded: GradedLayers) -> None:
        """Show the numbers as they are now."""
        if self._methods != tuple(graded.by_method):
            self._methods = tuple(graded.by_method)
            self.counted_by.reset_choices()
        fill(self.table, method_table(graded.by_method))
        fit_rows(self.table)
        self.summary.value = "\n".join(field_lines(graded))

    def offer(self, graded: GradedLayers) -> None:
        """Say what is drawn of the method chosen, and offer what may be done to it."""
        method: Method = self.counted_by.value
        points = graded.intersections.get(method)
        self.legend.value = legend_html(graded.legend(method))
        self.how.value = _HOW_VOTES if method == "network" else _HOW
        self.how.visible = points is not None or method == "network"
        show_all([self.weight, self._steps], points is not None)
        self.undo.enabled = points is not None and points.can_undo
        self.redo.enabled = points is not None and points.can_redo


def legend_html(entries: Sequence[PhaseClass]) -> str:
    """A coloured square and the name of each."""
    marked = [
        (f'<span style="color:{one.colour};background:#606060">■</span>', one.name)
        for one in entries
    ]
    if all(len(one.name) <= _SHORT for one in entries):
        # Grades are many.
        return "&ensp; ".join(f"{m}&nbsp;{name.replace(' ', '&nbsp;')}" for m, name in marked)
    return "<br>".join(f"{mark} {name}" for mark, name in marked)


def _said(graded: GradedLayers) -> str:
    return ", ".join(f"G {one.g:.2f} by {method}" for method, one in graded.by_method.items())


def _region_of(field: Field, region: Shapes | None) -> Box | None:
    """The rectangle of a region, which may reach beyond the image; None without a region."""
    if not field.region:
        return None
    if len(field.region) > 1 or (region is not None and region.shape_type != ["rectangle"]):
        raise InputError("the region of interest must be one rectangle: test areas have edges")
    vertices = np.asarray(field.region[0])
    top, left = np.ceil(vertices.min(0)).astype(int)
    bottom, right = np.floor(vertices.max(0)).astype(int) + 1
    return Box(int(top), int(left), int(bottom), int(right))


_METHODS: dict[Method, str] = {
    "lines": "intersections with parallel lines in four directions (Heyn)",
    "circles": "intersections with three circles (Abrams)",
    "planimetric": "grains in an area (Jeffries)",
    "automatic": "mean area of the whole grains (ASTM E1382)",
    "network": "the line network grades rows and columns of grey values; no boundaries are needed",
}
_LINE_NETWORK_TIP = "a grain-size model: grain-line-net, one of your own, or a file"
_DATA_BAR = "the microscope's text bar; found by itself and shown as a rectangle you may move"
_CHART = (
    "draws ideal grains of the nearest half number, and of one coarser and one finer, beside the "
    "image at its scale; a hidden layer lays the nearest over it (ASTM E112, comparison procedure)"
)
_PAINTED = "{boundaries} was painted on; press Measure to count anew"
_AS_MEASURED = "{boundaries} is as it was measured"
_HOW = (
    "Move, add or delete points in the layer of intersections: the number follows at once. A "
    "point belongs to the nearest test line."
)
_HOW_VOTES = (
    "Both ends of each line have the colour of its G, to the nearest half number: point at one, "
    "and the line below the image tells it."
)
