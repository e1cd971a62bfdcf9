"""*Calibrate*: tell how large a pixel is."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import napari.viewer
from magicgui.widgets import CheckBox, ComboBox, Container, Label, LineEdit, PushButton, Widget
from napari.layers import Image, Points
from napari.utils.notifications import show_error

from ..batch.recipe import CalibrateStep
from ..calibration import Calibration, micrometres
from ..errors import InputError
from ..io.images import read_micrograph
from .form import (
    align_labels,
    button_row,
    chosen,
    micrograph_choice,
    show_all,
    unproxied,
    wrap,
)
from .help import help_link
from .layers import (
    calibrate_with_companions,
    layer_calibration,
    layers_in_pixels_beside_others,
    pixel_positions,
    plane_placement,
    plane_shape,
    same_size_images,
)
from .objectives import add_objective, delete_objective, objective_calibration, objectives
from .recipe_step import RecipeStep, copy_button, put_on_clipboard
from .wording import in_window

_UNITS = ("µm", "nm", "mm")
_KNOWN, _BAR, _OBJECTIVE, _FILE = "known", "bar", "objective", "file"
_WAYS = [
    ("a value I know", _KNOWN),
    ("the scale bar in the image", _BAR),
    ("a saved objective", _OBJECTIVE),
    ("the file's metadata", _FILE),
]
_MARKS_A_SIDE = 40
_SAME_SIZE = "tick only when all of them were taken at the same magnification"
_ONE_CAMERA = "a pixel size holds for one camera at one resolution: name both if you have several"


class CalibrateWidget(Container[Widget]):
    """The dock *Calibrate*."""

    def __init__(self, viewer: napari.viewer.Viewer) -> None:
        self.viewer = unproxied(viewer)
        self._followed: Image | None = None
        self.image = micrograph_choice(self.viewer)
        self.present = _text("Pixel size")
        self.way = ComboBox(choices=_WAYS, value=_KNOWN, label="Take it from")
        self.known = LengthField("Pixel size", "side of one pixel")
        self.bar = ScaleBarFields(self._mark_bar)
        self.objective = ObjectiveFields(self._trying)
        self.file = _text("File")
        self.same_size = CheckBox(
            value=False, label="", text="Also other images of the same size", tooltip=_SAME_SIZE
        )
        self.apply_button = PushButton(text="Apply")
        self.copy_step = copy_button()
        self.status = _text("")
        self.mixed = _text("")
        super().__init__(widgets=self._rows())
        align_labels(self)
        self._connect()
        self.reset_choices()
        self._choose_active()
        self._show_way()

    def reset_choices(self, *_: object) -> None:
        """Bring the choice of images up to date."""
        self.image.reset_choices()
        self._follow()

    def calibration(self) -> Calibration:
        """What the form says; `InputError` when something is missing."""
        ways: dict[str, Callable[[], Calibration]] = {
            _KNOWN: lambda: Calibration.square(self.known.micrometres(), "stated by the user"),
            _BAR: lambda: self.bar.calibration(self._bar_layer(), self._chosen()),
            _OBJECTIVE: lambda: objective_calibration(self.objective.saved.value),
            _FILE: lambda: file_calibration(self._chosen()),
        }
        return ways[self.way.value]()

    def recipe_step(self) -> RecipeStep:
        """The pixel size as a step of a recipe, for all images alike."""
        if self.way.value == _FILE:
            raise InputError("a batch reads each image's file by itself: that takes no step")
        return RecipeStep("calibrate", CalibrateStep(pixel_size_um=self.calibration().mean_um))

    def apply(self) -> None:
        """Calibrate the chosen image, or say in one line why that cannot be done."""
        self._trying(self._apply)

    def _copy_step(self) -> None:
        self.status.value = put_on_clipboard(self.recipe_step())

    def _apply(self) -> None:
        image, calibration = self._chosen(), self.calibration()
        others = same_size_images(self.viewer, image) if self.same_size.value else []
        for one in (image, *others):
            calibrate_with_companions(self.viewer, one, calibration)
        # The world has changed its size: what was in view no longer is.
        self.viewer.reset_view()
        bar = self._bar_layer()
        if bar is not None:
            bar.mode = "pan_zoom"
        names = ", ".join(one.name for one in (image, *others))
        self.status.value = f"{names}: {describe(calibration)}"
        self._show_present()

    def _trying(self, action: Callable[[], None]) -> None:
        try:
            action()
        except InputError as error:
            self.status.value = str(error)
            show_error(in_window(str(error)))

    def _chosen(self) -> Image:
        image: Image = chosen(self.image, "an image")
        return image

    def _rows(self) -> list[Widget]:
        return [
            self.image,
            self.present,
            self.way,
            self.known,
            *self.bar.widgets,
            *self.objective.widgets,
            self.file,
            self.same_size,
            self.apply_button,
            self.status,
            self.mixed,
            button_row(help_link("Calibrate"), self.copy_step),
        ]

    def _connect(self) -> None:
        self.image.changed.connect(self._follow)
        self.way.changed.connect(self._show_way)
        self.apply_button.changed.connect(self.apply)
        self.copy_step.changed.connect(lambda _: self._trying(self._copy_step))
        events = self.viewer.layers.events
        for event in (events.inserted, events.removed, events.reordered):
            event.connect(self.reset_choices)

    def _choose_active(self) -> None:
        active = self.viewer.layers.selection.active
        if active in self.image.choices:
            self.image.value = active

    def _show_way(self) -> None:
        way = self.way.value
        self.status.value = ""
        show_all([self.known], way == _KNOWN)
        show_all(self.bar.widgets, way == _BAR)
        show_all(self.objective.widgets, way == _OBJECTIVE)
        show_all([self.file], way == _FILE)

    def _follow(self) -> None:
        """Show what becomes of the chosen image, also when others change its scale."""
        if self._followed is not None:
            for event in (self._followed.events.scale, self._followed.events.units):
                event.disconnect(self._show_present)
        self._followed = self.image.value
        if self._followed is not None:
            for event in (self._followed.events.scale, self._followed.events.units):
                event.connect(self._show_present)
        self._show_present()

    def _show_present(self, *_: object) -> None:
        image = self.image.value
        self.present.value = present_pixel_size(image) if image is not None else "open an image"
        path = image.source.path if image is not None else None
        self.file.value = Path(path).name if path else "the image was not opened from a file"
        self._show_mixed()

    def _show_mixed(self) -> None:
        names = layers_in_pixels_beside_others(self.viewer)
        self.mixed.visible = bool(names)
        self.mixed.value = (
            f"Still in pixels: {', '.join(names)}. Beside layers in µm they are shown at a wrong "
            "size, and the viewer's scale bar has no unit; calibrate them too."
        )

    def _mark_bar(self) -> None:
        self._trying(self._add_bar_layer)

    def _add_bar_layer(self) -> None:
        image = self._chosen()
        layer = self._bar_layer()
        if layer is None:
            layer = Points(
                ndim=2,
                name=_bar_name(image),
                symbol="cross",
                size=max(plane_shape(image)) / _MARKS_A_SIDE,
                face_color="#d55e00",
                border_color="#d55e00",
                **plane_placement(image, 2),
            )
            self.viewer.add_layer(layer)
            layer.events.data.connect(self._show_bar)
        self.viewer.layers.selection.active = layer
        layer.mode = "add"
        self._show_bar()

    def _bar_layer(self) -> Points | None:
        name = _bar_name(self._chosen())
        named = (layer for layer in self.viewer.layers if layer.name == name)
        return next((layer for layer in named if isinstance(layer, Points)), None)

    def _show_bar(self, *_: object) -> None:
        layer = self._bar_layer() if self.image.value is not None else None
        if layer is not None:
            self.bar.show(pixel_positions(layer.data, layer, self._chosen()))


class LengthField(Container[Widget]):
    """A number and its unit of length; a decimal comma will do."""

    def __init__(self, label: str, tooltip: str) -> None:
        self.number = LineEdit(value="", tooltip=tooltip)
        self.unit = ComboBox(choices=_UNITS, value="µm")
        super().__init__(
            widgets=[self.number, self.unit], layout="horizontal", labels=False, label=label
        )
        self.margins = (0, 0, 0, 0)

    def micrometres(self) -> float:
        """The length in µm; `InputError` when it is none."""
        text = self.number.value.strip()
        try:
            length = float(text.replace(",", "."))
        except ValueError:
            length = math.nan
        if not (math.isfinite(length) and length > 0):
            shown = f"'{text}' is not a positive number" if text else "it is still empty"
            raise InputError(f"{self.label}: {shown}; type one such as 0.194")
        return micrometres(length, self.unit.value)


class ScaleBarFields:
    """Two points on the scale bar and the length between them."""

    def __init__(self, mark: Callable[[], None]) -> None:
        self.mark_button = PushButton(text="Mark the two ends of the bar")
        self.marked = _text("Marked")
        self.marked.value = "nothing yet"
        self.length = LengthField("Length of the bar", "as printed beside the bar")
        self.mark_button.changed.connect(mark)
        self.widgets: list[Widget] = [self.mark_button, self.marked, self.length]

    def show(self, points: Sequence[Sequence[float]]) -> None:
        """Say how far the marking has come."""
        if len(points) == 2:
            self.marked.value = f"{math.dist(*points):.1f} px"
        elif len(points) > 2:
            self.marked.value = f"{len(points)} points: delete all but the two ends"
        else:
            self.marked.value = f"{len(points)} of 2 ends; click them in the image"

    def calibration(self, layer: Points | None, image: Image) -> Calibration:
        """The pixel size that follows."""
        points = pixel_positions(layer.data, layer, image) if layer is not None else []
        if len(points) != 2:
            raise InputError(f"mark the two ends of the scale bar; {len(points)} are marked")
        first, second = points
        return Calibration.from_two_points(first, second, self.length.micrometres())


class ObjectiveFields:
    """Saved objectives, and what adds and deletes them."""

    def __init__(self, trying: Callable[[Callable[[], None]], None]) -> None:
        self.saved = ComboBox(choices=self._offered, label="Objective", tooltip=_ONE_CAMERA)
        self.delete_button = PushButton(text="Delete this objective")
        self.name = LineEdit(value="", label="New: name", tooltip=_ONE_CAMERA)
        self.size = LengthField("New: pixel size", "side of one pixel with this objective")
        self.add_button = PushButton(text="Save the new objective")
        self.delete_button.changed.connect(lambda: trying(self._delete))
        self.add_button.changed.connect(lambda: trying(self._add))
        self.widgets: list[Widget] = [
            self.saved,
            self.delete_button,
            self.name,
            self.size,
            self.add_button,
        ]
        self.saved.reset_choices()

    def _offered(self, _: object) -> list[tuple[str, str]]:
        return [(f"{name} ({size:.4g} µm/px)", name) for name, size in objectives().items()]

    def _add(self) -> None:
        name = self.name.value.strip()
        add_objective(name, self.size.micrometres())
        self.saved.reset_choices()
        self.saved.value = name

    def _delete(self) -> None:
        if self.saved.value is not None:
            delete_objective(self.saved.value)
            self.saved.reset_choices()


def describe(calibration: Calibration) -> str:
    """A pixel size, its uncertainty and its source, for people."""
    size = f"{calibration.x_um:.4g}"
    if not math.isclose(calibration.x_um, calibration.y_um, rel_tol=1e-6):
        size += f" × {calibration.y_um:.4g}"
    sure = calibration.relative_uncertainty
    spread = f" ± {100 * sure:.2g} %" if sure is not None else ""
    return f"{size} µm{spread} per pixel ({calibration.source})"


def present_pixel_size(image: Image) -> str:
    """What is known of an image's pixel size; the nominal magnification as a mere label."""
    try:
        calibration = layer_calibration(image)
    except InputError as error:
        return str(error)
    lines = [describe(calibration) if calibration else "unknown: the image is in pixels"]
    magnification = image.metadata.get("microscope", {}).get("nominal_magnification")
    if magnification:
        lines.append(f"nominal magnification {magnification} (not used for measuring)")
    return "\n".join(lines)


def file_calibration(image: Image) -> Calibration:
    """What an image's file, or the index.csv beside it, says of the pixel size.

    Raises
    ------
    InputError
        When the image has no file or the file states none.
    """
    path = image.source.path
    if not path:
        raise InputError(f"{image.name} was not opened from a file; choose another way")
    calibration = read_micrograph(Path(path)).calibration
    if calibration is None:
        raise InputError(f"{Path(path).name} states no pixel size; choose another way")
    return calibration


def _bar_name(image: Image) -> str:
    return f"{image.name} scale bar"


def _text(label: str) -> Any:
    text = Label(value="", label=label)
    wrap(text)
    return text
