"""Several images put together: one table of phases, one of particles, statistics over fields."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from ..calibration import HOW_TO_CALIBRATE
from ..classes import require_same_classes
from ..errors import InputError
from .columns import is_calibrated
from .distributions import size_statistics
from .measure import Quantification
from .statistics import (
    PLANES,
    WANTED_ACCURACY_PERCENT,
    area_notes,
    number_of_fields,
    phase_statistics,
    planes_depend,
    specimen_statistics,
    without_intervals,
)

_RULES = ("edge_rule", "smallest_area_px", "connectivity", "parameters")
_FIELD: list[Hashable] = ["image", "plane"]
_FIELD_COLUMNS = ("image", "specimen", "plane")
_SAME_SCALE = 1.001
_MOST_SCALES_APART = 100


@dataclass(frozen=True)
class Study:
    """Results of several images.

    Attributes
    ----------
    phases, particles
        The images' tables one below the other, their first column `image`; the second is
        `specimen` where any is known.
    statistics
        JSON form: as of `Quantification`, over all fields; `sizes` as
        `distributions.size_statistics`; `notes` on all fields together;
        `wanted_accuracy_percent`; `provenance` is a list, one an image. Where there are several
        specimens, `specimens` and `over_specimens` as `statistics.specimen_statistics`. When fields
        are not independent, or are not known to be, `pooled` says why and the `phases` have no
        interval: several fields of one of several specimens, fields of unnamed specimens beside
        named ones, planes of one image.
    """

    phases: pd.DataFrame
    particles: pd.DataFrame
    statistics: dict[str, Any]


def combine(
    results: Sequence[tuple[str, Quantification]],
    specimens: Mapping[str, str] | None = None,
    wanted_accuracy_percent: float = WANTED_ACCURACY_PERCENT,
) -> Study:
    """Put the results of several images together; n counts fields, never particles.

    Parameters
    ----------
    results
        Name and result of each image.
    specimens
        Specimen by the name of an image, as far as known.
    wanted_accuracy_percent
        The relative accuracy for which the fields needed are told.

    Raises
    ------
    InputError
        When there is no image, two share a name, they were measured by different rules or have
        different classes (a phase that one does not know is not zero there), or some have a pixel
        size and others none.
    """
    _require_comparable(results)
    phases = _stacked([(name, result.phases) for name, result in results], specimens)
    particles = _stacked([(name, result.particles) for name, result in results], specimens)
    first = results[0][1].statistics
    planes_are_fields = bool(first["parameters"]["planes_are_fields"])
    found = phase_statistics(phases, particles, wanted_accuracy_percent)
    pooled = _pooled(phases, planes_are_fields=planes_are_fields) or _repeated(results)
    statistics = {
        "n_images": len(results),
        "n_fields": number_of_fields(phases, _FIELD),
        "n_particles": len(particles),
        "wanted_accuracy_percent": wanted_accuracy_percent,
        "phases": without_intervals(found, pooled["pooled"]) if pooled else found,
        **pooled,
        **_by_specimen(
            phases, particles, wanted_accuracy_percent, planes_are_fields=planes_are_fields
        ),
        "sizes": size_statistics(particles, first["smallest_area_px"]),
        **{rule: first[rule] for rule in _RULES},
        **_excluded([result for _, result in results]),
        "notes": area_notes(phases),
        "provenance": [result.statistics["provenance"] for _, result in results],
    }
    return Study(phases, particles, statistics)


def require_one_scale(sizes: Mapping[str, float | None]) -> None:
    """Refuse images that have no common mean.

    Parameters
    ----------
    sizes
        Pixel size in µm by the name of an image; None where it is unknown.

    Raises
    ------
    InputError
        When some have a pixel size and others none, or one has a hundred times that of another.
    """
    known = {name: size for name, size in sizes.items() if size is not None}
    unknown = [name for name in sizes if name not in known]
    if known and unknown:
        raise InputError(
            f"{unknown[0]} has no pixel size but {next(iter(known))} has one, and pixels and µm "
            f"have no common mean; {HOW_TO_CALIBRATE}"
        )
    if known:
        finest, coarsest = min(known, key=known.__getitem__), max(known, key=known.__getitem__)
        if known[coarsest] > _MOST_SCALES_APART * known[finest]:
            raise InputError(
                f"{coarsest} has {known[coarsest]:.4g} µm a pixel and {finest} "
                f"{known[finest]:.4g} µm; correct the one that is wrong with --index, or measure "
                "them one by one"
            )


def scale_note(sizes: Mapping[str, float | None]) -> str:
    """A sentence where pixel sizes (µm, by image) differ; else empty."""
    known = [size for size in sizes.values() if size is not None]
    if not known or max(known) <= _SAME_SCALE * min(known):
        return ""
    return (
        f"the pixel sizes reach from {min(known):.4g} to {max(known):.4g} µm: the smallest "
        "particle that can be seen differs between fields"
    )


def correction_table(study: Study) -> pd.DataFrame:
    """The corrections by hand in their order: `image`, and what is recorded of each."""
    images = study.phases["image"].unique()
    rows = [
        {"image": image, **correction}
        for image, made in zip(images, study.statistics["provenance"], strict=True)
        for correction in made.get("corrections", ())
    ]
    return pd.DataFrame(rows, dtype=object)


def point_table(study: Study) -> pd.DataFrame:
    """The simulated point count, one row a phase, with the columns of `statistics_table`."""
    counted = study.statistics.get("point_count", {"phases": {}})["phases"]
    rows = [{"phase": phase, **interval_row(values)} for phase, values in counted.items()]
    return pd.DataFrame(rows, dtype=object)


def pooled_table(study: Study) -> pd.DataFrame:
    """The particles of all fields together, one row a phase: number, radii, log-normal fit.

    Nothing here has a confidence interval: particles of one field are not independent.
    """
    rows = [
        {
            "phase": phase,
            **{name: value for name, value in found.items() if not isinstance(value, Mapping)},
            "n_excluded": study.statistics.get("n_excluded", {}).get(phase),
            **_fit_of(study, phase),
        }
        for phase, found in study.statistics["phases"].items()
        if found["n_particles"] is not None
    ]
    return pd.DataFrame(rows, dtype=object)


def _fit_of(study: Study, phase: str) -> dict[str, Any]:
    fit = study.statistics["sizes"].get(phase, {}).get("lognormal", {})
    # A cell holds no list; the statistics do.
    told = {name: value for name, value in fit.items() if not isinstance(value, list | tuple)}
    return {name: value for name, value in told.items() if name != "n_particles"}


def field_table(study: Study) -> pd.DataFrame:
    """One row a field.

    Returns
    -------
    Columns `image`, `specimen` where any is known, `plane`, `pixel_size_x_um` and
    `pixel_size_y_um` where known, `field_area` and `labelled_area` (µm² or px²), `n_particles` of
    all phases together.
    """
    keys = [name for name in _FIELD_COLUMNS if name in study.phases]
    areas = [n for n in map(str, study.phases) if n.startswith(("field_area_", "labelled_area_"))]
    groups = study.phases.groupby(["image", "plane"], sort=False)
    table = groups.first().reset_index()[[*keys, *areas]]
    table["n_particles"] = groups["n_particles"].sum().to_numpy()
    if is_calibrated(study.phases):
        sizes = [made["calibration"]["pixel_size_um"] for made in study.statistics["provenance"]]
        of = dict(zip(study.phases["image"].unique(), sizes, strict=True))
        for offset, axis in enumerate("xy"):
            values = [float(of[image][offset]) for image in table["image"]]
            table.insert(len(keys) + offset, f"pixel_size_{axis}_um", values)
    return table


def statistics_table(study: Study) -> pd.DataFrame:
    """The statistics as a table, one row a phase, quantity and group.

    Returns
    -------
    Columns `over` ("fields", "fields of specimen S-1" or "specimens"), `phase`, `quantity`, `n`,
    `mean`, `s`, `ci95_low`, `ci95_high`, `note` (where these were cut),
    `relative_accuracy_percent`, `needed`, `still_needed` (for the wanted accuracy) and `reason`.
    """
    statistics = study.statistics
    groups = [("fields", statistics["phases"])]
    groups += [
        (f"fields of specimen {name}", specimen["phases"])
        for name, specimen in statistics.get("specimens", {}).items()
    ]
    if "over_specimens" in statistics:
        groups.append(("specimens", statistics["over_specimens"]["phases"]))
    return pd.DataFrame([row for over, phases in groups for row in statistics_rows(over, phases)])


def statistics_rows(over: str, phases: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Rows of `statistics_table` for one group."""
    return [
        {"over": over, "phase": phase, "quantity": quantity, **interval_row(values)}
        for phase, quantities in phases.items()
        for quantity, values in quantities.items()
        if isinstance(values, Mapping)
    ]


