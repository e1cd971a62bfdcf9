"""*Quantify*: phases and particles of a segmentation, measured, corrected and collected."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import napari.viewer
from magicgui.widgets import CheckBox, PushButton, Select
from napari.layers import Image, Labels, Shapes
from napari.utils.colormaps import DirectLabelColormap
from qtpy.compat import isalive
from qtpy.QtWidgets import QFileDialog

from ..classes import class_count, numbered_classes
from ..errors import InputError
from ..io.labels import write_labels
from ..quantification.correctable import CORRECTIONS
from ..quantification.parameters import QuantifyParameters
from ..regions import Field
from .corrected_layer import (
    Beginning,
    CorrectedLayer,
    Trail,
    beginning,
    shown_ids,
    with_corrections,
)
from .corrections_panel import CUT, CorrectionsPanel
from .docks_below import dock_below
from .form import Form, chosen, layer_choice, micrograph_choice, parameter_fields, read
from .layers import (
    add_labels_layer,
    calibrate_layer,
    class_names,
    field_of,
    find_or_add_data_bar,
    indices_in,
    label_image,
    layer_calibration,
    plane_placement,
    snapshot,
)
from .measured import Measured, file_of, measured_again, measured_events
from .particle_colours import ParticleColours
from .particle_link import ParticleLink
from .particle_table import count_text, features_of
from .quantify_results import Results, make_ready_for_many_rows
from .recipe_step import RecipeStep, marked_by
from .results import PARTICLES_OF, mark_computed, remove_untouched
from .size_plots import SizePlots
from .study_panel import OpenedStudy, StudyPanel, field_layers
from .worker import Run, nothing, one_step
from .writer import as_tiff, proposed_path

_RULES = (
    "smallest_area_px",
    "edge_rule",
    "split",
    "split_depth",
    "rolling_direction",
    "planes_are_fields",
)


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
            viewer,
            Shapes,
            "Region of interest",
            optional=True,
            tooltip=_REGION,
            accepts=lambda layer: layer.name != CUT,
        )
        self.data_bar = CheckBox(
            value=True, label="", text="Leave out the data bar", tooltip=_DATA_BAR
        )
        self.parameters = parameter_fields(
            QuantifyParameters,
            _RULES,
            labels={"split": "Touching particles"},
            choices={"edge_rule": _EDGES, "split": _SPLITS},
        )
        self.results = Results(self, self._rows_chosen)
        self.colours = ParticleColours(self._colour)
        self.corrections = CorrectionsPanel(viewer, self.refuse, self._say)
        self.study = StudyPanel(self, self.results, self._require_corrected, self._show_study)
        self._current: CorrectedLayer | None = None
        self._measured_layers: list[CorrectedLayer] = []
        self._again: Run[Measured] | None = None
        self._colouring: Run[Any] | None = None
        self._colour_again = False
        self._plots: SizePlots | None = None
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
                self.colours,
                self.corrections,
                self.study,
            ],
            {"data_bar": self.data_bar, **self.parameters},
            "Quantify",
            "Quantify",
        )
        self.link = ParticleLink(self.viewer, self._particle_chosen)
        self.classes.native.setMaximumHeight(90)
        self._show_tools(False)
        self.save.changed.connect(self._ask_and_save)
        self.results.plots.changed.connect(self._open_plots)
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
        parameters = self._parameters(self._chosen_classes())
        image = self.image.value
        pixels, rgb = snapshot(image) if image is not None else (None, False)
        begun = beginning(labels, self._former(labels), source, parameters)
        self.controls.start(
            measured_events(
                with_corrections(source, begun.earlier),
                labels.name,
                parameters,
                pixels,
                rgb,
                # Without its image, a field of a study goes on naming the file.
                file_of(labels if image is None else image),
                begun.ids,
                begun.changes,
            ),
            f"Quantify {labels.name}",
            partial(self._show, labels, image, begun),
        )

    def recipe_step(self) -> RecipeStep:
        """What the form says, as a step of a recipe; of all phases where none can be chosen."""
        classes = None if self.phase_layer.value is None else self._chosen_classes()
        with_bar = not self.data_bar.value
        left_out = marked_by(self.region.value)
        return RecipeStep("quantify", self._parameters(classes), with_bar, left_out)

    def save_labels(self, path: Path) -> None:
        """Write the chosen layer as phase labels, which the command line and other forms read."""
        layer, whole = self._chosen_labels(), as_tiff(path)
        labels = with_corrections(label_image(layer), layer.metadata.get(CORRECTIONS, ()))
        self.controls.start(
            one_step(partial(write_labels, whole, labels), whole.name),
            f"write {whole.name}",
            lambda _: self.controls.say(f"wrote {whole.name}"),
        )

    def abandon(self) -> None:
        """End what is under way."""
        super().abandon()
        self.corrections.abandon()
        for run in (self._again, self._colouring):
            if run is not None:
                run.abandon()
        self._again = self._colouring = None

    @property
    def is_settled(self) -> bool:
        """Whether nothing is under way, nor any correction still to be measured."""
        busy = self.controls.is_running or self.corrections.is_busy
        return not (busy or self._again is not None or self._colouring is not None)

    @property
    def plots(self) -> SizePlots | None:
        """The dock of plots; None while it is not there, also after the user closed it."""
        there = self._plots is not None and bool(isalive(self._plots))  # type: ignore[no-untyped-call]
        return self._plots if there else None

    # --- results ---------------------------------------------------------------------------

    def _show(
        self, labels: Labels, image: Image | None, begun: Beginning, measured: Measured
    ) -> None:
        remove_untouched(self.viewer, f"{labels.name} particles")
        former = self._former(labels)
        if former is not None and begun.ids is not None and not former.painted:
            self._remove_layer(former.particles)
        corrected = self._add_particles(labels, image, measured, begun.earlier)
        self._present(corrected)
        self._keep_own_results()
        # It may have been painted on while it was measured.
        corrected.look_for_paint()
        lost = f"; {begun.lost}" if begun.lost else ""
        self.controls.say(f"{corrected.particles.name}: {count_text(measured.result)}{lost}")

    def _former(self, labels: Labels) -> CorrectedLayer | None:
        """What the layer was measured as last."""
        return next((one for one in self._measured_layers if one.phases is labels), None)

    def _remove_layer(self, layer: Labels) -> None:
        if layer in self.viewer.layers:
            self.viewer.layers.remove(layer)

    def _add_particles(
        self,
        labels: Labels,
        image: Image | None,
        measured: Measured,
        earlier: Trail = (),
    ) -> CorrectedLayer:
        """The layer of particles; corrections of an opened study are in its undo history."""
        calibration = measured.labels.calibration
        layer = Labels(
            shown_ids(measured).reshape(labels.data.shape),
            name=f"{labels.name} particles",
            features=features_of(measured.result.particles),
            metadata={
                PARTICLES_OF: labels.name,
                "statistics": measured.result.statistics,
                "calibration": calibration and calibration.to_dict(),
                CORRECTIONS: [change.correction.to_dict() for change in measured.changes],
            },
            **plane_placement(labels, labels.ndim),
        )
        mark_computed(layer)
        former = [one for one in self._measured_layers if one.phases is labels]
        for one in former:
            one.close()
            self._measured_layers.remove(one)
        corrected = CorrectedLayer(
            layer, labels, image, measured, self._corrected, self._paint_changed, earlier
        )
        for change in measured.changes:
            corrected.put(change)
        self._ready_tables()
        self.viewer.add_layer(layer)
        self._measured_layers.append(corrected)
        return corrected

    def _ready_tables(self) -> None:
        # A model of a viewer, without a window, has none.
        make_ready_for_many_rows(getattr(self.viewer, "window", None))

    def _present(self, corrected: CorrectedLayer) -> None:
        self._current = corrected
        self.link.follow(corrected)
        self._present_results(corrected)
        self.corrections.follow(corrected)
        self.colours.offer(corrected.measured.result.particles)
        self._show_tools(True)
        self._draw_plots()

    def _present_results(self, corrected: CorrectedLayer) -> None:
        self.results.present(corrected)
        if corrected.painted:
            self.results.mark_painted(corrected.painted, corrected.phases.name)
        elif not corrected.is_measured():
            self.results.mark_stale()

    def _paint_changed(self, corrected: CorrectedLayer) -> None:
        if corrected is self._current and not self.controls.is_running:
            self._present_results(corrected)

    def _keep_own_results(self, *_: object) -> None:
        """Clear what belongs to layers other than the chosen ones; show what they have."""
        labels, image = self.phase_layer.value, self.image.value
        if self.results.are_of(labels, image):
            return
        for one in self._measured_layers:
            if labels is not None and one.phases is labels and one.image is image:
                self._present(one)
                return
        self._current = None
        self.results.clear()
        self.link.follow(None)
        self.corrections.follow(None)
        self._show_tools(False)

    def _show_tools(self, visible: bool) -> None:
        for tool in (self.colours, self.corrections):
            tool.visible = visible

    def _say(self, message: str) -> None:
        self.controls.say(message)

    def _require_corrected(self) -> CorrectedLayer:
        if self._current is None or not self.results.enabled:
            raise InputError("quantify first, then add the field")
        return self._current

    # --- row and particle --------------------------------------------------------------------

    def _rows_chosen(self, numbers: list[int]) -> None:
        if self._current is None:
            return
        # Deleted particles, and those that do not count, have an empty row.
        counted = set(self._current.measured.result.particles["particle"])
        numbers = [number for number in numbers if number in counted]
        if not numbers:
            return
        self._current.particles.selected_label = numbers[-1]
        self.corrections.choose(numbers)

    def _particle_chosen(self, number: int, added: bool) -> None:
        if added:
            self.corrections.add(number)
        else:
            self.corrections.choose([number])

    # --- corrections -------------------------------------------------------------------------

    def _corrected(self, corrected: CorrectedLayer) -> None:
        """A correction was made or taken back: measure again, in the background."""
        if corrected is self._current:
            self.results.mark_stale()
            self.corrections.show_trail()
        self._measure_again(corrected)

    def _measure_again(self, corrected: CorrectedLayer) -> None:
        if self._again is not None:
            return
        changes = list(corrected.changes)
        self._again = Run(
            measured_again(corrected.measured, changes),
            "",  # the form says so, and a bar in the activity dock takes longer than a correction
            on_event=nothing,
            on_result=partial(self._take_again, corrected),
            on_end=partial(self._ended_again, corrected, changes),
            is_wanted=partial(isalive, self.native),
        )

    def _take_again(self, corrected: CorrectedLayer, measured: Measured) -> None:
        corrected.measured = measured
        if list(measured.changes) != corrected.changes:
            return
        layer = corrected.particles
        self._ready_tables()
        layer.features = features_of(measured.result.particles)
        layer.metadata = {**layer.metadata, "statistics": measured.result.statistics}
        if corrected.may_be_painted:
            corrected.look_for_paint()
        if corrected is self._current:
            self._present_results(corrected)
            self.colours.offer(measured.result.particles)
            self._colour()
            self._draw_plots()
            self.controls.say(f"{layer.name}: {count_text(measured.result)}")
        self.study.show_fields()

    def _ended_again(self, corrected: CorrectedLayer, changes: list[Any], message: str) -> None:
        self._again = None
        if message:
            self.controls.say(message)
        waiting = [
            one for one in self._measured_layers if list(one.measured.changes) != one.changes
        ]
        # What could not be measured is tried anew only when it has been corrected further.
        for one in waiting:
            if one is not corrected or one.changes != changes:
                self._measure_again(one)
                return

    # --- colours and plots -------------------------------------------------------------------

    def _colour(self) -> None:
        corrected = self._current
        self._colour_again = self._colouring is not None
        if corrected is None or self._colour_again:
            return
        if not self.colours.column.value and not _is_coloured(corrected.particles):
            return
        highest = corrected.highest
        # Thousands of colours take long to make: not in the window's thread.
        self._colouring = Run(
            one_step(self.colours.maker(highest), "colours"),
            "Colour particles",
            on_event=nothing,
            on_result=partial(_set_colours, corrected.particles),
            on_end=self._coloured,
            is_wanted=partial(isalive, self.native),
        )

    def _coloured(self, message: str) -> None:
        self._colouring = None
        if message:
            self.controls.say(message)
        elif self._colour_again:
            self._colour()

    def _open_plots(self) -> None:
        if self.plots is None:
            self._plots = SizePlots()
            window = getattr(self.viewer, "window", None)
            if window is not None:
                dock_below(window, self._plots, "Particle sizes", tabify=True)
        self._draw_plots()

    def _draw_plots(self) -> None:
        if self.plots is not None and self._current is not None:
            shown = self._current.measured
            smallest = shown.parameters.smallest_area_px
            self.plots.show_particles(shown.result.particles, smallest)

    # --- study -------------------------------------------------------------------------------

    def _show_study(self, opened: OpenedStudy) -> None:
        layers = []
        for one in opened.fields:
            image, phases, region = field_layers(one)
            for layer in (image, phases, region):
                if layer is not None:
                    self.viewer.add_layer(layer)
            layers.append((self._add_particles(phases, image, one.measured), region))
        for name, widget in self.parameters.items():
            widget.value = getattr(opened.stored.parameters, name)
        head = opened.stored.head
        for name in ("specimen", "laboratory", "operator", "standard"):
            getattr(self.results, name).value = getattr(head, name)
        self.reset_choices()
        self.study.take(opened.stored, [corrected for corrected, _ in layers])
        corrected, region = layers[-1]
        self.phase_layer.value, self.image.value = corrected.phases, corrected.image
        self.region.value = region
        if opened.stored.parameters.classes is not None:
            self.classes.value = list(opened.stored.parameters.classes)
        self._keep_own_results()

    # --- what is measured --------------------------------------------------------------------

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
        if self.phase_layer.value is None:
            self._offer_labels()
        labels: Labels = chosen(self.phase_layer, "a Labels layer of phases, or run Segment")
        return labels

    def _offer_labels(self) -> None:
        """Show an image that holds classes as labels, for the user to look at first."""
        for image in [layer for layer in self.viewer.layers if isinstance(layer, Image)]:
            indices = indices_in(image)
            if indices is None:
                continue
            classes = numbered_classes(class_count([indices]))
            name = f"{image.name} labels"
            layer = add_labels_layer(self.viewer, image, indices, classes, name, {})
            self.phase_layer.value = layer
            raise InputError(
                f"{image.name} is an image of classes; taken as labels in {layer.name}, from "
                f"0 = {classes[0].name} on: look at them, then press Quantify again"
            )

    def _calibrate(self, labels: Labels) -> None:
        """Give labels in pixels the pixel size of the chosen image, where that has one."""
        image = self.image.value
        known = layer_calibration(image) if image is not None else None
        if layer_calibration(labels) is None and known is not None:
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

    def _parameters(self, classes: tuple[int, ...] | None) -> QuantifyParameters:
        return read(QuantifyParameters, self.parameters, classes=classes)

    def _class_choices(self, _: object) -> list[tuple[str, int]]:
        return [(name, index) for index, name in enumerate(class_names(self.phase_layer.value))]

    def _chosen_classes(self) -> tuple[int, ...]:
        if not self.classes.value:
            raise InputError("choose at least one phase to measure as particles")
        return tuple(self.classes.value)

    def _labels_chosen(self) -> None:
        self.classes.reset_choices()
        self.classes.value = list(range(1, len(self.classes.choices)))


def _is_coloured(layer: Labels) -> bool:
    return isinstance(layer.colormap, DirectLabelColormap)


def _set_colours(layer: Labels, colormap: Any) -> None:
    layer.colormap = colormap


_REGION = "a Shapes layer: only what its rectangles, ellipses and polygons enclose is measured"
_DATA_BAR = "the microscope's text bar; found by itself and shown as a rectangle you may move"
_SAVE = (
    "writes the phases as you corrected them, with their names, field and pixel size, for the "
    "command line and to open again"
)
_EDGES = {
    "all": "count all particles",
    "exclude-border": "leave out those at the border",
    "miles-lantuejoul": "leave out, weight the others (Miles–Lantuéjoul)",
    "guard-frame": "leave out at two edges (guard frame)",
}
_SPLITS = {
    "none": "stay one particle",
    "distance": "split at necks",
    "intensity": "split by intensity",
}
