"""*Quantify*: phases and particles of a segmentation, in µm."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import napari.viewer
import numpy as np
import pandas as pd
from magicgui.widgets import (
    CheckBox,
    Container,
    Label,
    LineEdit,
    PushButton,
    Select,
    SpinBox,
    Table,
    Widget,
)
from napari.layers import Image, Labels, Shapes
from numpy.typing import NDArray
from qtpy.QtCore import QLocale, Qt
from qtpy.QtWidgets import QFileDialog

from ..calibration import require
from ..errors import InputError
from ..events import Events
from ..io.labels import LabelImage, write_labels
from ..io.tables import write_csv, write_xlsx
from ..plane import ArrayLike, leading_shape, planes_of
from ..quantification.files import MeasuredImage, overlay_picture, provenance_table
from ..quantification.measure import Quantification, quantify
from ..quantification.parameters import QuantifyParameters
from ..quantification.report import ReportField, ReportHead, write_report
from ..quantification.statistics import ONE_FIELD
from ..quantification.study import combine
from ..regions import Field
from .form import (
    Form,
    align_labels,
    as_result,
    chosen,
    fill,
    layer_choice,
    micrograph_choice,
    parameter_fields,
    read,
    wrap,
)
from .layers import (
    calibrate_layer,
    field_of,
    find_or_add_data_bar,
    label_image,
    layer_calibration,
    plane_placement,
    snapshot,
    stated_names,
)
from .results import PARTICLES_OF, centre_on, mark_computed, remove_untouched
from .worker import one_step
from .writer import as_tiff, proposed_path

MOST_FEATURE_ROWS = 5000
"""Beyond this napari's features table becomes slow: the form then shows the particles by pages."""

_ROWS_PER_PAGE = 200
_NOTHING = {"f": float("nan"), "i": 0, "b": False}


@dataclass(frozen=True)
class Measured:
    """A result with what it came from, for tables and report."""

    labels: LabelImage
    name: str
    result: Quantification
    pixels: ArrayLike | None
    rgb: bool


