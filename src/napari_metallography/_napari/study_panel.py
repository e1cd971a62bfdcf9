"""The study in the form *Quantify*: several fields, saved to one folder and opened again."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from magicgui.widgets import CheckBox, Container, Label, PushButton, Table, Widget
from napari.layers import Image, Labels, Shapes
from qtpy.QtWidgets import QFileDialog

from ..errors import InputError
from ..events import Events, Notice
from ..io.headings import heading
from ..io.images import Micrograph, read_micrograph
from ..quantification.columns import column, unit_of
from ..quantification.study import Study, combine
from ..quantification.study_folder import (
    StoredField,
    StoredStudy,
    StudyField,
    StudyImage,
    read_study_folder,
    write_study_folder,
)
from .corrected_layer import CorrectedLayer
from .form import Form, as_result, button_row, fill, wrap
from .layers import plane_placement, specimen_of
from .measured import FILE, Measured, given_events, with_image
from .particle_table import interval_texts, texts
from .quantify_results import Results
from .reader import image_layer, labels_layer
from .worker import one_step


@dataclass(frozen=True)
class OpenedField:
    """A field of an opened study, measured again."""

    stored: StoredField
    measured: Measured
    micrograph: Micrograph | None


@dataclass(frozen=True)
class OpenedStudy:
    """A study with its fields measured again."""

    stored: StoredStudy
    fields: tuple[OpenedField, ...]


class StudyPanel(Container[Widget]):
    """Fields put together, and the folder they are kept in.

    Parameters
    ----------
    form
        Runs what reads and writes, and shows refusals.
    results
        Its specimen and the other entries of the report's head are the study's too.
    current
        Gives the measured layer that *Add field* takes.
    show
        Called with the opened study, to add its layers.
    """

    def __init__(
        self,
        form: Form,
        results: Results,
        current: Callable[[], CorrectedLayer],
        show: Callable[[OpenedStudy], None],
    ) -> None:
        self._form, self._results = form, results
        self._current, self._show = current, show
        self._fields: dict[str, tuple[CorrectedLayer, str]] = {}
        self._identity = uuid.uuid4().hex
        self.heading = Label(value=f"<b>Study</b><br>{_HOW}")
        self.add = PushButton(text="Add field", tooltip=_ADD)
        self.remove_last = PushButton(text="Remove last")
        self.table = Table(value=None, visible=False)
        self.summary = Label(value="")
        self.copy_images = CheckBox(value=False, label="", text="Copy the images", tooltip=_COPY)
        self.save = PushButton(text="Save study…", tooltip="to a folder of its own")
        self.open = PushButton(text="Open study…", tooltip="the folder of a saved study")
        super().__init__(
            widgets=[
                self.heading,
                button_row(self.add, self.remove_last),
                self.table,
                self.summary,
                self.copy_images,
                button_row(self.save, self.open),
            ],
            labels=False,
        )
        self.margins = (0, 0, 0, 0)
        as_result(self.table)
        for label in (self.heading, self.summary):
            wrap(label)
        for button, press in (
            (self.add, self.add_field),
            (self.remove_last, self._remove),
            (self.save, self._ask_and_save),
            (self.open, self._ask_and_open),
        ):
            button.changed.connect(partial(self._form.attempt, press))

    @property
    def names(self) -> list[str]:
        """Names of the fields."""
        return list(self._fields)

    def study(self) -> Study:
        """The fields put together.

        Raises
        ------
        InputError
            When there is none, or they do not go together.
        """
        return self._study(self._fields)

    def add_field(self) -> None:
        """Take the current result as a field; the same layer's former result is replaced."""
        corrected = self._current()
        name = self._name_for(corrected)
        specimen = specimen_of(corrected.image) or self._results.specimen.value
        fields = {**self._fields, name: (corrected, specimen)}
        self._study(fields)
        self._fields = fields
        self.show_fields()
        self._form.controls.say(f"{name}: field {len(fields)} of the study")

    def show_fields(self) -> None:
        """Show the fields as they are measured now."""
        self.table.visible = bool(self._fields)
        if not self._fields:
            self.summary.value = ""
            return
        study = self.study()
        fill(self.table, field_rows(study), "field")
        n = study.statistics["n_fields"]
        counted = f"{n} field{'s' * (n != 1)}, {study.statistics['n_particles']:,} particles."
        self.summary.value = "\n".join([counted, *interval_texts(study.statistics["phases"])])

    def save_study(self, folder: Path) -> None:
        """Write the study."""
        fields = [self._field(name, *field) for name, field in self._fields.items()]
        if not fields:
            raise InputError("add a field first, then save the study")

        # Widgets are read here: the writing is another thread's.
        head, copy_images = self._results.head, bool(self.copy_images.value)

        def write() -> None:
            write_study_folder(
                folder,
                [make() for make in fields],
                self._identity,
                head=head,
                copy_images=copy_images,
            )

        controls = self._form.controls
        controls.start(
            one_step(write, folder.name),
            f"write {folder.name}",
            lambda _: controls.say(f"wrote the study {folder.name}"),
        )

    def open_study(self, folder: Path) -> None:
        """Read a study and add its layers."""
        self._form.controls.start(
            opened_events(folder), f"open {folder.name}", partial(self._opened, folder)
        )

    def take(self, study: StoredStudy, fields: Sequence[CorrectedLayer]) -> None:
        """Go on with an opened study, in place of the present one."""
        self._identity = study.identity
        self._fields = {}
        for one, stored in zip(fields, study.fields, strict=True):
            self._fields[_unique(stored.name, self._fields)] = one, stored.specimen
        self.show_fields()

    def _opened(self, folder: Path, opened: OpenedStudy) -> None:
        self._show(opened)
        problems = [one.stored.problem for one in opened.fields if one.stored.problem]
        said = f"opened {folder.name}: {len(opened.fields)} field(s)"
        self._form.controls.say(problems[0] if problems else said)

    def _name_for(self, corrected: CorrectedLayer) -> str:
        """The name of the layer's field, or one that no other field has."""
        for name, (one, _) in self._fields.items():
            if one.phases is corrected.phases:
                return name
        return _unique(corrected.measured.name, self._fields)

    def _field(
        self, name: str, corrected: CorrectedLayer, specimen: str
    ) -> Callable[[], StudyField]:
        measured = replace(corrected.measured, name=name)
        if not corrected.is_measured():
            raise InputError(f"{name}: is being measured again; save when that is done")
        if corrected.painted:
            raise InputError(f"{name}: was painted on; quantify it and add it to the study again")
        image = _study_image(measured)
        return lambda: StudyField(
            measured.as_image(specimen, picture=True),
            measured.ids,
            measured.parameters,
            measured.changes,
            image,
        )

    def _study(self, fields: dict[str, tuple[CorrectedLayer, str]]) -> Study:
        return combine(
            [(name, one.measured.result) for name, (one, _) in fields.items()],
            {name: specimen for name, (_, specimen) in fields.items()},
        )

    def _remove(self) -> None:
        if self._fields:
            self._fields.popitem()
        self.show_fields()

    def _ask_and_save(self) -> None:
        self.study()
        path, _ = QFileDialog.getSaveFileName(self.native, "Save study as a folder", "study")
        if path:
            self.save_study(Path(path))

    def _ask_and_open(self) -> None:
        path = QFileDialog.getExistingDirectory(self.native, "Open study")
        if path:
            self.open_study(Path(path))


