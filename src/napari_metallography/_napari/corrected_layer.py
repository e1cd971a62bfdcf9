"""A layer of particles that can be corrected, with napari's own undo."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import numpy as np
from napari.layers import Image, Labels
from numpy.typing import NDArray

from ..classes import indices_to_layer
from ..errors import InputError
from ..events import Events, Progress
from ..io.labels import LabelImage
from ..quantification.correctable import CORRECTIONS, Ids
from ..quantification.corrections import (
    Change,
    Correction,
    audit_rows,
    change_of,
    originals,
    plane_at,
    require_inside,
)
from ..quantification.parameters import QuantifyParameters
from .measured import Measured, corrected_labels

Trail = Sequence[Mapping[str, Any]]

_NUMBERING = ("split", "split_depth")
"""Rules by which particles are numbered, beside the classes and the smallest area."""

_ROOM = 5000
"""Numbers kept free for particles that corrections make."""


@dataclass(frozen=True, eq=False)
class Prepared:
    """What a correction does, to particles corrected so far by `after`."""

    change: Change
    after: tuple[Change, ...]


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
    on_paint
        Called when `painted` has changed.
    earlier
        Corrections made before the labels were numbered; their particles had other numbers.

    Attributes
    ----------
    painted
        Name of the layer that was painted on since it was measured; empty when none was.
    may_be_painted
        Whether anybody painted at all: to find out what is left of it takes a look at all pixels.
    """

    def __init__(
        self,
        particles: Labels,
        phases: Labels,
        image: Image | None,
        measured: Measured,
        on_change: Callable[[CorrectedLayer], None],
        on_paint: Callable[[CorrectedLayer], None],
        earlier: Trail = (),
    ) -> None:
        self.particles, self.phases, self.image = particles, phases, image
        self.measured = measured
        self.changes: list[Change] = list(measured.changes)
        self._undone: list[Change] = []
        created = [n for change in self.changes for n in change.correction.created]
        self._highest = max([int(measured.ids.max(initial=0)), *created])
        self._on_change, self._on_paint = on_change, on_paint
        self.earlier = list(earlier)
        self.painted = ""
        self.may_be_painted = False
        self._closed = False
        self._indices = np.array(measured.labels.indices)
        self._correcting = False
        for event, called in self._listened():
            event.connect(called)
        self._state_trail()

    @property
    def trail(self) -> list[Correction]:
        """The corrections in force."""
        return [change.correction for change in self.changes]

    @property
    def highest(self) -> int:
        """The largest number that a particle ever had."""
        return self._highest

    def prepared(self, correction: Correction) -> Events[Prepared]:
        """Find out, in any thread, what a correction does; `make` then makes it.

        Raises
        ------
        InputError
            At once when nothing can be corrected, as the phases are not in memory; when iterated,
            when the correction cannot be made.
        """
        self._require_writable()
        if self.painted:
            raise InputError(f"{self.painted} was painted on; press Quantify, then correct")
        size = self.measured.labels.calibration
        aspect = size.y_um / size.x_um if size else 1.0
        return self._prepared(replace(correction, made=_now(), pixel_aspect=aspect))

    def make(self, prepared: Prepared) -> Change:
        """Make a correction.

        Raises
        ------
        InputError
            When the particles are no longer those that it was prepared for, or there is no number
            left for a new one.
        """
        change = prepared.change
        if self._closed or self.painted or prepared.after != tuple(self.changes):
            raise InputError("the particles have changed meanwhile; choose them and press again")
        most = np.iinfo(self.particles.data.dtype).max
        if max(change.correction.created, default=0) > most:
            raise InputError("no particle number is left for a new one; press Quantify, then again")
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
        self._closed = True
        for event, called in self._listened():
            event.disconnect(called)

    def look_for_paint(self) -> None:
        """Find out whether one of the layers holds other than what was measured and corrected."""
        painted = self._painted()
        if painted != self.painted:
            self.painted = painted
            self._on_paint(self)

    def is_measured(self) -> bool:
        """Whether the result is that of the present corrections."""
        return list(self.measured.changes) == self.changes

    def keeps_numbers(self, labels: LabelImage, parameters: QuantifyParameters) -> bool:
        """Whether particles measured by other rules may keep their numbers, and corrections."""
        was, n = self.measured.parameters, len(labels.classes)
        same = parameters.particle_classes(n) == was.particle_classes(n) and all(
            getattr(parameters, rule) == getattr(was, rule) for rule in _NUMBERING
        )
        wider = labels.measured.mask() & ~self.measured.labels.measured.mask()
        smaller = parameters.smallest_area_px < was.smallest_area_px
        return (
            same
            and not smaller
            and np.array_equal(np.asarray(labels.indices), self._indices)
            and not bool(wider.any())
        )

    def _prepared(self, correction: Correction) -> Events[Prepared]:
        after, highest = tuple(self.changes), self._highest
        planes = self._planes(correction.plane)
        yield Progress(0, 0, correction.action)
        change = change_of(correction, *planes, highest)
        require_inside(change, self.measured.labels.measured.mask())
        return Prepared(change, after)

    def _listened(self) -> list[tuple[Any, Callable[..., None]]]:
        """Events and what hears them; a refresh is what an undo ends with."""
        ours, theirs = self.particles.events, self.phases.events
        return [
            *((event, self._follow) for event in (ours.set_data, ours.labels_update)),
            *((event, self._look) for event in (theirs.set_data, theirs.labels_update)),
            *((event, self._touch) for event in (ours.paint, theirs.paint, ours.data, theirs.data)),
        ]

    def _touch(self, _: object = None) -> None:
        if not self._correcting:
            self.may_be_painted = True
            self.look_for_paint()

    def _look(self, event: Any = None) -> None:
        # In the middle of a stroke it is known already.
        known = self.painted and getattr(event, "type", "") == "labels_update"
        if self.may_be_painted and not known:
            self.look_for_paint()

    def _painted(self) -> str:
        if not _holds(self.phases, indices_to_layer(self._indices)):
            return str(self.phases.name)
        # While it is measured again, `ids` are those before the last correction.
        if self.is_measured() and not _holds(self.particles, self.measured.ids):
            return str(self.particles.name)
        return ""

    def _follow(self, event: object = None) -> None:
        if self._correcting:
            return
        self._follow_history()
        self._look(event)

    def _follow_history(self) -> None:
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
        self._state_trail()
        self._on_change(self)

    def _state_trail(self) -> None:
        stored = [correction.to_dict() for correction in self.trail]
        self.particles.metadata = {**self.particles.metadata, CORRECTIONS: stored}
        self.phases.metadata = {**self.phases.metadata, CORRECTIONS: [*self.earlier, *stored]}

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


