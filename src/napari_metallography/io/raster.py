"""PNG, JPEG and BMP files: their size and their pixels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import BmpImagePlugin, ImageFile, JpegImagePlugin, PngImagePlugin

from ..errors import InputError
from .palette import through_palette

_FORMATS = (
    (b"\x89PNG\r\n\x1a\n", PngImagePlugin.PngImageFile),
    (b"\xff\xd8\xff", JpegImagePlugin.JpegImageFile),
    (b"BM", BmpImagePlugin.BmpImageFile),
)
_MOST_COMPRESSED = 4096
_PNG_COLOUR_OR_ALPHA = (2, 4, 6)


def raster_shape(path: Path) -> tuple[int, int]:
    """Rows and columns of a PNG, JPEG or BMP, read from its header.

    Raises
    ------
    InputError
        When the file is damaged or of another format.
    """
    try:
        with _opened(path) as image:
            return image.height, image.width
    except InputError:
        raise
    except Exception as error:
        raise _damaged(path) from error


def read_raster(path: Path) -> tuple[NDArray[Any], bool]:
    """Pixels of a PNG, JPEG or BMP, and whether their last axis is colour.

    The pixels have the shape (Y, X), or (Y, X, 3 or 4) in the order red, green, blue, alpha.

    Raises
    ------
    InputError
        When the file is damaged, truncated or of another format.
    """
    try:
        with _opened(path) as image:
            _check_extent(path, image)
            image.load()
            if _is_deep_png(path):
                return _deep_png(path)
            return _pixels(image)
    except InputError:
        raise
    except MemoryError as error:
        raise InputError(f"{path}: too large for the memory of this computer") from error
    except Exception as error:
        raise _damaged(path) from error


def _damaged(path: Path) -> InputError:
    return InputError(f"{path}: not an image that can be read, or a truncated one")


def _opened(path: Path) -> ImageFile.ImageFile:
    # The format's own class, because Image.open refuses large images as an attack.
    with path.open("rb") as file:
        start = file.read(8)
    for signature, image_file in _FORMATS:
        if start.startswith(signature):
            return image_file(path)
    raise InputError(f"{path}: not a TIFF, PNG, JPEG or BMP image; convert it to TIFF or PNG")


def _check_extent(path: Path, image: ImageFile.ImageFile) -> None:
    if image.width * image.height > _MOST_COMPRESSED * path.stat().st_size:
        raise _damaged(path)


def _is_deep_png(path: Path) -> bool:
    with path.open("rb") as file:
        header = file.read(26)
    return header[1:4] == b"PNG" and header[24] == 16 and header[25] in _PNG_COLOUR_OR_ALPHA


def _deep_png(path: Path) -> tuple[NDArray[Any], bool]:
    # Pillow would cut 16-bit colours to 8 bits. From bytes: OpenCV's own file reading fails on
    # non-ASCII paths under Windows.
    content = np.frombuffer(path.read_bytes(), np.uint8)
    pixels = cv2.imdecode(content, cv2.IMREAD_UNCHANGED)
    if pixels is None:
        raise _damaged(path)
    order = [2, 1, 0, 3][: pixels.shape[-1]]
    return np.ascontiguousarray(pixels[..., order]), True


def _pixels(image: ImageFile.ImageFile) -> tuple[NDArray[Any], bool]:
    mode = image.mode
    if mode == "P":
        table = np.array(image.getpalette("RGB"), np.uint8).reshape(-1, 3)
        return through_palette(np.array(image), table)
    if mode in ("1", "L", "LA"):
        return np.array(image.convert("L")), False
    if mode.startswith("I"):
        return np.array(image).astype(np.uint16), False
    return np.array(image if mode in ("RGB", "RGBA") else image.convert("RGB")), True
