"""The index.csv beside the images: what is known of each, pixel size first."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from ..calibration import Calibration
from ..errors import InputError
from .files import read_bytes

INDEX_NAME = "index.csv"

_DELIMITERS = ",;\t"
UNKNOWN = ("", "-", "na", "n/a", "nan", "none", "null")
"""Cells that say that nothing is known, whatever their case."""


@dataclass(frozen=True)
class IndexRow:
    """What an index says of one image; None where it says nothing.

    Attributes
    ----------
    image
        File name, or path relative to the index, with forward slashes.
    pixel_size_um
        Side of a pixel in µm.
    specimen, class_name
        Names.
    grain_size_number
        ASTM grain size number G by intercepts.
    line
        Line of the file, for messages.
    """

    image: str
    pixel_size_um: float | None = None
    specimen: str | None = None
    class_name: str | None = None
    grain_size_number: float | None = None
    line: int = 0

    @property
    def calibration(self) -> Calibration | None:
        """The pixel size with the index as its source."""
        if self.pixel_size_um is None:
            return None
        return Calibration.square(self.pixel_size_um, INDEX_NAME)

    def metadata(self) -> dict[str, Any]:
        """Specimen, class and G under the names of their columns, where known."""
        named = {
            "specimen": self.specimen,
            "class": self.class_name,
            "G": self.grain_size_number,
        }
        return {name: value for name, value in named.items() if value is not None}


@dataclass(frozen=True)
class ImageIndex:
    """Rows of an index and the ways to find one."""

    path: Path
    rows: tuple[IndexRow, ...]
    _by_path: dict[str, IndexRow] = field(init=False, repr=False, compare=False)
    _by_name: dict[str, IndexRow] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        by_path = _paths(self.path, self.rows)
        object.__setattr__(self, "_by_path", by_path)
        object.__setattr__(self, "_by_name", _names(by_path, self.rows))

    @classmethod
    def read(cls, path: Path) -> ImageIndex:
        """Read a CSV with a column `image` and as known `pixel_size_um`, `specimen`, `class`, `G`.

        The delimiter may be a comma, a semicolon or a tab, and with the latter two a decimal
        comma is understood. Other columns are left alone.

        Raises
        ------
        InputError
            When the file is missing or empty, has no column `image`, names an image twice, or
            holds a pixel size or G that is no number.
        """
        text = _text(read_bytes(path))
        try:
            return cls(path, tuple(_rows(path, text)))
        except csv.Error as error:
            raise InputError(f"{path}: not a CSV table ({error})") from error

    def lookup(self, image: Path) -> IndexRow | None:
        """The row of an image: by path relative to the index, by file name, by stem.

        A row with a folder is that of no other image below the index; of images elsewhere, such as
        labels, their names alone are compared. A name or stem that several rows share finds none
        of them.
        """
        folder, whole = self.path.parent.absolute(), image.absolute()
        keys = [image.name, image.stem]
        if not whole.is_relative_to(folder):
            return _first(self._by_name, keys)
        relative = PurePosixPath(whole.relative_to(folder).as_posix())
        return _first(self._by_path, [str(relative), _without_suffix(relative), *keys])


def find_index(path: Path) -> ImageIndex | None:
    """The index.csv beside an image, or in a folder; None where there is none."""
    folder = path if path.is_dir() else path.parent
    index = folder / INDEX_NAME
    return ImageIndex.read(index) if index.is_file() else None


def _first(rows: dict[str, IndexRow], keys: Iterable[str]) -> IndexRow | None:
    return next((rows[key] for key in keys if key in rows), None)


def _paths(path: Path, rows: Iterable[IndexRow]) -> dict[str, IndexRow]:
    """Rows by path, with and without suffix."""
    keys: dict[str, IndexRow] = {}
    for row in rows:
        if row.image in keys:
            raise InputError(f"{path}: line {row.line}: '{row.image}' is listed twice")
        keys[row.image] = row
    return _with_unique(keys, rows, _without_suffix)


def _names(by_path: dict[str, IndexRow], rows: Iterable[IndexRow]) -> dict[str, IndexRow]:
    """The same rows, also by name and stem without their folder."""
    by_name = _with_unique(by_path, rows, lambda image: image.name)
    return _with_unique(by_name, rows, lambda image: image.stem)


def _without_suffix(image: PurePosixPath) -> str:
    return str(image.parent / image.stem)


def _with_unique(
    keys: dict[str, IndexRow], rows: Iterable[IndexRow], key_of: Callable[[PurePosixPath], str]
) -> dict[str, IndexRow]:
    """The rows with those added whose new key no other row shares."""
    found: dict[str, list[IndexRow]] = {}
    for row in rows:
        found.setdefault(key_of(PurePosixPath(row.image)), []).append(row)
    return {key: sharing[0] for key, sharing in found.items() if len(sharing) == 1} | keys


def _text(content: bytes) -> str:
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        return content.decode("utf-16", "replace")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return content.decode("cp1252", "replace")


def _rows(path: Path, text: str) -> Iterable[IndexRow]:
    header = next((line for line in text.splitlines() if line.strip()), "")
    delimiter = max(_DELIMITERS, key=header.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    names: list[str] | None = None
    for cells in reader:
        if not any(cell.strip() for cell in cells):
            continue
        if names is None:
            names = _columns(path, cells)
            continue
        values = dict(zip(names, (cell.strip() for cell in cells), strict=False))
        yield _row(path, reader.line_num, values, decimal_comma=delimiter != ",")


def _columns(path: Path, cells: list[str]) -> list[str]:
    names = [cell.strip() for cell in cells]
    if "image" not in names:
        raise InputError(f"{path}: has no column 'image'; its first line must name the columns")
    return names


def _row(path: Path, line: int, values: dict[str, str], *, decimal_comma: bool) -> IndexRow:
    where = f"{path}: line {line}"
    image = values["image"].replace("\\", "/").removeprefix("./")
    if not image:
        raise InputError(f"{where}: names no image")
    size = _number(where, "pixel_size_um", values, decimal_comma)
    if size is not None and size <= 0:
        raise InputError(f"{where}: a pixel size of {size:g} µm is not possible")
    return IndexRow(
        image=image,
        pixel_size_um=size,
        specimen=_known(values.get("specimen", "")),
        class_name=_known(values.get("class", "")),
        grain_size_number=_number(where, "G", values, decimal_comma),
        line=line,
    )


def _known(cell: str) -> str | None:
    return None if cell.lower() in UNKNOWN else cell


def _number(where: str, name: str, values: dict[str, str], decimal_comma: bool) -> float | None:
    cell = _known(values.get(name, ""))
    if cell is None:
        return None
    try:
        value = float(cell.replace(",", ".") if decimal_comma else cell)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise InputError(f"{where}: {name} '{cell}' is not a number")
    return value
