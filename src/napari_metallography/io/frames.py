"""Tables for programs of ours alone: every value as it is, read and written without text."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ..errors import InputError
from .files import reading, replacing

FRAME = ".npz"
"""Suffix of such a file."""

_COLUMNS, _MISSING = "columns", "missing"
_TEXT = ("object", "str")


def write_frame(path: Path, frame: pd.DataFrame) -> None:
    """Write a table of numbers, nullable whole numbers, bools and texts; its index is left out.

    Raises
    ------
    InputError
        When the file cannot be written.
    """
    kinds = {str(name): str(kind) for name, kind in frame.dtypes.items()}
    arrays: dict[str, NDArray[Any]] = {_COLUMNS: np.array(json.dumps(kinds))}
    for number, (name, kind) in enumerate(kinds.items()):
        arrays |= _stored(number, frame[name], kind)
    with replacing(path) as beside, beside.open("wb") as file:
        np.savez(file, allow_pickle=False, **arrays)


def read_frame(path: Path) -> pd.DataFrame:
    """Inverse of `write_frame`, with the same types.

    Raises
    ------
    InputError
        When the file is missing or damaged.
    """
    try:
        # By a file of its own: of a damaged one NumPy leaves it open.
        with reading(path), path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            kinds = json.loads(str(arrays[_COLUMNS]))
            columns = {
                name: _restored(number, kind, arrays)
                for number, (name, kind) in enumerate(kinds.items())
            }
    except (ValueError, KeyError, BadZipFile, EOFError) as error:
        raise InputError(f"{path}: damaged") from error
    return pd.DataFrame(columns)


def _stored(number: int, column: pd.Series[Any], kind: str) -> dict[str, NDArray[Any]]:
    if kind in _TEXT:
        # Few texts, many times over: phases and images.
        names, places = np.unique(column.to_numpy(str), return_inverse=True)
        return {f"{number}": places.astype(np.int32), f"{number}_names": names}
    if kind.startswith("Int"):
        missing = column.isna().to_numpy(bool)
        values = column.fillna(0).to_numpy(np.int64)
        return {f"{number}": values, f"{number}_{_MISSING}": missing}
    return {f"{number}": column.to_numpy()}


def _restored(number: int, kind: str, arrays: Mapping[str, NDArray[Any]]) -> Any:
    values = arrays[f"{number}"]
    if kind in _TEXT:
        names = arrays[f"{number}_names"].astype(object)
        dtype: Any = kind
        return pd.Series(names[values], dtype=object).astype(dtype)
    if kind.startswith("Int"):
        return pd.arrays.IntegerArray(values, arrays[f"{number}_{_MISSING}"])
    return values
