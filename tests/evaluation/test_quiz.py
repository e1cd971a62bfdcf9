from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest
from skimage import io

from napari_metallography.classification.structure_model import (
    StructureModel,
    load_structure_model,
)
from napari_metallography.errors import InputError
from napari_metallography.evaluation.quiz import (
    MarkedQuiz,
    Question,
    Quiz,
    QuizParameters,
    asked_images,
    exact_mcnemar,
    quiz_scores,
    wilson_interval,
)
from napari_metallography.evaluation.quiz_crops import drawn_quiz, model_answers, run_quiz
from napari_metallography.events import Event, Notice, drain

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def free(tmp_path_factory, noise_model) -> Path:
    path = tmp_path_factory.mktemp("models") / "free.safetensors"
    return noise_model(path, images=["dark/0.png"], magnification=False, px_per_um=None)


@pytest.fixture(scope="module")
def scaled(tmp_path_factory, noise_model) -> Path:
    path = tmp_path_factory.mktemp("models") / "scaled.safetensors"
    return noise_model(path, images=["dark/0.png"])


@pytest.fixture
def data(tmp_path, noisy) -> Callable[..., Path]:
    """Makes a folder with so many images a kind, and an index when a pixel size is given."""

    def make(*, size: float | None = None, **counts: int) -> Path:
        folder = tmp_path / "known"
        lines = ["image,pixel_size_um"]
        for kind, count in counts.items():
            (folder / kind).mkdir(parents=True)
            for seed in range(count):
                io.imsave(folder / kind / f"{seed}.png", noisy(kind, seed), check_contrast=False)
                lines.append(f"{kind}/{seed}.png,{size}")
        if size:
            (folder / "index.csv").write_text("\n".join(lines))
        return folder

    return make


def _drawn(model: Path, data: Path, **asked: Any) -> tuple[StructureModel, Quiz, list[str]]:
    loaded = load_structure_model(str(model))
    parameters = QuizParameters(data=data, model=str(model), **asked)
    notices: list[str] = []

    def heard(event: Event) -> None:
        if isinstance(event, Notice):
            notices.append(event.message)

    return loaded, drain(drawn_quiz(loaded, parameters), heard), notices


# --- which crops -----------------------------------------------------------------------------


@given(st.lists(st.integers(0, 4), min_size=1, max_size=30), st.integers(1, 60), st.integers(0, 9))
def test_classes_are_asked_alike_and_images_in_turn(classes, questions, seed) -> None:
    numbers = np.array(classes)
    asked = asked_images(numbers, questions, seed)
    assert asked == asked_images(numbers, questions, seed)
    assert len(asked) == questions
    by_class = Counter(classes[number] for number in asked)
    counts = [by_class[kind] for kind in set(classes)]
    assert max(counts) - min(counts) <= 1
    for kind in set(classes):
        often = [asked.count(number) for number in np.flatnonzero(numbers == kind)]
        assert max(often) - min(often) <= 1


def test_crops_are_parts_of_their_images_that_the_model_takes(free, data) -> None:
    folder = data(dark=3, bright=3, none=2)
    _, quiz, _ = _drawn(free, folder, questions=18, seed=4)
    assert quiz.names == ("dark", "bright", "none")
    assert not quiz.tells_scale
    for one in quiz.questions:
        image = io.imread(folder / one.file)
        assert (
            image[one.top : one.top + one.side, one.left : one.left + one.side] == one.pixels
        ).all()
        assert one.pixels.shape == (one.side, one.side)
        assert quiz.names[one.truth] == one.file.split("/")[0]
    sides = {one.side for one in quiz.questions}
    assert min(sides) >= 32
    assert max(sides) <= 64
    assert len(sides) > 9
    assert Counter(one.truth for one in quiz.questions) == {0: 6, 1: 6, 2: 6}
    _, again, _ = _drawn(free, folder, questions=18, seed=4)
    assert [one.place() for one in again.questions] == [one.place() for one in quiz.questions]
    _, other, _ = _drawn(free, folder, questions=18, seed=5)
    assert [one.place() for one in other.questions] != [one.place() for one in quiz.questions]


