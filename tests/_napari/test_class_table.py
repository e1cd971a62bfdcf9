from __future__ import annotations

import pytest
from qtpy.QtGui import QColor
from qtpy.QtWidgets import QColorDialog

from napari_metallography._napari.class_table import ClassTable, require_clear_names
from napari_metallography.classes import PALETTE, PhaseClass, named_classes
from napari_metallography.errors import InputError


class Counter:
    def __init__(self) -> None:
        self.count = 0

    def __call__(self) -> None:
        self.count += 1


@pytest.fixture
def changes() -> Counter:
    return Counter()


@pytest.fixture
def table(qtbot, changes) -> ClassTable:
    table = ClassTable(named_classes(["matrix", "particles"]), changes)
    qtbot.addWidget(table.native)
    return table


def test_classes_are_read_as_shown(table, changes) -> None:
    assert table.classes() == named_classes(["matrix", "particles"])
    assert not table.is_edited
    assert changes.count == 0


def test_names_and_number_can_be_edited(table, changes) -> None:
    table.rows[1].name_edit.value = " pearlite "
    table.add_button.native.click()
    assert [phase.name for phase in table.classes()] == ["matrix", "pearlite", "class 3"]
    assert table.classes()[2].colour == PALETTE[2]
    assert table.is_edited
    assert changes.count == 2
    table.remove_button.native.click()
    assert table.names == ["matrix", "pearlite"]
    assert not table.remove_button.enabled


def test_a_colour_is_chosen_in_a_dialog(table, changes, monkeypatch) -> None:
    monkeypatch.setattr(QColorDialog, "getColor", lambda *_: QColor("#102030"))
    table.rows[0].colour_button.native.click()
    assert table.classes()[0] == PhaseClass(name="matrix", colour="#102030")
    monkeypatch.setattr(QColorDialog, "getColor", lambda *_: QColor())
    table.rows[0].colour_button.native.click()
    assert table.classes()[0].colour == "#102030"
    assert changes.count == 1


def test_the_frame_of_a_colour_is_that_of_its_paint(table) -> None:
    matrix, particles = (row.colour_button.native.styleSheet() for row in table.rows)
    assert f"background-color: {PALETTE[0]}" in matrix
    assert f"solid {PALETTE[-1]}" in matrix
    assert f"background-color: {PALETTE[1]}" in particles
    assert f"solid {PALETTE[1]}" in particles
    table.rows[0].paint("#ff0000")
    table._edited()
    assert "solid #ff0000" in table.rows[0].colour_button.native.styleSheet()


def test_unfinished_names_are_drawn_but_not_taken(table) -> None:
    table.rows[1].name_edit.value = ""
    assert [phase.name for phase in table.drawn()] == ["matrix", "class 2"]
    with pytest.raises(InputError, match="class 2 has no name"):
        table.classes()


def test_a_name_given_twice_is_refused() -> None:
    with pytest.raises(InputError, match="two classes are named 'matrix'"):
        require_clear_names(["matrix", "pores", "matrix"])