def interval_row(values: Mapping[str, Any]) -> dict[str, Any]:
    """A quantity's statistics as cells of a row of `statistics_table`."""
    counted = "specimen" if "n_specimens" in values else "field"
    low, high = values["ci95"] or (None, None)
    return {
        "n": values[f"n_{counted}s"],
        "mean": values["mean"],
        "s": values["s"],
        "ci95_low": low,
        "ci95_high": high,
        "note": values["note"],
        "relative_accuracy_percent": values["relative_accuracy_percent"],
        "needed": values[f"{counted}s_needed"],
        "still_needed": values[f"{counted}s_still_needed"],
        "reason": values["reason"],
    }


def _by_specimen(
    phases: pd.DataFrame,
    particles: pd.DataFrame,
    wanted_accuracy_percent: float,
    *,
    planes_are_fields: bool,
) -> dict[str, Any]:
    """What several specimens add to the statistics; nothing when it is one at most."""
    if _specimens(phases) < 2:
        return {}
    return specimen_statistics(
        phases, particles, wanted_accuracy_percent, planes_are_fields=planes_are_fields
    )


def _pooled(phases: pd.DataFrame, *, planes_are_fields: bool) -> dict[str, str]:
    """Why all fields together have no interval, when they are not independent."""
    n_fields, n = number_of_fields(phases, _FIELD), _specimens(phases)
    named = n_fields if not n else number_of_fields(phases[phases["specimen"] != ""], _FIELD)
    if named < n_fields:
        reason = f"the specimen of {n_fields - named} of {n_fields} fields is not named"
    elif n > 1 and n_fields > n:
        reason = f"fields of {n} specimens are not independent"
    elif not planes_are_fields and planes_depend(phases):
        reason = PLANES
    else:
        return {}
    return {"pooled": reason}


