"""The text of a recipe, checked while it is typed."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import cast

from magicgui.widgets import ComboBox, Container, Label, PushButton, TextEdit, Widget
from qtpy.QtCore import QTimer
from qtpy.QtGui import QFontDatabase, QTextCursor
from qtpy.QtWidgets import QFileDialog, QTextEdit

from ..batch.examples import example_paths
from ..batch.pasting import with_step
from ..batch.recipe import Recipe, found_from, parse_recipe
from ..errors import InputError
from ..io.files import read_bytes, write_text
from .form import button_row, keep_narrow, wrap
from .recipe_step import clipboard

_CHOOSE = "ready recipes …"
_FILES = "Recipes (*.yaml *.yml)"
_PAUSE_MS = 300
_HEIGHT = 170
_MODE_LINE = "# yaml-language-server:"
_READY = "takes the place of the text; Ctrl+Z in the text brings it back"
_PASTE = "puts what Copy as recipe step has copied into the text, in place of that step"


class RecipeEditor(Container[Widget]):
    """A recipe as YAML, with what is wrong with it, or the steps it takes, below.

    Parameters
    ----------
    attempt
        Does what a button asks for, or shows why it cannot be done.
    """

    def __init__(self, attempt: Callable[..., None]) -> None:
        names = [(name, name) for name in example_paths()]
        self.ready = ComboBox(
            choices=[(_CHOOSE, ""), *names], value="", label="Recipe", tooltip=_READY
        )
        self.text = TextEdit(value="", label="")
        self.found = Label(value="", label="")
        self.open = PushButton(text="Open…")
        self.save = PushButton(text="Save…")
        self.paste = PushButton(text="Paste step", tooltip=_PASTE)
        buttons = button_row(self.open, self.save, self.paste)
        super().__init__(widgets=[self.ready, self.text, self.found, buttons])
        self.margins = (0, 0, 0, 0)
        keep_narrow(self.ready)
        wrap(self.found)
        self._folder: Path | None = None
        self._lay_out()
        self._pause = QTimer(self.native)
        self._pause.setSingleShot(True)
        self._pause.setInterval(_PAUSE_MS)
        self._pause.timeout.connect(self.show_found)
        # magicgui does not emit a signal of its own for texts of several lines.
        self._native.textChanged.connect(self._pause.start)
        self.ready.changed.connect(partial(attempt, self._take_ready))
        self.open.changed.connect(partial(attempt, self._ask_and_open))
        self.save.changed.connect(partial(attempt, self._ask_and_save))
        self.paste.changed.connect(partial(attempt, self.paste_step))

    def recipe(self) -> Recipe:
        """What the text says.

        Raises
        ------
        InputError
            When it is no recipe, or names an index that cannot be found.
        """
        recipe = parse_recipe(str(self.text.value))
        index = recipe.calibrate.index
        if self._folder is None and (index is None or index.is_absolute()):
            return recipe
        if self._folder is None:
            raise InputError(f"index {index}: give its whole path, or save the recipe beside it")
        return found_from(recipe, self._folder)

    def show_found(self) -> None:
        """Say what is wrong with the text, or which steps it takes."""
        self._pause.stop()
        try:
            recipe = self.recipe()
        except InputError as error:
            self.found.value = f"⚠ {error}"
            return
        steps = ", ".join(name.replace("_", " ") for name in recipe.steps)
        of = "labels" if recipe.takes_labels else "images"
        self.found.value = f"Takes {of}: {steps}."

    def replace(self, text: str) -> None:
        """Put another text in place of the present one, as if it were typed: Ctrl+Z undoes it."""
        cursor = self._native.textCursor()
        cursor.select(QTextCursor.SelectionType.Document)
        cursor.insertText(text)
        self._native.moveCursor(QTextCursor.MoveOperation.Start)
        self.show_found()

    def paste_step(self) -> None:
        """Put the step on the clipboard into the text."""
        try:
            merged = with_step(str(self.text.value), clipboard().text())
        except InputError as error:
            raise InputError(f"{error}; press Copy as recipe step in another dock first") from error
        self.replace(merged)

    def open_recipe(self, path: Path) -> None:
        """Take the text of a file."""
        try:
            text = read_bytes(path).decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise InputError(f"{path}: not UTF-8 text; save it as such") from error
        self._folder = path.parent
        self.replace(text)

    def save_recipe(self, path: Path) -> None:
        """Write the text to a file."""
        whole = path if path.suffix.lower() in (".yaml", ".yml") else Path(f"{path}.yaml")
        write_text(whole, str(self.text.value))
        self._folder = whole.parent
        self.show_found()

    @property
    def _native(self) -> QTextEdit:
        return cast(QTextEdit, self.text.native)

    def _lay_out(self) -> None:
        native = self._native
        native.setFont(QFontDatabase.systemFont(QFontDatabase.SystemFont.FixedFont))
        # napari's style sheet names a font of its own.
        native.setStyleSheet('QTextEdit { font-family: "DejaVu Sans Mono", Menlo, monospace; }')
        native.setAcceptRichText(False)
        native.setLineWrapMode(QTextEdit.LineWrapMode.NoWrap)
        # YAML knows no tabs.
        native.setTabChangesFocus(True)
        native.setMinimumHeight(_HEIGHT)

    def _take_ready(self) -> None:
        name = self.ready.value
        if not name:
            return
        self.replace(ready_text(name))
        self._folder = None
        self.ready.value = ""

    def _ask_and_open(self) -> None:
        path, _ = QFileDialog.getOpenFileName(self.native, "Open recipe", "", _FILES)
        if path:
            self.open_recipe(Path(path))

    def _ask_and_save(self) -> None:
        path, _ = QFileDialog.getSaveFileName(self.native, "Save recipe", "recipe.yaml", _FILES)
        if path:
            self.save_recipe(Path(path))


def ready_text(name: str) -> str:
    """The text of a ready recipe, without the line for other editors, which names a file there."""
    lines = example_paths()[name].read_text(encoding="utf-8").splitlines(keepends=True)
    return "".join(line for line in lines if not line.startswith(_MODE_LINE))
