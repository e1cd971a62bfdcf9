"""Correcting particles in the form *Quantify*."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable
from functools import partial

import pandas as pd
from magicgui.widgets import (
    ComboBox,
    Container,
    Label,
    LineEdit,
    PushButton,
    SpinBox,
    Table,
    Widget,
)
from napari.components import ViewerModel
from napari.layers import Shapes
from qtpy.compat import isalive

from ..classes import UNLABELLED
from ..errors import InputError
from ..quantification.corrections import MATRIX, Action, Correction, audit_rows
from .corrected_layer import CorrectedLayer, Prepared
from .form import align_labels, as_result, button_row, fill, keep_narrow, wrap
from .layers import pixel_positions, plane_placement
from .worker import Run, nothing

CUT = "cutting line"
"""Name of the layer on which a line is drawn that splits a particle."""

_HOW = (
    "Click a particle, or its row; Shift and click adds others. Ctrl+Z in the image takes a "
    "correction back."
)


class CorrectionsPanel(Container[Widget]):
    """Which particles, and what is done to them.

    Parameters
    ----------
    refuse
        Shows why something cannot be done.
    """

    def __init__(
        self,
        viewer: ViewerModel,
        refuse: Callable[[Exception], None],
        say: Callable[[str], None],
    ) -> None:
        self._viewer, self._refuse, self._say = viewer, refuse, say
        self._corrected: CorrectedLayer | None = None
        self._waiting: deque[tuple[CorrectedLayer, Correction, Callable[[], None]]] = deque()
        self._under_way: Run[Prepared] | None = None
        self.how = Label(value=f"<b>Corrections</b><br>{_HOW}")
        self.particles = LineEdit(label="Correct particles", tooltip="numbers with commas between")
        self.phase = ComboBox(label="New phase", choices=self._phases, tooltip=_PHASE)
        self.line_width = SpinBox(value=3, min=1, max=99, label="Joining line (px)", tooltip=_WIDTH)
        self.delete = PushButton(text="Delete", tooltip="their pixels become the matrix")
        self.unlabel = PushButton(text="Unlabel", tooltip="their pixels become unlabelled")
        self.merge = PushButton(text="Merge", tooltip=_MERGE)
        self.split = PushButton(text="Split at neck", tooltip="by the distance to the edge")
        self.cut = PushButton(text="Split along line", tooltip=_CUT)
        self.reclassify = PushButton(text="Reclassify", tooltip="they get the new phase")
        self.undo = PushButton(text="Undo", tooltip="as Ctrl+Z in the image")
        self.redo = PushButton(text="Redo", tooltip="as Ctrl+Shift+Z in the image")
        self.trail = Table(value=None, visible=False)
        super().__init__(
            widgets=[
                self.how,
                self.particles,
                button_row(self.delete, self.unlabel, self.merge),
                button_row(self.split, self.cut, self.reclassify),
                self.phase,
                self.line_width,
                button_row(self.undo, self.redo),
                self.trail,
            ]
        )
        self.margins = (0, 0, 0, 0)
        align_labels(self)
        keep_narrow(self.phase)
        wrap(self.how)
        as_result(self.trail)
        for button, press in (
            (self.delete, lambda: self._make("delete", to_class=MATRIX)),
            (self.unlabel, lambda: self._make("delete", to_class=UNLABELLED)),
            (self.merge, lambda: self._make("merge", width_px=self.line_width.value)),
            (self.split, lambda: self._make("split")),
            (self.cut, self._cut),
            (self.reclassify, lambda: self._make("reclassify", to_class=self.phase.value)),
            (self.undo, lambda: self._require().undo()),
            (self.redo, lambda: self._require().redo()),
        ):
            button.changed.connect(lambda _, press=press: self._pressed(press))

    @property
    def is_busy(self) -> bool:
        """Whether a correction asked for is not yet made."""
        return self._under_way is not None

    def abandon(self) -> None:
        """Make no further correction: the form is gone."""
        self._waiting.clear()
        if self._under_way is not None:
            self._under_way.abandon()
            self._under_way = None

    def follow(self, corrected: CorrectedLayer | None) -> None:
        """Correct the particles of a layer."""
        self._corrected = corrected
        self.particles.value = ""
        if corrected is not None:
            self.phase.reset_choices()
            self.show_trail()

    def show_trail(self) -> None:
        """Show the corrections made so far."""
        corrected = self._require()
        rows = audit_rows(corrected.trail, corrected.measured.labels.classes)
        self.trail.visible = bool(rows)
        if rows:
            table = pd.DataFrame(rows)[["correction", "particles", "phase_after", "pixels_changed"]]
            fill(self.trail, table.rename(columns={"phase_after": "phase", "pixels_changed": "px"}))

    def choose(self, numbers: list[int]) -> None:
        """Choose particles."""
        self.particles.value = ", ".join(map(str, numbers))

    def add(self, number: int) -> None:
        """Choose a particle too, or no longer when it is chosen."""
        chosen = list(numbers_in(self.particles.value))
        self.choose([n for n in chosen if n != number] + [number] * (number not in chosen))

    def _phases(self, _: object) -> list[tuple[str, int]]:
        if self._corrected is None:
            return []
        classes = self._corrected.measured.labels.classes
        return [(phase.name, index) for index, phase in enumerate(classes)]

    def _pressed(self, press: Callable[[], None]) -> None:
        try:
            press()
        except InputError as error:
            self._waiting.clear()
            self._refuse(error)

    def _make(
        self,
        action: Action,
        *,
        to_class: int = MATRIX,
        width_px: int = 3,
        line: tuple[tuple[float, float], ...] = (),
        after: Callable[[], None] = lambda: None,
    ) -> None:
        corrected = self._require()
        numbers = numbers_in(self.particles.value)
        plane = self._plane_of(corrected, numbers)
        asked = Correction(action, numbers, plane, to_class=to_class, width_px=width_px, line=line)
        self._waiting.append((corrected, asked, after))
        self._begin_next()

    def _begin_next(self) -> None:
        """Work out the next correction in the background; one after another."""
        if self._under_way is not None or not self._waiting:
            return
        corrected, asked, after = self._waiting.popleft()
        self._under_way = Run(
            corrected.prepared(asked),
            "",
            on_event=nothing,
            on_result=partial(self._take, corrected, self.particles.value, after),
            on_end=self._ended,
            is_wanted=partial(isalive, self.native),
        )

    def _take(
        self, corrected: CorrectedLayer, chosen: str, after: Callable[[], None], prepared: Prepared
    ) -> None:
        made = corrected.make(prepared).correction
        self._say(f"{made.action}: {made.pixels_changed:,} pixels changed; measuring again …")
        # Another particle may have been chosen meanwhile.
        if corrected is self._corrected and self.particles.value == chosen:
            self.choose(_chosen_after(made))
        after()

    def _ended(self, refused: str) -> None:
        self._under_way = None
        if refused:
            # What was asked for next may have been meant for what this would have made.
            self._waiting.clear()
            self._say(refused)
        self._pressed(self._begin_next)

    def _plane_of(self, corrected: CorrectedLayer, numbers: tuple[int, ...]) -> int:
        """The plane that holds the particles: from the table, else the one shown."""
        table = corrected.measured.result.particles
        planes = table.loc[table["particle"].isin(numbers), "plane"].unique()
        if len(planes) > 1:
            raise InputError("the particles lie in several planes; correct one plane at a time")
        if len(planes):
            return int(planes[0])
        shape = corrected.particles.data.shape[:-2]
        step = self._viewer.dims.current_step[-len(corrected.particles.data.shape) :][: len(shape)]
        place = 0
        for length, index in zip(shape, step, strict=True):
            place = place * length + int(index)
        return place

    def _cut(self) -> None:
        corrected = self._require()
        drawn = [layer for layer in self._viewer.layers if layer.name == CUT]
        if not drawn:
            if len(numbers_in(self.particles.value)) != 1:
                raise InputError("choose one particle to split")
            self._add_cut(corrected)
            self._say("draw a line right across the particle, then press again")
            return
        layer = drawn[0]
        if not isinstance(layer, Shapes) or not len(layer.data):
            raise InputError("draw a line right across the particle first")
        line = pixel_positions(layer.data[-1], layer, corrected.phases)
        across = tuple((float(r), float(c)) for r, c in line)
        self._make("split", line=across, after=partial(self._remove_cut, layer, corrected))

    def _remove_cut(self, layer: Shapes, corrected: CorrectedLayer) -> None:
        if layer in self._viewer.layers:
            self._viewer.layers.remove(layer)
        self._viewer.layers.selection.active = corrected.particles

    def _add_cut(self, corrected: CorrectedLayer) -> None:
        layer = Shapes(
            name=CUT,
            ndim=2,
            edge_color="#d55e00",
            edge_width=1,
            **plane_placement(corrected.particles, 2),
        )
        self._viewer.add_layer(layer)
        layer.mode = "add_line"

    def _require(self) -> CorrectedLayer:
        if self._corrected is None:
            raise InputError("quantify first, then correct the particles")
        return self._corrected


def _chosen_after(made: Correction) -> list[int]:
    """What is chosen after a correction: what it made."""
    if made.action == "merge":
        return [min(made.particles)]
    return [*made.particles, *made.created] if made.action == "split" else list(made.created)


def numbers_in(text: str) -> tuple[int, ...]:
    """Whole numbers in a text with commas, semicolons or spaces between, each once.

    Raises
    ------
    InputError
        For anything else.
    """
    parts = [part for part in re.split(r"[,;\s]+", text) if part]
    for part in parts:
        if not part.isdecimal():
            raise InputError(f"'{part}' is no particle number; write numbers with commas between")
    return tuple(dict.fromkeys(int(part) for part in parts))


_PHASE = "what reclassified particles become"
_WIDTH = "width of the straight line that joins particles which do not touch, in pixels"
_MERGE = "particles that touch become one; others are joined over the shortest gap by a line"
_CUT = "press, draw a line across the particle, press again"
