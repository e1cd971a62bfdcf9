"""*Fine-tune*: paint, train, look, correct."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import napari.viewer
import numpy as np
from magicgui.widgets import CheckBox, Label, PushButton
from napari.layers import Image, Labels, Shapes
from napari.utils.notifications import show_info, show_warning
from qtpy.compat import isalive
from qtpy.QtWidgets import QFileDialog

from ..classes import UNLABELLED, PhaseClass
from ..errors import InputError
from ..events import Event, Preview, TrainingStep
from ..models.card import ModelCard
from ..models.registry import own_folder
from ..plane import leading_shape
from ..regions import Field
from ..segmentation.segment import Segmentation
from ..training.fine_tuning import (
    OriginOf,
    Painted,
    Plan,
    Session,
    Tuned,
    held_out_words,
    look_with,
    origin_words,
    pixel_sizes_differ,
    save_tuned,
    stopped_in,
    stopped_origin,
)
from . import settings
from .class_table import ClassTable
from .form import Form, chosen, layer_choice, micrograph_choice, wrap
from .layers import (
    field_of,
    find_or_add_data_bar,
    image_named_by,
    pixels_of,
    snapshot,
    stated_names,
)
from .model_choice import model_file, offer_everywhere
from .painting import (
    fill_unlabelled,
    make_paintable,
    new_labels,
    start_painting,
    stated_classes,
    whole_prediction,
)
from .train_controls import TrainControls
from .training_docks import TrainingDocks
from .training_fields import DeviceFields, RecipeFields, StartFields
from .training_layers import (
    Index,
    show_phases,
)
from .training_round import BeforeAndAfter, Round, begun, same_task
from .training_set import (
    Pair,
    TrainingSet,
    painted,
    pixel_sizes,
    plane_indices,
    plane_name,
    require_known_classes,
    selected_pair,
)
from .worker import CANCELLED

_IMAGE = "new labels layers are made on this image, and predictions are turned into paint on it"
_REGION = "a Shapes layer: paint outside its rectangles, ellipses and polygons is ignored"
_DATA_BAR = "the microscope's text bar; paint on it is ignored, and it is not predicted"
_RESAMPLE = "the images' pixel sizes differ more than 1.5 times"
_TO_PAINT = (
    "copies the prediction to the image's labels layer, where nothing is painted yet, to be "
    "corrected there; can be undone"
)
_CHANGED = "images, labels or settings changed"
_SUGGESTED = "my-steel.safetensors"
_TRY = "shows what the chosen model makes of the image, beside the results of others"


class FineTuneWidget(Form):
    """The dock *Fine-tune*."""

    def __init__(self, viewer: napari.viewer.Viewer) -> None:
        self.image = micrograph_choice(viewer, tooltip=_IMAGE)
        self.start = StartFields()
        self.table = ClassTable(self.start.classes(), self._classes_changed)
        self.set = TrainingSet(self._set_changed)
        self.prediction = layer_choice(
            viewer, Labels, "Prediction", optional=True, accepts=self._is_prediction
        )
        self.to_paint = PushButton(text="Prediction to paint", label="", tooltip=_TO_PAINT)
        self.try_button = PushButton(text="Try this model on the image", label="", tooltip=_TRY)
        self.recipe = RecipeFields()
        self.device = DeviceFields()
        self.region = layer_choice(
            viewer, Shapes, "Region of interest", optional=True, tooltip=_REGION
        )
        self.data_bar = CheckBox(
            value=True, label="", text="Leave out the data bar", tooltip=_DATA_BAR
        )
        self.resample = CheckBox(
            value=False, label="", text="Resample to the median pixel size", tooltip=_RESAMPLE
        )
        self.held_out = Label(value="", label="")
        wrap(self.held_out)
        self.training = TrainControls()
        super().__init__(
            viewer,
            "fine-tune",
            [
                self.image,
                self.set,
                self.held_out,
                self.table,
                self.prediction,
                self.to_paint,
                *self.start.widgets,
                self.try_button,
                *self.recipe.widgets,
                *self.device.widgets,
                self.region,
                self.data_bar,
                self.resample,
            ],
            {
                "data_bar": self.data_bar,
                **self.start.remembered,
                **self.recipe.remembered,
                **self.device.remembered,
            },
            "Train",
            "Fine-tune",
            self.training,
        )
        self.docks = TrainingDocks(self.viewer)
        self._round: Round | None = None
        self._stopped: Round | None = None
        self._tuned: Tuned | None = None
        self._goes_on = False
        self._why_stopped = ""
        self._results = BeforeAndAfter(self.viewer)
        self._connect()
        for fields in (self.start, self.recipe):
            fields.show()
        self.resample.visible = False
        self._show_model_classes()
        self.training.offer(may_continue=any(stopped_in(_trainings())), has_result=False)

    # --- paint -------------------------------------------------------------------------------

    def add_pair(self, pair: Pair) -> None:
        """Take labels and their image into the training set; `InputError` when they do not fit."""
        stated = stated_classes(pair.labels)
        if stated and not self.set.pairs and not self.table.is_edited:
            self.table.show_classes(stated)
        require_known_classes(pair.labels, self.table.classes())
        self.set.add(pair)
        make_paintable(pair.labels, self.table.drawn())
        start_painting(self.viewer, pair.labels)

    def new_labels(self) -> Labels:
        """An empty labels layer on the chosen image, in the training set."""
        image: Image = chosen(self.image, "an image")
        layer = new_labels(self.viewer, image, self.table.classes())
        try:
            self.add_pair(Pair(image, layer))
        except InputError:
            self.viewer.layers.remove(layer)
            raise
        return layer

    def paint_prediction(self) -> None:
        """Copy the chosen prediction to where its image has no paint yet."""
        prediction: Labels = chosen(self.prediction, "a prediction, such as a result of Segment")
        image = image_named_by(self.viewer, prediction) or chosen(self.image, "an image")
        values, unknown = whole_prediction(image, prediction, self.table.classes())
        self.image.value = image
        layer = self.set.labels_of(image) or self.new_labels()
        count = fill_unlabelled(layer, values)
        if unknown:
            show_warning(f"{', '.join(unknown)}: no class of this form, hence left unlabelled")
        prediction.visible = False
        start_painting(self.viewer, layer)
        self.controls.say(f"{layer.name}: {count:,} pixels painted; correct them with the brush")

    # --- train -------------------------------------------------------------------------------

    def compute(self) -> None:
        """Train from the chosen start."""
        self._begin(self._round_of(self.start.origin()))

    def search(self) -> None:
        """Search for the recipe that suits the paint, with the new network that is chosen."""
        self._begin(self._round_of(self.start.origin(), is_search=True))
        self._remember()

    def go_on(self) -> None:
        """Go on with what is paused, was stopped, or was finished."""
        if self.training.is_paused:
            self._wake()
        elif self._stopped is not None:
            self._go_on_from_stop(self._stopped)
        elif self._tuned is not None:
            self._begin(self._round_of(self._tuned.origin))
        else:
            # Stopped before napari was closed.
            self._begin(self._round_of(self.start.origin()), resume=True)

    def save(self) -> None:
        """Ask for a file and write the model there."""
        if self._tuned is None:
            raise InputError("train a model first")
        folder = own_folder()
        suggested, _ = QFileDialog.getSaveFileName(
            self.native,
            "Save model",
            str(folder / _SUGGESTED),
            "Models (*.safetensors)",
        )
        if suggested:
            path = model_file(Path(suggested), folder)
            saving = save_tuned(path, self._tuned)
            self.controls.start(saving, f"Save {path.name}", partial(self._saved, path))

    def try_model(self) -> None:
        """Show what the chosen model makes of the plane in view."""
        image: Image = chosen(self.image, "an image")
        index = self._plane_in_view(image)
        array, _ = snapshot(image)
        measured = self.measured(image)
        plane = array[index] if index else array
        name = self.start.model.value
        one = Painted(image.name, plane, np.full(measured.shape, UNLABELLED, np.uint8), measured)
        self.controls.start(
            look_with(name, [one], self.device.chosen_device()),
            f"Try {Path(name).name}",
            partial(self._tried, image, index, Path(name).stem),
        )

    def measured(self, image: Image) -> Field:
        """The field that the region and the data bar leave."""
        bar = find_or_add_data_bar(self.viewer, image) if self.data_bar.value else None
        return field_of(image, self.region.value, bar)

    def abandon(self) -> None:
        """Stop following the layers too."""
        super().abandon()
        self._goes_on = False

    def closed(self) -> None:
        """Take the previews and the curve away."""
        super().closed()
        if self._round is not None:
            self._round.previews.remove()
        self._results.side_by_side.hide()
        self.docks.remove()

    def _begin(self, one: Round, *, resume: bool = False) -> None:
        events = one.run(resume=resume)
        self.controls.start(events, one.title, partial(self._finished, one), self._show_event)
        self._round = one
        self.docks.begin(anew=not resume)
        self.held_out.value = ""

    def _round_of(self, origin: OriginOf, *, is_search: bool = False) -> Round:
        """What the form asks for now; `InputError` when something is missing."""
        classes, pairs = self.table.classes(), self.set.pairs
        if not pairs:
            raise InputError("press 'New labels layer' and paint some strokes of every class first")
        for pair in pairs:
            require_known_classes(pair.labels, classes)
        places = {
            plane_name(pair.image, index): (pair.image, index)
            for pair in pairs
            for index in plane_indices(pair)
        }
        plan = self._plan(pairs, classes, origin)
        return begun(plan, places, self.viewer, is_search=is_search)

    def _plan(
        self, pairs: Sequence[Pair], classes: tuple[PhaseClass, ...], origin: OriginOf
    ) -> Plan:
        return Plan(
            painted=painted(pairs, self.measured),
            classes=classes,
            origin=origin,
            recipe=self.recipe.recipe(),
            device=self.device.chosen_device(),
            precision=self.device.chosen_precision(),
            checkpoints=_trainings(),
            resample=bool(self.resample.value) and pixel_sizes_differ(pixel_sizes(pairs)),
        )

    def _wake(self) -> None:
        """Go on after a pause; with the paint added meanwhile, where there is any."""
        if self._round is None or same_task(
            self._round, self._round_of(self._round.plan.origin, is_search=self._round.is_search)
        ):
            self.training.resume()
        else:
            self._goes_on = True
            self.controls.cancel()

    def _go_on_from_stop(self, stopped: Round) -> None:
        now = self._round_of(stopped.plan.origin, is_search=stopped.is_search)
        if same_task(stopped, now):
            self._begin(now, resume=stopped.can_go_on)
        elif stopped.is_search or not stopped.can_go_on:
            show_info(
                f"{_CHANGED}: the {'search' if stopped.is_search else 'training'} starts anew"
            )
            self._begin(now)
        else:
            show_info(f"{_CHANGED}: training starts anew from the last weights")
            assert stopped.session.job is not None
            origin = partial(stopped_origin, stopped.session.job, stopped.plan.classes)
            self._begin(replace(now, plan=replace(now.plan, origin=origin)))

    # --- what comes of it --------------------------------------------------------------------

    def _show_event(self, event: Event) -> None:
        if self._round is None:
            return
        if isinstance(event, TrainingStep):
            self._round.watched.follow()
            self.docks.add(event)
            self._show_split(self._round.session)
        elif isinstance(event, Preview):
            self._round.previews.show(event, self._round.watched.box_of_next())

    def _show_split(self, session: Session) -> None:
        parts, job = session.split, session.job
        if parts is not None and job is not None and not self.held_out.value:
            self.held_out.value = held_out_words(parts, job.recipe)

    def _finished(self, one: Round, tuned: Tuned) -> None:
        self._tuned, self._stopped = tuned, None
        self.training.end_after(self._showing(one, tuned))

    def _showing(self, one: Round, tuned: Tuned) -> Iterator[None]:
        """Show what came of a round, in steps: all at once would freeze the window."""
        one.previews.remove()
        yield
        yield from self._results.show(one, tuned)
        shown = self._results.shown
        if shown and shown[0] in self.prediction.choices:
            self.prediction.value = shown[0]
        if tuned.search is not None:
            self.docks.show_gains(tuned.search)
        self.controls.say(
            f"{_outcome(tuned)}; look, correct, press Continue; or save the model. "
            f"Started from {origin_words(tuned)}."
        )

    def _tried(
        self, image: Image, index: Index, model: str, found: dict[str, Segmentation]
    ) -> None:
        if image in self.viewer.layers:
            (one,) = found.values()
            show_phases(self.viewer, image, {index: one}, f"by {model}", on_top=True)

    def _saved(self, path: Path, card: ModelCard) -> None:
        offer_everywhere(path)
        self.controls.say(f"written to {path}")

    def _ended(self, message: str) -> None:
        one, self._round = self._round, None
        if one is not None:
            self._note_end(one, message)
        self.training.offer(
            may_continue=self._stopped is not None or self._tuned is not None,
            has_result=self._tuned is not None,
        )
        why, self._why_stopped = self._why_stopped, ""
        goes_on, self._goes_on = self._goes_on, False
        if why:
            self.refuse(InputError(why))
        elif goes_on and message in ("", CANCELLED):
            self.attempt(self.go_on)

    def _note_end(self, one: Round, message: str) -> None:
        """Keep a round without a result, to go on with it; one that failed at once is none."""
        one.previews.remove()
        if message == CANCELLED or one.can_go_on:
            self._stopped = one

    # --- the form ----------------------------------------------------------------------------

    def _connect(self) -> None:
        pressed: list[tuple[PushButton, Callable[[], Any]]] = [
            (self.set.add_button, self._add_selected),
            (self.set.new_button, self.new_labels),
            (self.to_paint, self.paint_prediction),
            (self.try_button, self.try_model),
            (self.training.continue_button, self.go_on),
            (self.training.search_button, self.search),
            (self.training.save_button, self.save),
            (self.training.beside_button, self._results.toggle),
        ]
        for button, action in pressed:
            button.changed.connect(partial(self.attempt, action))
        for source in (self.start.kind, self.start.model.combo):
            source.changed.connect(self._show_model_classes)
        self.training.cancel_button.changed.connect(self._stay_stopped)
        self.training.on_ended = self._ended
        self.viewer.layers.events.removed.connect(self._layer_removed)

    def _stay_stopped(self, *_: object) -> None:
        """Cancel, unlike a Continue that cancels in order to start anew."""
        self._goes_on = False

    def _add_selected(self) -> None:
        self.add_pair(selected_pair(self.viewer, self.image.value))

    def _is_prediction(self, layer: Labels) -> bool:
        return bool(stated_names(layer)) and not self.set.holds(layer)

    def _plane_in_view(self, image: Image) -> Index:
        point = image.world_to_data(self.viewer.dims.point[-image.ndim :])
        array, rgb = pixels_of(image)
        leading = leading_shape(array, rgb=rgb)
        return tuple(int(np.clip(round(x), 0, n - 1)) for x, n in zip(point, leading, strict=False))

    def _classes_changed(self) -> None:
        for pair in self.set.pairs:
            make_paintable(pair.labels, self.table.drawn())
        self.start.show_kept(self.table.names)

    def _show_model_classes(self, *_: object) -> None:
        """Offer the classes of the chosen model while the user has none of their own."""
        self.start.read_parent()
        self.try_button.visible = not self.start.is_new
        if not self.table.is_edited and not self.set.pairs:
            self.table.show_classes(self.start.classes())
        self.start.show_kept(self.table.names)

    def _set_changed(self) -> None:
        self.resample.visible = pixel_sizes_differ(pixel_sizes(self.set.pairs))
        self.prediction.reset_choices()

    def _layer_removed(self, event: Any) -> None:
        if not isalive(self.native):  # type: ignore[no-untyped-call]
            return
        if self.set.discard(event.value) and self._round is not None:
            self._why_stopped = f"{event.value.name} was removed: training stopped"
            self.controls.cancel()


def _trainings() -> Path:
    """The folder where stopped trainings are kept."""
    return settings.settings_path().parent / "trainings"


def _outcome(tuned: Tuned) -> str:
    """How good the network is, as far as that is known."""
    best = tuned.search.best if tuned.search is not None else None
    score = best.miou if best is not None else tuned.trained.metrics.get("miou")
    said = f"mean IoU {score:.3f} over the held-out labels" if score is not None else "trained"
    return f"'{best.name}' is best: {said}" if best is not None else said
