"""What all forms share: layer choices, fields of parameter objects, Run and Cancel, memory."""

from __future__ import annotations

import inspect
import typing
import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, Literal, TypeVar

import annotated_types
import napari.viewer
import pandas as pd
from magicgui.widgets import (
    CheckBox,
    ComboBox,
    Container,
    FloatSpinBox,
    Label,
    LineEdit,
    ProgressBar,
    PushButton,
    SpinBox,
    Table,
    Widget,
)
from magicgui.widgets.bases import ValueWidget
from napari.layers import Image, Layer
from napari.utils.notifications import show_error
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from qtpy.compat import isalive
from qtpy.QtCore import QEvent, QObject, Qt
from qtpy.QtWidgets import (
    QComboBox,
    QFrame,
    QHeaderView,
    QLabel,
    QScrollArea,
    QSizePolicy,
    QStyledItemDelegate,
)

from ..errors import InputError, Model, validated
from ..events import Event, Events, Progress
from . import settings
from .help import help_link
from .recipe_step import RecipeStep, copy_button, put_on_clipboard
from .results import is_computed
from .wording import in_window
from .worker import Run

T = TypeVar("T")

_UNITS = {"px": "px", "um": "µm", "um2": "µm²", "percent": "%"}
_LARGEST = 1_000_000
_LEAST_WIDTH = 370


# --- fields of parameter objects -------------------------------------------------------------


def parameter_fields(
    model: type[BaseModel],
    names: Iterable[str],
    labels: Mapping[str, str] | None = None,
    choices: Mapping[str, Mapping[str, str]] | None = None,
) -> dict[str, ValueWidget[Any]]:
    """Widgets for fields of a parameter object, by name.

    Parameters
    ----------
    labels
        Texts for people where the field's name, underscores replaced, does not do.
    choices
        By field and value: texts for the values of a `Literal`.

    The tooltip is what the object's docstring says of the field. Types are `Literal`, `bool`,
    `int`, `float`, `float | None` (0 shown for None) and `str`.
    """
    described = attribute_descriptions(model)
    fields: dict[str, ValueWidget[Any]] = {}
    for name in names:
        widget = _field_widget(model.model_fields[name], (choices or {}).get(name, {}))
        widget.name = name
        text = (labels or {}).get(name) or _label(name)
        if isinstance(widget, CheckBox):
            widget.text, widget.label = text, ""
        else:
            widget.label = text
        widget.tooltip = described.get(name, "")
        fields[name] = widget
    return fields


def read(model: type[Model], fields: Mapping[str, ValueWidget[Any]], /, **others: Any) -> Model:
    """The parameter object with the fields' values and `others`.

    Raises
    ------
    InputError
        When a value is not possible, in one line.
    """
    values = {
        name: None if _is_none(model.model_fields[name], widget.value) else widget.value
        for name, widget in fields.items()
    }
    return validated(model, values | others, _label)


def attribute_descriptions(model: type[BaseModel]) -> dict[str, str]:
    """What a numpy-style docstring says of each attribute, on one line each."""
    _, _, section = inspect.getdoc(model).partition("Attributes\n----------\n")  # type: ignore[union-attr]
    section = section.split("\n----", 1)[0]
    described: dict[str, str] = {}
    names: list[str] = []
    for line in section.splitlines():
        if line and not line.startswith(" "):
            names = [name.strip() for name in line.split(",")]
            continue
        for name in names:
            described[name] = f"{described.get(name, '')} {line.strip()}".strip()
    return described


def _field_widget(info: FieldInfo, texts: Mapping[str, str]) -> ValueWidget[Any]:
    annotation, default = info.annotation, info.get_default(call_default_factory=True)
    if typing.get_origin(annotation) is Literal:
        values = typing.get_args(annotation)
        return ComboBox(choices=[(texts.get(v, str(v)), v) for v in values], value=default)
    if annotation is bool:
        return CheckBox(value=default)
    if annotation is int:
        low, high = _limits(info)
        return SpinBox(value=default, min=int(low), max=int(high))
    if annotation == float | None:
        _, high = _limits(info)
        optional = FloatSpinBox(value=default or 0.0, min=0.0, max=high, step=1.0)
        optional.native.setSpecialValueText("none")
        return optional
    if annotation is float:
        low, high = _limits(info)
        return FloatSpinBox(value=default, min=low, max=high, step=0.1)
    if annotation is str:
        return LineEdit(value=default)
    raise TypeError(f"no widget for {annotation}")