class QuantifyWidget(Form):
    """The dock *Quantify*."""

    def __init__(self, viewer: napari.viewer.Viewer) -> None:
        self.phase_layer = layer_choice(
            viewer,
            Labels,
            "Phases",
            tooltip="a Labels layer whose values are phases, such as a result of Segment",
            accepts=lambda layer: PARTICLES_OF not in layer.metadata,
        )
        self.save = PushButton(text="Save labels…", label="", tooltip=_SAVE)
        self.classes = Select(
            choices=self._class_choices,
            label="Measure as particles",
            tooltip="phases whose particles are numbered and measured; Ctrl-click for several",
        )
        self.image = micrograph_choice(
            viewer,
            optional=True,
            tooltip="for the mean grey value of each particle and for the report's picture",
        )
        self.region = layer_choice(
            viewer, Shapes, "Region of interest", optional=True, tooltip=_REGION
        )
        self.data_bar = CheckBox(
            value=True, label="", text="Leave out the data bar", tooltip=_DATA_BAR
        )
        self.parameters = parameter_fields(
            QuantifyParameters, ("smallest_area_px", "edge_rule"), choices={"edge_rule": _EDGES}
        )
        self.results = _Results(self)
        super().__init__(
            viewer,
            "quantify",
            [
                self.phase_layer,
                self.save,
                self.classes,
                self.image,
                self.region,
                self.data_bar,
                *self.parameters.values(),
                self.results,
            ],
            {"data_bar": self.data_bar, **self.parameters},
            "Quantify",
            "Quantify",
        )
        self.classes.native.setMaximumHeight(90)
        self.save.changed.connect(self._ask_and_save)
        self.phase_layer.changed.connect(self._labels_chosen)
        for choice in (self.phase_layer, self.image):
            choice.changed.connect(self._keep_own_results)
        self._labels_chosen()

    def compute(self) -> None:
        """Measure the chosen layer."""
        # Whatever comes of this run, the last one's results must not pass for it.
        self.results.mark_earlier()
        labels = self._chosen_labels()
        self._calibrate(labels)
        source = label_image(labels)
        source = replace(source, measured=self._field(labels, source.measured))
        parameters = read(QuantifyParameters, self.parameters, classes=self._chosen_classes())
        pixels, rgb = snapshot(self.image.value) if self.image.value is not None else (None, False)
        self.controls.start(
            measured_events(source, labels.name, parameters, pixels, rgb),
            f"Quantify {labels.name}",
            partial(self._show, labels, self.image.value),
        )

    def save_labels(self, path: Path) -> None:
        """Write the chosen layer as phase labels, which the command line and other forms read."""
        labels, whole = label_image(self._chosen_labels()), as_tiff(path)
        self.controls.start(
            one_step(partial(write_labels, whole, labels), whole.name),
            f"write {whole.name}",
            lambda _: self.controls.say(f"wrote {whole.name}"),
        )

    def _ask_and_save(self) -> None:
        try:
            proposed = str(proposed_path(self._chosen_labels()))
            path, _ = QFileDialog.getSaveFileName(
                self.native, "Save labels", proposed, "Phase labels (*.tif *.tiff)"
            )
            if path:
                self.save_labels(Path(path))
        except InputError as error:
            self.refuse(error)

    def _chosen_labels(self) -> Labels:
        labels: Labels = chosen(self.phase_layer, "a Labels layer of phases, or run Segment")
        return labels

    def _show(self, labels: Labels, image: Image | None, measured: Measured) -> None:
        name = f"{labels.name} particles"
        particles = measured.result.particles
        layer = Labels(
            measured.result.ids.reshape(labels.data.shape),
            name=name,
            features=features_of(particles),
            metadata={
                PARTICLES_OF: labels.name,
                "statistics": measured.result.statistics,
                "calibration": measured.labels.calibration
                and measured.labels.calibration.to_dict(),
            },
            **plane_placement(labels, labels.ndim),
        )
        mark_computed(layer)
        remove_untouched(self.viewer, name)
        self.viewer.add_layer(layer)
        layer.events.selected_label.connect(partial(_centre, self.viewer, layer, particles))
        self.results.present(measured, labels, image)
        self._keep_own_results()
        self.controls.say(f"{layer.name}: {len(particles):,} particles")

    def _keep_own_results(self, *_: object) -> None:
        """Clear what belongs to layers other than the chosen ones."""
        if not self.results.are_of(self.phase_layer.value, self.image.value):
            self.results.clear()

    def _calibrate(self, labels: Labels) -> None:
        """Give labels in pixels the pixel size of the chosen image; refuse where none is known."""
        if layer_calibration(labels) is not None:
            return
        image = self.image.value
        known = layer_calibration(image) if image is not None else None
        if known is None:
            raise InputError(
                f"{labels.name}: no pixel size is known, so there is nothing to give in µm; "
                "open Calibrate and set the pixel size of the image"
            )
        calibrate_layer(labels, known)

    def _field(self, labels: Labels, segmented: Field) -> Field:
        """What was segmented, unless region or data bar are marked now."""
        image = self.image.value
        bar = find_or_add_data_bar(self.viewer, image) if self._looks_for_bar(image) else None
        marked = field_of(labels, self.region.value, bar)
        return Field(
            segmented.shape,
            marked.data_bar or (segmented.data_bar if self.data_bar.value else None),
            marked.region or segmented.region,
        )

    def _looks_for_bar(self, image: Image | None) -> bool:
        return bool(self.data_bar.value) and image is not None

    def _class_choices(self, _: object) -> list[tuple[str, int]]:
        return [(name, index) for index, name in enumerate(class_names(self.phase_layer.value))]

    def _chosen_classes(self) -> tuple[int, ...]:
        if not self.classes.value:
            raise InputError("choose at least one phase to measure as particles")
        return tuple(self.classes.value)

    def _labels_chosen(self) -> None:
        self.classes.reset_choices()
        self.classes.value = list(range(1, len(self.classes.choices)))


