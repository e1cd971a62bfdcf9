"""The table of answers of a form as a file."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from qtpy.QtWidgets import QFileDialog, QWidget

from ..errors import InputError
from ..io.files import together
from ..io.tables import write_csv, write_json
from .quantify_results import with_ending


def ask_for_table(
    parent: QWidget, answers: Collection[object], name: str = "classes.csv"
) -> Path | None:
    """Ask where the table shall go; None when that is cancelled.

    Raises
    ------
    InputError
        When there is nothing to write.
    """
    _require(answers)
    path, _ = QFileDialog.getSaveFileName(parent, "Export answers", name, "Tables (*.csv)")
    return with_ending(Path(path), ".csv") if path else None


def write_answers(path: Path, rows: Sequence[dict[str, Any]], provenance: dict[str, Any]) -> None:
    """Write answers as CSV, and how they were had as JSON beside it: both or neither."""
    _require(rows)
    told = path.with_suffix(".json")
    with together(path, told):
        write_csv(path, pd.DataFrame(rows))
        write_json(told, provenance)


def _require(answers: Collection[object]) -> None:
    if not answers:
        raise InputError("classify images first")
