"""Tables of the last result of *Quantify*, and the files it can be written to."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from magicgui.widgets import (
    CheckBox,
    Container,
    Label,
    LineEdit,
    PushButton,
    Table,
    Widget,
)
from napari.layers import Image, Labels
from qtpy.QtCore import QLocale, Qt
from qtpy.QtWidgets import QFileDialog, QTableView

from ..errors import InputError
from ..io.tables import write_csv, write_or_rename, write_xlsx
from ..quantification.study_files import study_of, study_sheets
from ..reports import ReportHead
from .corrected_layer import CorrectedLayer
from .form import Form, align_labels, as_result, button_row, fill, wrap
from .measured import Measured, report
from .particle_table import phase_table, sentence, summary_text
from .worker import one_step

_EARLIER = "An earlier result, not of the last run; quantify again to have one that counts."
_PAINTED = (
    "{painted} was painted on since. Press Quantify to measure {phases} as it is now; paint on a "
    "layer of particles does not count."
)
_ROWS_LOOKED_AT = 5
_STALE = "Corrected; measuring again …"


class Results(Container[Widget]):
    """Tables of a result, and what it can be written to.

    Parameters
    ----------
    form
        Runs what writes files and shows refusals.
    on_rows
        Called with the numbers of particles whose rows are selected.
    """

    def __init__(self, form: Form, on_rows: Callable[[list[int]], None]) -> None:
        self._form = form
        self._on_rows = on_rows
        self._shown: CorrectedLayer | None = None
        self._measured: Measured | None = None
        self._of: tuple[Labels | None, Image | None] = (None, None)
        self.phases = Table(value=None)
        self.summary = Label(value="")
        self.features = PushButton(text="Particle table", tooltip="napari's features table")
        self.plots = PushButton(text="Size plots", tooltip="histograms and cumulative curves")
        self.specimen = LineEdit(label="Specimen")
        self.laboratory = LineEdit(label="Laboratory")
        self.operator = LineEdit(label="Operator")
        self.standard = LineEdit(label="Standard")
        self.decimal_comma = CheckBox(
            value=QLocale().decimalPoint() == ",", label="", text="CSV with decimal commas"
        )
        self.csv = PushButton(text="CSV…")
        self.xlsx = PushButton(text="Excel…")
        self.report = PushButton(text="Report…")
        super().__init__(
            widgets=[
                self.phases,
                self.summary,
                button_row(self.features, self.plots),
                self.specimen,
                self.laboratory,
                self.operator,
                self.standard,
                self.decimal_comma,
                button_row(self.csv, self.xlsx, self.report),
            ],
            visible=False,
        )
        self.margins = (0, 0, 0, 0)
        align_labels(self)
        wrap(self.summary)
        as_result(self.phases)
        self.features.changed.connect(self._open_features_table)
        self.csv.changed.connect(lambda: self._ask_and_write("CSV (*.csv)", self.write_csv))
        self.xlsx.changed.connect(lambda: self._ask_and_write("Excel (*.xlsx)", self.write_xlsx))
        self.report.changed.connect(lambda: self._ask_and_write("HTML (*.html)", self.write_report))

    @property
    def head(self) -> ReportHead:
        """What stands above the report."""
        return ReportHead(
            "Phases and particles",
            self.specimen.value,
            self.operator.value,
            self.standard.value,
            laboratory=self.laboratory.value,
        )

    def are_of(self, labels: Labels | None, image: Image | None) -> bool:
        """Whether the result shown is that of these layers."""
        return self._of[0] is labels and self._of[1] is image

    def clear(self) -> None:
        """Show nothing and have nothing to write."""
        self._measured, self._of = None, (None, None)
        self.visible = False

    def mark_earlier(self) -> None:
        """Show that the result is an earlier one, of which nothing can be written any more."""
        self._mark(_EARLIER)

    def mark_stale(self) -> None:
        """Show that the result is older than the last correction."""
        self._mark(_STALE)

    def mark_painted(self, painted: str, phases: str) -> None:
        """Show that the result is older than what was painted on a layer."""
        self._mark(_PAINTED.format(painted=painted, phases=phases))

    def present(self, corrected: CorrectedLayer) -> None:
        """Show the result of a layer of particles."""
        measured = corrected.measured
        self._measured, self._of = measured, (corrected.phases, corrected.image)
        self._shown = corrected
        fill(self.phases, phase_table(measured.result.phases), "phase")
        self.summary.value = self._described(measured)
        self.enabled = True
        self.visible = True

    def write_csv(self, path: Path) -> None:
        """Write the particles to `path` and the phases beside it."""
        measured = self._require_result()
        marks = (",", ";") if self.decimal_comma.value else (".", ",")
        beside = path.with_name(f"{path.stem}_phases.csv")

        def write() -> list[Path]:
            study = study_of([measured.as_image()])
            return [
                write_or_rename(path, lambda p: write_csv(p, study.particles, *marks)),
                write_or_rename(beside, lambda p: write_csv(p, study.phases, *marks)),
            ]

        self._write(write, f"{path.name} and {beside.name}")

    def write_xlsx(self, path: Path) -> None:
        """Write the workbook of a study of this one image."""
        measured, head = self._require_result(), self.head

        def write() -> list[Path]:
            images = [measured.as_image()]
            sheets = study_sheets(study_of(images), images, head)
            return [write_or_rename(path, lambda p: write_xlsx(p, sheets))]

        self._write(write, path.name)

    def write_report(self, path: Path) -> None:
        """Write the HTML report."""
        write = partial(report, path, self.head, self._require_result())

        def written() -> list[Path]:
            write()
            return [path]

        self._write(written, path.name)

    def _mark(self, why: str) -> None:
        if self._measured is not None:
            self.summary.value = f"{why}\n{self._described(self._measured)}"
        self._measured = None
        self.enabled = False

    def _described(self, measured: Measured) -> str:
        n = len(measured.changes)
        corrected = f"\n{n} correction{'s' * (n != 1)} by hand." if n else ""
        assumed = sentence(measured.labels.assumed)
        text = f"{measured.name}: {summary_text(measured.result)}{corrected}"
        return f"{text}\n{assumed}" if assumed else text

    def _write(self, write: Callable[[], list[Path]], what: str) -> None:
        """Write in the background and say under which names."""
        controls = self._form.controls

        def wrote(paths: list[Path]) -> None:
            controls.say(f"wrote {' and '.join(path.name for path in paths)}")

        controls.start(one_step(write, what), f"write {what}", wrote)

    def _ask_and_write(self, kind: str, write: Callable[[Path], None]) -> None:
        suffix = kind[kind.index("*") + 1 : -1]
        try:
            proposed = f"{self._require_result().name}_particles{suffix}"
            path, _ = QFileDialog.getSaveFileName(self.native, "Write", proposed, kind)
            if path:
                write(with_ending(Path(path), suffix))
        except InputError as error:
            self._form.refuse(error)

    def _open_features_table(self) -> None:
        if self._shown is None:
            return
        window, selection = self._form.viewer.window, self._form.viewer.layers.selection
        # Opened empty, so that it is ready for many rows when these come.
        selection.clear()
        dock, table = window.add_plugin_dock_widget("napari", "Features table widget")
        make_ready_for_many_rows(window)
        selection.active = self._shown.particles
        # Below the canvas there is room for its many columns.
        dock.parent().addDockWidget(Qt.DockWidgetArea.BottomDockWidgetArea, dock)
        _follow_rows(table, self._on_rows)

    def _require_result(self) -> Measured:
        if self._measured is None:
            raise InputError("quantify first")
        return self._measured


def make_ready_for_many_rows(window: Any) -> None:
    """Let napari's features tables fit their columns to some rows, not to a thousand.

    That takes seconds otherwise, each time they show another layer.
    """
    for name, widget in getattr(window, "dock_widgets", {}).items():
        if "Features table" in name:
            for view in widget.findChildren(QTableView):
                view.horizontalHeader().setResizeContentsPrecision(_ROWS_LOOKED_AT)


def with_ending(path: Path, suffix: str) -> Path:
    """The path with a suffix; what stands after another dot, as in "steel 0.5h", stays."""
    return path if path.suffix.lower() == suffix else path.with_name(f"{path.name}{suffix}")


def _follow_rows(features_table: Any, on_rows: Callable[[list[int]], None]) -> None:
    """Hear of several rows selected in napari's features table; row *i* is particle *i*."""
    view: Any = getattr(features_table, "table", None)
    if view is None:
        return

    def changed() -> None:
        selected = view.selectionModel().selectedIndexes()
        proxy = view.model()
        # The first row is of no particle.
        rows = sorted({proxy.mapToSource(index).row() for index in selected} - {0})
        if rows:
            view.scrollTo(selected[0])
            on_rows(rows)

    # napari listens first, so that its one label does not replace the several.
    view.selectionModel().selectionChanged.connect(lambda *_: changed())
