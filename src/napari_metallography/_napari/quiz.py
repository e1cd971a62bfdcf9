"""*Structure quiz*: the same crops named blindly by the user and by a model, and both scored."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import napari.viewer
import numpy as np
from magicgui.types import FileDialogMode
from magicgui.widgets import ComboBox, FileEdit, PushButton, Widget
from numpy.typing import NDArray

from ..errors import InputError
from ..evaluation.quiz import MarkedQuiz, Quiz, QuizParameters
from ..events import Event, Notice
from .answers_file import ask_for_table, write_answers
from .device_choice import devices
from .form import Form, RunControls, parameter_fields, read, show_all
from .model_choice import ModelChoice
from .quiz_questions import QuestionPanel
from .quiz_runs import again_events, quiz_events
from .quiz_scores import ScorePanel
from .structure_runs import HOW_TO_GET_ONE
from .wording import in_window

_FOLDER = (
    "images of known structure: a folder a class, images of none of them in the folder none, or "
    "an index.csv with the columns image, class and pixel_size_um"
)
_TITLE = "Structure quiz"
_UNDER_WAY = "a quiz is under way; end it first"
_NOTHING = "end a quiz first"
_START, _AGAIN = "Start", "Ask the model again"
_ALONE = "what you answered, beside the truth, without a model: quiz.csv and how it was had as JSON"


class StructureQuizWidget(Form):
    """The dock *Structure quiz*."""

    def __init__(self, viewer: napari.viewer.Viewer) -> None:
        self.folder = FileEdit(
            mode=FileDialogMode.EXISTING_DIRECTORY, label="Images", tooltip=_FOLDER
        )
        self.model = ModelChoice("structure", otherwise=HOW_TO_GET_ONE)
        self.asked = parameter_fields(
            QuizParameters,
            ("questions", "seed", "allow_none"),
            {"allow_none": '"None of these" may be answered'},
        )
        self.device = ComboBox(choices=devices(), label="Compute on", value="auto")
        self.panel = QuestionPanel(self._end_asked)
        self.alone = PushButton(text="Export my answers…", label="", tooltip=_ALONE)
        self.results = ScorePanel()
        self.settings: list[Widget] = [
            self.folder,
            *self.model.widgets,
            *self.asked.values(),
            self.device,
        ]
        super().__init__(
            viewer,
            "structure_quiz",
            [self.panel, self.alone, self.results, *self.settings],
            {**self.asked, "device": self.device},
            _START,
            _TITLE,
            _QuizControls(self._run_ended),
        )
        show_all([self.panel, self.alone, self.results], False)
        self.quiz: Quiz | None = None
        self.marked: MarkedQuiz | None = None
        self._asked_for: QuizParameters | None = None
        self._by_model: NDArray[np.float64] | None = None
        self._is_over = False
        self._notices: list[str] = []
        self.alone.changed.connect(partial(self.attempt, self._ask_and_export_alone))
        self.results.export.changed.connect(partial(self.attempt, self._ask_and_export))

    def closed(self) -> None:
        """The dock was closed, and the quiz with it."""
        super().closed()
        self._close()

    # --- the quiz ----------------------------------------------------------------------------

    def compute(self) -> None:
        """Draw the questions, and have the model answer while the user does.

        Questions that the model has failed to answer it is asked again.
        """
        if self.quiz is not None and self._has_failed and self._asked_for is not None:
            events = again_events(self.quiz, self._asked_for)
            self.controls.start(events, _TITLE, self._take, self._happened)
            return
        if self.quiz is not None:
            raise InputError(_UNDER_WAY)
        self._asked_for = self._parameters()
        events = quiz_events(self._asked_for)
        self._by_model, self._is_over, self._notices = None, False, []
        self.controls.start(events, _TITLE, self._take, self._happened)

    def _parameters(self) -> QuizParameters:
        # Its value would be the working folder where nothing is chosen.
        folder = str(self.folder.line_edit.value).strip()
        if not folder:
            raise InputError("choose a folder with images of known structure")
        data = Path(folder).expanduser()
        device, model = self.device.value, self.model.value
        return read(QuizParameters, self.asked, data=data, model=model, device=device)

    def _happened(self, event: Event) -> None:
        if isinstance(event, Notice):
            self._notices.append(in_window(event.message))
        if isinstance(event, Quiz):
            self._begin(event)

    def _begin(self, quiz: Quiz) -> None:
        self.quiz = quiz
        show_all([*self.settings, self.alone, self.results], False)
        self.panel.visible = True
        self.panel.begin(quiz)

    def _take(self, by_model: NDArray[np.float64]) -> None:
        """The model has answered all questions."""
        if self.quiz is None:
            return
        self._by_model = by_model
        self.controls.say("; ".join(["the model is ready", *self._notices]))
        if self._is_over:
            self._mark()

    def _end_asked(self) -> None:
        if not self.panel.answers:
            self.controls.cancel()
            self._close()
            self.controls.say("ended before the first answer")
        elif self._has_failed:
            self._close()
            self.controls.say("ended without the model; your answers can be exported")
        elif self._by_model is None:
            self._is_over, self.panel.visible = True, False
            self.controls.say("the model still answers …")
        else:
            self._mark()

    def _mark(self) -> None:
        """Show both scores."""
        if self.quiz is None or self._by_model is None:
            return
        self.marked = MarkedQuiz(self.quiz, tuple(self.panel.answers), self._by_model)
        self.results.show_marked(self.marked)
        self.alone.visible = False
        self._close()
        asked = f"{len(self.marked.answers)} of {len(self.marked.quiz.questions)} crops named"
        self.controls.say("; ".join([asked, *self._notices]))

    def _run_ended(self, message: str) -> None:
        if not message or self._by_model is not None:
            return
        if self.quiz is None or not self.panel.answers:
            self._close()
            return
        # A person does not name so many crops twice.
        self._is_over = False
        show_all([self.panel, self.alone], True)
        self.controls.run_button.text = _AGAIN
        self.controls.say(f"{message}; your answers are kept: press '{_AGAIN}', or export them")

    @property
    def _has_failed(self) -> bool:
        """Whether the model was to answer, and has not."""
        waits = self.quiz is not None and self._by_model is None
        return waits and not self.controls.is_running

    def _close(self) -> None:
        """Back to the settings, with the last scores there are."""
        self.quiz, self._is_over = None, False
        self.panel.visible = False
        self.controls.run_button.text = _START
        self.results.visible = self.marked is not None
        show_all(self.settings, True)

    # --- files -------------------------------------------------------------------------------

    def write(self, path: Path) -> None:
        """Write a row a crop as CSV, and how it was had and both scores as JSON beside it."""
        if self.marked is None:
            raise InputError(_NOTHING)
        write_answers(path, self.marked.rows(), self.marked.report())
        self.controls.say(f"written to {path}")

    def write_alone(self, path: Path) -> None:
        """Write what the person answered, without a model, as `write` does."""
        write_answers(path, self.panel.rows(), self.panel.report())
        self.controls.say(f"written to {path}")

    def _ask_and_export_alone(self) -> None:
        path = ask_for_table(self.native, self.panel.answers, "quiz.csv")
        if path is not None:
            self.write_alone(path)

    def _ask_and_export(self) -> None:
        if self.marked is None:
            raise InputError(_NOTHING)
        path = ask_for_table(self.native, self.marked.answers, "quiz.csv")
        if path is not None:
            self.write(path)


class _QuizControls(RunControls):
    """Start and Cancel.

    Parameters
    ----------
    on_ended
        Called last, with the line that says how the run ended; "" after success.
    """

    def __init__(self, on_ended: Callable[[str], None]) -> None:
        super().__init__(_START)
        self._on_ended = on_ended

    def _end(self, message: str) -> None:
        super()._end(message)
        self._on_ended(message)
