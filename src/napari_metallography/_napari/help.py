"""Help at hand in the forms: the sections of `help.md`, shown without a network."""

from __future__ import annotations

from functools import partial
from importlib import resources

from magicgui.widgets import Label
from qtpy.QtWidgets import QDialog, QSizePolicy, QTextBrowser, QVBoxLayout, QWidget

_SIZE = (520, 460)


def help_text(section: str) -> str:
    """A section of the help, Markdown, with its heading; `KeyError` when there is none."""
    text = resources.files(__package__).joinpath("help.md").read_text("utf-8")
    sections = {part.partition("\n")[0].strip(): part for part in f"\n{text}".split("\n# ")[1:]}
    return f"# {sections[section]}"


def help_link(section: str) -> Label:
    """A label that opens a section of the help in a window of its own."""
    # Qt's own blue cannot be read on a dark theme; this one can on both.
    label = Label(value='<a href="#" style="color:#4a90d9">Help</a>', label="")
    label.native.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Preferred)
    label.native.linkActivated.connect(partial(_open, label, section))
    return label


def help_dialog(section: str, parent: QWidget | None = None) -> QDialog:
    """A window with a section of the help; it blocks nothing."""
    dialog = QDialog(parent)
    dialog.setWindowTitle(f"Help: {section}")
    browser = QTextBrowser(dialog)
    browser.setMarkdown(help_text(section))
    QVBoxLayout(dialog).addWidget(browser)
    dialog.resize(*_SIZE)
    return dialog


def _open(label: Label, section: str, _: str) -> None:
    dialog = help_dialog(section, label.native)
    dialog.finished.connect(dialog.deleteLater)
    dialog.show()
