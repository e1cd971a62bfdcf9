"""Surface defects of images in memory: layers and stacks."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ..devices import choose_device
from ..errors import InputError
from ..events import Event, Events, Notice, Progress, relayed
from .defect_parameters import DefectParameters
from .defects import (
    Classifier,
    defect_map,
    heat_map,
    name_plane,
    pixel_size_notices,
    provenance,
)
from .files import answer_row, skipped_notices, told_once
from .model import load_defect_model
from .stacks import Named, NamedPlane, Stack, thumbnail


def name_stacks(stacks: Sequence[Stack], parameters: DefectParameters) -> Events[Named]:
    """Name the planes of images or stacks; one that cannot be used is skipped.

    Yields
    ------
    Progress
        Of the planes; of the windows where there is one plane only.
    Named
        The answer for one plane, as soon as it is there; the result holds all of them.
    Notice
        What the user should know of how a stack is looked at; last, which planes were skipped
        and why.

    Raises
    ------
    InputError
        When there is no such model, or no plane can be used.
    DeviceError
        When the device fails.
    """
    todo = [(stack, number) for stack in stacks for number in stack.numbers]
    classifier = _classifier(parameters)
    for stack in stacks:
        for notice in pixel_size_notices(classifier.model.card, stack.calibration):
            yield Notice(f"{stack.name}: {notice.message}")
    told = provenance(classifier.model, parameters, classifier.least_probability)
    classes = classifier.model.card.classes
    found, skipped = [], []
    said: set[str] = set()
    for place, (stack, number) in enumerate(todo):
        progress = Progress(place, len(todo), "planes")
        events = _named(stack, number, classifier, scan=parameters.scan)
        events = told_once(events, said, f"{stack.name}: ")
        try:
            found.append((yield from _told(events, progress)))
        except InputError as error:
            skipped.append(str(error))
        else:
            yield Named((found[-1],), classes, told)
    yield from skipped_notices(skipped, len(found))
    return Named(tuple(found), classes, told)


def heat_of_plane(
    stack: Stack, number: int, name: str, parameters: DefectParameters
) -> Events[NDArray[np.float32]]:
    """What speaks for a class of the model at each pixel of a plane; as `defects.heat_map`.

    Raises
    ------
    InputError
        When the model does not know the class, or the image cannot be used.
    """
    classifier = _classifier(parameters)
    names = classifier.model.names
    if name not in names:
        raise InputError(
            f"the model does not know the class '{name}', so nothing shows what speaks for it; "
            f"it knows {', '.join(names)}"
        )
    return (
        yield from heat_map(
            stack.plane(number),
            classifier,
            stack.calibration,
            names.index(name),
            scan=parameters.scan,
        )
    )


def _classifier(parameters: DefectParameters) -> Classifier:
    model = load_defect_model(parameters.model)
    return Classifier(model, choose_device(parameters.device), parameters.risk)


def _told(events: Events[NamedPlane], progress: Progress) -> Events[NamedPlane]:
    """Tell of the planes, and of the windows only where there is but one plane."""

    def change(event: Event) -> Event:
        return progress if isinstance(event, Progress) and progress.total > 1 else event

    return (yield from relayed(events, change))


def _named(stack: Stack, number: int, classifier: Classifier, *, scan: bool) -> Events[NamedPlane]:
    plane = stack.plane(number)
    found = yield from name_plane(plane, classifier, stack.calibration, scan=scan)
    return NamedPlane(
        stack.name,
        number,
        answer_row(stack.name, number, found.answer, 0, classifier.model.names),
        float(found.answer.probabilities.max()),
        thumbnail(plane),
        found.by_window if scan else None,
        defect_map(found, plane.shape) if scan else None,
    )
