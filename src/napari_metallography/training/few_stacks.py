"""Structures of images in memory, layers and stacks, named by what a few examples taught."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..calibration import require
from ..classes import named_classes
from ..classification.grey_stacks import grey_plane
from ..classification.images import skipped_words
from ..classification.library import SMALLEST_PX
from ..classification.micrographs import require_room
from ..classification.stacks import Named, NamedPlane, Stack, thumbnail
from ..errors import InputError
from ..events import Event, Events, Notice, Progress, relayed
from .few_examples import FewShotAnswer, LearntClasses, name_planes

Row = dict[str, Any]


def name_stacks(learnt: LearntClasses, stacks: Sequence[Stack]) -> Events[None]:
    """Name planes of images or stacks.

    Yields
    ------
    Named
        The answer for each plane, in order.
    Progress
        Of the planes.
    Notice
        Which planes cannot be used.

    Raises
    ------
    InputError
        When no plane can be used.
    DeviceError
        When the device fails.
    """
    todo = [(stack, number) for stack in stacks for number in stack.numbers]
    skipped: list[str] = []
    for place, (stack, number) in enumerate(todo):
        yield Progress(place, len(todo), "planes")
        try:
            yield (yield from _named(learnt, stack, number))
        except InputError as error:
            skipped.append(str(error))
    yield Progress(len(todo), len(todo), "planes")
    if len(skipped) == len(todo):
        raise InputError(skipped[0])
    if skipped:
        yield Notice(skipped_words(skipped))


def _named(learnt: LearntClasses, stack: Stack, number: int) -> Events[Named]:
    _, called = stack.pixels(number)
    if learnt.needs_pixel_size:
        require(stack.calibration, called)
    plane, _ = grey_plane(stack, number)
    require_room(plane, SMALLEST_PX, called)
    size = stack.calibration.mean_um if stack.calibration else None
    (answer,) = yield from relayed(name_planes(learnt, [plane], [size]), _unless_progress)
    row = {"image": stack.name, "plane": number, **answer_row(answer, size, learnt.names)}
    one = NamedPlane(
        stack.name,
        number,
        row,
        float(answer.probabilities.max()),
        thumbnail(stack.plane(number)),
    )
    return Named((one,), named_classes(learnt.names), learnt.provenance())


def _unless_progress(event: Event) -> Event | None:
    return None if isinstance(event, Progress) else event


def answer_row(answer: FewShotAnswer, pixel_size_um: float | None, names: Sequence[str]) -> Row:
    """The columns of `classes.csv` that tell of an answer."""
    shares = {
        f"probability_{n}": float(p) for n, p in zip(names, answer.probabilities, strict=True)
    }
    return {
        "answer": answer.answer,
        "most_probable": names[int(answer.probabilities.argmax())],
        "similarity": answer.similarity,
        "pixel_size_um": pixel_size_um,
        **shares,
    }
