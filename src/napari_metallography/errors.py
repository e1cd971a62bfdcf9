"""Errors that reach the user as one line."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

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
        said = in_plain_words(first)
        raise InputError(f"{where}: {said}" if where else said) from error


def in_plain_words(error: ErrorDetails) -> str:
    """What is wrong with a value, as an error of pydantic's has it, for people."""
    if error["type"] in _SAID:
        wanted = _SAID[error["type"]].format(**error.get("ctx", {}))
        given = error["input"]
        return f"must be {wanted}{f', not {given}' if isinstance(given, _SHORT) else ''}"
    # Pydantic's own words for an error that a validator of ours raised.
    return error["msg"].removeprefix("Value error, ").replace("Input should", "must")


_SHORT = (bool, int, float, str)
_SAID = {
    "greater_than": "larger than {gt:g}",
    "greater_than_equal": "{ge:g} or more",
    "less_than": "less than {lt:g}",
    "less_than_equal": "{le:g} or less",
    "literal_error": "{expected}",
    "int_parsing": "a whole number",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_parsing": "a number",
    "float_type": "a number",
    "finite_number": "a finite number",
}
"""What a value must be, by the type of pydantic's error."""
