"""What was counted, as layers: boundaries, test lines, intersections, grains, votes of lines."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import numpy as np
import pandas as pd
from napari.components import ViewerModel
from napari.layers import Image, Labels, Layer, Points, Shapes, Vectors
from napari.utils.colormaps import DirectLabelColormap
from numpy.typing import NDArray

from ..classes import PhaseClass
from ..grains.drawing import (
    BOUNDARY,
    LINE,
    PARTS,
    WHOLE,
    boundary_pixels,
    grade_colours,
    half_numbers,
    legend,
)
from ..grains.grading import FieldGrade, Method, regraded
from ..grains.intersections import Intersections, TestLine
from ..grains.planimetric import INSIDE, GrainCount
from ..grains.study import GradedField
from ..grains.voted_lines import VotedLines
from .graded_plane import GradedPlane, graded_field
from .grain_places import Floats, Places
from .intersections_layer import (
    IntersectionsLayer,
    PointState,
    colours_of,
    features_of,
)
from .results import is_untouched, mark_computed, remove_untouched

SHOWN = "grain_size_shown"
"""Key of the metadata of layers that only show what was counted: the name of what was graded."""

BOUNDARIES = "grain_boundaries_of"
"""Key of the metadata of a layer of boundaries, in which every value but 0 is one."""

_LINE_WIDTH, _POINT_SIZE = 1 / 500, 1 / 150
_VOTE_SIZE = 1 / 80
_LEAST_LINE, _LEAST_POINT = 0.5, 3.0
_BOUNDARY_OPACITY, _PART_OPACITY, _VOTED_OPACITY = 0.6, 0.35, 0.4


class GradedLayers:
    """A graded plane with its layers; the numbers follow its intersections.

    Parameters
    ----------
    on_change
        Called when the numbers are other than before.
    on_weight
        Called with the weight of selected intersections and of the next one.
    on_paint
        Called when `painted` has changed.

    Attributes
    ----------
    is_earlier
        Whether the plane was to be measured again since, also when that gave no result.
    painted
        Whether the boundaries are other than those measured.
    """

    def __init__(
        self,
        image: Image,
        leading: tuple[int, ...],
        plane: GradedPlane,
        on_change: Callable[[], None],
        on_weight: Callable[[float], None],
        on_paint: Callable[[GradedLayers], None],
    ) -> None:
        self.image, self.leading, self.plane = image, leading, plane
        self.by_method = dict(plane.by_method)
        self.intersections: dict[Method, IntersectionsLayer] = {}
        self.layers: dict[Method, list[Layer]] = {}
        self.boundaries: Labels | None = None
        self.is_earlier = self.painted = False
        self._are_aside, self._were_visible = False, True
        self._on_change, self._on_weight, self._on_paint = on_change, on_weight, on_paint

    @property
    def key(self) -> tuple[Image, tuple[int, ...]]:
        """What counts as one field."""
        return self.image, self.leading

    @property
    def field(self) -> GradedField:
        """The field with its numbers as they are now."""
        made = {method: one.corrections for method, one in self.intersections.items()}
        return graded_field(self.plane, dict(self.by_method), made)

    def add_to(self, viewer: ViewerModel) -> None:
        """Add the boundaries; layers of an earlier run make way, unless they were edited."""
        name = self.plane.source.name
        for layer in list(viewer.layers):
            of_methods = layer.metadata.get(SHOWN) == name and BOUNDARIES not in layer.metadata
            if of_methods and is_untouched(layer):
                viewer.layers.remove(layer)
        if self.plane.are_found:
            self._add_boundaries(viewer, name)

    def show(self, viewer: ViewerModel, shown: Method) -> None:
        """Show what one method counted, ready to be corrected.

        Its layers are added when they are first asked for: each holds the window for a moment.
        """
        if shown not in self.layers:
            made = self._method_layers(shown, self.by_method[shown], self.plane.source.name)
            self.layers[shown] = [_added(viewer, layer, self.plane.source.name) for layer in made]
        for method, layers in self.layers.items():
            for layer in layers:
                layer.visible = method == shown
        self._show_boundaries(shown != "network")
        there = [layer for layer in self.layers.get(shown, ()) if layer in viewer.layers]
        if there:
            viewer.layers.selection.active = there[-1]

    def legend(self, method: Method) -> list[PhaseClass]:
        """Names and colours of what is shown of a method."""
        entries = [WHOLE] if method == "automatic" else legend(self.by_method[method])
        return [one for one in entries if one is not BOUNDARY or self.boundaries is not None]

    def hide(self) -> None:
        """Show its layers no more, until a method is shown again."""
        for layer in (layer for layers in self.layers.values() for layer in layers):
            layer.visible = False
        self._show_boundaries(False)

    def close(self) -> None:
        """Follow the intersections no more."""
        for one in self.intersections.values():
            one.close()
        if self.boundaries is not None:
            self.boundaries.events.paint.disconnect(self._look)
            self.boundaries.events.set_data.disconnect(self._look_again)

    def _add_boundaries(self, viewer: ViewerModel, name: str) -> None:
        first = next(one for one in self.by_method.values() if one.grains is not None)
        places = self._places(first)
        values = boundary_pixels(places.grains()).astype(np.uint8)
        layer = _labels(
            f"grain boundaries · {name}", values, places, {1: BOUNDARY}, _BOUNDARY_OPACITY
        )
        layer.metadata = {BOUNDARIES: name}
        remove_untouched(viewer, layer.name)
        self.boundaries = _added(viewer, layer, name)
        layer.selected_label = 1
        self._measured = layer.data.copy()
        layer.events.paint.connect(self._look)
        layer.events.set_data.connect(self._look_again)

    def _show_boundaries(self, wanted: bool) -> None:
        """Set them aside, as for votes of the line network, which looks for none, and back."""
        if self.boundaries is None or wanted != self._are_aside:
            return
        if wanted:
            self.boundaries.visible = self._were_visible
        else:
            self._were_visible, self.boundaries.visible = self.boundaries.visible, False
        self._are_aside = not wanted

    def _look(self, _: object) -> None:
        assert self.boundaries is not None
        painted = not np.array_equal(self.boundaries.data, self._measured)
        if painted != self.painted:
            self.painted = painted
            self._on_paint(self)

    def _look_again(self, event: object) -> None:
        """Undo tells of new data, as much else does."""
        if self.painted:
            self._look(event)

    def _places(self, found: FieldGrade) -> Places:
        return Places(self.image, self.leading, self.plane.source.box, found)

    def _method_layers(self, method: Method, found: FieldGrade, name: str) -> Iterator[Layer]:
        places = self._places(found)
        if isinstance(found.drawn, Intersections):
            yield _lines_layer(f"test {method} · {name}", places)
            points = _points_layer(f"intersections by {method} · {name}", places, found.drawn)
            self.intersections[method] = IntersectionsLayer(
                points, places, partial(self._changed, method, places), self._on_weight
            )
            yield points
        elif isinstance(found.drawn, GrainCount):
            yield _parts_layer(f"counted, {method} · {name}", places, found.drawn, method)
        elif isinstance(found.drawn, VotedLines):
            yield _voted_lines_layer(f"lines of the network · {name}", places, found.drawn)
            yield _votes_layer(f"votes of lines · {name}", places, found.drawn)

    def _changed(self, method: Method, places: Places) -> None:
        state = self.intersections[method].state
        drawn = Intersections(
            places.in_grade(state.places), state.weights, state.lines, places.lines
        )
        self.by_method[method] = regraded(self.by_method[method], drawn)
        self._on_change()


def _added(viewer: ViewerModel, layer: Layer, name: str) -> Layer:
    layer.metadata = {SHOWN: name, **layer.metadata}
    mark_computed(layer)
    viewer.add_layer(layer)
    return layer


def _lines_layer(name: str, places: Places) -> Shapes:
    lines = places.lines
    layer = Shapes(
        [places.in_image(_vertices(line)) for line in lines],
        shape_type=["ellipse" if line.closed else "line" for line in lines],
        name=name,
        edge_color=LINE.colour,
        edge_width=max(_LEAST_LINE, _LINE_WIDTH * max(places.box.shape)),
        face_color="transparent",
        **places.placement,
    )
    # Points are counted, not the lines they lie on.
    layer.editable = False
    return layer


def _vertices(line: TestLine) -> NDArray[np.float64]:
    """The two ends, or the corners of the square around a circle."""
    if not line.closed:
        return line.path[[0, -1]]
    low, high = line.path.min(0), line.path.max(0)
    return np.array([low, (low[0], high[1]), high, (high[0], low[1])])


def _points_layer(name: str, places: Places, drawn: Intersections) -> Points:
    state = PointState(places.in_image(drawn.points), drawn.weights, drawn.line)
    return Points(
        state.places,
        name=name,
        features=features_of(state),
        feature_defaults={"weight": 1.0, "test line": -1},
        size=max(_LEAST_POINT, _POINT_SIZE * max(places.box.shape)),
        face_color=colours_of(state.weights),
        border_width=0,
        **places.placement,
    )


def _parts_layer(name: str, places: Places, drawn: GrainCount, method: Method) -> Labels:
    # Of the automatic method the whole grains alone are measured.
    shown = {INSIDE: WHOLE} if method == "automatic" else PARTS
    part = np.where(np.isin(drawn.part, list(shown)), drawn.part, 0).astype(np.uint8)
    values = np.concatenate([np.zeros(1, np.uint8), part])[places.grains()]
    return _labels(name, values, places, shown, _PART_OPACITY)


def _voted_lines_layer(name: str, places: Places, drawn: VotedLines) -> Vectors:
    starts, ends = _ends_in_image(places, drawn)
    return Vectors(
        np.stack([starts, ends - starts], axis=1),
        name=name,
        edge_color=_vote_colours(drawn),
        edge_width=max(_LEAST_LINE, _LINE_WIDTH * max(places.box.shape)),
        vector_style="line",
        opacity=_VOTED_OPACITY,
        **places.placement,
    )


def _votes_layer(name: str, places: Places, drawn: VotedLines) -> Points:
    lines = pd.DataFrame(
        {
            "line": np.arange(len(drawn.lines)),
            "direction": [line.direction for line in drawn.lines],
            "expected G": drawn.expected.round(2),
        }
    )
    layer = Points(
        np.concatenate(_ends_in_image(places, drawn)),
        name=name,
        features=pd.concat([lines, lines], ignore_index=True),
        size=max(_LEAST_POINT, _VOTE_SIZE * max(places.box.shape)),
        face_color=2 * _vote_colours(drawn),
        border_width=0,
        symbol="square",
        **places.placement,
    )
    # Votes are read, not corrected.
    layer.editable = False
    return layer


def _ends_in_image(places: Places, drawn: VotedLines) -> tuple[Floats, Floats]:
    return places.in_image(drawn.ends[:, 0]), places.in_image(drawn.ends[:, 1])


def _vote_colours(drawn: VotedLines) -> list[str]:
    colours = grade_colours(drawn)
    return [colours[float(grade)].colour for grade in half_numbers(drawn)]


def _labels(
    name: str,
    values: NDArray[np.uint8],
    places: Places,
    shown: dict[int, PhaseClass],
    opacity: float,
) -> Labels:
    data, keywords = places.labels(values)
    # Whatever is painted on boundaries is a boundary.
    other = BOUNDARY.colour if BOUNDARY in shown.values() else "transparent"
    colours: dict[int | None, str] = {None: other, 0: "transparent"}
    names = ["", *(shown[label].name if label in shown else "" for label in range(1, 4))]
    return Labels(
        data,
        name=name,
        colormap=DirectLabelColormap(
            color_dict=colours | {label: one.colour for label, one in shown.items()}
        ),
        features=pd.DataFrame({"part": names}),
        opacity=opacity,
        **keywords,
    )