@dataclass(frozen=True)
class Beginning:
    """What measuring a layer of phases begins with.

    Attributes
    ----------
    ids
        Particles as numbered and corrected before; None: they are numbered anew.
    changes
        The corrections that led to `ids`.
    earlier
        Corrections made before, of particles that had other numbers.
    lost
        One line when corrections no longer count; else empty.
    """

    ids: Ids | None
    changes: tuple[Change, ...]
    earlier: Trail
    lost: str = ""


def shown_ids(measured: Measured) -> NDArray[np.integer[Any]]:
    """Particles before the corrections, for a layer that can be corrected.

    Of 16 bits where the numbers fit, with room for new ones: napari shows these as they are, but
    works on every pixel of wider ones each time it draws a layer anew.
    """
    ids = measured.ids
    if measured.changes:
        _, ids = originals(np.asarray(measured.labels.indices), ids, measured.changes)
    few = int(measured.ids.max(initial=0)) + _ROOM <= np.iinfo(np.uint16).max
    return ids.astype(np.uint16 if few else np.int32)


def beginning(
    phases: Labels,
    former: CorrectedLayer | None,
    labels: LabelImage,
    parameters: QuantifyParameters,
) -> Beginning:
    """Particles as corrected where the rules let them be; else what is left of the corrections."""
    if former is None or not former.changes:
        return Beginning(None, (), list(phases.metadata.get(CORRECTIONS, ())))
    if former.keeps_numbers(labels, parameters):
        _, ids = corrected_labels(former.measured, former.changes)
        return Beginning(ids, tuple(former.changes), former.earlier)
    # What changed no phase, such as a split, is in the particles' numbers alone.
    kept = [one for one in former.changes if (one.classes_before != one.classes_after).any()]
    lost = [one.correction for one in former.changes if not any(one is other for other in kept)]
    earlier = [*former.earlier, *(one.correction.to_dict() for one in kept)]
    return Beginning(None, (), earlier, _lost(lost))


def with_corrections(labels: LabelImage, trail: Trail) -> LabelImage:
    """Labels whose provenance tells corrections, after those it tells already."""
    if not trail:
        return labels
    rows = audit_rows([Correction.from_dict(one) for one in trail], labels.classes)
    told = {CORRECTIONS: [*labels.provenance.get(CORRECTIONS, ()), *rows]}
    return replace(labels, provenance={**labels.provenance, **told})


def _lost(trail: Sequence[Correction]) -> str:
    if not trail:
        return ""
    told = ", ".join(f"{one.action} {'+'.join(map(str, one.particles))}" for one in trail)
    return f"numbered anew, so no longer in force: {told}; correct again"


def _holds(layer: Labels, expected: NDArray[Any]) -> bool:
    data = np.asarray(layer.data[0] if layer.multiscale else layer.data)
    return data.size == expected.size and np.array_equal(data.reshape(expected.shape), expected)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
