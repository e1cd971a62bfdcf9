"""*Batch*: a recipe over layers, files, folders and the planes of stacks; a row for each."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from weakref import WeakValueDictionary

import napari.viewer
from magicgui.widgets import CheckBox, ComboBox, Container, Label, LineEdit, PushButton
from magicgui.widgets import Widget as MagicWidget
from napari.layers import Layer
from qtpy.compat import isalive
from qtpy.QtCore import QTimer, QUrl
from qtpy.QtGui import QDesktopServices
from qtpy.QtWidgets import QFileDialog, QMessageBox

from ..batch.items import Source
from ..batch.journal import NAME, Record
from ..batch.results import REPORT
from ..batch.run import Begin, ItemState
from ..errors import InputError
from ..events import Event
from .batch_layers import Given, given_layers, selected_layers
from .batch_runs import BatchDone, Where, batch_events, earlier_records
from .batch_table import ItemTable, reason
from .form import Form, RunControls, button_row, show_all, wrap
from .opened_items import OpenedItem, read_opened, show_opened
from .recipe_editor import RecipeEditor, ready_text
from .worker import Run, nothing, one_step

_LAYERS, _FILES = "layers", "files"
_KINDS = [("folder, files or pattern", _FILES), ("selected layers", _LAYERS)]
_INPUTS = "inputs"
"""Folder of what is written of layers, in that of the results."""

_FIRST = "carbides"
_PAUSE_MS = 50


class BatchWidget(Form):
    """The dock *Batch*."""

    def __init__(self, viewer: napari.viewer.Viewer) -> None:
        self.editor = RecipeEditor(self.attempt)
        self.inputs = InputFields(self.attempt)
        self.folder = FolderField("Results folder", _FOLDER)
        self.anew = CheckBox(value=False, label="", text="Begin anew", tooltip=_ANEW)
        self.workers = ComboBox(choices=_workers(), label="Workers", tooltip=_WORKERS)
        self.scheduler = LineEdit(value="", label="Scheduler", tooltip=_SCHEDULER)
        self.scheduler.native.setPlaceholderText("optional: tcp://node7:8786")
        self.rows = ItemRows(self.open_row)
        super().__init__(
            viewer,
            "batch",
            [
                self.editor,
                *self.inputs.widgets,
                self.folder,
                self.anew,
                self.workers,
                self.scheduler,
                self.rows,
            ],
            {
                "recipe": self.editor.text,
                **self.inputs.remembered,
                "folder": self.folder.path,
                "workers": self.workers,
                "scheduler": self.scheduler,
            },
            "Run",
            "Batch",
            BatchControls(self._run_ended),
        )
        if not self.editor.text.value:
            self.editor.replace(ready_text(_FIRST))
        self.editor.show_found()
        self.inputs.show_kind()
        self._shown: Path | None = None
        self._opening: Run[OpenedItem] | None = None
        self._layers: WeakValueDictionary[Path, Layer] = WeakValueDictionary()
        self.rows.open.changed.connect(partial(self.attempt, self._open_current))
        self.rows.report.changed.connect(partial(self.attempt, self.open_report))
        self.rows.earlier.changed.connect(partial(self.attempt, self._ask_for_earlier))
        self.scheduler.changed.connect(self._scheduler_changed)
        self._scheduler_changed()

    def compute(self) -> None:
        """Run the recipe over the inputs."""
        recipe, folder = self.editor.recipe(), self.folder.chosen()
        inputs, layers = self._inputs(folder, labels=recipe.takes_labels)
        begin = self._begin(folder)
        if begin is None:
            return
        where = Where(int(self.workers.value), self.scheduler.value.strip())
        if where.scheduler:
            where = Where(0, where.scheduler)
        events = batch_events(recipe, inputs, folder, begin, where)
        self.controls.start(events, "Batch", self._finished, self._happened)
        self.anew.value = False
        self._show_rows(folder, [])
        self._layers = layers

    def abandon(self) -> None:
        """End what is under way, results that are being opened too."""
        super().abandon()
        if self._opening is not None:
            self._opening.abandon()
            self._opening = None

    def show_earlier(self, folder: Path) -> None:
        """Show the rows of a batch that was run before."""
        self.controls.start(
            one_step(partial(earlier_records, folder), "journal"),
            f"open {folder.name}",
            partial(self._show_earlier, folder),
        )

    def open_row(self, row: ItemState) -> None:
        """Open the results of an item, or say why there are none."""
        if row.state != "done" or self._shown is None:
            raise InputError(
                f"{row.item.name}: {reason(row) or f'is {row.state}; it has no results yet'}"
            )
        if self._opening is not None:
            raise InputError("results are being opened; wait for them")
        self._opening = Run(
            one_step(partial(read_opened, self._shown, row.item), row.item.name),
            f"open {row.item.name}",
            on_event=nothing,
            on_result=self._show_opened,
            on_end=self._opening_ended,
            is_wanted=partial(isalive, self.native),
        )

    def open_report(self) -> None:
        """Let the system show the report."""
        path = self._shown / REPORT if self._shown is not None else None
        if path is None or not path.is_file():
            raise InputError("there is no report yet; it is written at the end of a batch")
        QDesktopServices.openUrl(QUrl.fromLocalFile(str(path.resolve())))

    # --- what is run -------------------------------------------------------------------------

    def _inputs(
        self, folder: Path, *, labels: bool
    ) -> tuple[Sequence[str] | Sequence[Given], WeakValueDictionary[Path, Layer]]:
        """The inputs, and by their files the layers that they are."""
        known: WeakValueDictionary[Path, Layer] = WeakValueDictionary()
        if self.inputs.kind.value == _FILES:
            return self.inputs.named(), known
        layers = selected_layers(self.viewer, labels=labels)
        given = given_layers(layers, folder / _INPUTS)
        for layer, one in zip(layers, given, strict=True):
            for path in (one.target, getattr(one, "file", None)):
                if path is not None:
                    known[path.resolve()] = layer
        return given, known

    def _begin(self, folder: Path) -> Begin | None:
        """How to begin; None when somebody thinks better of it."""
        if not self.anew.value or not (folder / NAME).exists():
            return "resume"
        asked = QMessageBox.question(
            self.native,
            "Begin anew",
            f"The results of the batch in {folder} are removed. Begin anew?",
        )
        return "recompute" if asked == QMessageBox.StandardButton.Yes else None

    def _scheduler_changed(self, *_: object) -> None:
        # A scheduler has workers of its own.
        self.workers.enabled = not self.scheduler.value.strip()

    # --- what comes of it --------------------------------------------------------------------

    def _happened(self, event: Event) -> None:
        if isinstance(event, ItemState):
            self.rows.put(event)

    def _finished(self, done: BatchDone) -> None:
        self.controls.say("; ".join([f"finished: {done.batch.folder.name}", *done.notes]))

    def _run_ended(self, message: str) -> None:
        self.rows.stop_running()
        if self._shown is not None:
            self.rows.report.enabled = (self._shown / REPORT).is_file()

    def _show_rows(self, folder: Path, rows: Sequence[ItemState]) -> None:
        self._shown = folder
        self.rows.replace(rows)

    def _show_earlier(self, folder: Path, records: dict[str, Record]) -> None:
        self._layers = WeakValueDictionary()
        self._show_rows(folder, [_row(key, record) for key, record in records.items()])
        self.controls.say(f"{folder.name}: {self.rows.table.counted}")

    def _ask_for_earlier(self) -> None:
        start = self.folder.path.value
        path = QFileDialog.getExistingDirectory(self.native, "Results of a batch", start)
        if path:
            self.show_earlier(Path(path))

    # --- results of a row --------------------------------------------------------------------

    def _open_current(self) -> None:
        row = self.rows.table.current
        if row is None:
            raise InputError("select a row of the table first")
        self.open_row(row)

    def _show_opened(self, opened: OpenedItem) -> None:
        layer = self._layers.get(opened.file)
        self.rows.detail.value = show_opened(self.viewer, opened, layer)

    def _opening_ended(self, message: str) -> None:
        self._opening = None
        if message:
            self.rows.detail.value = message


class BatchControls(RunControls):
    """Run and Cancel, which tell when a run has ended."""

    def __init__(self, on_ended: Callable[[str], None]) -> None:
        super().__init__("Run")
        self._on_ended = on_ended

    def _end(self, message: str) -> None:
        super()._end(message)
        self._on_ended(message)


class InputFields:
    """What a recipe is run over."""

    def __init__(self, attempt: Callable[..., None]) -> None:
        self.kind = ComboBox(choices=_KINDS, label="Inputs", tooltip=_KIND)
        self.files = LineEdit(value="", label=" ", tooltip=_PATTERN)
        self.files.native.setPlaceholderText("such as scans/*.tif")
        self.folder_button = PushButton(text="Folder…")
        self.files_button = PushButton(text="Files…")
        self._buttons = button_row(self.folder_button, self.files_button)
        self._buttons.label = " "
        self.remembered = {"kind": self.kind, "files": self.files}
        self.widgets: list[MagicWidget] = [self.kind, self.files, self._buttons]
        self.kind.changed.connect(self.show_kind)
        self.folder_button.changed.connect(partial(attempt, self._ask_for_folder))
        self.files_button.changed.connect(partial(attempt, self._ask_for_files))

    def named(self) -> list[str]:
        """Files, folders and patterns; `InputError` when there are none."""
        text = self.files.value.strip()
        parts = [text] if Path(text).exists() else [part.strip() for part in text.split(_BETWEEN)]
        named = [str(Path(part).expanduser().absolute()) for part in parts if part]
        if not named:
            raise InputError("name a folder, files or a pattern to run the recipe over")
        return named

    def show_kind(self, *_: object) -> None:
        """Show the fields that count."""
        show_all([self.files, self._buttons], self.kind.value == _FILES)

    def _ask_for_folder(self) -> None:
        path = QFileDialog.getExistingDirectory(self.files.native, "Folder of images")
        if path:
            self.files.value = path

    def _ask_for_files(self) -> None:
        paths, _ = QFileDialog.getOpenFileNames(self.files.native, "Images")
        if paths:
            self.files.value = f"{_BETWEEN} ".join(paths)


class FolderField(Container[MagicWidget]):
    """A folder by its path, or chosen."""

    def __init__(self, label: str, tooltip: str) -> None:
        self.path = LineEdit(value="", tooltip=tooltip)
        self.browse = PushButton(text="Browse…")
        super().__init__(
            widgets=[self.path, self.browse], layout="horizontal", labels=False, label=label
        )
        self.margins = (0, 0, 0, 0)
        self.browse.changed.connect(self._ask)

    def chosen(self) -> Path:
        """The folder; `InputError` when there is none."""
        text = self.path.value.strip()
        if not text:
            raise InputError("choose a folder for the results")
        return Path(text).expanduser().absolute()

    def _ask(self) -> None:
        path = QFileDialog.getExistingDirectory(self.native, self.label, self.path.value)
        if path:
            self.path.value = path


class ItemRows(Container[MagicWidget]):
    """The table of items, what is to be said of one, and what can be opened.

    Parameters
    ----------
    on_opened
        Called with the row whose results are to be opened.
    """

    def __init__(self, on_opened: Callable[[ItemState], None]) -> None:
        self._on_opened = on_opened
        self.table = ItemTable(self._chosen, self._opened)
        self.counted = Label(value="", label="")
        self.detail = Label(value="", label="")
        self.open = PushButton(text="Open results", tooltip=_OPEN)
        self.report = PushButton(text="Open report", enabled=False, tooltip=_REPORT)
        self.earlier = PushButton(text="Earlier…", tooltip=_EARLIER)
        buttons = button_row(self.open, self.report, self.earlier)
        super().__init__(widgets=[self.counted, self.detail, buttons], labels=False)
        self.margins = (0, 0, 0, 0)
        for label in (self.counted, self.detail):
            wrap(label)
        self.native.layout().insertWidget(0, self.table)
        # Thousands of items may come at once.
        self._coming: list[ItemState] = []
        self._pause = QTimer(self.native)
        self._pause.setSingleShot(True)
        self._pause.setInterval(_PAUSE_MS)
        self._pause.timeout.connect(self.flush)

    def put(self, row: ItemState) -> None:
        """Show, soon, how an item is now."""
        self._coming.append(row)
        if not self._pause.isActive():
            self._pause.start()

    def flush(self) -> None:
        """Show what has come."""
        coming, self._coming = self._coming, []
        self.table.items.put(coming)
        self.counted.value = self.table.counted

    def replace(self, rows: Sequence[ItemState]) -> None:
        """Show these rows only."""
        self._coming = []
        self.table.items.replace(rows)
        self.detail.value = ""
        self.flush()

    def stop_running(self) -> None:
        """Show what was under way as waiting: the run has ended."""
        self.flush()
        running = [row for row in self.table.items.rows if row.state == "running"]
        self.table.items.put([ItemState(row.item, "waiting") for row in running])
        self.flush()

    def _chosen(self, row: ItemState) -> None:
        self.detail.value = f"{row.item.name}: {reason(row) or row.state}"

    def _opened(self, row: ItemState) -> None:
        try:
            self._on_opened(row)
        except InputError as error:
            self.detail.value = str(error)


def _workers() -> list[tuple[str, int]]:
    counts = range(1, (os.cpu_count() or 1) + 1)
    many = [(f"{n} process{'es' * (n > 1)}", n) for n in counts]
    return [("none: in this window", 0), *many]


def _row(key: str, record: Record) -> ItemState:
    """The row of an item of which the journal alone tells."""
    (item,) = Source(Path(key), key, key).items
    return ItemState(item, record.state, record.why)


_BETWEEN = ";"
_KIND = (
    "each plane of a stack is an item of its own. Selected layers are taken by their files, or "
    "written to the folder of the results first, as they are in the viewer"
)
_PATTERN = "a folder, a file, or a pattern such as scans/**/*.tif; several with ; between them"
_FOLDER = "a batch that lies there already is gone on with"
_ANEW = "removes the results of the batch in the folder first; asks before it does"
_WORKERS = "processes on this machine; each has its own GPU where there are several"
_SCHEDULER = "address of a dask scheduler, whose workers see the same files"
_OPEN = "shows the labels of the row over their image, as a double click does"
_REPORT = "in the system's browser"
_EARLIER = "shows the rows of a batch that was run before: choose the folder of its results"