def test_scales_are_those_that_the_model_was_trained_on(scaled, data) -> None:
    _, quiz, notices = _drawn(scaled, data(size=0.04, dark=9, bright=9), questions=12)
    assert quiz.tells_scale
    # 32 px over a side of 0.04 µm/px: 20 px/µm is a side of 40 px.
    assert min(one.side for one in quiz.questions) >= 40
    assert not any("magnifications" in notice for notice in notices)


def test_crops_beyond_the_trained_scales_are_told(scaled, data) -> None:
    _, _, notices = _drawn(scaled, data(size=5.0, dark=9, bright=9), questions=12)
    assert "12 crops are at magnifications the model was not trained on" in notices


def test_foreign_classes_count_as_none_or_are_left_out(free, data) -> None:
    folder = data(dark=2, bright=2, grey=2, none=1)
    _, quiz, notices = _drawn(free, folder, questions=9)
    assert any(notice.startswith("images of grey count as none") for notice in notices)
    truth = {one.file.split("/")[0]: quiz.names[one.truth] for one in quiz.questions}
    assert truth == {"dark": "dark", "bright": "bright", "grey": "none", "none": "none"}
    _, quiz, notices = _drawn(free, folder, questions=9, allow_none=False)
    assert any(notice.startswith("images of grey are left out") for notice in notices)
    assert quiz.names == ("dark", "bright")
    assert {one.file.split("/")[0] for one in quiz.questions} == {"dark", "bright"}


def test_what_is_not_quite_fair_is_told(free, data) -> None:
    _, _, notices = _drawn(free, data(dark=1, bright=2), questions=6)
    assert notices[0].startswith("6 crops are of 3 images only")
    assert notices[1].startswith("3 crops are of files called like those the model learnt from")


@pytest.mark.parametrize(
    ("counts", "asked", "said"),
    [
        ({"dark": 3}, {}, "usable images of dark only"),
        ({"dark": 3, "none": 1}, {"allow_none": False}, "usable images of dark only"),
        ({"grey": 3, "none": 1}, {}, "no image of a class of the model: dark, bright"),
    ],
)
def test_a_quiz_needs_two_classes(free, data, counts, asked, said) -> None:
    with pytest.raises(InputError, match=said):
        _drawn(free, data(**counts), **asked)


def test_a_model_with_magnification_needs_pixel_sizes(scaled, free, data) -> None:
    folder = data(dark=2, bright=2)
    with pytest.raises(InputError, match=r"0\.png: no pixel size is known.*index\.csv") as refused:
        _drawn(scaled, folder)
    assert "\n" not in str(refused.value)
    _, quiz, _ = _drawn(free, folder)
    assert {one.pixel_size_um for one in quiz.questions} == {None}


# --- what the model answers ------------------------------------------------------------------


def test_the_model_names_exactly_the_crops(free, data, noisy) -> None:
    model, quiz, _ = _drawn(free, data(dark=4, bright=4), questions=10)
    found = drain(model_answers(model, quiz, CPU))
    assert found.shape == (10, 3)
    assert np.allclose(found.sum(1), 1)
    assert found.argmax(1).tolist() == [one.truth for one in quiz.questions]
    # Of the crops' pixels alone: other pixels, other answers.
    swapped = tuple(
        Question(noisy("dark", 90, (40, 40)), one.truth, one.file, 0, 0, None)
        for one in quiz.questions
    )
    changed = Quiz(swapped, quiz.names, quiz.tells_scale, quiz.provenance)
    assert drain(model_answers(model, changed, CPU)).argmax(1).tolist() == [0] * 10


def test_without_none_the_model_chooses_among_the_classes(free, data) -> None:
    model, quiz, _ = _drawn(free, data(dark=4, bright=4), questions=8, allow_none=False)
    # It would call everything none.
    model.network.gaussians.threshold = torch.tensor([1e9])
    found = drain(model_answers(model, quiz, CPU))
    assert found.shape == (8, 2)
    assert found.argmax(1).tolist() == [one.truth for one in quiz.questions]


