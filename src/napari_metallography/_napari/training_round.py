"""One round of painting and training: what was asked for, what is known of it, what shows it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from napari.components import ViewerModel
from napari.layers import Image, Labels

from ..events import Events
from ..segmentation.segment import Segmentation
from ..training.fine_tuning import Painted, Plan, Session, Tuned, fine_tune
from ..training.painted_search import search_painted
from .training_layers import (
    AFTER,
    BEFORE,
    Index,
    PreviewLayers,
    Watched,
    show_phases,
    show_unsure,
)


@dataclass(frozen=True, eq=False)
class Round:
    """A training, or a search by several, and its layers.

    Attributes
    ----------
    places
        By name of the plan's images: the layer and the plane in it.
    """

    plan: Plan
    session: Session
    places: Mapping[str, tuple[Image, Index]]
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
    return Round(plan, session, places, watched, previews, is_search)


def same_task(one: Plan, other: Plan) -> bool:
    """Whether a training of one plan, stopped, can go on as the other."""
    return (
        replace(one, painted=(), origin=other.origin) == replace(other, painted=())
        and len(one.painted) == len(other.painted)
        and all(map(_same_paint, one.painted, other.painted))
    )


class BeforeAndAfter:
    """The layers of the phases by the old and by the new model."""

    def __init__(self, viewer: ViewerModel) -> None:
        self._viewer = viewer
        self._pairs: list[tuple[Labels, Labels]] = []

    def show(self, one: Round, tuned: Tuned) -> list[Labels]:
        """Show what came of a round; returns the layers of the new model's phases."""
        self._pairs = []
        images = dict.fromkeys(image for image, _ in one.places.values())
        return [self._show(image, one, tuned) for image in images if image in self._viewer.layers]

    def toggle(self) -> None:
        """Show the one or the other."""
        for before, after in self._pairs:
            before.visible, after.visible = after.visible, not after.visible

    def _show(self, image: Image, one: Round, tuned: Tuned) -> Labels:
        old = one.of_image(image, tuned.before)
        new = one.of_image(image, tuned.after)
        before = show_phases(self._viewer, image, old, BEFORE) if old else None
        show_unsure(self._viewer, image, new)
        after = show_phases(self._viewer, image, new, AFTER)
        if before is not None:
            before.visible = False
            self._pairs.append((before, after))
        return after


def _same_paint(one: Painted, other: Painted) -> bool:
    return (one.name, one.measured, one.pixel_size_um) == (
        other.name,
        other.measured,
        other.pixel_size_um,
    ) and bool(np.array_equal(one.labels, other.labels))
