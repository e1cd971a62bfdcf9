"""Options that several commands share."""

from __future__ import annotations

from codecs import BOM_UTF8
from collections.abc import Callable, Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from ..errors import InputError
from ..io.files import read_bytes, require_writable
from . import terminal

if TYPE_CHECKING:
    from ..inputs import PixelSizes
    from ..regions import Box

T = TypeVar("T")


class DeviceName(StrEnum):
    """Where to compute."""

    auto = "auto"
    cpu = "cpu"
    cuda = "cuda"


class Mode(StrEnum):
    """How a network is applied."""

    fast = "fast"
    paper = "paper"


def results_folder(path: Path | None) -> Path | None:
    """Refuse, before any work, to write results into what is a file or cannot be written to."""
    if path is not None:
        if file := _file_on_the_way(path):
            raise InputError(f"{file}: is a file; name a folder for the results")
        require_writable(path)
    return path


def results_file(path: Path) -> Path:
    """Refuse, before any work, to write a result where it cannot be a file."""
    if path.is_dir():
        raise InputError(f"{path}: is a folder; name a file for the result")
    if file := _file_on_the_way(path.parent):
        raise InputError(f"{path}: {file} is a file, not a folder; name another")
    require_writable(path.parent)
    return path


def _file_on_the_way(path: Path) -> Path | None:
    nearest = next((part for part in (path, *path.parents) if part.exists()), None)
    return nearest if nearest is not None and not nearest.is_dir() else None


Output = Annotated[
    Path,
    typer.Option("-o", "--output", help="Folder for the results.", callback=results_folder),
]
Device = Annotated[DeviceName, typer.Option(help="Where to compute.")]
PixelSize = Annotated[
    float | None, typer.Option(help="Pixel size in µm of all inputs; overrides everything.")
]
Index = Annotated[
    Path | None,
    typer.Option(
        help="Table with the columns image, pixel_size_um, specimen; default: the "
        "index.csv beside each image."
    ),
]
Groove = Annotated[float | None, typer.Option(help="Width of an etched boundary in pixels.")]
Contrast = Annotated[
    float | None,
    typer.Option(help="Weakest boundary, as a part of a well etched one, 0 to 1."),
]
Shown = Annotated[float | None, typer.Option(help="Part of a boundary that must show, 0 to 1.")]
Threshold = Annotated[
    float | None,
    typer.Option(help="Probability from which on a boundary of the model shows, 0 to 1."),
]


def pixel_sizes(stated_um: float | None, index: Path | None) -> PixelSizes:
    """Pixel sizes from the two options."""
    from ..inputs import PixelSizes
    from ..io.index import ImageIndex

    if stated_um is not None and not stated_um > 0:
        raise InputError(f"--pixel-size {stated_um}: a pixel size is larger than zero")
    return PixelSizes(stated_um, ImageIndex.read(index) if index else None)


def prediction_settings(mode: Mode, *, flips: bool, multi_scale: bool) -> dict[str, Any]:
    """Values of `PredictionParameters` from the three options."""
    from ..segmentation.prediction import PAPER_SCALES

    return {
        "mode": mode.value,
        "flips": flips,
        "scales": PAPER_SCALES if multi_scale else (1.0,),
    }


def box(text: str | None) -> Box | None:
    """A box from "TOP,LEFT,BOTTOM,RIGHT"."""
    from ..regions import Box

    if text is None:
        return None
    try:
        top, left, bottom, right = (int(part) for part in text.split(","))
    except ValueError:
        raise InputError(f"'{text}' is not TOP,LEFT,BOTTOM,RIGHT in pixels") from None
    if not (0 <= top < bottom and 0 <= left < right):
        raise InputError(f"the region {text} is empty; give TOP,LEFT,BOTTOM,RIGHT in pixels")
    return Box(top, left, bottom, right)


def stems(path: Path | None) -> list[str] | None:
    """Names listed in a file, one a line; None without a file."""
    if path is None:
        return None
    # Split as bytes: text would also be split at signs that a name may hold.
    lines = read_bytes(path).removeprefix(BOM_UTF8).splitlines()
    try:
        names = [line.decode().strip() for line in lines]
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8 text; list one name a line") from error
    return [name for name in names if name]


def require_csv_signs(decimal: str, separator: str) -> None:
    """Refuse signs that no CSV file can be written with."""
    for option, sign in (("--decimal", decimal), ("--separator", separator)):
        if len(sign) != 1 or not sign.isascii() or sign.isalnum() or sign in '"\r\n-':
            raise InputError(f"{option} '{sign}': give one sign, such as , or ;")
    if decimal == separator:
        raise InputError(f"--decimal and --separator are both '{decimal}'; choose two signs")


def option_of(field: str) -> str:
    """The option that sets a field of a parameter object."""
    return f"--{field.removesuffix('_px').replace('_', '-')}"


def each(
    paths: Sequence[Path], work: Callable[[Path], T], failed: list[str] | None = None
) -> tuple[list[T], int]:
    """Do the work for each file; a bad file is reported and the others go on.

    Where the device fails nothing more is begun: it would fail again.

    Parameters
    ----------
    failed
        Gets why each bad file could not be used.

    Returns the results and the exit code.
    """
    results, code = [], 0
    failed = [] if failed is None else failed
    for number, path in enumerate(paths, start=1):
        try:
            results.append(work(path))
        except terminal.FAILURES as error:
            message, code = terminal.failure(error)
            if code == terminal.DEVICE_FAILED:
                terminal.error(f"{path}: {message} ({len(paths) - number} more not begun)")
                break
            terminal.error(message)
            failed.append(message)
    return results, code


def fail_if(code: int) -> None:
    """Exit with a code other than 0; what failed has been reported already."""
    if code:
        raise typer.Exit(code)
