"""`demo`: the whole job on the sample data."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from . import terminal
from .options import Device, DeviceName, Output

if TYPE_CHECKING:
    from ..quantification.files import MeasuredImage


def demo(
    output: Output,
    device: Device = DeviceName.auto,
) -> None:
    """Segment and measure the steel samples: labels, tables, overlays, report.html."""
    from ..inputs import PixelSizes
    from ..quantification.files import quantify_file
    from ..quantification.parameters import QuantifyParameters
    from ..quantification.resolution import RESOLVABLE_AREA_PX
    from ..quantification.study_files import write_study
    from ..samples import CARBIDES, sample_path
    from ..segmentation.files import segment_file
    from ..segmentation.model import load_model
    from ..segmentation.segment import SegmentParameters

    parameters = SegmentParameters(device=device.value)
    model = load_model(parameters.model)
    sizes = PixelSizes()

    def work(image: Path) -> MeasuredImage:
        terminal.follow(
            segment_file(image, output, parameters, sizes=sizes, model=model, overwrite=True),
            f"segmenting {image.name}",
        )
        return terminal.follow(
            quantify_file(
                output / f"{image.stem}_labels.tif",
                lambda _: QuantifyParameters(smallest_area_px=RESOLVABLE_AREA_PX),
                sizes=sizes,
                images=image,
            ),
            f"measuring {image.name}",
        )

    write_study(output, [work(sample_path(name)) for name in CARBIDES])
    terminal.done(f"open {output / 'report.html'}; labels, overlays and tables lie beside it")
