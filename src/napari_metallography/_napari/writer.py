"""Saving phases: as class indices with their meaning, not as the values of a layer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from napari.layers import Labels

from ..io.labels import write_labels
from .layers import label_image

_SUFFIXES = (".tif", ".tiff")
_STEM_END = "_labels"


def write_layer(path: str, data: Any, attributes: dict[str, Any]) -> list[str]:
    """Write a Labels layer of classes for napari; gives the file written.

    Raises
    ------
    InputError
        When the labels are no classes, or the file cannot be written.
    """
    whole = as_tiff(Path(path))
    write_labels(whole, label_image(Labels(data, **attributes)))
    return [str(whole)]


def as_tiff(path: Path) -> Path:
    """The path with the suffix of a TIFF, where it has another."""
    return path if path.suffix.lower() in _SUFFIXES else path.with_name(f"{path.name}.tif")


def proposed_path(layer: Labels) -> Path:
    """The TIFF a layer came from; else `<image>_labels.tif`, as the command line names labels."""
    if layer.source.path:
        return Path(layer.source.path).with_suffix(".tif")
    stem = layer.name.removesuffix(" phases")
    return Path(f"{stem}.tif" if stem.endswith(_STEM_END) else f"{stem}{_STEM_END}.tif")
