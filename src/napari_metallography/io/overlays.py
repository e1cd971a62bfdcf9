"""Pictures for reports: phases over the micrograph, errors, scale bar and legend."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from io import BytesIO
from pathlib import Path

import matplotlib
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from PIL.PngImagePlugin import PngInfo

from ..calibration import Calibration
from ..classes import UNLABELLED, PhaseClass
from ..errors import InputError
from ..regions import Polygon
from .files import write_bytes
from .mark import PICTURE, SOFTWARE

TRUE_POSITIVE = (255, 255, 255)
TRUE_NEGATIVE = (0, 0, 0)
FALSE_POSITIVE = (0, 200, 0)
FALSE_NEGATIVE = (255, 105, 180)
WRONG_PHASE = (230, 159, 0)
NOT_JUDGED = (128, 128, 128)

_BLACK, _WHITE = (0, 0, 0), (255, 255, 255)
_SCALE_BAR_SHARE = 1 / 3
_SMALLEST_FONT = 10
_FRAME = (255, 255, 0)
_FRAME_SHARE = 500
"""A frame's line is as wide as this part of the longer side."""
_LARGEST_PNG_RESOLUTION = 2**31 - 1


def overlay(
    pixels: NDArray[np.uint8],
    indices: NDArray[np.uint8],
    classes: Sequence[PhaseClass],
    opacity: float = 0.4,
    *,
    contours: bool = True,
) -> NDArray[np.uint8]:
    """Tint a micrograph by phase.

    Parameters
    ----------
    pixels
        (Y, X, 3) uint8.
    indices
        (Y, X) class indices. The matrix (0) and unlabelled pixels (255) stay as they are.
    classes
        By index; a class for every index that occurs.
    opacity
        0 leaves the micrograph, 1 hides it.
    contours
        Draw the outermost pixels of each region in the full colour.

    Returns
    -------
    (Y, X, 3) uint8

    Raises
    ------
    InputError
        When the shapes differ or an index has no class.
    """
    _require_same_shape(pixels, indices)
    table = _tints(indices, classes)
    tinted = (indices != 0) & (indices != UNLABELLED)
    picture = pixels.copy()
    mixed = pixels[tinted] * np.float32(1 - opacity) + table[indices[tinted]] * np.float32(opacity)
    picture[tinted] = np.rint(mixed).astype(np.uint8)
    if contours:
        outermost = tinted & _has_other_neighbour(indices)
        picture[outermost] = table[indices[outermost]]
    return picture


def _require_same_shape(first: NDArray[np.uint8], second: NDArray[np.uint8]) -> None:
    if first.shape[:2] != second.shape[:2]:
        raise InputError(
            f"images of {first.shape[:2]} and {second.shape[:2]} pixels do not belong together"
        )


def _tints(indices: NDArray[np.uint8], classes: Sequence[PhaseClass]) -> NDArray[np.uint8]:
    """Colours (256, 3) by class index."""
    highest = max((int(i) for i in np.unique(indices) if i != UNLABELLED), default=0)
    if highest >= max(1, len(classes)):
        raise InputError(f"class index {highest} has no name among {len(classes)} classes")
    table = np.zeros((256, 3), np.uint8)
    for index, phase in enumerate(classes):
        table[index] = phase.rgb
    return table