def _repeated(results: Sequence[tuple[str, Quantification]]) -> dict[str, Any]:
    """Why there is no interval where one image is there several times."""
    made = [result.statistics["provenance"].get("sources", {}) for _, result in results]
    digests = [(one.get("image") or one.get("labels") or {}).get("sha256") for one in made]
    known = [digest for digest in digests if digest]
    if len(set(known)) == len(known):
        return {}
    return {"pooled": "several fields are of one image, and so not independent"}


def _specimens(phases: pd.DataFrame) -> int:
    """How many specimens are named."""
    return int(phases["specimen"].replace("", pd.NA).nunique()) if "specimen" in phases else 0


def _excluded(results: Sequence[Quantification]) -> dict[str, Any]:
    """Particles that the rules left out, summed over the images by phase."""
    total: Counter[str] = Counter()
    for result in results:
        total.update(result.statistics.get("n_excluded", {}))
    stated = any("n_excluded" in result.statistics for result in results)
    return {"n_excluded": dict(total)} if stated else {}


def _stacked(
    tables: Sequence[tuple[str, pd.DataFrame]], specimens: Mapping[str, str] | None
) -> pd.DataFrame:
    known = {name: specimen for name, specimen in (specimens or {}).items() if specimen}
    named = []
    for name, table in tables:
        table = table.copy()
        table.insert(0, "image", _constant(name, table))
        if known:
            table.insert(1, "specimen", _constant(known.get(name, ""), table))
        named.append(table)
    return pd.concat(named, ignore_index=True)


def _constant(text: str, table: pd.DataFrame) -> pd.Series[Any]:
    return pd.Series([text] * len(table), index=table.index, dtype=object)


def _require_comparable(results: Sequence[tuple[str, Quantification]]) -> None:
    if not results:
        raise InputError("there is no image to put together; name one at least")
    name, uses = Counter(name for name, _ in results).most_common(1)[0]
    if uses > 1:
        raise InputError(f"{uses} images are called {name}; give each its own name")
    first_name, first_result = results[0]
    first = first_result.statistics
    for name, result in results:
        require_same_classes(
            _names(first_result), _names(result), first_of=first_name, second_of=name
        )
        if any(result.statistics[rule] != first[rule] for rule in _RULES):
            raise InputError(
                f"{name}: measured by other rules than {results[0][0]}; measure all images alike"
            )
    require_one_scale({name: _pixel_um(result) for name, result in results})


def _pixel_um(result: Quantification) -> float | None:
    stated = result.statistics["provenance"]["calibration"]
    return float(math.prod(stated["pixel_size_um"]) ** 0.5) if stated else None


def _names(result: Quantification) -> list[str]:
    return [str(name) for name in result.phases["phase"].unique()]
