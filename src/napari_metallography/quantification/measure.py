"""From labels to tables: phases and particles of an image or a stack."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from functools import cached_property
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
from .cut_apart import CUT_APART
from .edges import Selection, edge_notes, select
from .numbering import given_particles
from .parameters import QuantifyParameters
from .particles import CONNECTIVITY, find_particles, measure_particles
from .phases import boundary_columns, measure_phases
from .pixel_counts import PixelCounts, count_pixels
from .places import bounds
from .resolution import resolution_notes
from .runs import Runs, paint_numbers
from .statistics import area_notes, number_of_fields, planes_depend, statistics_over_fields
from .strips import LabelledPlane, PlaneOf, stretches_of

FEW_INTERCEPTS = "mean chords or free paths longer than the field"
"""Begins the note that says so."""

_TOLERATED_HIDDEN = 0.05
"""Share of a phase's crossings that seams may hide beyond chance."""

_UNCERTAIN = {
    direction: tuple(f"{what}_{direction}_um" for what in ("mean_chord", "mean_free_path"))
    for direction in ("horizontal", "vertical")
}


@dataclass(frozen=True)
class Quantification:
    """Phases and particles of an image or a stack of planes.

    Attributes
    ----------
    phases
        One row a plane and phase: `plane`, the columns of `phases.measure_phases` and
        `phases.boundary_columns`, and `n_excluded`, how many particles the edge rule left out.
    particles
        One row a particle: `particle`, `plane`, `phase`, `class_index`, `label_value` (what stands
        for the phase in the file, as `phases` has it too), the columns of
        `particles.measure_particles`, and `weight`, for how many particles it stands under the
        edge rule. Particles are numbered 1 to n through all planes. Nearest neighbours are among
        all particles, those that the edge rule leaves out included.
    ids
        The particles' numbers where they lie, 0 elsewhere; same shape as the labels, or (0, 0)
        where they were not to be painted.
    statistics
        JSON form: `n_fields`, `n_particles`, `phases` (see `statistics.phase_statistics`),
        `n_excluded` (by phase, how many particles the edge rule left out), `edge_rule`,
        `smallest_area_px`, `connectivity`, `parameters`, `provenance`; the latter's `notes` say
        what the reader should know.
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
    ids: ArrayLike | None = None,
    label_values: Sequence[int] | None = None,
    *,
    paint: bool = True,
    rows_at_a_time: int | None = None,
) -> Events[Quantification]:
    """Measure phases and particles; yields an event a plane and returns the result.

    A notice says so when most particles of a phase are too small to resolve.

    The arrays are read in strips of rows, each two or three times, and may be larger than memory.
    What is held grows with the particles' outlines, not with the area, but for the painted numbers
    (4 bytes a pixel) and, where particles are split, the bounding box of one after the other.

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
        Grey values of the same shape as `indices`, for the column `mean_grey` and for splitting
        by intensity.
    name
        Names the image in messages and provenance.
    labels_provenance
        What made the labels: model or method, parameters.
    ids
        Particles as numbered already, shaped like `indices`, such as those corrected by hand; None:
        they are found and split here. They are numbered anew.
    label_values
        What stands for each class in the labels' file, where that is not its index.
    paint
        Whether the result is to have `ids`.
    rows_at_a_time
        Height of the strips, which changes no result; None: what memory and speed are best with.

    Raises
    ------
    InputError
        When the pixel size is unknown, shapes do not fit, a label has no class, two classes share
        a name, no pixel of the field is labelled, grey values are missing to split by, or the
        field is not one that the edge rule is for.
    """
    plan = _Plan(
        tuple(classes),
        parameters.particle_classes(len(classes)),
        require(calibration, name),
        measured,
        parameters,
        name,
        ids,
        tuple(range(len(classes)) if label_values is None else label_values),
        rows_at_a_time,
    )
    plan.require_fitting(indices, intensity)
    n_planes = 1 if len(indices.shape) == 2 else indices.shape[0]
    painted = np.zeros(indices.shape if paint else (0, 0), np.int32)
    results: list[_PlaneResult] = []
    n_particles = 0
    for number in range(n_planes):
        grey = None if intensity is None else PlaneOf(intensity, number)
        tables, counted = plan.measure(number, PlaneOf(indices, number), grey, n_particles)
        results.append(tables)
        if paint:
            paint_numbers(counted, n_particles, painted if painted.ndim == 2 else painted[number])
        n_particles += len(tables.particles)
        if not tables.labelled:
            yield Notice(f"{name}: plane {number} holds no labelled pixel and is left out")
        yield Progress(number + 1, n_planes, "planes measured")
    if not any(tables.labelled for tables in results):
        raise InputError(f"{name}: no pixel of the field is labelled; segment or paint it first")
    result = plan.assembled(results, painted, dict(labels_provenance or {}))
    for note in result.statistics["provenance"]["notes"]:
        yield Notice(f"{name}: {note}")
    return result


def _seam_notes(results: Sequence[_PlaneResult]) -> list[str]:
    """A sentence for each phase whose boundaries are hidden by seams in some plane."""
    phases = dict.fromkeys(phase for result in results for phase in result.hidden)
    return [
        f"{phase}: stretches without labels run along its boundaries, where no line meets these; "
        "chords, free paths, boundary length and banding cannot be known and are left out: label "
        "the seams, to one side or the other"
        for phase in phases
    ]


def _intercept_notes(phases: pd.DataFrame, extents_um: Mapping[str, float]) -> list[str]:
    """A sentence where a mean chord or free path is longer than the field."""
    told = []
    for direction, columns in _UNCERTAIN.items():
        longest = phases[list(columns)].max(axis=1)
        for phase, rows in phases[longest > extents_um[direction]].groupby("phase", sort=False):
            told.append(f"{phase} {rows[f'n_intercepts_{direction}'].min():g} {direction}")
    if not told:
        return []
    return [
        f"{FEW_INTERCEPTS} rest on too few intercepts of lines of pixels "
        f"({', '.join(told)}): do not rely on them, or measure larger fields"
    ]


@dataclass(frozen=True)
class _PlaneResult:
    phases: pd.DataFrame
    particles: pd.DataFrame
    hidden: tuple[str, ...]
    touching: NDArray[np.bool_]
    """Shape (c,): whether particles of a class touch that were told apart."""
    n_cut_apart: int

    @property
    def labelled(self) -> bool:
        return bool(self.phases["labelled_area_um2"].gt(0).any())


@dataclass(frozen=True)
class _Plan:
    """What is the same for all planes."""

    classes: tuple[PhaseClass, ...]
    particle_classes: tuple[int, ...]
    calibration: Calibration
    measured: regions.Field
    parameters: QuantifyParameters
    name: str
    given: ArrayLike | None = None
    label_values: tuple[int, ...] = ()
    rows_at_a_time: int | None = None

    @cached_property
    def names(self) -> NDArray[np.object_]:
        return np.array([phase.name for phase in self.classes], dtype=object)

    @cached_property
    def field(self) -> Runs:
        return stretches_of(self.measured)

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
        if len(self.names) > UNLABELLED:
            raise InputError(f"{self.name}: at most {UNLABELLED} classes can be measured")
        if len(set(self.names)) < len(self.names):
            raise InputError(f"{self.name}: two classes share a name; give each its own")
        self.measured.require_pixels()

    def measure(
        self, number: int, indices: ArrayLike, grey: ArrayLike | None, offset: int
    ) -> tuple[_PlaneResult, Runs]:
        """A plane's tables and its particles that count; numbers begin after `offset`."""
        # What goes on where nothing is labelled is cut there, as at the edge of the field.
        n_classes = len(self.classes)
        plane = LabelledPlane(indices, self.field, n_classes, self.name, self.rows_at_a_time)
        found, owners = self._particles(number, plane, grey)
        counts = count_pixels(plane, found, grey, told_apart=bool(self._told_apart))
        every = self._described(number, found, owners, counts)
        chosen = select(self.parameters.edge_rule, every, found, counts.known)
        particles = _kept(every, chosen, offset)
        hidden = self._hidden(counts)
        phases = self._phases(number, particles, chosen, counts)
        excluded = np.bincount(owners[~chosen.kept], minlength=n_classes)
        phases["n_excluded"] = phases["n_particles"] * 0 + excluded
        boundaries = boundary_columns(
            counts.crossings,
            phases["area_fraction"].to_numpy(float),
            self.calibration,
            self.parameters.rolling_direction,
            self._told_apart,
            hidden,
        )
        names = tuple(self.classes[index].name for index in hidden)
        touching = np.asarray(counts.crossings.within.any(axis=0))
        n_parts = int(np.count_nonzero(counts.cut_apart & chosen.kept)) if self._splits else 0
        phases = phases.assign(**boundaries)
        return _PlaneResult(phases, particles, names, touching, n_parts), found.of(chosen.kept)

    def assembled(
        self, results: list[_PlaneResult], ids: NDArray[np.int32], labels: dict[str, Any]
    ) -> Quantification:
        phases = pd.concat([result.phases for result in results], ignore_index=True)
        particles = pd.concat([result.particles for result in results], ignore_index=True)
        if not self._splits:
            # Classes of which none were told apart by hand, in no plane, have no contiguity.
            touching = np.any([result.touching for result in results], axis=0)
            phases.loc[~touching[phases["class_index"]], "contiguity"] = np.nan
        excluded = phases.groupby("phase", sort=False)["n_excluded"].sum(min_count=1).dropna()
        statistics = {
            "n_fields": number_of_fields(phases, ["plane"]),
            "n_particles": len(particles),
            "n_excluded": {str(phase): int(n) for phase, n in excluded.items()},
            "phases": statistics_over_fields(
                phases, particles, planes_are_fields=self.parameters.planes_are_fields
            ),
            "edge_rule": self.parameters.edge_rule,
            "smallest_area_px": self.parameters.smallest_area_px,
            "connectivity": CONNECTIVITY,
            "parameters": self.parameters.model_dump(mode="json"),
            "provenance": self._provenance(labels)
            | self._cut_apart(results)
            | {"notes": self._notes(results, phases, particles)},
        }
        return Quantification(phases, particles, ids, statistics)

    def _particles(
        self, number: int, plane: LabelledPlane, grey: ArrayLike | None
    ) -> tuple[Runs, NDArray[np.int64]]:
        if self.given is None:
            return find_particles(
                plane, self.particle_classes, self.parameters, self.calibration, grey
            )
        given, smallest = PlaneOf(self.given, number), self.parameters.smallest_area_px
        return given_particles(given, plane, self.particle_classes, smallest)

    def _described(
        self, number: int, found: Runs, owners: NDArray[np.int64], counts: PixelCounts
    ) -> pd.DataFrame:
        """One row a particle, also for those that the edge rule leaves out."""
        every = measure_particles(
            found, counts.touches_border, self.calibration, counts.grey_sums, owners
        )
        every.insert(1, "plane", number)
        every.insert(2, "phase", self.names[owners])
        every.insert(3, "class_index", owners)
        every.insert(4, "label_value", np.array(self.label_values, np.int64)[owners])
        return every

    def _phases(
        self, number: int, particles: pd.DataFrame, chosen: Selection, counts: PixelCounts
    ) -> pd.DataFrame:
        phases = measure_phases(
            counts.pixels,
            self.classes,
            int(self.field.lengths.sum()),
            self.calibration,
            particles,
            self.particle_classes,
            chosen.counted_px,
        )
        phases.insert(0, "plane", number)
        phases.insert(3, "label_value", self.label_values)
        return phases

    def _notes(
        self, results: Sequence[_PlaneResult], phases: pd.DataFrame, particles: pd.DataFrame
    ) -> list[str]:
        """What the reader of the results should know."""
        planes = phases["plane"].nunique()
        stacked = [f"{planes} planes, each measured as a flat field"] if planes > 1 else []
        if planes_depend(phases) and not self.parameters.planes_are_fields:
            stacked.append(
                "planes are taken for sections of one place, which are not independent: there is "
                "no confidence interval; state so if each plane is a field of its own"
            )
        if self.parameters.planes_are_fields:
            stacked += area_notes(phases)
        cut = edge_notes(self.parameters.edge_rule, particles)
        left_out = _emptied_notes(phases, self.parameters)
        return [
            *left_out,
            *resolution_notes(particles),
            *cut,
            *stacked,
            *_seam_notes(results),
            *_intercept_notes(phases, self._extents_um()),
        ]

    def _hidden(self, counts: PixelCounts) -> list[int]:
        """Classes along whose boundaries seams without labels run."""
        shares = counts.seams.hidden(counts.crossings)
        return [int(index) for index in np.flatnonzero(shares > _TOLERATED_HIDDEN)]

    @property
    def _told_apart(self) -> Sequence[int]:
        """Classes whose touching particles are told apart: by the rules, or by hand perhaps."""
        return self.particle_classes if self._splits or self.given is not None else ()

    def _extents_um(self) -> dict[str, float]:
        """Length of the longest lines over the field."""
        top, left, bottom, right = bounds(self.field)
        size = self.calibration
        return {"horizontal": (right - left) * size.x_um, "vertical": (bottom - top) * size.y_um}

    @property
    def _splits(self) -> bool:
        return self.parameters.split != "none"

    def _provenance(self, labels: dict[str, Any]) -> dict[str, Any]:
        return {
            "version": __version__,
            "measured_on": date.today().isoformat(),
            "image": self.name,
            "calibration": self.calibration.to_dict(),
            "field": self.measured.to_dict(),
            "labels": labels,
        }

    def _cut_apart(self, results: Sequence[_PlaneResult]) -> dict[str, int]:
        return {CUT_APART: sum(result.n_cut_apart for result in results)} if self._splits else {}


