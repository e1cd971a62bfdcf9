"""Errors that reach the user as one line."""

from __future__ import annotations


class InputError(ValueError):
    """The input cannot be used; the message says why and what to do, in one line."""


class DeviceError(Exception):
    """The device ran out of memory or failed.

    Not a `RuntimeError`: napari's worker threads swallow those.
    """
