"""From labels to tables: phases and particles of an image or a stack."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate, repeat
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from .. import __version__, regions
from ..calibration import Calibration, require
from ..classes import UNLABELLED, PhaseClass
from ..errors import InputError
from ..events import Events, Notice, Progress
from ..plane import ArrayLike
from .parameters import QuantifyParameters
from .particles import CONNECTIVITY, measure_particles, number_particles
from .phases import measure_phases
from .resolution import resolution_notes
from .statistics import number_of_fields, phase_statistics


@dataclass(frozen=True)
class Quantification:
    """Phases and particles of an image or a stack of planes; each plane is a field.

    Attributes
    ----------
    phases
        One row a plane and phase: `plane` and the columns of `phases.measure_phases`.
    particles
        One row a particle: `particle`, `plane`, `phase`, `class_index` and the columns of
        `particles.measure_particles`. Particles are numbered 1 to n through all planes.
    ids
        The particles' numbers where they lie, 0 elsewhere; same shape as the labels.
    statistics
        JSON form: `n_fields`, `n_particles`, `phases` (see `statistics.phase_statistics`),
        `edge_rule`, `smallest_area_px`, `connectivity`, `parameters`, `provenance`; the latter's
        `notes` say what the reader should know.
    """

    phases: pd.DataFrame
    particles: pd.DataFrame
    ids: NDArray[np.int32]
    statistics: dict[str, Any]


def quantify(
    indices: ArrayLike,
    classes: Sequence[PhaseClass],
    calibration: Calibration | None,
    measured: regions.Field,
    parameters: QuantifyParameters,
    intensity: ArrayLike | None = None,
    name: str = "image",
    labels_provenance: Mapping[str, Any] | None = None,
) -> Events[Quantification]:
    """Measure phases and particles; yields an event a plane and returns the result.

    A notice says so when most particles of a phase are too small to resolve.

    Parameters
    ----------
    indices
        Shape (Y, X) or (N, Y, X): class indices, 255 = unlabelled.
    classes
        Name and colour of each class index.
    calibration
        Pixel size; without one nothing is measured.
    measured
        The field, the same for all planes.
    intensity
        Grey values of the same shape as `indices`, for the column `mean_grey`.
    name
        Names the image in messages and provenance.
    labels_provenance
        What made the labels: model or method, parameters.

    Raises
    ------
    InputError
        When the pixel size is unknown, shapes do not fit, a label has no class, two classes share
        a name, or no pixel of the field is labelled.
    """
    plan = _Plan(
        tuple(classes),
        parameters.particle_classes(len(classes)),
        require(calibration, name),
        measured,
        parameters,
        name,
    )
    plan.require_fitting(indices, intensity)
    greys = _planes(intensity) if intensity is not None else repeat(None)
    n_planes = 1 if len(indices.shape) == 2 else indices.shape[0]
    results: list[_PlaneResult] = []
    for number, (plane, grey) in enumerate(zip(_planes(indices), greys, strict=False)):
        results.append(plan.measure(number, plane, grey))
        if not results[-1].labelled:
            yield Notice(f"{name}: plane {number} holds no labelled pixel and is left out")
        yield Progress(number + 1, n_planes, "planes measured")
    if not any(result.labelled for result in results):
        raise InputError(f"{name}: no pixel of the field is labelled; segment or paint it first")
    result = plan.assembled(results, indices.shape, dict(labels_provenance or {}))
    for note in result.statistics["provenance"]["notes"]:
        yield Notice(f"{name}: {note}")
    return result


@dataclass(frozen=True)
class _PlaneResult:
    phases: pd.DataFrame
    particles: pd.DataFrame
    ids: NDArray[np.int32]

    @property
    def labelled(self) -> bool:
        return bool(self.phases["labelled_area_um2"].gt(0).any())

    def numbered_from(self, offset: int) -> _PlaneResult:
        """The same with `offset` added to the particles' numbers."""
        ids = self.ids + np.int32(offset) * (self.ids > 0)
        particles = self.particles.assign(particle=self.particles["particle"] + offset)
        return _PlaneResult(self.phases, particles, ids)


