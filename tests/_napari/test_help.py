from __future__ import annotations

import pytest
from magicgui.widgets import Container

from napari_metallography._napari import help as help_module
from napari_metallography._napari.batch import BatchWidget
from napari_metallography._napari.calibrate import CalibrateWidget
from napari_metallography._napari.compare import CompareWidget
from napari_metallography._napari.defects import ClassifyDefectsWidget
from napari_metallography._napari.fine_tune import FineTuneWidget
from napari_metallography._napari.grain_size import GrainSizeWidget
from napari_metallography._napari.help import help_dialog, help_text
from napari_metallography._napari.learn_structures import LearnStructuresWidget
from napari_metallography._napari.quantify import QuantifyWidget
from napari_metallography._napari.segment import SegmentWidget
from napari_metallography._napari.structure import ClassifyStructureWidget

DOCKS = {
    "Calibrate": CalibrateWidget,
    "Segment phases": SegmentWidget,
    "Quantify": QuantifyWidget,
    "Grade grain size": GrainSizeWidget,
    "Classify defects": ClassifyDefectsWidget,
    "Classify structure": ClassifyStructureWidget,
    "Learn structures": LearnStructuresWidget,
    "Batch": BatchWidget,
    "Compare with truth": CompareWidget,
    "Fine-tune": FineTuneWidget,
}


@pytest.mark.parametrize("section", DOCKS)
def test_each_dock_has_a_section_of_its_own(section: str) -> None:
    text = help_text(section)
    assert text.startswith(f"# {section}\n")
    assert sum(line.startswith("# ") for line in text.splitlines()) == 1
    assert len(text) > 300


def test_an_unknown_section_is_an_error() -> None:
    with pytest.raises(KeyError):
        help_text("Brew coffee")


@pytest.mark.parametrize("section", DOCKS)
def test_the_link_of_each_dock_opens_its_section(section, qtbot, monkeypatch) -> None:
    shown: list[str] = []
    monkeypatch.setattr(help_module, "_open", lambda label, section, _: shown.append(section))
    from napari.components import ViewerModel

    dock = DOCKS[section](ViewerModel())
    qtbot.addWidget(dock.native)
    (link,) = [x for x in _labels(dock) if "Help" in str(x.value)]
    assert not link.native.openExternalLinks()
    link.native.linkActivated.emit("#")
    assert shown == [section]


def test_the_dialog_shows_the_text(qtbot) -> None:
    dialog = help_dialog("Quantify")
    qtbot.addWidget(dialog)
    shown = dialog.layout().itemAt(0).widget().toPlainText()
    assert shown.startswith("Quantify\n")
    assert "where no pixel size is known" in shown
    assert not dialog.isModal()


def _labels(dock) -> list:
    """Those of the dock, and those in a row with a button."""
    found = [widget for widget in dock if hasattr(widget.native, "linkActivated")]
    return found + [label for row in dock if isinstance(row, Container) for label in _labels(row)]
