from __future__ import annotations

import csv
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from napari.components import ViewerModel
from qtpy.QtCore import Qt
from skimage import io

from napari_metallography._napari import worker
from napari_metallography._napari.help import help_text
from napari_metallography._napari.quiz import StructureQuizWidget
from napari_metallography._napari.quiz_questions import enlarged, scale_words
from napari_metallography.errors import DeviceError
from napari_metallography.evaluation.quiz import Question
from napari_metallography.models import registry

KINDS = ("dark", "bright", "none")
QUESTIONS = 6


@pytest.fixture
def folder(tmp_path, noisy) -> Path:
    """Images of known structure, with their pixel sizes."""
    lines = ["image,pixel_size_um"]
    for kind in KINDS:
        (tmp_path / "known" / kind).mkdir(parents=True)
        for seed in range(3):
            path = tmp_path / "known" / kind / f"{seed}.png"
            io.imsave(path, noisy(kind, seed), check_contrast=False)
            lines.append(f"{kind}/{seed}.png,0.1")
    (tmp_path / "known" / "index.csv").write_text("\n".join(lines))
    return tmp_path / "known"


@pytest.fixture
def form(ended, structure_models, folder, monkeypatch) -> Callable[[Any], StructureQuizWidget]:
    """Makes the form for a viewer, with the models among the user's own and a folder chosen."""
    monkeypatch.setenv("NAPARI_METALLOGRAPHY_MODELS", str(structure_models))

    def opened(viewer: Any) -> StructureQuizWidget:
        widget: StructureQuizWidget = ended(StructureQuizWidget(viewer))
        widget.model.choose("levels")
        widget.folder.value = folder
        widget.asked["questions"].value = QUESTIONS
        return widget

    return opened


@pytest.fixture
def widget(form, qtbot) -> StructureQuizWidget:
    widget: StructureQuizWidget = form(ViewerModel())
    qtbot.addWidget(widget.native)
    widget.native.show()
    return widget


@pytest.fixture
def held_model(monkeypatch) -> Callable[[], None]:
    """Keeps the model from answering until it is called."""
    from napari_metallography.evaluation import quiz_crops

    go_on = []
    answers = quiz_crops.model_answers

    def held(*args: Any) -> Any:
        while not go_on:
            yield worker.Progress(0, 1, "crops named by the model")
        return (yield from answers(*args))

    monkeypatch.setattr(quiz_crops, "model_answers", held)
    return lambda: go_on.append(True)


def start(widget: StructureQuizWidget, qtbot: Any) -> None:
    widget.controls.run_button.native.click()
    qtbot.waitUntil(lambda: widget.quiz is not None, timeout=60_000)


def answer_all(widget: StructureQuizWidget) -> None:
    """Answer rightly."""
    assert widget.quiz is not None
    for question in widget.quiz.questions[len(widget.panel.answers) :]:
        widget.panel.choices.buttons[question.truth].click()


def end(widget: StructureQuizWidget) -> None:
    widget.panel.end_button.native.click()


def refused(widget: StructureQuizWidget, run: Callable[..., str]) -> str:
    said = run(widget)
    assert widget.quiz is None
    assert widget.folder.visible
    assert "\n" not in said
    return said


def test_a_quiz_from_start_to_export(widget, qtbot, tmp_path, wait) -> None:
    start(widget, qtbot)
    assert not widget.folder.visible
    assert widget.panel.visible
    assert widget.panel.place.value == f"1 of {QUESTIONS}"
    first = widget.quiz.questions[0]
    assert widget.panel.scale.value == scale_words(first)
    texts = [button.text() for button in widget.panel.choices.buttons]
    assert texts == ["1  dark", "2  bright", "0  None of these"]
    wait(widget)
    # Blind: nothing of the results, nor of the file, before the end.
    assert not widget.results.visible
    assert first.file not in f"{widget.panel.place.value} {widget.controls.status.value}"
    answer_all(widget)
    assert widget.panel.place.value.startswith("All named")
    end(widget)
    assert widget.controls.status.value.startswith(f"{QUESTIONS} of {QUESTIONS} crops named")
    assert widget.folder.visible
    assert widget.results.visible
    assert not widget.panel.visible
    scores = widget.marked.scores()
    assert scores["person"]["accuracy"] == 1
    # None is what the model cannot tell here.
    assert scores["model"]["accuracy"] == pytest.approx(4 / 6)
    assert (scores["only_person_right"], scores["p_value"]) == (2, 0.5)
    assert "6 of 6" in widget.results.scores.value
    assert "4 of 6" in widget.results.scores.value
    shown = [widget.results.table.item(row, 3).text() for row in range(QUESTIONS)]
    assert sum(text.startswith("✗") for text in shown) == 2
    widget.results.table.setCurrentCell(3, 1)
    assert widget.results.caption.value.startswith(widget.marked.questions[3].file)
    widget.write(tmp_path / "quiz.csv")
    rows = list(csv.DictReader((tmp_path / "quiz.csv").read_text("utf-8").splitlines()))
    assert [row["person"] for row in rows] == [row["truth"] for row in rows]
    assert rows[0]["image"] == first.file
    told = json.loads((tmp_path / "quiz.json").read_text("utf-8"))
    assert told["folder"] == "known"
    assert told["parameters"]["seed"] == 0
    assert told["crops"][0] == first.place()
    assert told["scores"]["model"]["right"] == 4
    assert str(tmp_path) not in json.dumps(told)