def _is_none(info: FieldInfo, value: Any) -> bool:
    return info.annotation == float | None and value == 0


def _limits(info: FieldInfo) -> tuple[float, float]:
    low, high = 0.0, float(_LARGEST)
    for bound in info.metadata:
        if isinstance(bound, annotated_types.Ge):
            low = float(typing.cast(float, bound.ge))
        if isinstance(bound, annotated_types.Le):
            high = float(typing.cast(float, bound.le))
    return low, high


def _label(name: str) -> str:
    """`shading_px` to "Shading (px)"."""
    words = name.split("_")
    unit = _UNITS.get(words[-1])
    text = " ".join(words[:-1] if unit else words)
    return f"{text[:1].upper()}{text[1:]}" + (f" ({unit})" if unit else "")


# --- layers ----------------------------------------------------------------------------------


def layer_choice(
    viewer: napari.viewer.Viewer,
    kind: type[Layer],
    label: str,
    *,
    optional: bool = False,
    tooltip: str = "",
    accepts: Callable[[Any], bool] = lambda layer: True,
) -> ComboBox:
    """A choice among the viewer's layers of a kind, brought up to date by `reset_choices`.

    Parameters
    ----------
    optional
        Offer "none" too.
    accepts
        Which of those layers to offer.
    """

    def offered(_: object) -> list[tuple[str, Layer | None]]:
        none: list[tuple[str, Layer | None]] = [("none", None)] if optional else []
        found = [x for x in viewer.layers if isinstance(x, kind) and accepts(x)]
        return none + [(layer.name, layer) for layer in found]

    # magicgui's own "nullable" would show five dashes.
    return ComboBox(choices=offered, label=label, tooltip=tooltip)


def micrograph_choice(
    viewer: napari.viewer.Viewer, *, optional: bool = False, tooltip: str = ""
) -> ComboBox:
    """A choice among the viewer's images; maps computed from one are not offered."""
    return layer_choice(
        viewer,
        Image,
        "Image",
        optional=optional,
        tooltip=tooltip,
        accepts=lambda layer: not is_computed(layer),
    )


def chosen(choice: ComboBox, what: str) -> Any:
    """The chosen layer, or `InputError` saying what to open."""
    if choice.value is None:
        raise InputError(f"open {what} first, then choose it here")
    return choice.value


# --- Run and Cancel --------------------------------------------------------------------------


class RunControls(Container[Widget]):
    """Run, Cancel, a progress bar and a line that says how it went."""

    def __init__(self, text: str) -> None:
        self.run_button = PushButton(text=text)
        self.cancel_button = PushButton(text="Cancel", enabled=False)
        self.progress = ProgressBar(value=0, min=0, max=1, visible=False)
        self.status = Label(value="")
        self._run: Run[Any] | None = None
        self._on_event: Callable[[Event], None] | None = None
        self._said = False
        self.buttons = button_row(self.run_button, self.cancel_button)
        super().__init__(widgets=[self.buttons, self.progress, self.status], labels=False)
        wrap(self.status)
        self.cancel_button.changed.connect(self.cancel)

    @property
    def is_running(self) -> bool:
        """Whether a computation is under way."""
        return self._run is not None

    def start(
        self,
        events: Events[T],
        title: str,
        on_result: Callable[[T], None],
        on_event: Callable[[Event], None] | None = None,
    ) -> None:
        """Start a computation; one at a time."""
        if self.is_running:
            events.close()
            raise InputError("a computation is under way; wait for it or cancel it")
        self._on_event = on_event
        self._said = False
        self._set_running(True)
        self.status.value = f"{title} …"
        self._run = Run(
            events,
            title,
            on_event=self._show,
            on_result=on_result,
            on_end=self._end,
            is_wanted=partial(isalive, self.native),
        )

    def cancel(self) -> None:
        """Ask the computation to stop."""
        if self._run is not None:
            self.status.value = "cancelling …"
            self._run.cancel()

    def abandon(self) -> None:
        """Cancel without ever touching the form again."""
        if self._run is not None:
            self._run.abandon()
            self._run = None

    def say(self, message: str) -> None:
        """Show a line."""
        self._said = True
        self.status.value = message

    def _show(self, event: Event) -> None:
        if isinstance(event, Progress):
            # A total of 0 is unknown: the bar then moves to and fro.
            self.progress.max = event.total
            self.progress.value = event.done
            counted = f"{event.done} of {event.total} " if event.total else ""
            self.status.value = f"{counted}{event.message}".rstrip()
        if self._on_event is not None:
            self._on_event(event)

    def _end(self, message: str) -> None:
        self._run = None
        self._set_running(False)
        if message:
            self.status.value = message
        elif not self._said:
            self.status.value = "done"

    def _set_running(self, running: bool) -> None:
        self.run_button.enabled = not running
        self.cancel_button.enabled = running
        self.progress.visible = running


