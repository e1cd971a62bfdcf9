from __future__ import annotations

import pytest

from napari_metallography._napari.training_curve import TrainingCurve
from napari_metallography.events import TrainingStep


@pytest.fixture
def curve(qtbot) -> TrainingCurve:
    curve = TrainingCurve()
    qtbot.addWidget(curve)
    return curve


def test_loss_and_score_are_drawn(curve, qtbot) -> None:
    for iteration in range(1, 5):
        metrics = {"miou": 0.5} if iteration == 4 else {}
        curve.add(TrainingStep(iteration, 1 / iteration, 0.1, metrics))
    assert not len(curve._loss_line.get_xdata())
    qtbot.waitUntil(lambda: len(curve._loss_line.get_xdata()) == 4, timeout=5000)
    assert list(curve._miou_line.get_xdata()) == [4]
    low, high = curve._loss.get_ylim()
    assert low <= 0.25 < 1 <= high


def test_many_steps_are_one_drawing(curve, qtbot, monkeypatch) -> None:
    drawn: list[int] = []
    monkeypatch.setattr(curve._canvas, "draw_idle", lambda: drawn.append(len(curve.losses)))
    for iteration in range(50):
        curve.add(TrainingStep(iteration, 1.0, 0.1))
    qtbot.waitUntil(lambda: bool(drawn), timeout=5000)
    assert drawn == [50]


def test_a_new_training_begins_with_an_empty_curve(curve) -> None:
    curve.add(TrainingStep(1, 1.0, 0.1, {"miou": 0.5}))
    curve.clear()
    assert (curve.losses, curve.mious) == ([], [])