def test_keys_answer_and_take_back(widget, qtbot) -> None:
    start(widget, qtbot)
    panel = widget.panel
    for key in (Qt.Key.Key_1, Qt.Key.Key_2, Qt.Key.Key_0, Qt.Key.Key_3):
        qtbot.keyClick(panel.native, key)
    # There is no third class.
    assert panel.answers == [0, 1, 2]
    qtbot.keyClick(panel.choices, Qt.Key.Key_Backspace)
    assert panel.answers == [0, 1]
    assert panel.place.value == f"3 of {QUESTIONS}"
    panel.back_button.native.click()
    panel.back_button.native.click()
    assert not panel.back_button.enabled
    answer_all(widget)
    qtbot.keyClick(panel.native, Qt.Key.Key_1)
    assert len(panel.answers) == QUESTIONS
    panel.back_button.native.click()
    assert panel.place.value == f"{QUESTIONS} of {QUESTIONS}"


def test_without_none_there_is_no_such_key(widget, qtbot) -> None:
    widget.asked["allow_none"].value = False
    start(widget, qtbot)
    assert [button.text() for button in widget.panel.choices.buttons] == ["1  dark", "2  bright"]
    qtbot.keyClick(widget.panel.native, Qt.Key.Key_0)
    assert widget.panel.answers == []


def test_the_end_scores_what_was_answered(widget, qtbot, wait) -> None:
    start(widget, qtbot)
    wait(widget)
    widget.panel.answer(widget.quiz.questions[0].truth)
    end(widget)
    assert widget.marked.scores()["n"] == 1
    assert widget.results.table.rowCount() == 1


def test_the_scores_wait_for_the_model(widget, qtbot, held_model, wait) -> None:
    start(widget, qtbot)
    answer_all(widget)
    end(widget)
    assert widget.marked is None
    assert not widget.panel.visible
    held_model()
    wait(widget)
    assert widget.marked.scores()["person"]["right"] == QUESTIONS


def test_a_quiz_cancelled_before_an_answer_leaves_nothing_but_the_settings(
    widget, qtbot, held_model, wait
) -> None:
    start(widget, qtbot)
    widget.controls.cancel_button.native.click()
    assert wait(widget) == "cancelled"
    assert widget.quiz is None
    assert widget.folder.visible
    assert not widget.panel.visible
    assert not widget.results.visible


@pytest.mark.parametrize("over", [False, True])
def test_what_a_person_answered_outlives_the_model(
    widget, qtbot, held_model, over, run, wait
) -> None:
    start(widget, qtbot)
    quiz = widget.quiz
    answer_all(widget)
    if over:
        end(widget)
    widget.controls.cancel_button.native.click()
    said = wait(widget)
    assert said.startswith("cancelled; your answers are kept: press 'Ask the model again'")
    assert widget.panel.visible
    assert len(widget.panel.answers) == QUESTIONS
    held_model()
    assert widget.controls.run_button.text == "Ask the model again"
    assert run(widget).startswith("the model is ready")
    end(widget)
    assert widget.marked.quiz is quiz
    assert widget.marked.scores()["person"]["right"] == QUESTIONS
    assert not widget.alone.visible
    assert widget.controls.run_button.text == "Start"


def test_a_person_is_exported_alone_when_the_device_fails(
    widget, qtbot, monkeypatch, tmp_path, wait
) -> None:
    from napari_metallography.evaluation import quiz_crops

    go_on = []

    def failing(*args: Any) -> Any:
        while not go_on:
            yield worker.Progress(0, 1, "crops named by the model")
        raise DeviceError("the device failed")

    monkeypatch.setattr(quiz_crops, "model_answers", failing)
    start(widget, qtbot)
    first = widget.quiz.questions[0]
    widget.panel.answer(first.truth)
    assert not widget.alone.visible
    go_on.append(True)
    assert wait(widget).startswith("the device failed; your answers are kept")
    # Also once the quiz was given up.
    end(widget)
    assert widget.quiz is None
    assert widget.alone.visible
    widget.write_alone(tmp_path / "quiz.csv")
    (row,) = csv.DictReader((tmp_path / "quiz.csv").read_text("utf-8").splitlines())
    assert row["image"] == first.file
    assert row["person"] == row["truth"] == widget.panel._quiz.names[first.truth]
    told = json.loads((tmp_path / "quiz.json").read_text("utf-8"))
    assert (told["asked"], told["answered"], told["model"]) == (QUESTIONS, 1, "levels")