# --- the form --------------------------------------------------------------------------------


class Form(Container[Widget]):
    """A dock: fields that scroll, and Run and Cancel below them.

    Parameters
    ----------
    viewer
        napari's viewer; the proxy that plugins get is taken off.
    section
        Names the form in the settings.
    fields
        What scrolls.
    remembered
        Widgets whose values outlive the session, by name.
    run_text
        What the Run button says.
    help_section
        Section of the help.
    controls
        In place of Run and Cancel.
    """

    def __init__(
        self,
        viewer: napari.viewer.Viewer,
        section: str,
        fields: Sequence[Widget],
        remembered: Mapping[str, ValueWidget[Any]],
        run_text: str,
        help_section: str,
        controls: RunControls | None = None,
    ) -> None:
        self.viewer = unproxied(viewer)
        self.controls = controls or RunControls(run_text)
        self._section = section
        self._remembered = dict(remembered)
        self.copy_step = copy_button()
        super().__init__(widgets=[self.controls, self._footer(help_section)], labels=False)
        self.fields: Container[Widget] = Container(widgets=list(fields))
        align_labels(self.fields)
        self.native.layout().insertWidget(0, _scrolled(self.fields), 1)
        self._recall()
        self.controls.run_button.changed.connect(partial(self.attempt, self._run))
        self.copy_step.changed.connect(partial(self.attempt, self._copy_step))
        self._follow_layers()
        self._watch = _DockWatch(self)

    def reset_choices(self, *_: object) -> None:
        """Bring the choices of layers up to date."""
        self.fields.reset_choices()

    def compute(self) -> None:
        """Read the form and start the computation; subclasses say how."""
        raise NotImplementedError

    def recipe_step(self) -> RecipeStep:
        """What Run would use, as a step of a recipe; forms that can be one say how."""
        raise NotImplementedError

    def abandon(self) -> None:
        """End what is under way: the form is gone; subclasses with further runs end them too."""
        self.controls.abandon()

    def closed(self) -> None:
        """The dock was closed; subclasses take away what has no meaning without it."""
        self.abandon()

    def refuse(self, error: Exception) -> None:
        """Show why something cannot be done, in the form and as a notification."""
        message = in_window(str(error))
        self.controls.say(message)
        show_error(message)

    def attempt(self, action: Callable[[], object], *_: object) -> None:
        """Do what a button asks for, or show why it cannot be done."""
        try:
            action()
        except InputError as error:
            self.refuse(error)

    def _footer(self, help_section: str) -> Widget:
        if type(self).recipe_step is Form.recipe_step:
            return help_link(help_section)
        return button_row(help_link(help_section), self.copy_step)

    def _copy_step(self) -> None:
        self.controls.say(put_on_clipboard(self.recipe_step()))

    def _run(self) -> None:
        self.compute()
        self._remember()

    def _remember(self) -> None:
        settings.save(self._section, {n: w.value for n, w in self._remembered.items()})

    def _recall(self) -> None:
        values = settings.load(self._section)
        for name, widget in self._remembered.items():
            if name in values:
                _set_if_possible(widget, values[name])

    def _follow_layers(self) -> None:
        # A dock added by napari follows the layers too, but only once it is docked.
        events = self.viewer.layers.events
        for event in (events.inserted, events.removed, events.reordered):
            event.connect(self.reset_choices)
        self.reset_choices()


class _DockWatch(QObject):
    """Tells a form when it leaves the window.

    Closing a dock only unparents its widget, without a close event. Closing the viewer destroys it;
    runs notice that themselves.
    """

    def __init__(self, form: Form) -> None:
        super().__init__()
        self._form = weakref.ref(form)
        form.native.installEventFilter(self)

    def eventFilter(self, watched: QObject | None, event: QEvent | None) -> bool:
        """Watch for the loss of the parent; lets every event pass."""
        form = self._form()
        if form is None or watched is None or event is None:
            return False
        if event.type() == QEvent.Type.ParentChange and watched.parent() is None:
            form.closed()
        return False


