"""OME-TIFF: the XML in the image description."""

from __future__ import annotations

from typing import TYPE_CHECKING

import tifffile
from defusedxml import DefusedXmlException, ElementTree

from .reading import Reading, length_um, magnification, pixel_size, settings

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element


def read(page: tifffile.TiffPage) -> Reading | None:
    """Pixel size; None when the page has no OME description."""
    text = page.description
    if not text.rstrip().endswith("OME>"):
        return None
    return parse(text) or (None, settings("OME"))


def parse(text: str) -> Reading | None:
    """Physical size of the first image's pixels, µm where no unit is given (OME schema 2016-06).

    None when the text is no OME-XML. Entities are refused rather than expanded.
    """
    root = _root(text)
    if root is None:
        return None
    pixels = _first(root, "Pixels")
    x_um, y_um = (_size_um(pixels, axis) for axis in "XY")
    return pixel_size(x_um, y_um, "OME metadata"), settings(
        "OME",
        instrument=_first(root, "Microscope").get("Model"),
        detector=_first(root, "Detector").get("Model"),
        nominal_magnification=magnification(_first(root, "Objective").get("NominalMagnification")),
    )


def channels(text: str) -> int:
    """Number of channels of the first image, colour counting as one; 1 when not OME-XML."""
    root = _root(text) if text.rstrip().endswith("OME>") else None
    pixels = [] if root is None else [part for part in root.iter() if _name(part) == "Pixels"]
    return max(1, sum(_name(part) == "Channel" for part in pixels[0])) if pixels else 1


def _root(text: str) -> Element | None:
    try:
        root: Element = ElementTree.fromstring(text)
    except (ElementTree.ParseError, DefusedXmlException, ValueError):
        return None
    return root if _name(root) == "OME" else None


def _name(element: Element) -> str:
    return str(element.tag).rpartition("}")[2]


def _first(root: Element, name: str) -> dict[str, str]:
    return next((dict(found.attrib) for found in root.iter() if _name(found) == name), {})


def _size_um(pixels: dict[str, str], axis: str) -> float | None:
    unit = pixels.get(f"PhysicalSize{axis}Unit", "µm")
    return length_um(pixels.get(f"PhysicalSize{axis}"), unit)