def test_the_questions_come_before_the_answers(free, data) -> None:
    parameters = QuizParameters(data=data(dark=3, bright=3), model=str(free), questions=4)
    events: list[Event] = []
    found = drain(run_quiz(parameters), events.append)
    (place,) = (n for n, event in enumerate(events) if isinstance(event, Quiz))
    assert len(found) == 4
    assert place < len(events) - 4
    report = json.loads(json.dumps(events[place].provenance))
    assert report["folder"] == "known"
    assert report["parameters"] == {"questions": 4, "seed": 0, "allow_none": True}
    assert report["model_digest"] == load_structure_model(str(free)).digest


def test_a_model_that_is_gone_is_said_in_a_line(tmp_path, data) -> None:
    parameters = QuizParameters(data=data(dark=3, bright=3), model=str(tmp_path / "x.safetensors"))
    with pytest.raises(InputError, match=r"x\.safetensors"):
        drain(run_quiz(parameters))


# --- scores ----------------------------------------------------------------------------------


@given(st.integers(1, 200), st.data())
def test_the_interval_is_wilsons(count, data) -> None:
    right = data.draw(st.integers(0, count))
    exact = binomtest(right, count).proportion_ci(method="wilson")
    assert wilson_interval(right, count) == pytest.approx((exact.low, exact.high), abs=1e-12)


@given(st.integers(0, 60), st.integers(0, 60))
def test_the_p_value_is_the_exact_one(one, other) -> None:
    found = exact_mcnemar(one, other)
    assert found == exact_mcnemar(other, one)
    expected = binomtest(one, one + other).pvalue if one + other else 1.0
    assert found == pytest.approx(expected)


def test_scores_of_both_are_of_the_same_questions() -> None:
    truth = np.array([0, 0, 1, 1, 2, 2])
    person = np.array([0, 1, 1, 1, 2, 0])
    model = np.array([0, 0, 1, 2, 2, 2])
    found = quiz_scores(truth, person, model, ("dark", "bright", "none"))
    assert (found["person"]["right"], found["model"]["right"]) == (4, 5)
    assert found["person"]["accuracy"] == pytest.approx(4 / 6)
    assert found["person"]["by_class"]["none"]["recall"] == 0.5
    assert found["model"]["by_class"]["none"]["recall"] == 1
    assert found["agreement"] == pytest.approx(3 / 6)
    assert (found["only_person_right"], found["only_model_right"]) == (1, 2)
    assert found["p_value"] == 1


@given(st.lists(st.tuples(*[st.integers(0, 2)] * 3), min_size=1, max_size=20), st.randoms())
def test_scores_do_not_depend_on_the_order(answers, random) -> None:
    names = ("a", "b", "none")
    shuffled = random.sample(answers, len(answers))
    one, other = (quiz_scores(*np.array(rows).T, names) for rows in (answers, shuffled))
    assert one == other


def test_only_what_was_answered_is_scored() -> None:
    pixels = np.zeros((40, 40), np.uint8)
    questions = tuple(Question(pixels, n % 2, f"{n}.png", n, 7, 0.5) for n in range(4))
    quiz = Quiz(questions, ("dark", "bright"), True, {"model": "m"})
    probabilities = np.array([[0.9, 0.1], [0.8, 0.2], [0.1, 0.9], [0.3, 0.7]])
    marked = MarkedQuiz(quiz, (1, 1), probabilities)
    assert marked.scores()["n"] == 2
    first = marked.rows()[0]
    assert first == {
        "image": "0.png",
        "top": 0,
        "left": 7,
        "side": 40,
        "pixel_size_um": 0.5,
        "truth": "dark",
        "person": "bright",
        "model": "dark",
        "probability_dark": 0.9,
        "probability_bright": 0.1,
    }
    report = marked.report()
    assert (report["model"], report["asked"], report["answered"]) == ("m", 4, 2)
    assert [crop["top"] for crop in report["crops"]] == [0, 1]
    with pytest.raises(InputError, match="no question was answered"):
        MarkedQuiz(quiz, (), probabilities)
