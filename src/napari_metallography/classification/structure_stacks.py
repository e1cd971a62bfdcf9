"""Structures of images in memory: layers and stacks."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from ..devices import choose_device
from ..errors import InputError
from ..events import Event, Events, Notice, Progress, relayed
from ..plane import as_plane
from .descriptor_map import DescriptorMap, descriptor_map
from .files import skipped_notices
from .grey_stacks import grey_plane
from .saliency import saliency_map
from .stacks import Named, NamedPlane, Stack, thumbnail
from .structure import classify_plane, provenance
from .structure_files import answer_row
from .structure_model import StructureModel, load_structure_model
from .structure_parameters import (
    SaliencyParameters,
    SaliencyPicture,
    StructureParameters,
    extrapolation_note,
)


def name_structures(stacks: Sequence[Stack], parameters: StructureParameters) -> Events[Named]:
    """Name the structure of planes of images or stacks; one that cannot be used is skipped.

    Yields
    ------
    Progress
        Of the planes; of the crops where there is one plane only.
    Named
        The answer for one plane, as soon as it is there; the result holds all of them.
    Notice
        How many answers are extrapolations; which planes were skipped, and why.

    Raises
    ------
    InputError
        When there is no such model, or no plane can be used: it is smaller than a crop, or its
        pixel size is needed and not known.
    DeviceError
        When the device fails.
    """
    todo = [(stack, number) for stack in stacks for number in stack.numbers]
    model, device = _ready(parameters)
    told = provenance(model, parameters.crops)
    found: list[NamedPlane] = []
    skipped: list[str] = []
    for place, (stack, number) in enumerate(todo):
        progress = Progress(place, len(todo), "planes") if len(todo) > 1 else None
        events = _named(stack, number, model, device, parameters.crops)
        try:
            found.append((yield from _told(events, progress)))
        except InputError as error:
            skipped.append(str(error))
        else:
            yield Named((found[-1],), model.card.classes, told)
    yield Progress(len(todo), len(todo), "planes")
    yield from skipped_notices(skipped, len(found))
    outside = sum(bool(extrapolation_note(one.row)) for one in found)
    if outside:
        yield Notice(
            f"{outside} of {len(found)} answers are extrapolations: the model was not trained on "
            "such magnifications; train it with images of these"
        )
    return Named(tuple(found), model.card.classes, told)


def saliency_of_plane(
    stack: Stack, number: int, parameters: StructureParameters, windows: SaliencyParameters
) -> Events[SaliencyPicture]:
    """What lies where on a plane; events and errors as for `saliency.saliency_map`."""
    model, device = _ready(parameters)
    plane, box = grey_plane(stack, number)
    found = yield from saliency_map(
        plane, stack.calibration, model, device, windows, name=stack.name
    )
    classes = model.card.classes
    told = {**provenance(model, None), "parameters": windows.model_dump(mode="json")}
    return SaliencyPicture(found.picture(classes), box, classes, found.window_px, told)


def map_of_plane(
    descriptors: NDArray[np.float32], parameters: StructureParameters, digest: str
) -> Events[DescriptorMap]:
    """The descriptor map of a model with the crops of a plane, (k, 2).

    Parameters
    ----------
    digest
        Of the model's file when it described the crops.

    Raises
    ------
    InputError
        When there is no such model, or its file is another one by now.
    """
    yield Progress(0, 0, "loading the model")
    model = load_structure_model(parameters.model)
    if model.digest != digest:
        raise InputError(f"model {model.card.name}: the model file has changed; classify again")
    return descriptor_map(model, descriptors)


def _ready(parameters: StructureParameters) -> tuple[StructureModel, torch.device]:
    device = choose_device(parameters.device)
    model = load_structure_model(parameters.model)
    model.network.core.to(device)
    return model, device


def _named(
    stack: Stack, number: int, model: StructureModel, device: torch.device, crops: int | None
) -> Events[NamedPlane]:
    plane, _ = grey_plane(stack, number)
    answer = yield from classify_plane(
        plane, stack.calibration, model, device, name=stack.name, crops=crops
    )
    size = stack.calibration.mean_um if stack.calibration else None
    return NamedPlane(
        stack.name,
        number,
        {"image": stack.name, "plane": number, **answer_row(answer, size, model.names)},
        float(answer.probabilities[answer.answer]),
        thumbnail(as_plane(plane, stack.name)),
        descriptors=answer.descriptors,
    )


def _told(events: Events[NamedPlane], progress: Progress | None) -> Events[NamedPlane]:
    """Tell of the planes where there are several; extrapolations are told once, at the end."""

    def change(event: Event) -> Event | None:
        if isinstance(event, Notice):
            return None
        return progress if progress is not None and isinstance(event, Progress) else event

    return (yield from relayed(events, change))
