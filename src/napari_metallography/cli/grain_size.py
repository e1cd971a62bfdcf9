"""`grain-size`: the ASTM grain-size number of images."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer
from pydantic import BaseModel

from ..errors import InputError, validated
from . import terminal
from .options import (
    Contrast,
    Device,
    DeviceName,
    Groove,
    Index,
    Output,
    PixelSize,
    Shown,
    Threshold,
    box,
    each,
    fail_if,
    option_of,
    pixel_sizes,
)

if TYPE_CHECKING:
    from ..grains.choice import ModelChosen
    from ..grains.files import GradedFile
    from ..grains.finding import Finding
    from ..grains.plan import GradingPlan

Parameters = TypeVar("Parameters", bound=BaseModel)

_LINE_NETWORK = "grain-line-net"


class GrainMethod(StrEnum):
    """How the grain size is measured."""

    lines = "lines"
    circles = "circles"
    planimetric = "planimetric"
    automatic = "automatic"
    network = "network"


class TestArea(StrEnum):
    """What grains are counted in."""

    __test__ = False

    rectangle = "rectangle"
    circle = "circle"


def grain_size(
    images: Annotated[list[Path], typer.Argument(help="Images or folders of images.")],
    output: Output,
    method: Annotated[
        list[GrainMethod] | None,
        typer.Option(
            help="lines (default), circles, planimetric, automatic, or network: the line network, "
            "which looks for no boundaries; several compare them, and the first one's G is the "
            "result."
        ),
    ] = None,
    boundaries: Annotated[
        Path | None,
        typer.Option(
            help="Mask of boundaries or numbered grains, or a folder with one for each image; "
            "default: found in the image."
        ),
    ] = None,
    boundaries_model: Annotated[
        str | None,
        typer.Option(
            help="Name or file of a segmentation model with a class boundary, which finds them; "
            "default: without a network."
        ),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(help=f"Name or file of the line network; default: {_LINE_NETWORK}."),
    ] = None,
    area: Annotated[
        TestArea | None,
        typer.Option(help="Test area of the planimetric method; default: rectangle."),
    ] = None,
    line_spacing: Annotated[
        float | None, typer.Option(help="Distance of test lines in pixels; default: as needed.")
    ] = None,
    smallest_area: Annotated[
        int | None,
        typer.Option(
            help="Smallest grain in pixels, with --boundaries-model in those that it sees; smaller "
            "spots are no grains."
        ),
    ] = None,
    groove: Groove = None,
    contrast: Contrast = None,
    shown: Shown = None,
    threshold: Threshold = None,
    flips: Annotated[
        bool | None,
        typer.Option(
            "--flips/--no-flips",
            help="Average the boundaries model over mirror images; default: yes.",
        ),
    ] = None,
    multi_scale: Annotated[
        bool | None,
        typer.Option(
            "--multi-scale/--no-multi-scale",
            help="Average the boundaries model over the scales 0.75, 1 and 1.25; default: yes.",
        ),
    ] = None,
    ignore_twins: Annotated[
        bool,
        typer.Option(help="Leave out the straight boundaries of annealing twins."),
    ] = False,
    wanted_accuracy: Annotated[
        float, typer.Option(help="Relative accuracy in %, to tell the fields needed for it.")
    ] = 10.0,
    keep_data_bar: Annotated[bool, typer.Option(help="Measure the data bar too.")] = False,
    region: Annotated[
        str | None, typer.Option(help="Only this box: TOP,LEFT,BOTTOM,RIGHT in pixels.")
    ] = None,
    pixel_size: PixelSize = None,
    index: Index = None,
    device: Device = DeviceName.auto,
) -> None:
    """Measure grain sizes; write grain_size.json, grain_size.html and <stem>_<method>.png."""
    from ..grains.files import grade_file, write_grain_sizes

    chosen = [*dict.fromkeys(method or [GrainMethod.lines])]
    stated = _stated(
        boundaries=boundaries,
        boundaries_model=boundaries_model,
        model=model,
        area=area.value if area else None,
        line_spacing_px=line_spacing,
        smallest_area_px=smallest_area,
        groove_px=groove,
        contrast=contrast,
        shown=shown,
        threshold=threshold,
        flips=flips,
        multi_scale=multi_scale,
        ignore_twins=ignore_twins or None,
    )
    _require_used(chosen, stated)
    _require_possible(wanted_accuracy, smallest_area)
    plan = _plan(chosen, stated, device)
    files = _files(images, boundaries)
    sizes, only = pixel_sizes(pixel_size, index), box(region)

    def work(path: Path) -> GradedFile:
        running = grade_file(
            path,
            plan,
            sizes=sizes,
            boundaries=boundaries,
            smallest_area_px=smallest_area or 1,
            keep_data_bar=keep_data_bar,
            region=only,
        )
        return terminal.follow(running, path.name)

    graded, code = each(files, work)
    if graded:
        found = write_grain_sizes(output, graded, wanted_accuracy, terminal.notice)
        for note in found["notes"]:
            terminal.notice(note)
        for one in found.get("methods", {"": found}).values():
            terminal.done(_said(one))
        terminal.done(f"grain_size.json, grain_size.html and pictures in {output}")
    fail_if(code)


def _stated(**options: object) -> dict[str, object]:
    """The options that were given."""
    return {name: value for name, value in options.items() if value is not None}


@dataclass(frozen=True)
class _Use:
    """What an option is for: `when` says it, after "counts only"."""

    when: str
    counts: Callable[[Collection[str], Collection[str]], bool]
    """Whether it does, by the methods and the options stated."""


def _grains(methods: Collection[str], stated: Collection[str]) -> bool:
    return any(method != GrainMethod.network for method in methods)


def _etched(methods: Collection[str], stated: Collection[str]) -> bool:
    return _found(methods, stated) and "boundaries_model" not in stated


def _found(methods: Collection[str], stated: Collection[str]) -> bool:
    return _grains(methods, stated) and "boundaries" not in stated


def _by_method(method: GrainMethod) -> _Use:
    return _Use(f"with --method {method.value}", lambda methods, stated: method in methods)


_OF_GRAINS = _Use("with a --method other than network, which looks for no grains", _grains)
_OF_ETCHED = _Use("where boundaries are found in the image, without a network", _etched)
_OF_MODEL = _Use("with --boundaries-model", lambda methods, stated: "boundaries_model" in stated)
_USES: Mapping[str, _Use] = {
    "boundaries": _OF_GRAINS,
    "boundaries_model": _OF_GRAINS,
    "smallest_area_px": _OF_GRAINS,
    "ignore_twins": _OF_GRAINS,
    "model": _by_method(GrainMethod.network),
    "area": _by_method(GrainMethod.planimetric),
    "line_spacing_px": _by_method(GrainMethod.lines),
    "groove_px": _OF_ETCHED,
    "contrast": _OF_ETCHED,
    "shown": _Use("where boundaries are found, not given", _found),
    "threshold": _OF_MODEL,
    "flips": _OF_MODEL,
    "multi_scale": _OF_MODEL,
}


def _require_used(methods: Collection[str], stated: Collection[str]) -> None:
    """Refuse options that would change nothing."""
    if {"boundaries", "boundaries_model"} <= set(stated):
        raise InputError("--boundaries and --boundaries-model: choose one of them")
    for name, use in _USES.items():
        if name in stated and not use.counts(methods, stated):
            raise InputError(f"{option_of(name)}: has no effect; it counts only {use.when}")


def _require_possible(wanted_accuracy: float, smallest_area: int | None) -> None:
    if not wanted_accuracy > 0:
        raise InputError(f"--wanted-accuracy {wanted_accuracy}: it is larger than 0 %")
    if smallest_area is not None and smallest_area < 1:
        raise InputError(f"--smallest-area {smallest_area}: a grain has one pixel at least")


def _plan(
    methods: Sequence[GrainMethod], stated: Mapping[str, Any], device: DeviceName
) -> GradingPlan:
    from ..grains.choice import GradingChoice
    from ..grains.grading import GradingParameters
    from ..grains.twins import TwinParameters

    choice = GradingChoice(
        tuple(method.value for method in methods),
        _parameters(GradingParameters, stated),
        _finding(stated),
        stated.get("model", _LINE_NETWORK),
        device.value,
        TwinParameters() if "ignore_twins" in stated else None,
    )
    return choice.plan()


def _finding(stated: Mapping[str, Any]) -> Finding | ModelChosen:
    from ..grains.boundary_probability import ModelBoundaryParameters
    from ..grains.choice import ModelChosen
    from ..grains.etched import EtchedParameters
    from ..grains.finding import ByEtching

    if "boundaries_model" not in stated:
        return ByEtching(_parameters(EtchedParameters, stated))
    return ModelChosen(
        stated["boundaries_model"],
        _parameters(ModelBoundaryParameters, stated),
        stated.get("flips", True),
        stated.get("multi_scale", True),
    )


def _parameters(kind: type[Parameters], stated: Mapping[str, Any]) -> Parameters:
    """Those of the options stated that are of a kind of parameters, the others as usual."""
    own = {name: value for name, value in stated.items() if name in kind.model_fields}
    return validated(kind, own, option_of)


def _files(images: Sequence[Path], boundaries: Path | None) -> list[Path]:
    from ..inputs import image_files, require_distinct_stems

    files = image_files(images, terminal.notice)
    require_distinct_stems(files)
    if boundaries is not None and boundaries.is_file() and len(files) > 1:
        raise InputError(
            f"--boundaries {boundaries}: one file for {len(files)} images; name a folder"
        )
    return files


def _said(found: Mapping[str, Any]) -> str:
    """The result by a method in a line."""
    from ..grains.study import interval_words

    if found["G"] is None:
        return f"no G by {found['method']}: {found['reason']}"
    interval = found["ci95"]
    sure = f"95 % CI {interval_words(interval)}" if interval else found["reason"]
    n = found["n_fields"]
    return f"G {found['G']:.2f} by {found['method']} ({n} field{'s' * (n != 1)}, {sure})"
