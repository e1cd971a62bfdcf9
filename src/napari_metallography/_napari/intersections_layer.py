"""Intersections as points that may be moved, added and deleted, with undo."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from napari.layers import Points
from napari.utils.notifications import show_warning
from numpy.typing import NDArray

from ..grains.drawing import WEIGHTS
from ..grains.intersections import nearest_line
from .grain_places import Places
from .results import mark_copy

WEIGHT, TEST_LINE = "weight", "test line"
"""Columns of the layer's features table."""

_MOST_KEPT = 100


@dataclass(frozen=True)
class PointState:
    """All points at one time: places (n, D) in pixels of the layer, weights, test lines."""

    places: NDArray[np.float64]
    weights: NDArray[np.float64]
    lines: NDArray[np.int64]

    def equals(self, other: PointState) -> bool:
        """Whether nothing differs that counts."""
        return np.array_equal(self.places, other.places) and np.array_equal(
            self.weights, other.weights
        )


class IntersectionsLayer:
    """A layer of intersections whose every change is heard of and may be undone.

    Parameters
    ----------
    places
        Where the layer lies.
    on_change
        Called when points are other than before.
    on_weight
        Called with the weight that the next point gets, that of the selected ones.
    """

    def __init__(
        self,
        layer: Points,
        places: Places,
        on_change: Callable[[], None],
        on_weight: Callable[[float], None],
    ) -> None:
        self.layer, self._places = layer, places
        self._on_change, self._on_weight = on_change, on_weight
        self._measured = self._state = _state_of(layer)
        self._past: deque[PointState] = deque(maxlen=_MOST_KEPT)
        self._future: list[PointState] = []
        self._is_putting, self._next_weight = False, 1.0
        layer.events.data.connect(self._look)
        layer.events.features.connect(self._look)
        layer.events.feature_defaults.connect(self._weight_changed)
        layer.bind_key("Control-Z", lambda _: self.undo(), overwrite=True)
        layer.bind_key("Control-Shift-Z", lambda _: self.redo(), overwrite=True)

    @property
    def state(self) -> PointState:
        """The points as they are now."""
        return self._state

    @property
    def corrections(self) -> int:
        """How many points are other than those measured: moved, added, deleted, weighed anew."""
        before, now = _counted(self._measured), _counted(self._state)
        return max((before - now).total(), (now - before).total())

    @property
    def can_undo(self) -> bool:
        """Whether there is a change to take back."""
        return bool(self._past)

    @property
    def can_redo(self) -> bool:
        """Whether a change was taken back last."""
        return bool(self._future)

    def undo(self) -> None:
        """Take the last change back."""
        if self._past:
            self._future.append(self._state)
            self._go_to(self._past.pop())

    def redo(self) -> None:
        """Make the change again that was taken back last."""
        if self._future:
            self._past.append(self._state)
            self._go_to(self._future.pop())

    def set_weight(self, weight: float) -> None:
        """Give a weight to the selected points and to those to be added."""
        layer, chosen = self.layer, sorted(self.layer.selected_data)
        self._next_weight = weight
        if _default_weight(layer) != weight:
            self._set_defaults()
        features = layer.features.copy()
        if chosen and (features.loc[chosen, WEIGHT] != weight).any():
            features.loc[chosen, WEIGHT] = weight
            layer.features = features

    def close(self) -> None:
        """Listen no more."""
        events = self.layer.events
        events.data.disconnect(self._look)
        events.features.disconnect(self._look)
        events.feature_defaults.disconnect(self._weight_changed)

    def _weight_changed(self, _: object) -> None:
        weight = _default_weight(self.layer)
        if weight in WEIGHTS and weight != self._next_weight:
            self._next_weight = weight
            self._on_weight(weight)

    def _set_defaults(self) -> None:
        self.layer.feature_defaults = {WEIGHT: self._next_weight, TEST_LINE: -1}

    def _look(self, _: object) -> None:
        layer = self.layer
        # napari tells of points before they have their features.
        if self._is_putting or len(layer.features) != len(layer.data):
            return
        new = _state_of(layer)
        if new.equals(self._state):
            return
        if not np.isin(new.weights, list(WEIGHTS)).all():
            show_warning("an intersection counts ½, 1, 1½ or 2; the weight is as it was")
            self._put(self._state)
            return
        # Even when the changes cancel, no run is to take it for its own.
        mark_copy(layer)
        self._past.append(self._state)
        self._future.clear()
        self._go_to(self._with_lines(new))

    def _with_lines(self, new: PointState) -> PointState:
        """A point that was moved or added belongs to the test line nearest to it."""
        moved = _moved(self._state, new)
        lines = new.lines.copy()
        if moved.any():
            lines[moved] = nearest_line(
                self._places.in_grade(new.places[moved]), self._places.lines
            )
        return PointState(new.places, new.weights, lines)

    def _go_to(self, state: PointState) -> None:
        self._put(state)
        self._on_change()

    def _put(self, state: PointState) -> None:
        layer, self._is_putting = self.layer, True
        try:
            if not np.array_equal(layer.data, state.places):
                layer.selected_data = set()
                layer.data = state.places.copy()
            layer.features = features_of(state)
            # Which takes the last row for what the next point gets.
            self._set_defaults()
            if len(state.weights):
                layer.face_color = colours_of(state.weights)
            self._state = state
        finally:
            self._is_putting = False


def features_of(state: PointState) -> pd.DataFrame:
    """The features table: a row a point."""
    return pd.DataFrame({WEIGHT: state.weights, TEST_LINE: state.lines})


def colours_of(weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """(n, 4) from 0 to 1, by weight."""
    rgb = np.array([WEIGHTS[float(weight)].rgb for weight in weights], float).reshape(-1, 3)
    return np.column_stack([rgb / 255, np.ones(len(rgb))])


def _default_weight(layer: Points) -> float:
    return float(layer.feature_defaults[WEIGHT].iloc[0])


def _state_of(layer: Points) -> PointState:
    features: Any = layer.features
    return PointState(
        np.array(layer.data, float),
        features[WEIGHT].to_numpy(float, copy=True),
        features[TEST_LINE].to_numpy(np.int64, copy=True),
    )


def _counted(state: PointState) -> Counter[tuple[float, ...]]:
    """How often each place has each weight."""
    return Counter(map(tuple, np.column_stack([state.places, state.weights]).tolist()))


def _moved(old: PointState, new: PointState) -> NDArray[np.bool_]:
    """Which of the new points were not there before, or elsewhere."""
    if len(new.places) < len(old.places):
        return np.zeros(len(new.places), bool)
    moved = np.ones(len(new.places), bool)
    moved[: len(old.places)] = (new.places[: len(old.places)] != old.places).any(1)
    return moved
