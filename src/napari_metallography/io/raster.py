"""PNG, JPEG and BMP files: their size and their pixels."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import BmpImagePlugin, ImageFile, JpegImagePlugin, PngImagePlugin

from ..errors import InputError
from .files import read_bytes
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
        with _opened(path, read_bytes(path)) as image:
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
    content = read_bytes(path)
    try:
        with _opened(path, content) as image:
            _check_extent(path, image, len(content))
            image.load()
            if _is_deep_png(content):
                return _deep_png(path, content)
            return _pixels(image)
    except InputError:
        raise
    except MemoryError as error:
        raise InputError(f"{path}: too large for the memory of this computer") from error
    except Exception as error:
        raise _damaged(path) from error


def _damaged(path: Path) -> InputError:
    return InputError(f"{path}: not an image that can be read, or a truncated one")


def _opened(path: Path, content: bytes) -> ImageFile.ImageFile:
    # The format's own class, because Image.open refuses large images as an attack.
    for signature, image_file in _FORMATS:
        if content.startswith(signature):
            return image_file(BytesIO(content))
    raise InputError(f"{path}: not a TIFF, PNG, JPEG or BMP image; convert it to TIFF or PNG")


def _check_extent(path: Path, image: ImageFile.ImageFile, size: int) -> None:
    if image.width * image.height > _MOST_COMPRESSED * size:
        raise _damaged(path)


def _is_deep_png(content: bytes) -> bool:
    return content[1:4] == b"PNG" and content[24] == 16 and content[25] in _PNG_COLOUR_OR_ALPHA


def _deep_png(path: Path, content: bytes) -> tuple[NDArray[Any], bool]:
    # Pillow would cut 16-bit colours to 8 bits. From bytes: OpenCV's own file reading fails on
    # non-ASCII paths under Windows.
    pixels = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
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
