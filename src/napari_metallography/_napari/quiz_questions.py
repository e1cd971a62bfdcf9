"""What a quiz shows while it goes on: a crop, a button a class, no word on what is right."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, cast

import cv2
import numpy as np
from magicgui.widgets import Container, Label, PushButton, Widget
from numpy.typing import NDArray
from qtpy.QtCore import QEvent, QObject, Qt
from qtpy.QtGui import QKeyEvent
from qtpy.QtWidgets import QGridLayout, QLabel, QPushButton, QWidget

from ..calibration import Calibration
from ..classification.images import OUTSIDERS
from ..evaluation.quiz import PERSON, Question, Quiz
from ..io.overlays import with_scale_bar
from .answer_table import icon_of
from .form import button_row, wrap

NONE_TEXT = "None of these"

_SIDE = 400
_COLUMNS = 2
_MOST_KEYS = 9
_BACK = "takes the last answer back (Backspace)"
_END = "shows how you and the model did on the crops you named"
_ALL_NAMED = "All named. End shows how you and the model did; Back takes the last answer back."


class QuestionPanel(Container[Widget]):
    """A question after the other; `answers` holds what was answered, by index in the names.

    Parameters
    ----------
    on_end
        Called when the person has had enough.
    """

    def __init__(self, on_end: Callable[[], object]) -> None:
        self.place = Label(value="")
        self.scale = Label(value="")
        self.back_button = PushButton(text="Back", tooltip=_BACK)
        self.end_button = PushButton(text="End", tooltip=_END)
        super().__init__(
            widgets=[self.place, self.scale, button_row(self.back_button, self.end_button)],
            labels=False,
        )
        self.margins = (0, 0, 0, 0)
        wrap(self.place)
        self.picture = crop_label(_SIDE)
        self.choices = _Choices(self.answer)
        self.native.layout().insertWidget(1, self.picture)
        self.native.layout().insertWidget(3, self.choices)
        self.answers: list[int] = []
        self._quiz: Quiz | None = None
        self.back_button.changed.connect(self.back)
        self.end_button.changed.connect(on_end)
        self._keys = _Keys(self)

    def begin(self, quiz: Quiz) -> None:
        """Show the first question."""
        self._quiz, self.answers = quiz, []
        self.choices.offer(quiz.names)
        self._show()
        # The keys are meant for the panel, not for the canvas.
        self.native.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.native.setFocus()

    def answer(self, number: int) -> None:
        """Take an answer, and go on; nothing once all are answered, or for one not offered."""
        if self._question() is None or self._quiz is None or number >= len(self._quiz.names):
            return
        self.answers.append(number)
        self._show()

    def answer_none(self) -> None:
        """Answer "None of these", where that is offered."""
        if self._quiz is not None and self._quiz.names[-1] == OUTSIDERS:
            self.answer(len(self._quiz.names) - 1)

    def answer_class(self, number: int) -> None:
        """Answer the class that a digit from 1 on stands for."""
        if self._quiz is not None and number <= len(_classes(self._quiz.names)):
            self.answer(number - 1)

    def back(self) -> None:
        """Take the last answer back."""
        if self.answers:
            self.answers.pop()
            self._show()

    def rows(self) -> list[dict[str, Any]]:
        """A row a crop that was answered, without what the model says."""
        if self._quiz is None:
            return []
        names = self._quiz.names
        asked = zip(self._quiz.questions, self.answers, strict=False)
        return [{**q.place(), "truth": names[q.truth], PERSON: names[own]} for q, own in asked]

    def report(self) -> dict[str, Any]:
        """How these answers came about: JSON."""
        quiz = cast(Quiz, self._quiz)
        counted = {"asked": len(quiz.questions), "answered": len(self.answers)}
        return {**quiz.provenance, **counted}

    def _question(self) -> Question | None:
        if self._quiz is None or len(self.answers) == len(self._quiz.questions):
            return None
        return self._quiz.questions[len(self.answers)]

    def _show(self) -> None:
        question = self._question()
        quiz = cast(Quiz, self._quiz)
        self.back_button.enabled = bool(self.answers)
        self.choices.setEnabled(question is not None)
        if question is None:
            self.place.value, self.scale.value = _ALL_NAMED, ""
            self.picture.clear()
            return
        self.place.value = f"{len(self.answers) + 1} of {len(quiz.questions)}"
        self.scale.value = scale_words(question) if quiz.tells_scale else ""
        show_crop(self.picture, question, tells_scale=quiz.tells_scale)


class _Choices(QWidget):
    """A button a name, with the digit that does the same."""

    def __init__(self, on_answer: Callable[[int], None]) -> None:
        super().__init__()
        self._on_answer = on_answer
        self.buttons: list[QPushButton] = []
        self._grid = QGridLayout(self)
        self._grid.setContentsMargins(0, 0, 0, 0)

    def offer(self, names: Sequence[str]) -> None:
        """Replace the buttons."""
        for button in self.buttons:
            self._grid.removeWidget(button)
            button.deleteLater()
        self.buttons = [QPushButton(text, self) for text in button_texts(names)]
        for number, button in enumerate(self.buttons):
            button.clicked.connect(partial(self._clicked, number))
            # The keys stay with the panel.
            button.setFocusPolicy(Qt.FocusPolicy.NoFocus)
            self._grid.addWidget(button, number // _COLUMNS, number % _COLUMNS)

    def _clicked(self, number: int, _: bool = False) -> None:
        self._on_answer(number)


class _Keys(QObject):
    """Digits answer, Backspace takes back."""

    def __init__(self, panel: QuestionPanel) -> None:
        super().__init__(panel.native)
        self._panel = panel
        panel.native.installEventFilter(self)

    def eventFilter(self, watched: QObject | None, event: QEvent | None) -> bool:
        """Take the keys of the quiz; lets all others pass."""
        if event is None or event.type() != QEvent.Type.KeyPress:
            return False
        key = cast(QKeyEvent, event)
        if key.key() == Qt.Key.Key_Backspace:
            self._panel.back()
        elif key.text() == "0":
            self._panel.answer_none()
        elif key.text() in map(str, range(1, _MOST_KEYS + 1)):
            self._panel.answer_class(int(key.text()))
        else:
            return False
        return True


def crop_label(side: int) -> QLabel:
    """A square place for a crop; as wide from the start, so that the dock has room for it."""
    label = QLabel()
    label.setFixedSize(side, side)
    return label


def show_crop(label: QLabel, question: Question, *, tells_scale: bool) -> None:
    """Show a crop in its place."""
    side = label.width()
    picture = enlarged(question, tells_scale=tells_scale, side=side)
    label.setPixmap(icon_of(picture).pixmap(side, side))


def enlarged(question: Question, *, tells_scale: bool, side: int = _SIDE) -> NDArray[np.uint8]:
    """A crop as a picture (side, side, 3), with a scale bar if the scale is to be told."""
    way = cv2.INTER_AREA if question.side > side else cv2.INTER_CUBIC
    grey = np.asarray(cv2.resize(question.pixels, (side, side), interpolation=way), np.uint8)
    rgb = np.repeat(grey[..., None], 3, axis=2)
    size = question.pixel_size_um
    if not tells_scale or size is None:
        return rgb
    return with_scale_bar(rgb, Calibration.square(size * question.side / side, "data"))


def scale_words(question: Question) -> str:
    """How large the crop and its pixels are; "" where that is unknown."""
    size = question.pixel_size_um
    if size is None:
        return ""
    return f"field {question.side * size:.3g} µm wide, {size:.3g} µm/px"


def button_texts(names: Sequence[str]) -> list[str]:
    """What the buttons say: the digit, as far as there are any, and the name."""
    classes = _classes(names)
    texts = [
        f"{number}  {name}" if number <= _MOST_KEYS else name
        for number, name in enumerate(classes, start=1)
    ]
    return [*texts, *([f"0  {NONE_TEXT}"] if len(classes) < len(names) else [])]


def _classes(names: Sequence[str]) -> Sequence[str]:
    return names[:-1] if names[-1] == OUTSIDERS else names
