"""Errors that reach the user as one line."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

Model = TypeVar("Model", bound=BaseModel)


class InputError(ValueError):
    """The input cannot be used; the message says why and what to do, in one line."""


class DeviceError(Exception):
    """The device ran out of memory or failed.

    Not a `RuntimeError`: napari's worker threads swallow those.
    """


def validated(
    model: type[Model], values: Mapping[str, Any], label: Callable[[str], str] = str
) -> Model:
    """A pydantic model of the values; `label` turns a field's name into what the user reads.

    Raises
    ------
    InputError
        Names the first value that is out of its range.
    """
    try:
        return model.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        where = " ".join(label(str(part)) for part in first["loc"])
        # Pydantic's own words for an error that a validator of ours raised.
        said = first["msg"].removeprefix("Value error, ")
        raise InputError(f"{where}: {said}" if where else said) from error