def unproxied(viewer: napari.viewer.Viewer) -> napari.viewer.Viewer:
    """The viewer itself; plugins get a proxy, through which layers have another identity."""
    return typing.cast(napari.viewer.Viewer, getattr(viewer, "__wrapped__", viewer))


def wrap(label: Label) -> None:
    """Let a label break its lines, so that it does not widen the dock."""
    native = typing.cast(QLabel, label.native)
    native.setWordWrap(True)
    policy = native.sizePolicy()
    policy.setHorizontalPolicy(QSizePolicy.Policy.Expanding)
    # As high as its lines, not as magicgui's guess at their number.
    policy.setVerticalPolicy(QSizePolicy.Policy.Preferred)
    native.setSizePolicy(policy)
    native.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)


def keep_narrow(choice: ComboBox) -> None:
    """Let no long name, such as a layer's, widen the dock."""
    native = typing.cast(QComboBox, choice.native)
    native.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
    native.setMinimumContentsLength(12)


def align_labels(fields: Container[Widget]) -> None:
    """Keep the labels before fields at one width; magicgui does so only for fields added later."""
    _LabelColumn(fields)


class _LabelColumn(QObject):
    """The labels of a container; lives with it.

    How wide they are is known once napari's style is on them: at the first show, and at each
    change of theme or font size.
    """

    def __init__(self, fields: Container[Widget]) -> None:
        super().__init__(fields.native)
        self._labels = [x for field in fields if field.label and (x := _label_before(field))]
        fields.native.installEventFilter(self)

    def eventFilter(self, watched: QObject | None, event: QEvent | None) -> bool:
        """Watch for a show or a change of style; lets every event pass."""
        if event is not None and event.type() in (QEvent.Type.Show, QEvent.Type.StyleChange):
            self._align()
        return False

    def _align(self) -> None:
        for label in self._labels:
            label.ensurePolished()
        widest = max((label.sizeHint().width() for label in self._labels), default=0)
        for label in self._labels:
            label.setMinimumWidth(widest)


def fill(table: Table, frame: pd.DataFrame, wrapped: str = "") -> None:
    """Show a table without its index, units below the names so that more columns fit.

    The column `wrapped` takes the room that the others leave, on several lines if need be.
    """
    table.value = frame.rename(columns=lambda name: name.replace(" (", "\n(")).to_dict("list")
    header = table.native.horizontalHeader()
    header.setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
    if wrapped:
        column = frame.columns.get_loc(wrapped)
        header.setSectionResizeMode(column, QHeaderView.ResizeMode.Stretch)


def as_result(table: Table) -> None:
    """Make a table one to read: no editing, rows as high as their content."""
    table.read_only = True
    native = table.native
    # magicgui's own delegate shows every number with four decimals.
    native.setItemDelegate(QStyledItemDelegate(native))
    native.verticalHeader().setVisible(False)
    native.verticalHeader().setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
    native.setMinimumHeight(130)
    native.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Preferred)


def button_row(*buttons: Widget) -> Container[Widget]:
    """Buttons beside each other."""
    row: Container[Widget] = Container(widgets=[*buttons], layout="horizontal", labels=False)
    row.margins = (0, 0, 0, 0)
    return row


def show_all(widgets: Iterable[Widget], visible: bool) -> None:
    """Show or hide widgets."""
    for widget in widgets:
        widget.visible = visible


def _label_before(field: Widget) -> QLabel | None:
    row = field.native.parentWidget().layout()
    first = row.itemAt(0).widget() if row is not None and row.count() else None
    return first if isinstance(first, QLabel) and first is not field.native else None


def _scrolled(fields: Container[Widget]) -> QScrollArea:
    """A scroll area around fields; magicgui's own does not nest."""
    for widget in fields:
        if isinstance(widget, ComboBox):
            keep_narrow(widget)
    fields.native.layout().addStretch(1)
    area = QScrollArea()
    area.setWidgetResizable(True)
    area.setFrameShape(QFrame.Shape.NoFrame)
    area.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
    area.setWidget(fields.native)
    area.setMinimumWidth(max(_LEAST_WIDTH, fields.native.minimumSizeHint().width() + 20))
    return area


def _set_if_possible(widget: ValueWidget[Any], value: Any) -> None:
    # A choice of the last session may be gone, a limit may have moved.
    try:
        widget.value = value
    except (ValueError, TypeError):
        return
