"""One round of painting and training: what was asked for, what is known of it, what shows it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np
from napari.components import ViewerModel
from napari.layers import Image, Labels

from ..errors import InputError
from ..events import Events
from ..plane import ArrayLike
from ..segmentation.segment import Segmentation
from ..training.fine_tuning import Painted, Plan, Session, Tuned, fine_tune
from ..training.painted_search import search_painted
from .layers import pixels_of
from .side_by_side import Beside, SideBySide
from .training_layers import (
    AFTER,
    BEFORE,
    Index,
    PreviewLayers,
    Watched,
    show_phases,
    show_unsure,
)

_NO_PAIR = (
    "there is nothing to put side by side: a new network has no 'before', or one of the two layers "
    "was removed; train a model further"
)


@dataclass(frozen=True, eq=False)
class Round:
    """A training, or a search by several, and its layers.

    Attributes
    ----------
    places
        By name of the plan's images: the layer and the plane in it.
    sources
        By name of the plan's images: what the layer held when the round was made.
    """

    plan: Plan
    session: Session
    places: Mapping[str, tuple[Image, Index]]
    sources: Mapping[str, ArrayLike]
    watched: Watched
    previews: PreviewLayers
    is_search: bool = False

    @property
    def title(self) -> str:
        """What it is, for people."""
        return "Search for a recipe" if self.is_search else "Fine-tune"

    @property
    def can_go_on(self) -> bool:
        """Whether it was stopped and left something to go on from."""
        kept = self.session.kept
        return kept is not None and kept.exists()

    def run(self, *, resume: bool) -> Events[Tuned]:
        """The computation; a search always goes on from what it finds."""
        if self.is_search:
            return search_painted(self.plan, self.session)
        return fine_tune(self.plan, self.session, resume=resume)

    def of_image(
        self, image: Image, found: Mapping[str, Segmentation]
    ) -> dict[Index, Segmentation]:
        """Of results by name those of one image, by plane."""
        return {
            index: found[name]
            for name, (owner, index) in self.places.items()
            if owner is image and name in found
        }


def begun(
    plan: Plan,
    places: Mapping[str, tuple[Image, Index]],
    viewer: ViewerModel,
    *,
    is_search: bool = False,
) -> Round:
    """A round that has yet to run; its first image is watched."""
    session = Session()
    image, index = next(iter(places.values()))
    watched = Watched(image, session)
    session.watch = watched.take
    previews = PreviewLayers(viewer, image, index, plan.classes)
    sources = {name: pixels_of(layer)[0] for name, (layer, _) in places.items()}
    return Round(plan, session, places, sources, watched, previews, is_search)


def same_task(one: Round, other: Round) -> bool:
    """Whether one round, stopped, can go on as the other: pixels, paint and settings are one's."""
    first, second = one.plan, other.plan
    return (
        replace(first, painted=(), origin=second.origin) == replace(second, painted=())
        and len(first.painted) == len(second.painted)
        and all(map(_same_paint, first.painted, second.painted))
        and all(_same_pixels(painted.name, one, other) for painted in first.painted)
    )


class BeforeAndAfter:
    """The layers of the phases by the old and by the new model; `shown` are the new model's."""

    def __init__(self, viewer: ViewerModel) -> None:
        self._viewer = viewer
        self._pairs: list[Beside] = []
        self.shown: list[Labels] = []
        self.side_by_side = SideBySide(viewer)

    def show(self, one: Round, tuned: Tuned) -> Iterator[None]:
        """Show what came of a round, a layer at a time, as napari takes its time for each."""
        self.side_by_side.hide()
        self._pairs, self.shown = [], []
        for image in dict.fromkeys(image for image, _ in one.places.values()):
            yield from self._show(image, one, tuned)

    def toggle(self) -> None:
        """Show the two beside each other, or the new one alone again.

        Raises
        ------
        InputError
            When the old or the new one is not there.
        """
        if self.side_by_side.is_on:
            self.side_by_side.hide()
            return
        self.side_by_side.show(self._pairs)
        if not self.side_by_side.is_on:
            raise InputError(_NO_PAIR)

    def _show(self, image: Image, one: Round, tuned: Tuned) -> Iterator[None]:
        old = one.of_image(image, tuned.before)
        new = one.of_image(image, tuned.after)
        before = unsure = None
        if old and self._is_open(image):
            before = show_phases(self._viewer, image, old, BEFORE, visible=False)
            yield
        if self._is_open(image):
            unsure = show_unsure(self._viewer, image, new)
            yield
        if self._is_open(image):
            after = show_phases(self._viewer, image, new, AFTER)
            self.shown.append(after)
            if before is not None:
                self._pairs.append(Beside(image, before, after, unsure))
            yield

    def _is_open(self, image: Image) -> bool:
        return image in self._viewer.layers


def _same_pixels(name: str, one: Round, other: Round) -> bool:
    """Whether two rounds read the same image; one that is read when needed, by what it is."""
    first, second = (
        next(painted.array for painted in each.plan.painted if painted.name == name)
        for each in (one, other)
    )
    if type(first) is np.ndarray and type(second) is np.ndarray:
        return bool(np.array_equal(first, second, equal_nan=first.dtype.kind == "f"))
    return one.sources[name] is other.sources[name]


def _same_paint(one: Painted, other: Painted) -> bool:
    return (one.name, one.measured, one.pixel_size_um) == (
        other.name,
        other.measured,
        other.pixel_size_um,
    ) and bool(np.array_equal(one.labels, other.labels))
