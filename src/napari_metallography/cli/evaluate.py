"""`evaluate`: models against truth."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .. import __version__
from ..errors import InputError, validated
from . import terminal
from .options import (
    Contrast,
    Device,
    DeviceName,
    Groove,
    Index,
    Mode,
    PixelSize,
    Shown,
    Threshold,
    option_of,
    pixel_sizes,
    prediction_settings,
    results_file,
    results_folder,
    stems,
)


def evaluate_segmentation(
    model: Annotated[str, typer.Option(help="Name or file of a model.")],
    images: Annotated[Path, typer.Option(help="Folder of images.")],
    labels: Annotated[Path, typer.Option(help="Folder of labels with the same stems.")],
    output: Annotated[
        Path,
        typer.Option("-o", "--output", help="JSON file to write.", callback=results_file),
    ],
    split: Annotated[
        Path | None, typer.Option(help="File that lists the stems to use; default: all.")
    ] = None,
    ignore: Annotated[int | None, typer.Option(help="Label value that means unlabelled.")] = None,
    error_maps: Annotated[
        Path | None,
        typer.Option(
            help="Folder for error maps: green added, pink missed, white right.",
            callback=results_folder,
        ),
    ] = None,
    mode: Annotated[Mode, typer.Option(help="How the network is applied.")] = Mode.fast,
    flips: Annotated[bool, typer.Option(help="Average over mirror images.")] = True,
    multi_scale: Annotated[bool, typer.Option(help="Average over three scales.")] = True,
    resample: Annotated[bool, typer.Option(help="Bring images to the trained scale.")] = False,
    pixel_size: PixelSize = None,
    index: Index = None,
    device: Device = DeviceName.auto,
) -> None:
    """Score a segmentation model; write mIoU, IoU by class, accuracy and particle scores."""
    from ..classes import require_same_classes
    from ..evaluation.segmentation import ImageScore, evaluate
    from ..io.overlays import error_map, write_png
    from ..io.tables import write_json
    from ..labelled import LabelledImage, read_labelled_folder
    from ..segmentation.model import load_model
    from ..segmentation.segment import SegmentParameters

    loaded = load_model(model)
    pairs, named = read_labelled_folder(
        images,
        labels,
        ignore=ignore,
        sizes=pixel_sizes(pixel_size, index),
        stems=stems(split),
        notice=terminal.notice,
    )
    require_same_classes(
        [phase.name for phase in named],
        [phase.name for phase in loaded.card.classes],
        first_of=f"the labels in {labels}",
        second_of=f"model {loaded.card.name}",
    )
    parameters = validated(
        SegmentParameters,
        {
            "device": device.value,
            "resample": resample,
            "prediction": prediction_settings(mode, flips=flips, multi_scale=multi_scale),
        },
    )

    def keep(image: LabelledImage, score: ImageScore) -> None:
        if error_maps is None:
            return
        # Numbers, not names: a name from a foreign card could lead out of the folder.
        for number in range(1, len(loaded.card.classes)):
            picture = error_map(image.labels, score.prediction, number)
            write_png(error_maps / f"{image.name}_class{number}.png", picture)

    result = terminal.follow(evaluate(loaded, pairs, parameters, keep), "evaluating")
    provenance = {
        "model": loaded.card.name,
        "model_digest": loaded.digest,
        "parameters": parameters.prediction.model_dump(mode="json"),
        "resample": parameters.resample,
        "version": __version__,
    }
    write_json(output, {**result, "provenance": provenance})
    print(f"mIoU {result['miou']:.4f}, accuracy {result['accuracy']:.4f}")
    for name, iou in result["iou"].items():
        print(f"  {name}: IoU {_number(iou, '.4f')}")
    terminal.done(f"written to {output}")


def evaluate_grain_size(
    model: Annotated[str, typer.Option(help="Name or file of a grain-size model.")],
    data: Annotated[
        Path, typer.Option(help="Table with the columns image, pixel_size_um and G (intercept).")
    ],
    output: Annotated[
        Path,
        typer.Option("-o", "--output", help="JSON file to write.", callback=results_file),
    ],
    rows: Annotated[int, typer.Option(help="Rows of each image to grade.")] = 64,
    columns: Annotated[int, typer.Option(help="Columns of each image to grade.")] = 64,
    device: Device = DeviceName.auto,
) -> None:
    """Score a line network on images of known grain size, with all its lines and with fewer."""
    from ..devices import choose_device
    from ..evaluation.grain_size import LINE_COUNTS, evaluate_images
    from ..graded import read_graded_table
    from ..grains.image_lines import LineParameters
    from ..grains.line_model import load_line_model
    from ..io.tables import write_json

    loaded = load_line_model(model)
    images = read_graded_table(data)
    parameters = validated(LineParameters, {"rows": rows, "columns": columns})
    counts = sorted({n for n in LINE_COUNTS if n <= rows + columns} | {rows + columns})
    events = evaluate_images(loaded, images, parameters, choose_device(device.value), counts)
    result = terminal.follow(events, "evaluating")
    provenance = {
        "model": loaded.card.name,
        "model_digest": loaded.digest,
        "parameters": parameters.model_dump(),
        "version": __version__,
    }
    write_json(output, {**result, "provenance": provenance})
    print(
        f"accuracy {result['accuracy']:.4f}, mean |error of G| {result['mean_abs_error_G']:.3f} "
        f"on {result['n']} images"
    )
    terminal.done(f"written to {output}")


def evaluate_boundaries(
    images: Annotated[Path, typer.Option(help="Folder of images.")],
    boundaries: Annotated[
        Path, typer.Option(help="Folder of masks of boundaries or numbered grains, same stems.")
    ],
    output: Annotated[
        Path,
        typer.Option("-o", "--output", help="JSON file to write.", callback=results_file),
    ],
    model: Annotated[
        str | None,
        typer.Option(help="Name or file of a model with a class boundary; default: none."),
    ] = None,
    groove: Groove = None,
    contrast: Contrast = None,
    shown: Shown = None,
    threshold: Threshold = None,
    flips: Annotated[bool, typer.Option(help="Average the model over mirror images.")] = True,
    multi_scale: Annotated[bool, typer.Option(help="Average the model over three scales.")] = True,
    pixel_size: PixelSize = None,
    index: Index = None,
    device: Device = DeviceName.auto,
) -> None:
    """Score found grain boundaries: F1 at two pixels, and the mean intercept in pixels."""
    from ..evaluation.boundaries import evaluate_files
    from ..grains.boundary_probability import ModelBoundaryParameters
    from ..grains.choice import ModelChosen
    from ..grains.etched import EtchedParameters
    from ..grains.finding import ByEtching, Finding
    from ..inputs import image_files
    from ..io.tables import write_json

    stated = {"groove_px": groove, "contrast": contrast, "shown": shown, "threshold": threshold}
    given = {name: value for name, value in stated.items() if value is not None}
    kind = ModelBoundaryParameters if model else EtchedParameters
    if unused := [name for name in given if name not in kind.model_fields]:
        counts = "without" if model else "with"
        raise InputError(f"{option_of(unused[0])}: has no effect; it counts only {counts} --model")
    finding: Finding
    if model is None:
        finding = ByEtching(validated(EtchedParameters, given, option_of))
    else:
        rules = validated(ModelBoundaryParameters, given, option_of)
        finding = ModelChosen(model, rules, flips, multi_scale).loaded(device.value)
    files = image_files([images], terminal.notice)
    events = evaluate_files(files, boundaries, finding, pixel_sizes(pixel_size, index))
    result = terminal.follow(events, "evaluating")
    write_json(output, {**result, "provenance": {**finding.provenance(), "version": __version__}})
    print(
        f"boundary F1 {_number(result['boundary_f1'], '.4f')}, mean intercept "
        f"{_number(result['mean_intercept_px'], '.1f')} px of "
        f"{_number(result['true_mean_intercept_px'], '.1f')} px "
        f"({_number(result['mean_intercept_error_percent'], '+.1f')} %) on {result['n']} images"
    )
    terminal.done(f"written to {output}")


def _number(value: float | None, form: str) -> str:
    return "absent" if value is None else format(value, form)