@dataclass(frozen=True)
class _Plan:
    """What is the same for all planes."""

    classes: tuple[PhaseClass, ...]
    particle_classes: tuple[int, ...]
    calibration: Calibration
    measured: regions.Field
    parameters: QuantifyParameters
    name: str

    @cached_property
    def names(self) -> NDArray[np.object_]:
        return np.array([phase.name for phase in self.classes], dtype=object)

    @cached_property
    def mask(self) -> NDArray[np.bool_]:
        return self.measured.mask()

    def require_fitting(self, indices: ArrayLike, intensity: ArrayLike | None) -> None:
        """Raise `InputError` when shapes, types or names cannot be measured."""
        if len(indices.shape) not in (2, 3) or 0 in indices.shape or indices.dtype.kind not in "ui":
            raise InputError(
                f"{self.name}: labels are whole numbers of shape (Y, X) or (N, Y, X), not "
                f"{indices.dtype} of shape {indices.shape}"
            )
        for what, shape in (
            ("field", (*indices.shape[:-2], *self.measured.shape)),
            ("intensity image", indices.shape if intensity is None else intensity.shape),
        ):
            if shape != indices.shape:
                raise InputError(
                    f"{self.name}: the labels have shape {indices.shape}, the {what} {shape}; "
                    "both must belong to the same image"
                )
        if len(set(self.names)) < len(self.names):
            raise InputError(f"{self.name}: two classes share a name; give each its own")
        self.measured.require_pixels()

    def measure(
        self, number: int, indices: NDArray[np.integer], grey: NDArray[np.number] | None
    ) -> _PlaneResult:
        self._require_known(indices)
        # What goes on where nothing is labelled is cut there, as at the edge of the field.
        known = self.mask & (indices != UNLABELLED)
        ids, owners = number_particles(indices, self.particle_classes, known, self.parameters)
        particles = measure_particles(ids, known, self.calibration, grey)
        particles.insert(1, "plane", number)
        particles.insert(2, "phase", self.names[owners])
        particles.insert(3, "class_index", owners)
        phases = measure_phases(
            indices, self.classes, self.mask, self.calibration, particles, self.particle_classes
        )
        phases.insert(0, "plane", number)
        return _PlaneResult(phases, particles, ids)

    def assembled(
        self, results: list[_PlaneResult], shape: tuple[int, ...], labels: dict[str, Any]
    ) -> Quantification:
        counts = [len(result.particles) for result in results]
        offsets = accumulate(counts[:-1], initial=0)
        results = [r.numbered_from(offset) for r, offset in zip(results, offsets, strict=True)]
        phases = pd.concat([result.phases for result in results], ignore_index=True)
        particles = pd.concat([result.particles for result in results], ignore_index=True)
        statistics = {
            "n_fields": number_of_fields(phases, ["plane"]),
            "n_particles": len(particles),
            "phases": phase_statistics(phases, particles),
            "edge_rule": self.parameters.edge_rule,
            "smallest_area_px": self.parameters.smallest_area_px,
            "connectivity": CONNECTIVITY,
            "parameters": self.parameters.model_dump(mode="json"),
            "provenance": self._provenance(labels) | {"notes": resolution_notes(particles)},
        }
        ids = np.stack([result.ids for result in results]).reshape(shape)
        return Quantification(phases, particles, ids, statistics)

    def _provenance(self, labels: dict[str, Any]) -> dict[str, Any]:
        return {
            "version": __version__,
            "image": self.name,
            "calibration": self.calibration.to_dict(),
            "field": self.measured.to_dict(),
            "labels": labels,
        }

    def _require_known(self, indices: NDArray[np.integer]) -> None:
        unknown = (indices < 0) | ((indices >= len(self.classes)) & (indices != UNLABELLED))
        if unknown.any():
            raise InputError(
                f"{self.name}: label {indices[unknown][0]} has no class; name {len(self.classes)} "
                "classes or more, or mark such pixels as unlabelled (255)"
            )


def _planes(array: ArrayLike) -> Iterator[NDArray[Any]]:
    if len(array.shape) == 2:
        yield np.asarray(array)
        return
    for number in range(array.shape[0]):
        yield np.asarray(array[number])
