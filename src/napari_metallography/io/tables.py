"""Tables and numbers into files that a spreadsheet or a program opens rightly."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from openpyxl import Workbook
from openpyxl.cell import WriteOnlyCell
from openpyxl.cell.cell import ILLEGAL_CHARACTERS_RE
from openpyxl.styles import Font
from openpyxl.utils import get_column_letter
from openpyxl.worksheet.worksheet import Worksheet
from pandas.api.types import is_numeric_dtype

from ..errors import InputError
from .files import replacing
from .headings import heading

_MOST_ROWS = 1_048_576
_WIDEST_COLUMN = 40
_ROWS_LOOKED_AT = 100
_MOST_NEW_NAMES = 99


class HeldOpenError(InputError):
    """Another program holds the file open."""


def write_or_rename(path: Path, write: Callable[[Path], None]) -> Path:
    """Write to `path`, or to "name (2)" beside it when another program holds it open.

    Parameters
    ----------
    write
        Called with the path; one of this module's writers.

    Returns
    -------
    Where it was written.

    Raises
    ------
    InputError
        When it cannot be written under any name.
    """
    for number in range(1, _MOST_NEW_NAMES):
        target = path if number == 1 else path.with_name(f"{path.stem} ({number}){path.suffix}")
        try:
            write(target)
        except HeldOpenError:
            continue
        return target
    raise HeldOpenError(f"{path}: is open in another program; close it there and write again")


def write_csv(path: Path, frame: pd.DataFrame, decimal: str = ".", separator: str = ",") -> None:
    """Write a table as CSV: header, no index, every digit of every number, missing cells empty.

    The text is UTF-8. It starts with a byte order mark only when it holds a character beyond
    ASCII: without the mark Excel reads such text in the computer's old code page, with it some
    programs take the mark for a part of the first column's name.

    Parameters
    ----------
    decimal, separator
        "," and ";" suit a spreadsheet set to a language with decimal commas.

    Raises
    ------
    InputError
        When `decimal` and `separator` are the same, or the file cannot be written.
    """
    if decimal == separator:
        raise InputError(f"'{decimal}' cannot part both digits and columns; choose another")
    encoding = "ascii" if _is_ascii(frame) else "utf-8-sig"
    with _replacing_table(path) as beside:
        # Straight into the file: the text of a million particles would not fit into memory twice.
        frame.to_csv(
            beside,
            index=False,
            sep=separator,
            decimal=decimal,
            lineterminator="\n",
            encoding=encoding,
        )


def _is_ascii(frame: pd.DataFrame) -> bool:
    """Whether headings and cells are written by ASCII characters alone."""
    texts = [frame[name] for name in frame.columns if not is_numeric_dtype(frame[name])]
    cells = (str(cell) for column in texts for cell in column.dropna().unique())
    return all(str(name).isascii() for name in frame.columns) and all(map(str.isascii, cells))


def write_xlsx(path: Path, sheets: Mapping[str, pd.DataFrame]) -> None:
    """Write tables as the sheets of an Excel workbook; missing cells are empty.

    Columns are titled by their `headings.heading`, for people; programs read the CSV.
    Numbers have 16 significant digits, one more than Excel keeps.
    Text is stored as text, also where it looks like a formula.

    Raises
    ------
    InputError
        When a table has more rows than a sheet holds, or the file cannot be written.
    """
    for name, frame in sheets.items():
        if len(frame) >= _MOST_ROWS:
            raise InputError(
                f"{path}: the {len(frame)} rows of '{name}' do not fit on a sheet, which holds "
                f"{_MOST_ROWS - 1}; write CSV"
            )
    book = Workbook(write_only=True)
    for name, frame in sheets.items():
        _fill(book.create_sheet(name), frame)
    with _replacing_table(path) as beside:
        book.save(beside)


def write_parquet(path: Path, frame: pd.DataFrame) -> None:
    """Write a table as Parquet; it keeps every digit and the types of the columns.

    Raises
    ------
    InputError
        When pyarrow is not installed or the file cannot be written.
    """
    require_parquet()
    with _replacing_table(path) as beside:
        frame.to_parquet(beside, engine="pyarrow", index=False)


def require_parquet() -> None:
    """Refuse, before any work, to write Parquet where it cannot be."""
    if find_spec("pyarrow") is None:
        raise InputError(
            "Parquet files need pyarrow; install napari-metallography[parquet], or write CSV"
        )


def write_json(path: Path, data: object) -> None:
    """Write plain data, NumPy values and paths as JSON (UTF-8); NaN and infinity become null."""
    text = json.dumps(plain(data), allow_nan=False, ensure_ascii=False, indent=2)
    with _replacing_table(path) as beside:
        beside.write_bytes(f"{text}\n".encode())


def plain(data: Any) -> Any:
    """The same data in types that JSON knows; NaN, infinity and missing values become None."""
    if isinstance(data, Mapping):
        return {str(key): plain(value) for key, value in data.items()}
    if isinstance(data, np.ndarray | np.generic):
        return plain(data.tolist())
    if isinstance(data, list | tuple):
        return [plain(value) for value in data]
    if isinstance(data, Path):
        return str(data)
    missing = data is pd.NA or (isinstance(data, float) and not math.isfinite(data))
    return None if missing else data


@contextmanager
def _replacing_table(path: Path) -> Iterator[Path]:
    try:
        with replacing(path) as beside:
            yield beside
    except InputError as error:
        # Windows refuses to replace a file that a spreadsheet holds open.
        refused = isinstance(error.__cause__, PermissionError)
        if refused and path.is_file() and os.access(path.parent, os.W_OK):
            raise HeldOpenError(
                f"{path}: is open in another program; close it there and write again"
            ) from error
        raise


def _fill(sheet: Worksheet, frame: pd.DataFrame) -> None:
    columns = [[plain(value) for value in frame[name].tolist()] for name in frame.columns]
    # A write-only sheet takes panes and widths only before its first row.
    sheet.freeze_panes = "A2"
    titles = [heading(str(name)) for name in frame.columns]
    for number, (title, values) in enumerate(zip(titles, columns, strict=True), start=1):
        sheet.column_dimensions[get_column_letter(number)].width = _width(title, values)
    sheet.append([_bold(sheet, title) for title in titles])
    for row in zip(*columns, strict=True):
        sheet.append([_cell(sheet, value) for value in row])


def _width(title: str, values: Sequence[Any]) -> float:
    shown = [f"{v:.6g}" if isinstance(v, float) else str(v) for v in values[:_ROWS_LOOKED_AT]]
    return min(_WIDEST_COLUMN, max(map(len, [title, *shown])) + 3)


def _bold(sheet: Worksheet, text: str) -> Any:
    cell = WriteOnlyCell(sheet, value=text)
    cell.data_type = "s"
    cell.font = Font(bold=True)
    return cell


def _cell(sheet: Worksheet, value: Any) -> Any:
    # Control characters, as a layer's name may hold, are none that a workbook can.
    value = ILLEGAL_CHARACTERS_RE.sub("", value) if isinstance(value, str) else value
    if isinstance(value, str) and value.startswith("="):
        cell = WriteOnlyCell(sheet, value=value)
        cell.data_type = "s"
        return cell
    return value
