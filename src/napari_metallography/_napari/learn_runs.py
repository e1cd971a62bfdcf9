"""What the form *Learn structures* computes; torch is imported there, not in the window's thread.

Its import takes seconds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..classification.library import Library
from ..classification.stacks import Stack
from ..events import Events, Part
from .worker import imported_later

if TYPE_CHECKING:
    from ..training.few_examples import LearntClasses


@dataclass(frozen=True)
class Lesson:
    """What is learnt from what: the examples, the name or file of a model, and where."""

    library: Library
    model: str
    device: str

    def is_same(self, other: Lesson) -> bool:
        """Whether nothing has changed; a library that has is another object."""
        alike = (self.model, self.device) == (other.model, other.device)
        return alike and self.library.examples is other.library.examples


@dataclass(frozen=True)
class Learnt(Part):
    """The classes learnt, and from what."""

    classes: LearntClasses
    lesson: Lesson


def learnt_events(lesson: Lesson) -> Events[Learnt]:
    """As `training.few_examples.learn`."""
    return imported_later(lambda: _learnt(lesson))


def answered_events(stacks: Sequence[Stack], lesson: Lesson, learnt: Learnt | None) -> Events[None]:
    """As `training.few_stacks.name_stacks`; what is not learnt yet is learnt first."""

    def begun() -> Events[None]:
        from ..training.few_stacks import name_stacks

        known = learnt
        if known is None or not known.lesson.is_same(lesson):
            known = yield from _learnt(lesson)
            yield known
        yield from name_stacks(known.classes, stacks)

    return imported_later(begun)


def _learnt(lesson: Lesson) -> Events[Learnt]:
    from ..devices import choose_device
    from ..training.few_examples import learn

    classes = yield from learn(lesson.model, lesson.library, choose_device(lesson.device))
    return Learnt(classes, lesson)
