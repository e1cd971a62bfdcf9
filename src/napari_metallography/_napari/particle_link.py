"""Row and particle: what is chosen in one is shown in the other."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pandas as pd
from napari.components import ViewerModel
from napari.layers import Labels, Points

from .corrected_layer import CorrectedLayer
from .layers import plane_placement
from .results import centre_on

RING = "chosen particle"
"""Name of the layer with the ring around the chosen particle."""

_RING_COLOUR = "#ffffff"
_RING_PX = 2
_WIDER = 1.3
_MARGIN_PX = 6


class ParticleLink:
    """Centres and rings the particle whose label is selected, and selects the one clicked.

    Parameters
    ----------
    on_choice
        Called with the number of a chosen particle, and whether it is added to those chosen
        before (Shift and click).
    """

    def __init__(self, viewer: ViewerModel, on_choice: Callable[[int, bool], None]) -> None:
        self._viewer = viewer
        self._on_choice = on_choice
        self._linked: CorrectedLayer | None = None
        self._number = 0

    def follow(self, corrected: CorrectedLayer | None) -> None:
        """Follow the particles of a layer, and no other any more."""
        if corrected is self._linked:
            return
        if self._linked is not None:
            layer = self._linked.particles
            layer.events.selected_label.disconnect(self._selected)
            layer.mouse_drag_callbacks.remove(self._clicked)
        self._linked = corrected
        self._number = 0
        if corrected is not None:
            corrected.particles.events.selected_label.connect(self._selected)
            corrected.particles.mouse_drag_callbacks.append(self._clicked)

    def _selected(self, _: object = None) -> None:
        corrected = self._linked
        if corrected is None:
            return
        number = int(corrected.particles.selected_label)
        # napari says so of the same label too, when the colours change.
        if number == self._number:
            return
        self._number = number
        row = row_of(corrected.measured.result.particles, number)
        if row is None:
            if (ring := self._ring()) is not None:
                ring.data = np.empty((0, ring.ndim))
            return
        position = _position(corrected.particles, row)
        centre_on(self._viewer, corrected.particles, position)
        ring = self._ring_for(corrected.particles)
        ring.data = np.array([position])
        ring.size = _WIDER * _longest_px(row) + _MARGIN_PX
        self._on_choice(number, False)

    def _clicked(self, layer: Labels, event: Any) -> Iterator[None]:
        """A click, not a drag, selects the particle under it; with Shift it is added."""
        if layer.mode not in ("pan_zoom", "pick"):
            return
        moved = False
        yield
        while event.type == "mouse_move":
            moved = True
            yield
        number = layer.get_value(
            event.position,
            view_direction=event.view_direction,
            dims_displayed=event.dims_displayed,
            world=True,
        )
        if moved or not number:
            return
        if "Shift" in event.modifiers:
            self._on_choice(int(number), True)
        else:
            layer.selected_label = int(number)

    def _ring_for(self, layer: Labels) -> Points:
        """The layer of the ring, added when it is needed first; the active layer stays."""
        ring = self._ring()
        if ring is not None and ring.ndim == layer.ndim:
            _lay_on(ring, layer)
            return ring
        if ring is not None:
            self._viewer.layers.remove(ring)
        ring = Points(
            np.empty((0, layer.ndim)),
            name=RING,
            ndim=layer.ndim,
            border_color=_RING_COLOUR,
            face_color="transparent",
            border_width=_RING_PX,
            border_width_is_relative=False,
            **plane_placement(layer, layer.ndim),
        )
        selection = self._viewer.layers.selection
        active = selection.active
        # napari's features table would begin anew with the ring, in the middle of a click on it.
        with selection.events.blocker_all():
            self._viewer.add_layer(ring)
            selection.active = active
        return ring

    def _ring(self) -> Points | None:
        found = [one for one in self._viewer.layers if isinstance(one, Points)]
        return next((one for one in found if one.name == RING), None)


def _lay_on(ring: Points, layer: Labels) -> None:
    """Put the ring where the layer lies: another than before may have another pixel size."""
    for name, value in plane_placement(layer, layer.ndim).items():
        setattr(ring, name, value)


def row_of(particles: pd.DataFrame, number: int) -> pd.Series[Any] | None:
    """The row of a particle by its number; None where it has none."""
    rows = np.flatnonzero(particles["particle"].to_numpy() == number)
    return particles.iloc[int(rows[0])] if len(rows) else None


def _position(layer: Labels, row: pd.Series[Any]) -> tuple[float, ...]:
    leading = np.unravel_index(int(row["plane"]), layer.data.shape[:-2] or (1,))
    centroid = (row["centroid_row_px"], row["centroid_column_px"])
    return tuple(map(float, (*leading[: layer.ndim - 2], *centroid)))


def _longest_px(row: pd.Series[Any]) -> float:
    height, width = row["bottom_px"] - row["top_px"], row["right_px"] - row["left_px"]
    return float(np.hypot(height, width))
