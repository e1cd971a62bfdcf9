"""`grain-size`: the ASTM grain-size number of images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import InputError, validated
from . import terminal
from .options import (
    Device,
    DeviceName,
    Index,
    Mode,
    Output,
    PixelSize,
    box,
    each,
    fail_if,
    option_of,
    pixel_sizes,
    prediction_settings,
)

if TYPE_CHECKING:
    from ..grains.by_network import ByLineNetwork
    from ..grains.files import GradedImage
    from ..grains.finding import ByEtching
    from ..grains.model_boundaries import ByModel

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
        TestArea, typer.Option(help="Test area of the planimetric method.")
    ] = TestArea.rectangle,
    line_spacing: Annotated[
        float | None, typer.Option(help="Distance of test lines in pixels; default: as needed.")
    ] = None,
    smallest_area: Annotated[
        int | None, typer.Option(help="Smallest grain in pixels; smaller spots are no grains.")
    ] = None,
    groove: Annotated[
        float | None, typer.Option(help="Width of an etched boundary in pixels.")
    ] = None,
    contrast: Annotated[
        float | None,
        typer.Option(help="Weakest boundary, as a part of a well etched one, 0 to 1."),
    ] = None,
    shown: Annotated[
        float | None, typer.Option(help="Part of a boundary that must show, 0 to 1.")
    ] = None,
    threshold: Annotated[
        float | None,
        typer.Option(help="Probability from which on a boundary of the model shows; default 0.5."),
    ] = None,
    flips: Annotated[
        bool, typer.Option(help="Average the boundaries model over mirror images.")
    ] = True,
    multi_scale: Annotated[
        bool, typer.Option(help="Average the boundaries model over the scales 0.75, 1 and 1.25.")
    ] = True,
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
    from ..grains.grading import GradingParameters, Method
    from ..grains.plan import GradingPlan
    from ..grains.twins import TwinParameters
    from ..inputs import image_files, require_distinct_stems

    if not wanted_accuracy > 0:
        raise InputError(f"--wanted-accuracy {wanted_accuracy}: it is larger than 0 %")
    if smallest_area is not None and smallest_area < 1:
        raise InputError(f"--smallest-area {smallest_area}: a grain has one pixel at least")
    chosen: list[Method] = [one.value for one in dict.fromkeys(method or [GrainMethod.lines])]
    etched = _stated(groove_px=groove, contrast=contrast)
    by_model = _stated(threshold=threshold)
    either = _stated(shown=shown, smallest_area_px=smallest_area)
    _require_used(
        chosen, boundaries, boundaries_model, model, etched=list(etched), by_model=list(by_model)
    )
    if ignore_twins and chosen == ["network"]:
        raise InputError("--ignore-twins: has no effect on the line network; leave it out")
    rules = validated(
        GradingParameters, {"area": area.value, "line_spacing_px": line_spacing}, option_of
    )
    found_by: ByEtching | ByModel
    if boundaries_model is None:
        found_by = _by_etching({**etched, **either})
    else:
        looks = prediction_settings(Mode.fast, flips=flips, multi_scale=multi_scale)
        found_by = _by_model(boundaries_model, {**by_model, **either}, looks, device)
    network = _line_network(model or _LINE_NETWORK, device) if "network" in chosen else None
    twins = TwinParameters() if ignore_twins else None
    plan = GradingPlan(tuple(chosen), rules, found_by, network, twins)
    files = image_files(images)
    require_distinct_stems(files)
    if boundaries is not None and boundaries.is_file() and len(files) > 1:
        raise InputError(
            f"--boundaries {boundaries}: one file for {len(files)} images; name a folder"
        )
    sizes, only = pixel_sizes(pixel_size, index), box(region)

    def work(path: Path) -> GradedImage:
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
        found = write_grain_sizes(output, graded, wanted_accuracy)
        for note in found["notes"]:
            terminal.notice(note)
        terminal.done(f"{_said(found)}; grain_size.json, grain_size.html and overlays in {output}")
    fail_if(code)


def _stated(**options: object) -> dict[str, object]:
    """The options that were given."""
    return {name: value for name, value in options.items() if value is not None}


def _require_used(
    methods: Sequence[str],
    boundaries: Path | None,
    boundaries_model: str | None,
    model: str | None,
    *,
    etched: Sequence[str],
    by_model: Sequence[str],
) -> None:
    """Refuse options that would change nothing."""
    if model is not None and "network" not in methods:
        raise InputError("--model: names a line network; add --method network")
    source = "--boundaries" if boundaries else "--boundaries-model" if boundaries_model else None
    if source and set(methods) == {"network"}:
        raise InputError(f"{source}: the line network looks for none; add a --method that does")
    if boundaries and boundaries_model:
        raise InputError("--boundaries and --boundaries-model: choose one of them")
    if etched and source:
        raise InputError(f"{option_of(etched[0])}: has no effect with {source}; leave it out")
    if by_model and not boundaries_model:
        raise InputError(f"{option_of(by_model[0])}: has no effect without --boundaries-model")


def _by_etching(values: Mapping[str, object]) -> ByEtching:
    from ..grains.etched import EtchedParameters
    from ..grains.finding import ByEtching

    return ByEtching(validated(EtchedParameters, values, option_of))


def _by_model(
    name_or_file: str, values: Mapping[str, object], looks: Mapping[str, Any], device: DeviceName
) -> ByModel:
    from ..devices import choose_device
    from ..grains.boundary_probability import ModelBoundaryParameters
    from ..grains.model_boundaries import ByModel, load_boundary_model
    from ..segmentation.prediction import PredictionParameters

    rules = validated(ModelBoundaryParameters, values, option_of)
    prediction = validated(PredictionParameters, looks, option_of)
    model = load_boundary_model(name_or_file)
    return ByModel(model, choose_device(device.value), rules, prediction)


def _line_network(name_or_file: str, device: DeviceName) -> ByLineNetwork:
    from ..devices import choose_device
    from ..grains.by_network import ByLineNetwork
    from ..grains.line_model import load_line_model

    return ByLineNetwork(load_line_model(name_or_file), choose_device(device.value))


def _said(found: Mapping[str, Any]) -> str:
    """The result in a line."""
    from ..grains.study import interval_words

    interval = found["ci95"]
    sure = f"95 % CI {interval_words(interval)}" if interval else found["reason"]
    n = found["n_fields"]
    return f"G {found['G']:.2f} by {found['method']} ({n} field{'s' * (n != 1)}, {sure})"
