"""Grain boundaries of an etched micrograph without a network: illumination, ridges, gaps."""

from __future__ import annotations

import math
from collections.abc import Iterator

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from ..errors import InputError
from ..events import Events, Progress, drain
from .closing import closing
from .partition import Partition
from .stages import staged

Floats = NDArray[np.float32]

_DIRECTIONS = 12
_LENGTH_TO_WIDTH = 8 / 3
_SHADING = 1 / 8
_REDUCED_SIGMA = 16.0
_TYPICAL = 97.0
_NOISE_OF_MEDIAN = 0.6745


class EtchedParameters(BaseModel):
    """How boundaries are found in an etched micrograph.

    Attributes
    ----------
    groove_px
        Width of an etched boundary.
    contrast
        From which part of a well etched boundary's strength on a boundary shows.
    noise
        And from how many standard deviations of the noise on.
    shown
        Part of a boundary between two triple points that must show; the rest is closed.
    smallest_area_px
        Smaller spots (pits, inclusions) are no grains.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    groove_px: float = Field(default=3.0, ge=1, le=20)
    contrast: float = Field(default=0.13, gt=0, lt=1)
    noise: float = Field(default=4.0, ge=0)
    shown: float = Field(default=0.75, gt=0, le=1)
    smallest_area_px: int = Field(default=60, ge=1)


def grains_of_etched(
    pixels: NDArray[np.generic], parameters: EtchedParameters | None = None
) -> Partition:
    """The result of `etched_grains`, at once."""
    return drain(etched_grains(pixels, parameters or EtchedParameters()))


def etched_grains(pixels: NDArray[np.generic], rules: EtchedParameters) -> Events[Partition]:
    """Grains between dark etched boundaries, or between grains of different tone.

    Parameters
    ----------
    pixels
        (Y, X), or (Y, X, 3) whose channels are looked at one by one unless they are equal.

    Yields
    ------
    Progress
        Of the directions in which lines are looked for, then of the closing of grains.

    Raises
    ------
    InputError
        When no boundary shows.
    """
    strength = yield from staged(_strengths(pixels, rules.groove_px), 0, 2)
    threshold = max(rules.noise, rules.contrast * float(np.percentile(strength, _TYPICAL)))
    running = closing(strength, threshold, rules.shown, rules.smallest_area_px)
    found = yield from staged(running, 1, 2)
    if found.n < 2:
        raise InputError(
            "no grain boundary shows in the image; etch deeper, lower the contrast from which "
            "boundaries show, or paint them"
        )
    return found


def boundary_strength(pixels: NDArray[np.generic], groove_px: float) -> Floats:
    """How strongly a dark line passes through each pixel, in standard deviations of the noise.

    The strongest answer of filters that are lines with bright sides, in twelve directions; white
    noise gives each a standard deviation of 1.

    Source: Steger, IEEE PAMI 20 (1998) 113, for lines as second derivatives; Immerkær, CVIU 64
    (1996) 300, for the noise from differences that neither slopes nor straight edges raise.
    """
    return drain(_strengths(pixels, groove_px))


def _strengths(pixels: NDArray[np.generic], groove_px: float) -> Events[Floats]:
    channels = _channels(pixels)
    strongest = np.zeros(pixels.shape[:2], np.float32)
    for number, channel in enumerate(channels):
        running = _strength(channel.astype(np.float32), groove_px)
        found = yield from staged(running, number, len(channels))
        np.maximum(strongest, found, out=strongest)
    return strongest


def _channels(pixels: NDArray[np.generic]) -> list[NDArray[np.generic]]:
    """Grey planes come as three equal channels too."""
    if pixels.ndim == 2:
        return [pixels]
    if (pixels == pixels[..., :1]).all():
        return [pixels[..., 0]]
    return list(np.moveaxis(pixels, 2, 0))


def _strength(grey: Floats, groove_px: float) -> Events[Floats]:
    flat = np.asarray(grey / np.maximum(_shading(grey), 1e-6), np.float32)
    strongest = np.zeros(grey.shape, np.float32)
    for done, kernel in enumerate(_lines(groove_px / 2), start=1):
        np.maximum(strongest, cv2.filter2D(flat, cv2.CV_32F, kernel), out=strongest)
        yield Progress(done, _DIRECTIONS, "directions")
    return np.asarray(strongest / _noise(flat), np.float32)


def _shading(grey: Floats) -> Floats:
    """The image blurred over an eighth of its longer side."""
    sigma = _SHADING * max(grey.shape)
    # So wide a blur is as good, and a hundred times as fast, on a reduced image.
    reduction = max(1.0, sigma / _REDUCED_SIGMA)
    small = [max(1, round(length / reduction)) for length in grey.shape[::-1]]
    reduced = cv2.resize(grey, small, interpolation=cv2.INTER_AREA)
    blurred = cv2.GaussianBlur(reduced, (0, 0), sigma / reduction)
    enlarged = cv2.resize(blurred, grey.shape[::-1], interpolation=cv2.INTER_CUBIC)
    return np.asarray(enlarged, np.float32)


def _noise(flat: Floats) -> float:
    """Standard deviation of white noise; at least that of rounding to 8 bits."""
    crossed = flat[:-1, :-1] - flat[1:, :-1] - flat[:-1, 1:] + flat[1:, 1:]
    found = float(np.median(np.abs(crossed))) / _NOISE_OF_MEDIAN / 2
    return max(found, 1 / 255 / math.sqrt(12))


def _lines(sigma: float) -> Iterator[Floats]:
    """Second derivatives of a Gaussian across a line, of unit gain to white noise."""
    length = _LENGTH_TO_WIDTH * sigma
    reach = math.ceil(3 * length)
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1].astype(float)
    for turn in np.arange(_DIRECTIONS) * math.pi / _DIRECTIONS:
        along = x * math.cos(turn) + y * math.sin(turn)
        across = y * math.cos(turn) - x * math.sin(turn)
        kernel = (across**2 / sigma**2 - 1) * np.exp(
            -(across**2) / (2 * sigma**2) - along**2 / (2 * length**2)
        )
        kernel -= kernel.mean()
        yield np.asarray(kernel / np.sqrt((kernel**2).sum()), np.float32)