def _emptied_notes(phases: pd.DataFrame, parameters: QuantifyParameters) -> list[str]:
    """A sentence for each phase of which the rules leave no particle in a field that has it."""
    none = phases["n_particles"].eq(0).fillna(False).to_numpy(bool)
    emptied = phases[none & phases["area_um2"].gt(0).to_numpy()]
    return [
        _emptied_note(str(phase), rows, phases["plane"].nunique(), parameters)
        for phase, rows in emptied.groupby("phase", sort=False)
    ]


def _emptied_note(
    phase: str, rows: pd.DataFrame, planes: int, parameters: QuantifyParameters
) -> str:
    where = f" in plane {', '.join(map(str, rows['plane']))}" if planes > 1 else ""
    reasons = []
    if cut := int(rows["n_excluded"].sum()):
        reasons.append(f"the edge rule {parameters.edge_rule} leaves out {cut}")
    if rows["n_excluded"].eq(0).any():
        reasons.append(f"all are below the smallest area of {parameters.smallest_area_px} px")
    return f"{phase}: no particle counts{where}: {' and '.join(reasons)}"


def _kept(every: pd.DataFrame, chosen: Selection, offset: int) -> pd.DataFrame:
    """The particles that count, with their weights, numbered anew."""
    particles = every[chosen.kept].reset_index(drop=True)
    particles["particle"] = np.arange(offset + 1, offset + 1 + len(particles))
    place = list(particles.columns).index("touches_border") + 1
    particles.insert(place, "weight", chosen.weights)
    return particles
