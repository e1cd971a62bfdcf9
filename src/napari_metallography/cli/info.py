"""`info`: what is known of an image."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from . import terminal
from .options import Device, DeviceName, Index, PixelSize, each, fail_if, pixel_sizes


def info(
    images: Annotated[list[Path], typer.Argument(help="Images or folders of images.")],
    pixel_size: PixelSize = None,
    index: Index = None,
    device: Device = DeviceName.auto,
) -> None:
    """Print a line of JSON for each image: shape, type, pixel size and where it comes from."""
    from ..inputs import image_files

    sizes = pixel_sizes(pixel_size, index)
    files = image_files(images, terminal.notice)
    _, code = each(files, lambda path: print(json.dumps(_description(path, sizes))))
    fail_if(code)


def _description(path: Path, sizes: Any) -> dict[str, Any]:
    from ..inputs import measured_field, read_image

    micrograph = read_image(path, sizes)
    calibration = micrograph.calibration
    bar = measured_field(micrograph).data_bar
    return {
        "image": str(path),
        "shape": list(micrograph.pixels.shape),
        "dtype": str(micrograph.pixels.dtype),
        "rgb": micrograph.rgb,
        "pixel_size_um": calibration.mean_um if calibration else None,
        "pixel_size_xy_um": [calibration.x_um, calibration.y_um] if calibration else None,
        "calibration_source": calibration.source if calibration else None,
        "data_bar": bar.to_list() if bar else None,
        "metadata": micrograph.metadata,
    }
