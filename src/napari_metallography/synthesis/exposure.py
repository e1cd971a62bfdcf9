"""What light, lens and detector make of a synthetic surface."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field
from scipy import ndimage

Floats = NDArray[np.float64]


class Exposure(BaseModel):
    """How a surface is imaged.

    Attributes
    ----------
    pixel_size_um
        Width and height of a pixel.
    blur_px
        Standard deviation of the Gaussian blur.
    illumination
        Largest relative change of the brightness over the field, quadratic in position.
    noise
        Standard deviation in grey values of the Gaussian noise; Poisson noise is added as of as
        many electrons as there are grey values.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    pixel_size_um: float = Field(gt=0)
    blur_px: float = Field(ge=0)
    noise: float = Field(ge=0)
    illumination: float = Field(ge=0, le=0.5)


def exposed(grey: Floats, exposure: Exposure, rng: np.random.Generator) -> NDArray[np.uint8]:
    """A micrograph of a surface whose grey values (Y, X) or (Y, X, 3) are given, 0 to 255."""
    shape = grey.shape[:2]
    sigmas = (exposure.blur_px, exposure.blur_px, *(0.0 for _ in grey.shape[2:]))
    light = uneven_light(shape, exposure.illumination, rng)
    lit = ndimage.gaussian_filter(grey, sigmas)
    lit = np.clip(lit * light.reshape(*shape, *(1 for _ in grey.shape[2:])), 0, None)
    counted = rng.poisson(lit) + rng.normal(0, exposure.noise, grey.shape)
    return np.asarray(np.clip(np.rint(counted), 0, 255), np.uint8)


def uneven_light(shape: tuple[int, ...], change: float, rng: np.random.Generator) -> Floats:
    """Relative brightness (Y, X), a random quadratic surface in 1 ± `change`."""
    y, x = (np.linspace(-1, 1, n) for n in shape)
    slopes = rng.uniform(-1, 1, 5)
    terms = (y[:, None], x, y[:, None] * x, y[:, None] ** 2 - 0.5, x**2 - 0.5)
    bumps = np.asarray(sum(s * term for s, term in zip(slopes, terms, strict=True)), float)
    return 1 + change * bumps / max(float(np.abs(bumps).max()), 1e-9)
