"""Models for other runtimes."""

from __future__ import annotations

import warnings
from pathlib import Path
from tempfile import TemporaryDirectory
from types import ModuleType

import torch
from torch import nn

from ..errors import InputError
from ..io.files import write_bytes
from ..models.card import ModelCard
from .model import SegmentationModel

_FREE_AXES = {0: "batch", 2: "height", 3: "width"}


def write_onnx(path: Path, model: SegmentationModel) -> None:
    """Write the network as ONNX, its card in the metadata; batch, height and width are free.

    Input `images`: normalised (B, 3, H, W) float32, H and W multiples of 32. Output `logits`:
    (B, classes, H, W). An input enlargement the card names is for the caller to apply.

    Raises
    ------
    InputError
        When the ONNX package is not installed, the network has no ONNX form, or the file cannot
        be written.
    """
    write_network(path, model.network.core, model.card, {"logits": _FREE_AXES})


def write_network(
    path: Path, network: nn.Module, card: ModelCard, outputs: dict[str, dict[int, str]]
) -> None:
    """Write a network of `images` (B, 3, H, W) as ONNX, its card in the metadata.

    Parameters
    ----------
    outputs
        The free axes of each output, by its name.

    Raises
    ------
    InputError
        As for `write_onnx`.
    """
    onnx = _onnx()
    with TemporaryDirectory() as folder:
        exported = Path(folder) / "network.onnx"
        _export(network, card, exported, outputs)
        proto = onnx.load(exported)
    entry = proto.metadata_props.add()
    entry.key, entry.value = "card", card.model_dump_json()
    write_bytes(path, proto.SerializeToString())


def _export(
    network: nn.Module, card: ModelCard, path: Path, outputs: dict[str, dict[int, str]]
) -> None:
    # The newer exporter takes minutes for free axes, this one seconds; both give the same logits.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            torch.onnx.export(
                network.eval(),
                (torch.zeros(2, 3, 256, 288),),
                path,
                input_names=["images"],
                output_names=[*outputs],
                dynamic_axes={"images": _FREE_AXES, **outputs},
                dynamo=False,
            )
        except (RuntimeError, torch.onnx.errors.OnnxExporterError) as error:
            raise InputError(
                f"{card.network.architecture} has no ONNX form for images of any size"
            ) from error


def _onnx() -> ModuleType:
    try:
        import onnx
    except ModuleNotFoundError:
        raise InputError(
            "ONNX export needs another package: pip install 'napari-metallography[onnx]'"
        ) from None
    module: ModuleType = onnx
    return module
