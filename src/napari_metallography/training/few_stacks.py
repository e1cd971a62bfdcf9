"""Structures of images in memory, layers and stacks, named by what a few examples taught."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..calibration import require
from ..classes import named_classes
from ..classification.grey_stacks import grey_plane
from ..classification.images import skipped_words
from ..classification.library import SMALLEST_PX
from ..classification.micrographs import require_room, require_square
from ..classification.stacks import Named, NamedPlane, Stack, thumbnail
from ..errors import InputError
from ..events import Event, Events, Notice, Progress, relayed
from .few_examples import FewShotAnswer, LearntClasses, less_words, name_planes, shows_less

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
        Which planes cannot be used, and how many show less than is compared.

    Raises
    ------
    InputError
        When no plane can be used.
    DeviceError
        When the device fails.
    """
    todo = [(stack, number) for stack in stacks for number in stack.numbers]
    skipped: list[str] = []
    narrow = 0
    for place, (stack, number) in enumerate(todo):
        yield Progress(place, len(todo), "planes")
        try:
            named, is_narrow = yield from _named(learnt, stack, number)
            narrow += is_narrow
            yield named
        except InputError as error:
            skipped.append(str(error))
    yield Progress(len(todo), len(todo), "planes")
    if len(skipped) == len(todo):
        raise InputError(skipped[0])
    if skipped:
        yield Notice(skipped_words(skipped))
    if narrow:
        yield Notice(less_words(learnt.shown, f"{narrow} of {len(todo)} planes"))


def _named(learnt: LearntClasses, stack: Stack, number: int) -> Events[tuple[Named, bool]]:
    """The answer, and whether the plane shows less than is compared."""
    _, called = stack.pixels(number)
    require_square(stack.calibration, called)
    if learnt.needs_pixel_size:
        require(stack.calibration, called)
    plane, _ = grey_plane(stack, number)
    require_room(plane, SMALLEST_PX, called)
    size = stack.calibration.mean_um if stack.calibration else None
    is_narrow = shows_less(learnt.shown, plane, size, called)
    (answer,) = yield from relayed(name_planes(learnt, [plane], [size]), _kept_back)
    row = {"image": stack.name, "plane": number, **answer_row(answer, size, learnt.names)}
    one = NamedPlane(
        stack.name,
        number,
        row,
        float(answer.probabilities.max()),
        thumbnail(stack.plane(number)),
    )
    return Named((one,), named_classes(learnt.names), learnt.provenance()), is_narrow


def _kept_back(event: Event) -> Event | None:
    """Of a single plane; what there is to say is said of all."""
    return None


def answer_row(answer: FewShotAnswer, pixel_size_um: float | None, names: Sequence[str]) -> Row:
    """The columns of `classes.csv` that tell of an answer."""
    shares = {
        f"probability_{n}": float(p) for n, p in zip(names, answer.probabilities, strict=True)
    }
    return {
        "answer": answer.answer,
        "most_probable": names[int(answer.probabilities.argmax())],
        "similarity": answer.similarity,
        "least_similarity": answer.least_similarity,
        "pixel_size_um": pixel_size_um,
        **shares,
    }
