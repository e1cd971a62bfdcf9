"""A layer of particles that can be corrected, with napari's own undo."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import numpy as np
from napari.layers import Image, Labels
from numpy.typing import NDArray

from ..classes import indices_to_layer
from ..errors import InputError
from ..io.labels import LabelImage
from ..quantification.correctable import Ids
from ..quantification.corrections import Change, Correction, audit_rows, change_of, plane_at
from .measured import Measured

CORRECTIONS = "corrections"
"""Key of a layer's metadata: the trail of corrections, as `Correction.to_dict` writes them."""


class CorrectedLayer:
    """Particles of a measured Labels layer, and the corrections made to them.

    The particles' layer has the undo history; phases follow it. Whatever takes a correction back,
    Ctrl-Z included, is noticed by what the particles' pixels hold then.

    Parameters
    ----------
    particles, phases
        The layers; the first shows the numbers of `measured`.
    image
        The layer that gave the grey values; None without.
    measured
        The result, kept up to date by whoever measures again.
    on_change
        Called after a correction was made, taken back or made again.
    """

    def __init__(
        self,
        particles: Labels,
        phases: Labels,
        image: Image | None,
        measured: Measured,
        on_change: Callable[[CorrectedLayer], None],
    ) -> None:
        self.particles, self.phases, self.image = particles, phases, image
        self.measured = measured
        self.changes: list[Change] = list(measured.changes)
        self._undone: list[Change] = []
        created = [n for change in self.changes for n in change.correction.created]
        self._highest = max([int(measured.ids.max(initial=0)), *created])
        self._on_change = on_change
        # Those made before the labels were measured anew: their particles had other numbers.
        self._earlier = list(phases.metadata.get(CORRECTIONS, ()))
        self._indices = measured.labels.indices.copy()
        self._correcting = False
        # A refresh is what an undo ends with.
        for event in (particles.events.set_data, particles.events.labels_update):
            event.connect(self._follow)

    @property
    def trail(self) -> list[Correction]:
        """The corrections in force."""
        return [change.correction for change in self.changes]

    def correct(self, correction: Correction) -> Change:
        """Make a correction.

        Raises
        ------
        InputError
            When it cannot be made, or the phases are not in memory.
        """
        self._require_writable()
        stamped = Correction(**{**vars(correction), "made": _now()})
        planes = self._planes(stamped.plane)
        change = change_of(stamped, *planes, self._highest)
        self._highest = max([self._highest, *change.correction.created])
        self.changes.append(change)
        self._undone.clear()
        self._write_phases(change, change.classes_after)
        self.put(change)
        self._changed()
        return change

    def put(self, change: Change) -> None:
        """Write a change to the particles' layer, with napari's undo."""
        self._correcting = True
        try:
            self.particles.data_setitem(self._places(change), change.ids_after)
        finally:
            self._correcting = False

    def undo(self) -> None:
        """Take the last correction back."""
        self.particles.undo()

    def redo(self) -> None:
        """Make it again."""
        self.particles.redo()

    def ids(self) -> Ids:
        """Particle numbers as the layer shows them now, shaped like the labels."""
        return np.asarray(self.particles.data).reshape(self.measured.ids.shape)

    def close(self) -> None:
        """Follow the layer no longer."""
        for event in (self.particles.events.set_data, self.particles.events.labels_update):
            event.disconnect(self._follow)

    def _follow(self, _: object = None) -> None:
        if self._correcting:
            return
        moved = False
        while self.changes and self._is(self.changes[-1].is_taken_back, self.changes[-1]):
            change = self.changes.pop()
            self._undone.append(change)
            self._write_phases(change, change.classes_before)
            moved = True
        while not moved and self._undone and self._is(self._undone[-1].is_made, self._undone[-1]):
            change = self._undone.pop()
            self.changes.append(change)
            self._write_phases(change, change.classes_after)
            moved = True
        if moved:
            self._changed()

    def _is(self, holds: Callable[[Ids], bool], change: Change) -> bool:
        return holds(plane_at(self.ids(), change.correction.plane))

    def _changed(self) -> None:
        stored = [correction.to_dict() for correction in self.trail]
        self.particles.metadata = {**self.particles.metadata, CORRECTIONS: stored}
        self.phases.metadata = {**self.phases.metadata, CORRECTIONS: [*self._earlier, *stored]}
        self._on_change(self)

    def _planes(self, number: int) -> tuple[NDArray[np.uint8], Ids]:
        return plane_at(self._indices, number), plane_at(self.ids(), number)

    def _write_phases(self, change: Change, classes: NDArray[np.uint8]) -> None:
        """Let the phases follow; past napari's history, which would fall out of step."""
        where = change.rows, change.columns
        plane_at(self._indices, change.correction.plane)[where] = classes
        data: Any = self.phases.data
        shown = plane_at(data, change.correction.plane)
        shown[where] = indices_to_layer(classes)
        self.phases.refresh()

    def _places(self, change: Change) -> tuple[NDArray[np.int64], ...]:
        shape = self.particles.data.shape
        leading = np.unravel_index(change.correction.plane, shape[:-2] or (1,))[: len(shape) - 2]
        filled = [np.full(len(change.rows), index, np.int64) for index in leading]
        return (*filled, change.rows, change.columns)

    def _require_writable(self) -> None:
        for layer in (self.phases, self.particles):
            data = layer.data
            if not (
                isinstance(data, np.ndarray) and data.flags.writeable and data.flags.c_contiguous
            ):
                raise InputError(
                    f"{layer.name}: is not in memory and cannot be corrected; save it as labels "
                    "and open that file"
                )


def earlier_corrections(phases: Labels, labels: LabelImage) -> LabelImage:
    """Labels whose provenance tells the corrections that a layer of phases went through."""
    trail = [Correction.from_dict(one) for one in phases.metadata.get(CORRECTIONS, ())]
    if not trail:
        return labels
    told = {CORRECTIONS: audit_rows(trail, labels.classes)}
    return replace(labels, provenance={**labels.provenance, **told})


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
