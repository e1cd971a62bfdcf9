"""What the form *Classify structure* computes; torch is imported there, not in the window's thread.

Its import takes seconds.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..classification.stacks import Named, Stack
from ..classification.structure_parameters import (
    SaliencyParameters,
    SaliencyPicture,
    StructureParameters,
)
from ..events import Events
from .worker import imported_later

if TYPE_CHECKING:
    from ..classification.descriptor_map import DescriptorMap

HOW_TO_GET_ONE = "Train one by the command train structure, or choose a file here."
"""What the forms say that need a model of structures where none is installed."""


def named_events(stacks: Sequence[Stack], parameters: StructureParameters) -> Events[Named]:
    """As `classification.structure_stacks.name_structures`."""

    def begun() -> Events[Named]:
        from ..classification.structure_stacks import name_structures

        return name_structures(stacks, parameters)

    return imported_later(begun)


def saliency_events(
    stack: Stack, number: int, parameters: StructureParameters, windows: SaliencyParameters
) -> Events[SaliencyPicture]:
    """As `classification.structure_stacks.saliency_of_plane`."""

    def begun() -> Events[SaliencyPicture]:
        from ..classification.structure_stacks import saliency_of_plane

        return saliency_of_plane(stack, number, parameters, windows)

    return imported_later(begun)


def map_events(
    descriptors: NDArray[np.float32], parameters: StructureParameters, digest: str
) -> Events[DescriptorMap]:
    """As `classification.structure_stacks.map_of_plane`."""

    def begun() -> Events[DescriptorMap]:
        from ..classification.structure_stacks import map_of_plane

        return map_of_plane(descriptors, parameters, digest)

    return imported_later(begun)
