"""`segment`: phases of images."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import validated
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
    pixel_sizes,
    prediction_settings,
)

if TYPE_CHECKING:
    from ..segmentation.segment import SegmentParameters


class Method(StrEnum):
    """How phases are found."""

    model = "model"
    threshold = "threshold"


class Phase(StrEnum):
    """Which side of the threshold the phase is on."""

    bright = "bright"
    dark = "dark"


def segment(
    images: Annotated[list[Path], typer.Argument(help="Images or folders of images.")],
    output: Output,
    method: Annotated[Method, typer.Option(help="By a network or by grey value.")] = Method.model,
    model: Annotated[str, typer.Option(help="Name or file of a model.")] = "uhcs-carbides",
    mode: Annotated[
        Mode, typer.Option(help="Large windows, or the paper's 256 px at a stride of 128 px.")
    ] = Mode.fast,
    flips: Annotated[bool, typer.Option(help="Average over mirror images.")] = True,
    multi_scale: Annotated[
        bool, typer.Option(help="Average over the scales 0.75, 1 and 1.25.")
    ] = True,
    resample: Annotated[
        bool, typer.Option(help="Bring images to the pixel sizes the model was trained on.")
    ] = False,
    uncertainty: Annotated[
        bool, typer.Option(help="Also write <stem>_uncertainty.tif, 255 = undecided.")
    ] = False,
    threshold: Annotated[
        float | None, typer.Option(help="Grey value; Otsu's when not given.")
    ] = None,
    phase: Annotated[Phase, typer.Option(help="Whether the phase is brighter.")] = Phase.bright,
    shading: Annotated[
        float | None, typer.Option(help="Remove shading wider than this many pixels.")
    ] = None,
    smoothing: Annotated[float, typer.Option(help="Smooth by this many pixels first.")] = 0.0,
    smallest_area: Annotated[
        int, typer.Option(help="Give thresholded objects below this many pixels to the matrix.")
    ] = 0,
    keep_data_bar: Annotated[bool, typer.Option(help="Segment the data bar too.")] = False,
    region: Annotated[
        str | None, typer.Option(help="Only this box: TOP,LEFT,BOTTOM,RIGHT in pixels.")
    ] = None,
    overwrite: Annotated[
        bool, typer.Option(help="Replace labels of a former run, corrected or not.")
    ] = False,
    pixel_size: PixelSize = None,
    index: Index = None,
    device: Device = DeviceName.auto,
) -> None:
    """Segment images; write <stem>_labels.tif for each, and summary.csv."""
    from ..inputs import image_files, require_distinct_stems, require_new_labels
    from ..io.labels import labels_path

    files = image_files(images, terminal.notice)
    require_distinct_stems(files)
    if not overwrite:
        require_new_labels(labels_path(output, file) for file in files)
    # Only now: these take seconds to import.
    from ..segmentation.files import phase_rows, segment_file
    from ..segmentation.model import load_model

    only = box(region)
    sizes = pixel_sizes(pixel_size, index)
    parameters = _parameters(
        method=method.value,
        model=model,
        device=device.value,
        resample=resample,
        uncertainty=uncertainty,
        prediction=prediction_settings(mode, flips=flips, multi_scale=multi_scale),
        threshold={
            "method": "otsu" if threshold is None else "manual",
            "value": threshold,
            "phase": phase.value,
            "shading_px": shading,
            "smoothing_px": smoothing,
            "smallest_area_px": smallest_area,
        },
    )
    loaded = load_model(model) if method is Method.model else None

    def work(path: Path) -> list[dict[str, Any]]:
        running = segment_file(
            path,
            output,
            parameters,
            sizes=sizes,
            keep_data_bar=keep_data_bar,
            region=only,
            model=loaded,
            overwrite=overwrite,
        )
        return phase_rows(path.name, terminal.follow(running, path.name))

    results, code = each(files, work)
    if results:
        _write_summary(output, results)
    fail_if(code)


def _parameters(**values: object) -> SegmentParameters:
    from ..segmentation.segment import SegmentParameters

    return validated(SegmentParameters, values)


def _write_summary(output: Path, results: Sequence[list[dict[str, Any]]]) -> None:
    import pandas as pd

    from ..io.tables import write_csv

    write_csv(output / "summary.csv", pd.DataFrame([row for rows in results for row in rows]))
    terminal.done(f"{len(results)} segmented; labels and summary.csv in {output}")
