"""Segmentation models for other runtimes."""

from __future__ import annotations

import warnings
from pathlib import Path
from types import ModuleType

import torch

from ..errors import InputError
from ..io.files import replacing
from .model import SegmentationModel


def write_onnx(path: Path, model: SegmentationModel) -> None:
    """Write the network as ONNX, its card in the metadata; batch, height and width are free.

    Input `images`: normalised (B, 3, H, W) float32, H and W multiples of 32. Output `logits`:
    (B, classes, H, W). An input enlargement the card names is for the caller to apply.

    Raises
    ------
    InputError
        When the ONNX packages are not installed or the file cannot be written.
    """
    onnx = _onnx()
    sizes = dict.fromkeys((0, 2, 3), torch.export.Dim.DYNAMIC)
    with replacing(path) as beside, warnings.catch_warnings():
        # The exporter warns about its own internals.
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            model.network.core.eval(),
            (torch.zeros(2, 3, 256, 288),),
            input_names=["images"],
            output_names=["logits"],
            dynamic_shapes=(sizes,),
            dynamo=True,
            verbose=False,
        )
        if program is None:
            raise InputError("this version of torch cannot export the network")
        proto = program.model_proto
        entry = proto.metadata_props.add()
        entry.key, entry.value = "card", model.card.model_dump_json()
        onnx.save(proto, beside)


def _onnx() -> ModuleType:
    try:
        import onnx
        import onnxscript  # noqa: F401
    except ModuleNotFoundError:
        raise InputError(
            "ONNX export needs two more packages: pip install 'napari-metallography[onnx]'"
        ) from None
    module: ModuleType = onnx
    return module
