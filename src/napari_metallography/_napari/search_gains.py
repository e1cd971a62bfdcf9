"""The gains of the trainings of a search for a recipe, as the paper prints them."""

from __future__ import annotations

from typing import Any

import pandas as pd
from magicgui.widgets import Label, Table
from qtpy.QtWidgets import QVBoxLayout, QWidget

from ..training.search import Search
from .form import as_result, fill, wrap

_TITLES = {
    "training": "recipe",
    "miou_percent": "mIoU (%)",
    "gain_points": "gain (points)",
    "count_error": "count error (n)",
    "mean_radius_error_px": "radius error (px)",
    "mean_radius_error_um": "radius error (µm)",
    "iou_percent": "IoU (%)",
}


class SearchGains(QWidget):
    """A row a training; the best is named below."""

    def __init__(self, found: Search) -> None:
        super().__init__()
        self.table = Table(value=None)
        self.note = Label(value=f"Over the held-out labels. Best: {found.best.name}.")
        wrap(self.note)
        as_result(self.table)
        fill(self.table, gains_frame(found))
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        for widget in (self.table, self.note):
            layout.addWidget(widget.native)


def gains_frame(found: Search) -> pd.DataFrame:
    """`Search.table` for people: what was trained, mean IoU, gain, and the rest by phase."""
    rows = [
        {_title(key): _shown(key, value) for key, value in row.items()} for row in found.table()
    ]
    shown = pd.DataFrame(rows).drop(columns="tricks")
    return shown.loc[:, (shown != "–").any()]


def _title(key: str) -> str:
    """`count_error_carbides` to "carbides count error (n)"."""
    if key in _TITLES:
        return _TITLES[key]
    prefix = next((one for one in _TITLES if key.startswith(f"{one}_")), "")
    return f"{key.removeprefix(f'{prefix}_')} {_TITLES[prefix]}" if prefix else key


def _shown(key: str, value: Any) -> str:
    if value is None or isinstance(value, str):
        return value or "–"
    if isinstance(value, int):
        return f"{value:+d}"
    return f"{value:.2f}" if "percent" in key else f"{value:+.2f}"
