"""A table of any number of particles that asks only for the rows in view."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
from qtpy.QtCore import QAbstractTableModel, QModelIndex, Qt
from qtpy.QtWidgets import QAbstractItemView, QTableView

from .particle_table import column_text

_LEAST_HEIGHT = 200
_NO_PARENT = QModelIndex()


class ParticleModel(QAbstractTableModel):
    """A table of particles; numbers are turned into texts as they come into view."""

    def __init__(self) -> None:
        super().__init__()
        self.particles = pd.DataFrame()

    def take(self, particles: pd.DataFrame) -> None:
        """Show another table."""
        self.beginResetModel()
        self.particles = particles
        self.endResetModel()

    def rowCount(self, parent: QModelIndex = _NO_PARENT) -> int:
        """How many particles."""
        return len(self.particles)

    def columnCount(self, parent: QModelIndex = _NO_PARENT) -> int:
        """How many columns."""
        return self.particles.shape[1]

    def data(self, index: QModelIndex, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        """Text of a cell."""
        if role != Qt.ItemDataRole.DisplayRole or not index.isValid():
            return None
        return cell_text(self.particles.iat[index.row(), index.column()])

    def headerData(
        self, section: int, orientation: Qt.Orientation, role: int = Qt.ItemDataRole.DisplayRole
    ) -> Any:
        """Name of a column."""
        if role != Qt.ItemDataRole.DisplayRole or orientation != Qt.Orientation.Horizontal:
            return None
        return column_text(str(self.particles.columns[section]))


class ParticleRows(QTableView):
    """Rows of particles.

    Parameters
    ----------
    on_rows
        Called with the numbers of the particles whose rows the user selects.
    """

    def __init__(self, on_rows: Callable[[list[int]], None]) -> None:
        super().__init__()
        self._on_rows = on_rows
        self._selecting = False
        self.particles = ParticleModel()
        self.setModel(self.particles)
        self.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.setMinimumHeight(_LEAST_HEIGHT)
        vertical: Any = self.verticalHeader()
        vertical.setVisible(False)
        selection: Any = self.selectionModel()
        selection.selectionChanged.connect(self._selected)

    def show_particles(self, particles: pd.DataFrame) -> None:
        """Show a table; its columns are as wide as their names."""
        self._selecting = True
        try:
            self.particles.take(particles)
        finally:
            self._selecting = False
        metrics = self.fontMetrics()
        for number, name in enumerate(particles.columns):
            self.setColumnWidth(number, metrics.horizontalAdvance(column_text(str(name))) + 24)

    def select(self, number: int) -> None:
        """Bring the row of a particle into view and select it."""
        places = np.flatnonzero(self._numbers() == number)
        if not len(places):
            return
        self._selecting = True
        try:
            self.selectRow(int(places[0]))
            self.scrollTo(self.particles.index(int(places[0]), 0))
        finally:
            self._selecting = False

    def selected_numbers(self) -> list[int]:
        """Numbers of the particles whose rows are selected."""
        selection: Any = self.selectionModel()
        rows = sorted(index.row() for index in selection.selectedRows())
        return [int(number) for number in self._numbers()[rows]]

    def _numbers(self) -> np.ndarray[Any, Any]:
        table = self.particles.particles
        return table["particle"].to_numpy() if "particle" in table else np.zeros(0, int)

    def _selected(self, *_: object) -> None:
        if not self._selecting:
            self._on_rows(self.selected_numbers())


def cell_text(value: Any) -> str:
    """A value with four significant digits; a dash for a missing one."""
    if isinstance(value, float | np.floating):
        return "–" if np.isnan(value) else f"{value:.4g}"
    if isinstance(value, bool | np.bool_):
        return "yes" if value else "no"
    return str(value)