_REGION = "a Shapes layer: only what its rectangles, ellipses and polygons enclose is measured"
_DATA_BAR = "the microscope's text bar; found by itself and shown as a rectangle you may move"
_SAVE = (
    "writes the phases as you corrected them, with their names, field and pixel size, for the "
    "command line and to open again"
)
_EDGES = {"all": "count all particles", "exclude-border": "leave out those at the border"}
_EARLIER = "An earlier result, not of the last run; quantify again to have one that counts."


class _Results(Container[Widget]):
    """Tables of the last result, and the files it can be written to."""

    def __init__(self, form: QuantifyWidget) -> None:
        self._form = form
        self._measured: Measured | None = None
        self._of: tuple[Labels | None, Image | None] = (None, None)
        self.phases = Table(value=None)
        self.summary = Label(value="")
        self.page = SpinBox(value=1, min=1, max=1, label="Page of particles", visible=False)
        self.particles = Table(value=None, visible=False)
        self.features = PushButton(text="Particle table", tooltip="napari's features table")
        self.specimen = LineEdit(label="Specimen")
        self.operator = LineEdit(label="Operator")
        self.standard = LineEdit(label="Standard")
        self.decimal_comma = CheckBox(
            value=QLocale().decimalPoint() == ",", label="", text="CSV with decimal commas"
        )
        self.csv = PushButton(text="CSV…")
        self.xlsx = PushButton(text="Excel…")
        self.report = PushButton(text="Report…")
        files: Container[Widget] = Container(
            widgets=[self.csv, self.xlsx, self.report], layout="horizontal", labels=False
        )
        files.margins = (0, 0, 0, 0)
        super().__init__(
            widgets=[
                self.phases,
                self.summary,
                self.features,
                self.page,
                self.particles,
                self.specimen,
                self.operator,
                self.standard,
                self.decimal_comma,
                files,
            ],
            visible=False,
        )
        self.margins = (0, 0, 0, 0)
        align_labels(self)
        wrap(self.summary)
        for table in (self.phases, self.particles):
            as_result(table)
        self.features.changed.connect(self._open_features_table)
        self.page.changed.connect(self._turn_page)
        self.csv.changed.connect(lambda: self._ask_and_write("CSV (*.csv)", self.write_csv))
        self.xlsx.changed.connect(lambda: self._ask_and_write("Excel (*.xlsx)", self.write_xlsx))
        self.report.changed.connect(lambda: self._ask_and_write("HTML (*.html)", self.write_report))

    def are_of(self, labels: Labels | None, image: Image | None) -> bool:
        """Whether the result shown is that of these layers."""
        return self._of[0] is labels and self._of[1] is image

    def clear(self) -> None:
        """Show nothing and have nothing to write."""
        self._measured, self._of = None, (None, None)
        self.visible = False

    def mark_earlier(self) -> None:
        """Show that the result is an earlier one, of which nothing can be written any more."""
        if self._measured is not None:
            self.summary.value = f"{_EARLIER}\n{self._described(self._measured)}"
        self._measured = None
        self.enabled = False

    def present(self, measured: Measured, labels: Labels, image: Image | None) -> None:
        """Show the result of a Labels layer, with the grey values of an image."""
        self._measured, self._of = measured, (labels, image)
        fill(self.phases, phase_table(measured.result.phases), "phase")
        self.summary.value = self._described(measured)
        self.enabled = True
        n = len(measured.result.particles)
        for widget in (self.page, self.particles):
            widget.visible = n > MOST_FEATURE_ROWS
        self.page.max = max(1, -(-n // _ROWS_PER_PAGE))
        self.page.value = 1
        self._turn_page()
        self.visible = True

    def _described(self, measured: Measured) -> str:
        return f"{measured.name}: {summary_text(measured.result)}"

    def write_csv(self, path: Path) -> None:
        """Write the particles to `path` and the phases beside it."""
        measured = self._require_result()
        marks = (",", ";") if self.decimal_comma.value else (".", ",")
        beside = path.with_name(f"{path.stem}_phases.csv")

        def write() -> None:
            write_csv(path, measured.result.particles, *marks)
            write_csv(beside, measured.result.phases, *marks)

        self._write(write, f"{path.name} and {beside.name}")

    def write_xlsx(self, path: Path) -> None:
        """Write phases, particles and provenance as sheets."""
        measured = self._require_result()
        image = MeasuredImage(measured.name, measured.labels, measured.result, None)
        sheets = {
            "phases": measured.result.phases,
            "particles": measured.result.particles,
            "provenance": provenance_table([image]),
        }
        self._write(partial(write_xlsx, path, sheets), path.name)

    def write_report(self, path: Path) -> None:
        """Write the HTML report."""
        head = ReportHead(
            "Phases and particles",
            self.specimen.value,
            self.operator.value,
            self.standard.value,
        )
        self._write(partial(report, path, head, self._require_result()), path.name)

    def _write(self, write: Callable[[], None], what: str) -> None:
        controls = self._form.controls
        controls.start(
            one_step(write, what), f"write {what}", lambda _: controls.say(f"wrote {what}")
        )

    def _ask_and_write(self, kind: str, write: Callable[[Path], None]) -> None:
        suffix = kind[kind.index("*") + 1 : -1]
        proposed = f"{self._require_result().name}_particles{suffix}"
        path, _ = QFileDialog.getSaveFileName(self.native, "Write", proposed, kind)
        try:
            if path:
                write(Path(path).with_suffix(suffix))
        except InputError as error:
            self._form.refuse(error)

    def _turn_page(self) -> None:
        measured = self._measured
        if measured is not None and len(measured.result.particles) > MOST_FEATURE_ROWS:
            first = (self.page.value - 1) * _ROWS_PER_PAGE
            rows = measured.result.particles.iloc[first : first + _ROWS_PER_PAGE]
            fill(self.particles, readable(rows))

    def _open_features_table(self) -> None:
        dock, _ = self._form.viewer.window.add_plugin_dock_widget("napari", "Features table widget")
        # Below the canvas there is room for its many columns.
        dock.parent().addDockWidget(Qt.DockWidgetArea.BottomDockWidgetArea, dock)

    def _require_result(self) -> Measured:
        if self._measured is None:
            raise InputError("quantify first")
        return self._measured


def measured_events(
    source: LabelImage,
    name: str,
    parameters: QuantifyParameters,
    pixels: ArrayLike | None,
    rgb: bool,
) -> Events[Measured]:
    """Quantify with the grey values of an image, colours turned into grey."""
    result = yield from quantify(
        source.indices,
        source.classes,
        source.calibration,
        source.measured,
        parameters,
        intensity=None if pixels is None else _grey(pixels, rgb, source.indices.shape, name),
        name=name,
        labels_provenance=source.provenance,
    )
    return Measured(source, name, result, pixels, rgb)


def report(path: Path, head: ReportHead, measured: Measured) -> None:
    """Write the report of one image."""
    calibration = require(measured.labels.calibration, measured.name)
    field = ReportField(measured.name, _picture(measured), calibration, measured.labels.provenance)
    write_report(path, head, [field], combine([(measured.name, measured.result)]))


def features_of(particles: pd.DataFrame) -> pd.DataFrame:
    """Features of a layer of particles: row *i* belongs to particle *i*, row 0 to none.

    Without rows beyond `MOST_FEATURE_ROWS` particles.
    """
    if len(particles) > MOST_FEATURE_ROWS:
        return pd.DataFrame()
    table = particles.drop(columns="particle")
    none = {name: [_NOTHING.get(table[name].dtype.kind, "")] for name in table.columns}
    return pd.concat([pd.DataFrame(none), table], ignore_index=True)


def phase_table(phases: pd.DataFrame) -> pd.DataFrame:
    """What the form shows of each phase; a row a plane where there are several."""
    shown: dict[str, Any] = {"plane": phases["plane"]} if phases["plane"].nunique() > 1 else {}
    shown |= {
        "phase": phases["phase"],
        "area (%)": _texts(100 * phases["area_fraction"], "{:.2f}"),
        "n": _texts(phases["n_particles"], "{:,.0f}"),
        "mean radius (µm)": _texts(phases["mean_radius_um"], "{:.4g}"),
    }
    return pd.DataFrame(shown)


def summary_text(result: Quantification) -> str:
    """How many fields and particles, and what that says of the confidence interval."""
    n_fields = result.statistics["n_fields"]
    lines = [f"{n_fields} field{'s' * (n_fields != 1)}, {len(result.particles):,} particles."]
    if n_fields == 1:
        lines.append(f"{ONE_FIELD[0].upper()}{ONE_FIELD[1:]}.")
    else:
        lines += [_interval(name, s["area_fraction"]) for name, s in _phases(result).items()]
    return "\n".join(lines)


def readable(table: pd.DataFrame) -> pd.DataFrame:
    """Numbers as texts of four significant digits."""
    numbers = table.select_dtypes(float).columns
    return table.assign(**{name: _texts(table[name], "{:.4g}") for name in numbers})


def class_names(labels: Labels | None) -> Sequence[str]:
    """Names of a layer's classes; numbered where it names none."""
    if labels is None:
        return ()

    if stated := stated_names(labels):
        return stated
    return [f"class {value}" for value in range(1, int(np.max(labels.data)) + 1)][:32]


def _phases(result: Quantification) -> dict[str, Any]:
    phases: dict[str, Any] = result.statistics["phases"]
    return phases


def _interval(name: str, statistics: dict[str, Any]) -> str:
    if statistics["ci95"] is None:
        return f"{name}: {statistics['reason']}"
    low, high = (100 * limit for limit in statistics["ci95"])
    mean = 100 * statistics["mean"]
    return f"{name}: {mean:.3g} % of the area, 95 % confidence {low:.3g} to {high:.3g} %"


def _texts(values: pd.Series[Any], form: str) -> list[str]:
    """Numbers as texts, a dash for a missing one; magicgui's tables show four decimals always."""
    return ["–" if pd.isna(value) else form.format(float(value)) for value in values]


def _grey(
    pixels: ArrayLike, rgb: bool, shape: tuple[int, ...], name: str
) -> NDArray[np.number[Any]]:
    grey = np.asarray(pixels)
    if rgb:
        grey = np.stack([plane.grey() for plane in planes_of(pixels, rgb=True, name=name)])
    # Leading axes are one here; another shape is quantify's to refuse.
    return grey.reshape(shape) if grey.size == _size(shape) else grey


def _size(shape: tuple[int, ...]) -> int:
    return int(np.prod(shape))


def _picture(measured: Measured) -> NDArray[np.uint8] | None:
    if measured.pixels is None:
        return None
    leading = leading_shape(measured.pixels, rgb=measured.rgb)
    first = np.asarray(measured.pixels[(0,) * len(leading)])
    return overlay_picture(first, measured.labels)


def _centre(
    viewer: napari.viewer.Viewer, layer: Labels, particles: pd.DataFrame, _: object = None
) -> None:
    row = layer.selected_label - 1
    if not 0 <= row < len(particles):
        return
    particle = particles.iloc[row]
    leading = np.unravel_index(int(particle["plane"]), layer.data.shape[:-2] or (1,))
    position = (
        *leading[: layer.ndim - 2],
        particle["centroid_row_px"],
        particle["centroid_column_px"],
    )
    centre_on(viewer, layer, tuple(map(float, position)))
