"""The items of a batch as a table: a row each, as many as there are files."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, cast

from qtpy.QtCore import QAbstractTableModel, QItemSelectionModel, QModelIndex, Qt
from qtpy.QtGui import QColor
from qtpy.QtWidgets import (
    QAbstractItemView,
    QHeaderView,
    QSizePolicy,
    QStyledItemDelegate,
    QTableView,
)

from ..batch.run import ItemState

HEADINGS = ("image", "state", "why")
_COLOURS = {"failed": "#d55e00", "running": "#56b4e9", "done": "#009e73"}
_STATES = ("done", "failed", "running", "waiting")
_STATE_WIDTH = 66
_ROW_HEIGHT = 24
_LEAST_HEIGHT = 150

Key = Any
"""Qt's indices and roles, whose types differ between its bindings."""


def reason(row: ItemState) -> str:
    """Why an item failed, without the file, which its row names."""
    where, _, why = row.why.partition(": ")
    return why if why and Path(where).stem == Path(row.item.name).stem else row.why


class ItemModel(QAbstractTableModel):
    """Items and their states, in the order they came."""

    def __init__(self) -> None:
        super().__init__()
        self.rows: list[ItemState] = []
        self._numbers: dict[str, int] = {}

    def replace(self, rows: Iterable[ItemState]) -> None:
        """Show these rows only."""
        self.beginResetModel()
        self.rows = [*rows]
        self._numbers = {row.item.key: number for number, row in enumerate(self.rows)}
        self.endResetModel()

    def put(self, rows: Iterable[ItemState]) -> None:
        """Show how items are now; the last row of each counts."""
        latest = {row.item.key: row for row in rows}
        for key in latest.keys() & self._numbers.keys():
            number = self._numbers[key]
            self.rows[number] = latest[key]
            self.dataChanged.emit(self.index(number, 0), self.index(number, len(HEADINGS) - 1))
        new = [row for key, row in latest.items() if key not in self._numbers]
        if new:
            first = len(self.rows)
            self.beginInsertRows(QModelIndex(), first, first + len(new) - 1)
            self.rows += new
            self._numbers |= {row.item.key: first + n for n, row in enumerate(new)}
            self.endInsertRows()

    def rowCount(self, parent: Key = None) -> int:
        """How many items there are."""
        return len(self.rows)

    def columnCount(self, parent: Key = None) -> int:
        """Name, state, and why."""
        return len(HEADINGS)

    def headerData(self, section: int, orientation: Key, role: int = 0) -> Any:
        """The headings."""
        across = orientation == Qt.Orientation.Horizontal
        is_text = across and role == Qt.ItemDataRole.DisplayRole
        return HEADINGS[section] if is_text else None

    def data(self, index: Key, role: int = 0) -> Any:
        """Texts and colours."""
        row = self.rows[index.row()]
        if role == Qt.ItemDataRole.DisplayRole:
            return (row.item.name, row.state, reason(row))[index.column()]
        if role == Qt.ItemDataRole.ToolTipRole:
            return row.why or row.item.name
        if role == Qt.ItemDataRole.ForegroundRole and index.column() == 1:
            colour = _COLOURS.get(row.state)
            return QColor(colour) if colour else None
        return None


class _Sentences(QStyledItemDelegate):
    """Texts of which the end is left out where there is no room."""

    def initStyleOption(self, option: Key, index: Key) -> None:
        """As for other texts, but for their end."""
        super().initStyleOption(option, index)
        option.textElideMode = Qt.TextElideMode.ElideRight


class ItemTable(QTableView):
    """A row an item.

    Parameters
    ----------
    on_row
        Called with the row that became the current one.
    on_opened
        Called with the row that was double-clicked.
    """

    def __init__(
        self, on_row: Callable[[ItemState], None], on_opened: Callable[[ItemState], None]
    ) -> None:
        super().__init__()
        self._on_row, self._on_opened = on_row, on_opened
        self.items = ItemModel()
        self.setModel(self.items)
        self.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        self.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.setWordWrap(False)
        # The end of a name tells files of a series apart; a sentence is read from its beginning.
        self.setTextElideMode(Qt.TextElideMode.ElideMiddle)
        self._sentences = _Sentences(self)
        self.setItemDelegateForColumn(len(HEADINGS) - 1, self._sentences)
        self.setMinimumHeight(_LEAST_HEIGHT)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Expanding)
        numbers = cast(QHeaderView, self.verticalHeader())
        numbers.setVisible(False)
        numbers.setDefaultSectionSize(_ROW_HEIGHT)
        header = cast(QHeaderView, self.horizontalHeader())
        header.setDefaultAlignment(Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter)
        header.setSectionResizeMode(QHeaderView.ResizeMode.Stretch)
        header.setSectionResizeMode(1, QHeaderView.ResizeMode.Fixed)
        self.setColumnWidth(1, _STATE_WIDTH)
        selection = cast(QItemSelectionModel, self.selectionModel())
        selection.currentRowChanged.connect(self._row_changed)
        self.doubleClicked.connect(self._double_clicked)

    @property
    def current(self) -> ItemState | None:
        """The current row."""
        number = self.currentIndex().row()
        return self.items.rows[number] if 0 <= number < len(self.items.rows) else None

    @property
    def counted(self) -> str:
        """How many items are done, failed, and so on, in words."""
        counts: Counter[str] = Counter(row.state for row in self.items.rows)
        return ", ".join(f"{counts[state]} {state}" for state in _STATES if counts[state])

    def _row_changed(self, *_: Key) -> None:
        if (row := self.current) is not None:
            self._on_row(row)

    def _double_clicked(self, index: Key) -> None:
        self._on_opened(self.items.rows[index.row()])
