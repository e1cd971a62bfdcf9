"""Fields put together in the form *Grade grain size*, and the files they are written to."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
from magicgui.widgets import Container, FloatSpinBox, Label, PushButton, Table, Widget
from napari.layers import Image
from qtpy.QtWidgets import QFileDialog

from ..errors import InputError
from ..grains.files import write_grain_sizes
from ..grains.grading import FieldGrade, Method
from ..grains.standards import iso_643
from ..grains.study import disagreement, grain_size_of
from ..io.files import require_writable
from .form import Form, align_labels, as_result, button_row, fill, wrap
from .graded_plane import graded_image
from .grain_layers import GradedLayers
from .worker import one_step

_UNITS: Mapping[Method, str] = {
    "lines": "mm⁻¹",
    "circles": "mm⁻¹",
    "planimetric": "mm⁻²",
    "automatic": "µm²",
}
_JSON = "grain_size.json"


class GrainFields(Container[Widget]):
    """Graded images as fields, each once, their grain size with its interval, and the files.

    Parameters
    ----------
    form
        Runs what writes files and shows refusals.
    current
        The result shown, or `InputError` when there is none.
    """

    def __init__(self, form: Form, current: Callable[[], GradedLayers]) -> None:
        self._form, self._current = form, current
        self._fields: dict[tuple[Image, tuple[int, ...]], GradedLayers] = {}
        self.heading = Label(value=f"<b>Fields</b><br>{_HOW}", label="")
        self.add = PushButton(text="Add field", tooltip=_ADD)
        self.remove_last = PushButton(text="Remove last")
        self.table = Table(value=None, label="", visible=False)
        self.summary = Label(value="", label="", visible=False)
        self.wanted = FloatSpinBox(
            value=10.0, min=0.5, max=100, step=0.5, label="Wanted accuracy (%)", tooltip=_WANTED
        )
        self.export = PushButton(text="Export…", label="", tooltip=_EXPORT)
        super().__init__(
            widgets=[
                self.heading,
                button_row(self.add, self.remove_last),
                self.table,
                self.summary,
                self.wanted,
                self.export,
            ]
        )
        self.margins = (0, 0, 0, 0)
        align_labels(self)
        as_result(self.table)
        for label in (self.heading, self.summary):
            wrap(label)
        for button, press in (
            (self.add, self.add_field),
            (self.remove_last, self._remove),
            (self.export, self._ask_and_export),
        ):
            button.changed.connect(partial(self._form.attempt, press))
        self.wanted.changed.connect(lambda _: self.show_fields())

    @property
    def names(self) -> list[str]:
        """Names of the fields."""
        return _unique([one.plane.source.name for one in self._fields.values()])

    def add_field(self) -> None:
        """Take the result shown as a field; an earlier one of the same plane is replaced."""
        graded = self._current()
        first = next(iter(self._fields.values()), graded)
        others = len(self._fields) > 1 or graded.key not in self._fields
        if others and list(first.by_method) != list(graded.by_method):
            raise InputError(
                f"the fields were measured by {', '.join(first.by_method)}; measure this one by "
                "the same methods, or remove them"
            )
        again = "; it takes the place of its earlier result" if graded.key in self._fields else ""
        self._fields[graded.key] = graded
        self.show_fields()
        count = _plural(len(self._fields), "field")
        self._form.controls.say(f"{graded.plane.source.name}: {count}{again}")

    def show_fields(self) -> None:
        """Show the fields as they are measured now."""
        self.table.visible = self.summary.visible = bool(self._fields)
        if not self._fields:
            return
        found = grain_size_of([one.field for one in self._fields.values()], self.wanted.value)
        fill(self.table, mean_table(found))
        fit_rows(self.table)
        self.summary.value = "\n".join([f"Fields: {', '.join(self.names)}.", *found["notes"]])

    def write(self, folder: Path) -> None:
        """Write grain_size.json, its report and pictures of the fields, or of the result shown."""
        graded = list(self._fields.values()) or [self._current()]
        names = _unique([one.plane.source.name for one in graded])
        if (folder / _JSON).exists():
            raise InputError(f"{folder}: holds a {_JSON} already; choose another folder")
        require_writable(folder)
        # Numbers and widgets are read here: the writing is another thread's.
        parts = [(name, one.plane, one.field) for name, one in zip(names, graded, strict=True)]
        wanted = float(self.wanted.value)

        def written() -> int:
            images = [graded_image(*part) for part in parts]
            write_grain_sizes(folder, images, wanted)
            return sum(len(image.pictures) for image in images)

        controls = self._form.controls
        controls.start(
            one_step(written, _JSON),
            f"write {_JSON}",
            lambda n: controls.say(f"wrote {_JSON} and {_plural(n, 'picture')} to {folder.name}"),
        )

    def _remove(self) -> None:
        if not self._fields:
            raise InputError("there is no field yet")
        self._fields.popitem()
        self.show_fields()

    def _ask_and_export(self) -> None:
        if not self._fields:
            self._current()
        folder = QFileDialog.getExistingDirectory(self.native, "Export grain sizes to a folder")
        if folder:
            self.write(Path(folder))


def fit_rows(table: Table) -> None:
    """Make a table as high as its rows, for there is little room."""
    native = table.native
    head, rows = native.horizontalHeader().sizeHint().height(), native.verticalHeader().length()
    native.setFixedHeight(head + rows + 2 * native.frameWidth())


def method_table(by_method: Mapping[Method, FieldGrade]) -> pd.DataFrame:
    """A row a method: the numbers of one field."""
    return pd.DataFrame(
        {
            "method": list(by_method),
            "G": [_number(one.g) for one in by_method.values()],
            "ISO\n643": [_number(iso_643(one.g)) for one in by_method.values()],
            "count": [f"{one.count:g}" for one in by_method.values()],
            "measured": [_measured(one) for one in by_method.values()],
        }
    )


def _measured(one: FieldGrade) -> str:
    """The quantity; of the line network how far its lines differ, which says more of one field."""
    if one.method == "network":
        return f"spread {_number(one.measured['spread_of_lines_G'])}"
    return f"{_three_digits(one.value)} {_UNITS[one.method]}"


def mean_table(found: Mapping[str, Any]) -> pd.DataFrame:
    """A row a method: the numbers over fields, from what `grain_size_of` gives."""
    methods: Sequence[Mapping[str, Any]] = list(found.get("methods", {}).values()) or [found]
    return pd.DataFrame(
        {
            "method": [one["method"] for one in methods],
            "n": [one["n_fields"] for one in methods],
            "G": [_number(one["G"]) for one in methods],
            "95 % CI": [_interval(one["ci95"]) for one in methods],
            "%RA": [_number(one["relative_accuracy_percent"], 1) for one in methods],
            "needed": [_count(one["fields_still_needed"]) for one in methods],
        }
    )


def field_lines(graded: GradedLayers) -> list[str]:
    """What is to be said beside the numbers of a field; warnings first."""
    found = graded.by_method
    warnings = [
        *disagreement({method: one.g for method, one in found.items()}),
        *(f"{method}: {note}" for method, one in found.items() for note in one.notes),
    ]
    if graded.is_earlier:
        warnings.insert(0, _EARLIER)
    field = graded.field
    return [*(f"⚠ {line}" for line in warnings), *field.notes, *_measures(found)]


def _measures(found: Mapping[Method, FieldGrade]) -> list[str]:
    lines = found.get("lines")
    said = []
    if lines is not None and math.isfinite(lines.measured["mean_intercept_um"]):
        index = lines.measured.get("anisotropy_index")
        longer = f"; anisotropy index {index:.2f}" if index and math.isfinite(index) else ""
        said.append(f"Mean intercept {lines.measured['mean_intercept_um']:.4g} µm{longer}.")
    known = [one for one in found.values() if one.sizes is not None]
    network = found.get("network")
    return [
        *said,
        *(_of_grains(known[0]) if known else ()),
        *(_of_lines(network) if network else ()),
    ]


def _of_grains(one: FieldGrade) -> Iterator[str]:
    left_out = one.measured.get("twins_left_out")
    if left_out is not None:
        yield f"{_plural(left_out, 'region')} left out as twins."
    sizes = one.sizes.to_dict() if one.sizes else {"whole_grains": 0}
    if sizes["whole_grains"]:
        yield (
            f"{sizes['whole_grains']:,} whole grains, {sizes['distribution']}; the largest has G "
            f"{sizes['largest_grain_G']:.1f}."
        )


def _of_lines(network: FieldGrade) -> Iterator[str]:
    measured = network.measured
    yield (
        f"Network: {measured['lines']} lines, {measured['independent_lines']} of them independent; "
        f"their G has a standard deviation of {measured['spread_of_lines_G']:.2f}, most probable "
        f"is {measured['most_probable_G']:g}."
    )


def _plural(count: int, what: str) -> str:
    return f"{count:,} {what}{'s' * (count != 1)}"


def _number(value: float | None, digits: int = 2) -> str:
    return "–" if value is None or not math.isfinite(value) else f"{value:.{digits}f}"


def _three_digits(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"


def _interval(ends: Sequence[float] | None) -> str:
    return "–" if ends is None else f"{_number(ends[0])} to {_number(ends[1])}"


def _count(value: float | None) -> str:
    return "–" if value is None else f"{value:g}"


def _unique(names: Sequence[str]) -> list[str]:
    """The names, those that occur again with a number."""
    found: list[str] = []
    for name in names:
        unique, number = name, 1
        while unique in found:
            number += 1
            unique = f"{name} ({number})"
        found.append(unique)
    return found


_EARLIER = "from an earlier measurement: the last one has given no numbers"
_HOW = "Several fields, chosen without bias, give a confidence interval; n counts fields."
_ADD = "takes the result shown as a field; each image counts once"
_WANTED = "relative accuracy of the mean, to tell how many fields are needed for it"
_EXPORT = (
    "writes grain_size.json, a report (grain_size.html) and a picture a method, of all fields or "
    "else of the result shown"
)