def opened_events(folder: Path) -> Events[OpenedStudy]:
    """Read a study, its images too, and measure its fields as they are numbered."""
    stored = read_study_folder(folder)
    fields = []
    for one in stored.fields:
        micrograph = None
        if one.problem:
            yield Notice(one.problem)
        elif one.image is not None and one.image.path is not None:
            micrograph = read_micrograph(one.image.path)
        empty: Any = None
        measured = Measured(
            one.labels,
            one.name,
            empty,
            one.ids,
            stored.parameters,
            None,
            False,
            None,
            file=one.image,
        )
        if micrograph is not None:
            measured = with_image(measured, micrograph.pixels, micrograph.rgb)
        measured = yield from given_events(measured, one.changes)
        fields.append(OpenedField(one, measured, micrograph))
    return OpenedStudy(stored, tuple(fields))


def field_layers(opened: OpenedField) -> tuple[Image | None, Labels, Shapes | None]:
    """Image, phases and region of interest of a field, as layers."""
    labels, name = opened.measured.labels, opened.stored.name
    values, keywords, _ = labels_layer(labels, name)
    phases = Labels(values, **keywords)
    stored = opened.stored.image
    file = {FILE: {"path": str(stored.path), "sha256": stored.sha256}} if stored else {}
    phases.metadata = {**phases.metadata, **file}
    image = None
    if opened.micrograph is not None:
        pixels, about, _ = image_layer(opened.micrograph)
        about["metadata"] = {**about["metadata"], **file}
        if labels.calibration is not None:
            about["metadata"]["calibration"] = labels.calibration.to_dict()
        image = Image(np.asarray(pixels), **{**about, **plane_placement(phases, phases.ndim)})
    region = None
    if labels.measured.region:
        region = Shapes(
            [np.asarray(polygon) for polygon in labels.measured.region],
            shape_type="polygon",
            name=f"{name} region",
            edge_color="#56b4e9",
            face_color="transparent",
            edge_width=2,
            **plane_placement(phases, 2),
        )
    return image, phases, region


def field_rows(study: Study) -> pd.DataFrame:
    """What the form shows of each field: a row a field and phase measured as particles."""
    phases = study.phases[study.phases["n_particles"].notna()]
    names = phases["image"]
    if phases["plane"].nunique() > 1:
        names = names + ", plane " + phases["plane"].astype(str)
    radius = column(phases, "mean_radius")
    return pd.DataFrame(
        {
            "field": names,
            "phase": phases["phase"],
            "area (%)": texts(100 * phases["area_fraction"], "{:.2f}"),
            heading("n_particles"): texts(phases["n_particles"], "{:,.0f}"),
            f"radius ({unit_of(phases, 'mean_radius')})": texts(phases[radius], "{:.4g}"),
        }
    )


def _study_image(measured: Measured) -> StudyImage | None:
    file = measured.file
    if file is None and measured.pixels is None:
        return None
    return replace(file or StudyImage(None), pixels=measured.pixels, rgb=measured.rgb)


def _unique(name: str, taken: Collection[str]) -> str:
    number, unique = 1, name
    while unique in taken:
        number += 1
        unique = f"{name} ({number})"
    return unique


_HOW = "Several fields give confidence intervals; a saved study is gone on with later."
_ADD = "takes the result shown as a field of the study; statistics are over fields"
_COPY = "into the study's folder; otherwise it notes where they are, and their digest"
