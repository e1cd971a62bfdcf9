"""Pixel size and settings that a microscope or a program wrote into or beside an image."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import tifffile

from .files import require_file, unreadable
from .raster import raster_shape
from .tiff import is_tiff, opened
from .vendors import (
    fei,
    gatan,
    hitachi,
    imagej,
    jeol,
    micromanager,
    olympus,
    ome,
    resolution,
    tescan,
    tvips,
    zeiss,
)
from .vendors.reading import Reading, fitted

hitachi_sidecar = hitachi.sidecar
jeol_sidecar = jeol.sidecar
tescan_sidecar = tescan.sidecar

_TAG_READERS = (
    fei.read,
    zeiss.read,
    tescan.read,
    tvips.read,
    olympus.read,
    gatan.read,
    micromanager.read,
    ome.read,
    imagej.read,
)
_SIDECAR_READERS = (jeol_sidecar, hitachi_sidecar, tescan_sidecar)
_MOST_SIDECAR_BYTES = 2**18


def vendor_metadata(path: Path) -> Reading:
    """Calibration and settings from an image's TIFF tags, else from a sidecar beside it.

    The vendor's own entries come first: FEI/ThermoFisher, Zeiss, TESCAN, TVIPS, Olympus SIS,
    DigitalMicrograph, Micro-Manager, OME and ImageJ; then a JEOL, Hitachi or TESCAN text of the
    same name; then plain resolution tags, and these only in a file of none of the above and
    where `resolution.read` believes them. A nominal magnification is passed on as a label.

    Returns
    -------
    Calibration or None, and a flat JSON-serialisable dictionary.

    Raises
    ------
    InputError
        When the file is missing, empty or a damaged image.
    """
    if not is_tiff(path):
        shape = raster_shape(path)
        return _from_sidecar(path, shape) or (None, {})
    with opened(path) as tiff:
        page = tiff.pages.first
        tags = _from_tags(page)
        plain = resolution.read(page)
        shape = page.imagelength, page.imagewidth
    if tags is not None and tags[0] is not None:
        return tags
    beside = _from_sidecar(path, shape)
    return _merged([reading for reading in (tags, beside) if reading is not None] or [plain])


def read_sidecar(path: Path) -> Reading | None:
    """Calibration and settings from a JEOL, Hitachi or TESCAN text; None when it is none."""
    require_file(path)
    try:
        with path.open("rb") as file:
            text = _decoded(file.read(_MOST_SIDECAR_BYTES))
    except OSError as error:
        raise unreadable(path, error) from error
    readings = (read(text) for read in _SIDECAR_READERS)
    return next((reading for reading in readings if reading[1]), None)


def _from_tags(page: tifffile.TiffPage) -> Reading | None:
    readings = [reading for read in _TAG_READERS if (reading := read(page)) is not None]
    return _merged(readings) if readings else None


def _merged(readings: list[Reading]) -> Reading:
    """The first calibration there is; of settings that several state, the first."""
    calibration = next((found for found, _ in readings if found is not None), None)
    settings = {name: value for _, stated in reversed(readings) for name, value in stated.items()}
    return calibration, settings


def _from_sidecar(path: Path, shape: tuple[int, int]) -> Reading | None:
    for beside in _sidecars(path):
        if beside.is_file() and beside.stat().st_size and (reading := read_sidecar(beside)):
            return fitted(reading, shape)
    return None


def _sidecars(path: Path) -> Iterator[Path]:
    for suffix in (".txt", ".TXT", ".hdr"):
        yield path.with_suffix(suffix)
    # TESCAN: image.tif has image-tif.hdr.
    yield path.with_name(f"{path.stem}-{path.suffix[1:]}.hdr")


def _decoded(content: bytes) -> str:
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        return content.decode("utf-16", "replace")
    # A cut of the file may split a character: only whole-file errors tell the encoding.
    for encoding in ("utf-8-sig", "cp932") if b"\x83\xca" in content else ("utf-8-sig",):
        try:
            return content.decode(encoding)
        except UnicodeDecodeError:
            continue
    return content.decode("latin-1")