def _has_other_neighbour(indices: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """True where one of the four neighbours is of another class; the frame is no neighbour."""
    other = np.zeros(indices.shape, bool)
    below = indices[1:] != indices[:-1]
    beside = indices[:, 1:] != indices[:, :-1]
    other[1:] |= below
    other[:-1] |= below
    other[:, 1:] |= beside
    other[:, :-1] |= beside
    return other


def error_map(
    truth: NDArray[np.uint8],
    prediction: NDArray[np.uint8],
    class_index: int | None = None,
    pixels: NDArray[np.uint8] | None = None,
) -> NDArray[np.uint8]:
    """Where a prediction is right and wrong.

    White true positive, black true negative, green false positive (the prediction adds a pixel),
    pink false negative (it misses one): the colours of Ma and Yu, Processes 11 (2023) 3298,
    figures 3 to 6. Grey where either image is unlabelled.

    Parameters
    ----------
    truth, prediction
        (Y, X) class indices; 255 = unlabelled.
    class_index
        The class that is looked at; None takes all but the matrix (0) together, and one of them
        taken for another is orange.
    pixels
        (Y, X, 3) uint8; then the micrograph shows where the prediction is right or not judged.

    Returns
    -------
    (Y, X, 3) uint8

    Raises
    ------
    InputError
        When the shapes differ.
    """
    _require_same_shape(truth, prediction)
    judged = (truth != UNLABELLED) & (prediction != UNLABELLED)
    if class_index is None:
        expected, found = truth != 0, prediction != 0
    else:
        expected, found = truth == class_index, prediction == class_index
    picture = np.empty((*truth.shape, 3), np.uint8)
    picture[...] = NOT_JUDGED
    picture[judged & expected & found] = TRUE_POSITIVE
    picture[judged & ~expected & ~found] = TRUE_NEGATIVE
    wrong = judged & (expected != found)
    if class_index is None:
        confused = judged & expected & found & (truth != prediction)
        picture[confused] = WRONG_PHASE
        wrong |= confused
    picture[judged & ~expected & found] = FALSE_POSITIVE
    picture[judged & expected & ~found] = FALSE_NEGATIVE
    if pixels is not None:
        _require_same_shape(pixels, truth)
        picture[~wrong] = pixels[~wrong]
    return picture


@dataclass(frozen=True)
class ScaleBar:
    """Length of a scale bar, in pixels and as its label says."""

    pixels: int
    label: str


def scale_bar(width: int, calibration: Calibration) -> ScaleBar:
    """The longest bar of 1, 2 or 5 times a power of ten that fits a third of the width (pixels).

    Along x, with its length in nm, µm or mm.
    """
    longest = width * _SCALE_BAR_SHARE * calibration.x_um
    power = 10.0 ** math.floor(math.log10(longest))
    length_um = next(step * power for step in (10, 5, 2, 1, 0.5) if step * power <= longest)
    return ScaleBar(max(1, round(length_um / calibration.x_um)), _length_label(length_um))


def _length_label(length_um: float) -> str:
    for unit, size in (("mm", 1e3), ("µm", 1.0), ("nm", 1e-3)):
        if length_um >= size * 0.999:
            return f"{length_um / size:.6g} {unit}"
    return f"{length_um * 1e6:.6g} pm"


def with_scale_bar(rgb: NDArray[np.uint8], calibration: Calibration) -> NDArray[np.uint8]:
    """Burn a scale bar into the lower right corner, black on a white ground.

    Parameters
    ----------
    rgb
        (Y, X, 3) uint8.
    calibration
        Pixel size of the picture.

    Returns
    -------
    (Y, X, 3) uint8, a copy; unchanged where the picture is too small to hold it.
    """
    height, width = rgb.shape[:2]
    bar = scale_bar(width, calibration)
    font = _font(_font_size(rgb))
    text_width, text_height = _text_size(font, bar.label)
    gap = max(2, text_height // 3)
    thickness = max(2, text_height // 4)
    ground = max(bar.pixels, text_width) + 2 * gap, text_height + thickness + 3 * gap
    if ground[0] + gap > width or ground[1] + gap > height:
        return rgb.copy()
    picture = Image.fromarray(rgb)
    draw = ImageDraw.Draw(picture)
    left, top = width - gap - ground[0], height - gap - ground[1]
    draw.rectangle((left, top, left + ground[0] - 1, top + ground[1] - 1), _WHITE)
    middle = left + ground[0] / 2
    draw.text((middle, top + gap + text_height / 2), bar.label, _BLACK, font, anchor="mm")
    start, bar_top = left + (ground[0] - bar.pixels) // 2, top + ground[1] - gap - thickness
    draw.rectangle((start, bar_top, start + bar.pixels - 1, bar_top + thickness - 1), _BLACK)
    return np.array(picture)


def with_frame(rgb: NDArray[np.uint8], region: Sequence[Polygon]) -> NDArray[np.uint8]:
    """Draw the outlines of a region of interest: polygons of (row, column) vertices in pixels.

    Returns
    -------
    (Y, X, 3) uint8, a copy
    """
    picture = Image.fromarray(rgb)
    draw = ImageDraw.Draw(picture)
    width = max(1, round(max(rgb.shape) / _FRAME_SHARE))
    last = np.array(rgb.shape[:2]) - 1
    for polygon in region:
        # An outline on the image's edge would be outside by half a pixel.
        inside = np.clip(np.asarray(polygon, float), 0, last)
        corners = [(float(column), float(row)) for row, column in (*inside, inside[0])]
        draw.line(corners, _FRAME, width)
    return np.array(picture)


def with_legend(rgb: NDArray[np.uint8], classes: Sequence[PhaseClass]) -> NDArray[np.uint8]:
    """Add a white strip below a picture with the colour and the name of each class.

    Returns
    -------
    (Y + strip, X, 3) uint8; entries that do not fit into a line go to the next one, and names
    longer than a line are cut.
    """
    if not classes:
        return rgb.copy()
    width = rgb.shape[1]
    font = _font(_font_size(rgb))
    line = round(1.6 * font.size)
    entries = list(_legend_entries(classes, font, width, line))
    strip = Image.new("RGB", (width, entries[-1].top + line + line // 4), _WHITE)
    draw = ImageDraw.Draw(strip)
    for entry in entries:
        _draw_entry(draw, entry, font, line, width)
    return np.concatenate([rgb, np.array(strip)])


@dataclass(frozen=True)
class _LegendEntry:
    phase: PhaseClass
    left: int
    top: int


def _legend_entries(
    classes: Sequence[PhaseClass], font: ImageFont.FreeTypeFont, width: int, line: int
) -> Iterator[_LegendEntry]:
    margin = line // 4
    left, top = margin, margin
    for phase in classes:
        needed = line + _text_size(font, phase.name)[0]
        if left > margin and left + needed > width:
            left, top = margin, top + line
        yield _LegendEntry(phase, left, top)
        left += needed + line // 2


def _draw_entry(
    draw: ImageDraw.ImageDraw,
    entry: _LegendEntry,
    font: ImageFont.FreeTypeFont,
    line: int,
    width: int,
) -> None:
    side = round(line * 0.6)
    top = entry.top + (line - side) // 2
    square = (entry.left, top, entry.left + side - 1, top + side - 1)
    draw.rectangle(square, entry.phase.rgb, outline=_BLACK)
    start = entry.left + side + line // 4
    name = _cut(entry.phase.name, font, width - start)
    draw.text((start, entry.top + line / 2), name, _BLACK, font, anchor="lm")


def _cut(text: str, font: ImageFont.FreeTypeFont, width: int) -> str:
    """The text, or what of it fits the width in pixels, with an ellipsis."""
    if font.getlength(text) <= width:
        return text
    fitting = (text[:length] + "…" for length in range(len(text) - 1, 0, -1))
    return next((short for short in fitting if font.getlength(short) <= width), "")


def _font_size(rgb: NDArray[np.uint8]) -> int:
    return max(_SMALLEST_FONT, round(math.sqrt(rgb.shape[0] * rgb.shape[1]) / 32))


@cache
def _font(size: int) -> ImageFont.FreeTypeFont:
    # Matplotlib's own font has µ, Greek and Cyrillic letters on every system.
    folder = Path(matplotlib.get_data_path())
    return ImageFont.truetype(folder / "fonts" / "ttf" / "DejaVuSans.ttf", size)


def _text_size(font: ImageFont.FreeTypeFont, text: str) -> tuple[int, int]:
    """Width of a text and height of a line of it in pixels."""
    return math.ceil(font.getlength(text)), math.ceil(sum(font.getmetrics()) * 0.85)


def reduced(rgb: NDArray[np.uint8], longest_px: int) -> NDArray[np.uint8]:
    """A picture (Y, X, 3), uint8, made smaller where a side is longer."""
    image = Image.fromarray(rgb)
    image.thumbnail((longest_px, longest_px), Image.Resampling.BOX)
    return np.array(image)


def write_png(
    path: Path,
    rgb: NDArray[np.uint8],
    calibration: Calibration | None = None,
    *,
    to_be_measured: bool = False,
) -> None:
    """Write a picture (Y, X, 3) or (Y, X), uint8, whole or not at all, as `png_bytes` makes it.

    Raises
    ------
    InputError
        When the file cannot be written.
    """
    write_bytes(path, png_bytes(rgb, calibration, to_be_measured=to_be_measured))


def png_bytes(
    rgb: NDArray[np.uint8],
    calibration: Calibration | None = None,
    *,
    to_be_measured: bool = False,
) -> bytes:
    """A picture (Y, X, 3) or (Y, X), uint8, as a PNG file.

    It bears the mark of pictures that only show a result, which are no images to measure, unless it
    is to be measured, as a mask is. With a calibration the file says how many pixels a metre has
    (`pHYs`), which Fiji and others read; PNG cannot say so for pixels below half a nanometre.
    """
    dots = None
    if calibration is not None:
        per_metre = 1e6 / calibration.x_um, 1e6 / calibration.y_um
        if max(per_metre) <= _LARGEST_PNG_RESOLUTION:
            dots = per_metre[0] * 0.0254, per_metre[1] * 0.0254
    made_by = PngInfo()
    made_by.add_text("Software", SOFTWARE if to_be_measured else PICTURE)
    buffer = BytesIO()
    Image.fromarray(rgb).save(buffer, "PNG", dpi=dots, pnginfo=made_by)
    return buffer.getvalue()
