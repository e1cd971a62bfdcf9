"""What a quiz shows at its end: both scores side by side, and question by question."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import Any, cast

from magicgui.widgets import Container, Label, PushButton, Widget
from qtpy.QtCore import QSize
from qtpy.QtGui import QColor
from qtpy.QtWidgets import (
    QAbstractItemView,
    QHeaderView,
    QScrollArea,
    QTableWidget,
    QTableWidgetItem,
    QWidget,
)

from ..classification.stacks import THUMBNAIL
from ..evaluation.quiz import MODEL, PERSON, MarkedQuiz
from .answer_table import icon_of
from .form import wrap
from .quiz_questions import crop_label, enlarged, scale_words, show_crop

_EXPORT = "quiz.csv with a row a crop; how it was had and both scores, as JSON"
_HEADINGS = ("", "truth", "you", "model", "P")
_TRUTH, _YOU, _MODEL, _P = range(1, len(_HEADINGS))
_WRONG = QColor(210, 60, 60, 110)
_MARGIN = 4
_HEIGHT = 240
_SIDE = 320


class ScorePanel(Container[Widget]):
    """Scores, a table with a row a question, and the crop of the current row."""

    def __init__(self) -> None:
        self.scores = Label(value="")
        self.caption = Label(value="")
        self.export = PushButton(text="Export…", tooltip=_EXPORT)
        super().__init__(widgets=[self.scores, self.caption, self.export], labels=False)
        self.margins = (0, 0, 0, 0)
        wrap(self.scores)
        wrap(self.caption)
        self.table = _question_table()
        self.picture = crop_label(_SIDE)
        self.native.layout().insertWidget(1, self.table)
        self.native.layout().insertWidget(2, self.picture)
        self._marked: MarkedQuiz | None = None
        self.table.currentCellChanged.connect(self._row_changed)
        self.table.cellClicked.connect(self._bring_into_view)

    def show_marked(self, marked: MarkedQuiz) -> None:
        """Show a quiz that is over."""
        self._marked = marked
        self.scores.value = scores_html(marked.scores())
        self._fill(marked)
        self.table.setCurrentCell(0, _TRUTH)

    def _fill(self, marked: MarkedQuiz) -> None:
        self.table.blockSignals(True)
        self.table.setCurrentCell(-1, -1)
        self.table.setRowCount(len(marked.answers))
        for number, row in enumerate(marked.rows()):
            small = enlarged(marked.questions[number], tells_scale=False, side=THUMBNAIL)
            for column, item in enumerate(_items(row)):
                # A long name is cut in a narrow dock.
                item.setToolTip(item.text())
                self.table.setItem(number, column, item)
            cast(QTableWidgetItem, self.table.item(number, 0)).setIcon(icon_of(small))
        self.table.blockSignals(False)

    def _row_changed(self, row: int, _: int, __: int, ___: int) -> None:
        if self._marked is None or not 0 <= row < len(self._marked.answers):
            return
        question = self._marked.questions[row]
        tells_scale = self._marked.quiz.tells_scale
        show_crop(self.picture, question, tells_scale=tells_scale)
        place = f"{question.file}, row {question.top}, column {question.left}"
        size = scale_words(question)
        self.caption.value = "; ".join([place, *([size] if size else [])])

    def _bring_into_view(self, *_: int) -> None:
        """Scroll so far that the crop can be seen below the table."""
        area = _scroll_area(self.native)
        if area is not None:
            area.ensureWidgetVisible(self.picture)


def _scroll_area(widget: QWidget) -> QScrollArea | None:
    """The area that a widget scrolls in."""
    parent = widget.parentWidget()
    while parent is not None and not isinstance(parent, QScrollArea):
        parent = parent.parentWidget()
    return parent


def scores_html(scores: Mapping[str, Any]) -> str:
    """Both scores side by side, a line a class, and what their difference says."""
    person, model = scores[PERSON], scores[MODEL]
    rows = [
        ("", "you", "model"),
        ("right", *(f"{one['right']} of {scores['n']}" for one in (person, model))),
        ("accuracy", *(f"{one['accuracy']:.0%}" for one in (person, model))),
        ("95 % interval", *(_interval(one) for one in (person, model))),
        *(
            (escape(name), *(_of_class(one, name) for one in (person, model)))
            for name, found in person["by_class"].items()
            if found["n"]
        ),
    ]
    lines = "".join(f"<tr>{''.join(map(_cell, row))}</tr>" for row in rows)
    said = (
        f"The same answer to {scores['agreement']:.0%}. Right alone: you "
        f"{scores['only_person_right']}, the model {scores['only_model_right']}; p = "
        f"{scores['p_value']:.2g} (exact McNemar test)."
    )
    return f'<table cellspacing="3">{lines}</table>{said}'


def _cell(text: str) -> str:
    return f'<td style="padding-right: 14px">{text}</td>'


def _interval(score: Mapping[str, Any]) -> str:
    low, high = score["accuracy_ci95"]
    return f"{100 * low:.0f} to {high:.0%}"


def _of_class(score: Mapping[str, Any], name: str) -> str:
    found = score["by_class"][name]
    return f"{score['confusion'][name][name]} of {found['n']}"


def _items(row: Mapping[str, Any]) -> list[QTableWidgetItem]:
    truth, person, model = row["truth"], row[PERSON], row[MODEL]
    probability = f"{row[f'probability_{model}']:.2f}"
    items = [QTableWidgetItem(text) for text in ("", truth, person, model, probability)]
    for column, answer in ((_YOU, person), (_MODEL, model)):
        if answer != truth:
            # Not by colour alone.
            items[column].setText(f"✗ {answer}")
            items[column].setBackground(_WRONG)
    return items


def _question_table() -> QTableWidget:
    table = QTableWidget(0, len(_HEADINGS))
    table.setHorizontalHeaderLabels(_HEADINGS)
    table.setIconSize(QSize(THUMBNAIL, THUMBNAIL))
    table.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
    table.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
    table.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
    table.setWordWrap(True)
    table.setFixedHeight(_HEIGHT)
    numbers = cast(QHeaderView, table.verticalHeader())
    numbers.setVisible(False)
    numbers.setDefaultSectionSize(THUMBNAIL + _MARGIN)
    header = cast(QHeaderView, table.horizontalHeader())
    header.setSectionResizeMode(QHeaderView.ResizeMode.Stretch)
    header.setSectionResizeMode(0, QHeaderView.ResizeMode.Fixed)
    header.setSectionResizeMode(_P, QHeaderView.ResizeMode.ResizeToContents)
    table.setColumnWidth(0, THUMBNAIL + _MARGIN)
    return table
