"""Micrographs of steel structures of known class, at any magnification.

Two pairs of classes differ in nothing but their physical scale: fine and coarse pearlite, and fine
and coarse spheroidite. What is drawn scales with the structure, what the microscope adds (blur,
noise) with the pixels, so that an image alone does not tell them apart; image and pixel size do.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from ..calibration import Calibration
from ..grains.standards import intercept_g
from .exposure import Exposure, exposed
from .polycrystals import PolycrystalParameters, polycrystal
from .textures import (
    bent,
    borders,
    cell_numbers,
    ellipses,
    grown_cells,
    lattice,
    needles,
    smooth_noise,
    streaks,
)

Floats = NDArray[np.float64]
StructureName = Literal[
    "pearlite-fine",
    "pearlite-coarse",
    "spheroidite-fine",
    "spheroidite-coarse",
    "network",
    "widmanstatten",
    "ferrite-martensite",
    "polycrystal",
]
Variant = Literal["a", "b"]

SCALE_PAIRS = (("pearlite-fine", "pearlite-coarse"), ("spheroidite-fine", "spheroidite-coarse"))
"""Classes that differ in their physical scale only, the finer one first."""

SCALE_RATIO = 2.5
"""How much coarser the second of a pair is."""

PEARLITE_UM = 0.25
SPHEROIDITE_UM = 0.15
_NETWORK_UM = 3.0
_WIDMANSTATTEN_UM = 5.0
_DUAL_PHASE_UM = 1.6
_POLYCRYSTAL_UM = 2.2

_SCALE_SPREAD = 0.15
_SETS_OF_PLATES = 4
_SETS_OF_LATHS = 6
_GROOVE_UM = 0.05


class StructureParameters(Exposure):
    """Which structure is imaged, and how.

    Attributes
    ----------
    name
        The class.
    variant
        Family of shapes, proportions and grey values; models learn from "a" and are tested on
        "b", which has particles with rims, wavy and broken lamellae, beaded films, wider plates.
        The specimens of "a" differ among themselves, each proportion by up to half of what sets
        "b" apart.
    height_px, width_px
        Shape of the image.
    pixel_size_um, blur_px, noise, illumination
        As `exposure.Exposure` has them.
    """

    name: StructureName
    variant: Variant = "a"
    height_px: int = Field(default=512, ge=32)
    width_px: int = Field(default=512, ge=32)
    pixel_size_um: float = Field(default=0.02, gt=0)
    blur_px: float = Field(default=0.7, ge=0)
    noise: float = Field(default=5.0, ge=0)
    illumination: float = Field(default=0.1, ge=0, le=0.5)


@dataclass(frozen=True)
class Structure:
    """A synthetic micrograph, uint8 (Y, X), and its class."""

    image: NDArray[np.uint8]
    name: StructureName
    calibration: Calibration


def structure(parameters: StructureParameters, seed: int) -> Structure:
    """A micrograph of a structure; the same for the same seed.

    Raises
    ------
    InputError
        When the image is smaller than a grain of the polycrystal.
    """
    size = parameters.pixel_size_um
    calibration = Calibration.square(size, "synthetic")
    other = parameters.variant == "b"
    rng = np.random.default_rng([seed, int(other)])
    if parameters.name == "polycrystal":
        return Structure(_polycrystal(parameters, rng), parameters.name, calibration)
    coarser = 1 + _SCALE_SPREAD * rng.uniform(-1, 1)
    shape = parameters.height_px, parameters.width_px
    field = _Field(shape, size, coarser, other, rng)
    grey = SURFACES[parameters.name](field)
    return Structure(exposed(grey, parameters, rng), parameters.name, calibration)


@dataclass(frozen=True)
class _Field:
    """A field to draw on.

    `coarser` is the factor by which this specimen is coarser than its class, `other` whether the
    variant is "b".
    """

    shape: tuple[int, int]
    pixel_um: float
    coarser: float
    other: bool
    rng: np.random.Generator

    def px(self, length_um: float) -> float:
        """A length of the structure in pixels."""
        return length_um * self.coarser / self.pixel_um

    def between(self, usual: float, others: float) -> float:
        """A proportion of this specimen, of which `others` is that of the variant "b"."""
        return others if self.other else _varied(usual, others, self.rng)

    def seed(self) -> int:
        return int(self.rng.integers(2**31))


def _varied(usual: float, others: float, rng: np.random.Generator) -> float:
    """Up to half as far from what is usual as others are."""
    return usual + rng.uniform(-0.5, 0.5) * (others - usual)


# --- surfaces, grey values 0 to 255 ----------------------------------------------------------


def _pearlite(field: _Field, spacing_um: float) -> Floats:
    """Colonies of parallel lamellae; the plane of section widens their spacing."""
    rng, spacing = field.rng, field.px(spacing_um)
    colonies = grown_cells(field.shape, spacing * field.between(14, 9), 0.6, rng)
    numbers = cell_numbers(colonies)
    count = len(colonies.cells)
    angles, wider = rng.uniform(0, math.pi, count), rng.uniform(1, 1.3, count)
    y, x = np.mgrid[: field.shape[0], : field.shape[1]]
    along = y * np.sin(angles)[numbers] + x * np.cos(angles)[numbers]
    waves = field.between(0.2, 0.55) * smooth_noise(field.shape, 5 * spacing, rng)
    phase = along / (wider[numbers] * spacing) + waves
    share = field.between(0.3, 0.4)
    cementite = _lamellae(phase, share, spacing)
    if field.other:
        cementite *= _step(1.1 - smooth_noise(field.shape, 2.5 * spacing, rng), 0.3)
    tone = field.between(4, 8) * rng.standard_normal(count)[numbers]
    dark, bright = field.between(85, 100), field.between(185, 175)
    return np.asarray(dark + tone + (bright - dark) * cementite)


def _lamellae(phase: Floats, share: float, spacing_px: float) -> Floats:
    """1 in cementite, 0 in ferrite, over about a pixel from one to the other."""
    away = np.abs((phase + 0.5) % 1 - 0.5) * spacing_px
    return np.asarray(np.clip(share * spacing_px / 2 - away + 0.5, 0, 1))


def _spheroidite(field: _Field, radius_um: float) -> Floats:
    """Round carbides in ferrite, on boundaries and within grains."""
    rng, radius = field.rng, field.px(radius_um)
    step = radius * field.between(4.0, 3.6)
    centres = lattice(field.shape, step, 2 * step, field.between(0.38, 0.45), rng)
    centres = centres[rng.random(len(centres)) < 0.93]
    spread = field.between(0.28, 0.4)
    radii = radius * np.exp(spread * rng.standard_normal(len(centres)))
    radii = np.minimum(radii, 0.45 * step)
    longer = np.sqrt(rng.uniform(1, field.between(1.35, 1.9), len(centres)))
    half_axes = np.stack([radii * longer, radii / longer], 1)
    angles = rng.uniform(0, math.pi, len(centres))
    carbides = ellipses(field.shape, centres, half_axes, angles)
    grains = grown_cells(field.shape, 14 * radius, 0.4, rng)
    tone = 5 * rng.standard_normal(len(grains.cells))[cell_numbers(grains)]
    matrix = field.between(85, 95) + tone
    if not field.other:
        return np.asarray(matrix + (185 - matrix) * carbides)
    # Etched carbides stand out of the surface, and their rims shine.
    cores = ellipses(field.shape, centres, 0.65 * half_axes, angles)
    return np.asarray(matrix + (185 - matrix) * carbides - 35 * cores)


def _network(field: _Field) -> Floats:
    """Cementite films on the boundaries of former austenite grains."""
    rng = field.rng
    grains = grown_cells(field.shape, field.px(_NETWORK_UM), 0.3, rng)
    count = len(grains.edges)
    thick = field.px(field.between(0.2, 0.14)) * np.exp(0.3 * rng.standard_normal(count))
    levels = rng.uniform(0.8, 1, count) * (rng.random(count) >= 0.06)
    bend = field.px(0.1), field.px(1.0), field.seed()
    film = bent(borders(grains, thick, levels), *bend)
    beads = smooth_noise(field.shape, field.px(0.5), rng)
    if field.other:
        film *= np.clip(1 + 0.4 * beads, 0.35, 1)
    texture = smooth_noise(field.shape, field.px(0.12), rng)
    tone = 6 * rng.standard_normal(len(grains.cells))[cell_numbers(grains)]
    matrix = 88 + bent(tone, *bend) + field.between(6, 9) * texture
    return np.asarray(matrix + (190 - matrix) * film)


def _widmanstatten(field: _Field) -> Floats:
    """Plates along a few directions in each grain, and films on the boundaries."""
    rng = field.rng
    grains = grown_cells(field.shape, field.px(_WIDMANSTATTEN_UM), 0.3, rng)
    groups = cell_numbers(grains) % _SETS_OF_PLATES
    plates = np.zeros(field.shape)
    step_um, width_um = field.between(0.65, 0.75), field.between(0.12, 0.17)
    for number in range(_SETS_OF_PLATES):
        inside = groups == number
        if inside.any():
            plates[inside] = _plates(field, step_um, width_um)[inside]
    films = np.full(len(grains.edges), field.px(0.15))
    plates = np.maximum(plates, borders(grains, films, np.full(len(films), 0.9)))
    matrix = 90 + 7 * smooth_noise(field.shape, field.px(0.15), rng)
    bright = field.between(185, 172)
    return np.asarray(matrix + (bright - matrix) * plates)


def _plates(field: _Field, step_um: float, width_um: float) -> Floats:
    """Plates of one grain, as they would fill the field."""
    rng = field.rng
    step = field.px(step_um)
    centres = lattice(field.shape, step, field.px(2.0), 0.5, rng)
    directions = rng.uniform(0, math.pi) + np.array([0, 1, 2][: 2 + rng.integers(2)]) * 1.05
    angles = rng.choice(directions, len(centres)) + 0.03 * rng.standard_normal(len(centres))
    lengths = field.px(2.0) * np.exp(0.4 * rng.standard_normal(len(centres)))
    widths = field.px(width_um) * rng.uniform(0.7, 1.4, len(centres))
    return needles(field.shape, centres, lengths, widths, angles)


def _ferrite_martensite(field: _Field) -> Floats:
    """Smooth dark ferrite beside bright martensite with laths; carbides belong to the latter."""
    rng = field.rng
    grains = grown_cells(field.shape, field.px(_DUAL_PHASE_UM), 0.6, rng)
    count = len(grains.cells)
    bend = field.px(0.08), field.px(0.8), field.seed()
    numbers = cell_numbers(grains)
    is_ferrite = rng.random(count) < field.between(0.35, 0.27)
    ferrite = bent(is_ferrite[numbers].astype(float), *bend)
    groups = rng.integers(_SETS_OF_LATHS, size=count)[numbers]
    laths = np.zeros(field.shape)
    size = field.between(0.7, 0.9), field.between(0.11, 0.16)
    for number in range(_SETS_OF_LATHS):
        angle, inside = rng.uniform(0, math.pi), groups == number
        made = streaks(field.shape, field.px(size[0]), field.px(size[1]), angle, rng)
        laths[inside] = made[inside]
    martensite = 150 + 28 * laths + 6 * rng.standard_normal(count)[numbers]
    if field.other:
        martensite += 45 * _step(smooth_noise(field.shape, field.px(0.12), rng) - 1.6, 0.2)
    soft = 88 + 5 * rng.standard_normal(count)[numbers]
    all_alike = np.ones(len(grains.edges))
    ridges = borders(grains, field.px(0.04) * all_alike, all_alike)
    grey = martensite + (soft - martensite) * ferrite
    return np.asarray(grey + 22 * ferrite * bent(ridges, *bend))


def _polycrystal(parameters: StructureParameters, rng: np.random.Generator) -> NDArray[np.uint8]:
    def between(usual: float, others: float) -> float:
        return others if parameters.variant == "b" else _varied(usual, others, rng)

    coarser = 1 + _SCALE_SPREAD * rng.uniform(-1, 1)
    groove = coarser * _GROOVE_UM / parameters.pixel_size_um
    made = PolycrystalParameters(
        height_px=parameters.height_px,
        width_px=parameters.width_px,
        pixel_size_um=parameters.pixel_size_um,
        grain_size=intercept_g(coarser * _POLYCRYSTAL_UM / 1000),
        sigma_ln=between(0.35, 0.6),
        etch="grains",
        boundary_px=min(max(groove, 1.0), 10.0),
        contrast=between(0.5, 0.4),
        grain_grey=between(8, 16),
        twinned=max(0.0, between(0, 0.3)),
        missing=0.03,
        blur_px=parameters.blur_px,
        noise=parameters.noise,
        illumination=parameters.illumination,
    )
    return polycrystal(made, int(rng.integers(2**31))).image


def _step(values: Floats, width: float) -> Floats:
    """0 below, 1 above zero, over a width from one to the other."""
    return np.asarray(np.clip(values / width + 0.5, 0, 1))


SURFACES: dict[str, Callable[[_Field], Floats]] = {
    "pearlite-fine": lambda field: _pearlite(field, PEARLITE_UM),
    "pearlite-coarse": lambda field: _pearlite(field, SCALE_RATIO * PEARLITE_UM),
    "spheroidite-fine": lambda field: _spheroidite(field, SPHEROIDITE_UM),
    "spheroidite-coarse": lambda field: _spheroidite(field, SCALE_RATIO * SPHEROIDITE_UM),
    "network": _network,
    "widmanstatten": _widmanstatten,
    "ferrite-martensite": _ferrite_martensite,
}

STRUCTURES: tuple[StructureName, ...] = get_args(StructureName)
"""All classes."""