def test_another_model_does_not_answer_for_the_first(
    widget, qtbot, held_model, structure_models, run, wait, noise_model
) -> None:
    start(widget, qtbot)
    widget.panel.answer(0)
    widget.controls.cancel_button.native.click()
    wait(widget)
    held_model()
    kept = (structure_models / "levels.safetensors").read_bytes()
    noise_model(structure_models / "levels.safetensors", largest_px=48)
    assert "the model file has changed" in run(widget)
    assert widget.panel.answers == [0]
    (structure_models / "levels.safetensors").write_bytes(kept)


def test_end_before_the_first_answer_ends_the_quiz(widget, qtbot, held_model, wait) -> None:
    start(widget, qtbot)
    end(widget)
    wait(widget)
    assert widget.quiz is None
    assert widget.marked is None
    held_model()
    start(widget, qtbot)
    assert widget.panel.answers == []


def test_a_new_quiz_waits_for_the_end_of_the_former(widget, qtbot, wait) -> None:
    start(widget, qtbot)
    wait(widget)
    widget.panel.answer(0)
    widget.controls.run_button.native.click()
    assert "end it first" in widget.controls.status.value
    assert widget.panel.answers == [0]
    end(widget)
    former = widget.marked
    widget.asked["seed"].value = 3
    start(widget, qtbot)
    assert not widget.results.visible
    wait(widget)
    answer_all(widget)
    end(widget)
    assert widget.marked is not former
    assert widget.marked.quiz.provenance["parameters"]["seed"] == 3


def test_a_closed_dock_ends_its_quiz(form, viewer, qtbot, held_model) -> None:
    widget = form(viewer)
    viewer.window.add_dock_widget(widget, name="Structure quiz")
    start(widget, qtbot)
    widget.panel.answer(0)
    viewer.window.remove_dock_widget(widget.native)
    assert widget.quiz is None
    held_model()
    qtbot.waitUntil(lambda: not worker._under_way, timeout=20_000)
    assert widget.marked is None


def test_what_is_missing_is_said_in_a_line(widget, folder, tmp_path, monkeypatch, run) -> None:
    widget.results.export.native.click()
    assert "end a quiz first" in widget.controls.status.value
    (folder / "index.csv").unlink()
    assert "0.png: no pixel size is known" in refused(widget, run)
    widget.folder.value = tmp_path / "nowhere"
    assert "no such folder" in refused(widget, run)
    widget.folder.line_edit.value = ""
    assert "choose a folder" in refused(widget, run)
    widget.folder.value = folder
    monkeypatch.setenv("NAPARI_METALLOGRAPHY_MODELS", str(tmp_path))
    assert "levels" in refused(widget, run)


def test_without_a_model_the_form_says_how_to_get_one(qtbot, monkeypatch) -> None:
    monkeypatch.setattr(registry, "model_paths", dict)
    empty = StructureQuizWidget(ViewerModel())
    qtbot.addWidget(empty.native)
    assert not empty.model.is_chosen
    assert "train structure, or choose a file" in empty.model.card.value


def test_a_scale_free_model_tells_no_scale(widget, qtbot) -> None:
    widget.model.choose("free")
    start(widget, qtbot)
    assert widget.panel.scale.value == ""


def test_a_crop_is_shown_with_its_scale_or_without() -> None:
    pixels = np.full((50, 50), 90, np.uint8)
    question = Question(pixels, 0, "a.png", 0, 0, 0.2)
    assert scale_words(question) == "field 10 µm wide, 0.2 µm/px"
    bare = enlarged(question, tells_scale=False)
    assert bare.shape == (400, 400, 3)
    assert (bare == 90).all()
    told = enlarged(question, tells_scale=True)
    # The bar of 2 µm is a fifth of the field; nothing but its corner is changed.
    assert (told[:200] == 90).all()
    assert max((row == 0).all(-1).sum() for row in told) == 80
    unknown = Question(pixels, 0, "a.png", 0, 0, None)
    assert (enlarged(unknown, tells_scale=True) == bare).all()
    assert scale_words(unknown) == ""


def test_the_help_has_a_section() -> None:
    assert "blindly" in help_text("Structure quiz")


def test_the_form_opens_without_torch() -> None:
    code = (
        "import os, sys\n"
        "os.environ['QT_QPA_PLATFORM'] = 'offscreen'\n"
        "from napari.components import ViewerModel\n"
        "from qtpy.QtWidgets import QApplication\n"
        "application = QApplication([])\n"
        "from napari_metallography._napari.quiz import StructureQuizWidget\n"
        "assert StructureQuizWidget(ViewerModel()).quiz is None\n"
        "assert not {'torch', 'torchvision'} & {*sys.modules}\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)
