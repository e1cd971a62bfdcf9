"""`synthesize`: micrographs with exact truth, to validate instruments with."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import InputError, validated
from . import terminal
from .options import Output, option_of

if TYPE_CHECKING:
    from ..events import Events

_PIXEL_SIZES_UM = (0.008, 0.016, 0.032, 0.064)


class Etch(StrEnum):
    """What the etchant shows."""

    boundaries = "boundaries"
    grains = "grains"
    colour = "colour"


class StructureClass(StrEnum):
    """Classes of synthetic structures."""

    pearlite_fine = "pearlite-fine"
    pearlite_coarse = "pearlite-coarse"
    spheroidite_fine = "spheroidite-fine"
    spheroidite_coarse = "spheroidite-coarse"
    network = "network"
    widmanstatten = "widmanstatten"
    ferrite_martensite = "ferrite-martensite"
    polycrystal = "polycrystal"


class VariantName(StrEnum):
    """Families of shapes and grey values: one to learn from, one to be tested on."""

    a = "a"
    b = "b"


Count = Annotated[int, typer.Option(help="Number of images.")]
Seed = Annotated[int, typer.Option(help="Of the first image; the others have the next ones.")]
Height = Annotated[int, typer.Option(help="Rows of an image.")]
Width = Annotated[int, typer.Option(help="Columns of an image.")]
Blur = Annotated[float, typer.Option(help="Blur of the image, standard deviation in pixels.")]
Noise = Annotated[float, typer.Option(help="Noise, standard deviation in grey values.")]
Light = Annotated[float, typer.Option(help="Unevenness of the light, 0 to 0.5.")]


def synthesize_polycrystal(
    output: Output,
    count: Count = 5,
    seed: Seed = 0,
    grain_size: Annotated[float, typer.Option(help="ASTM G by the mean intercept.")] = 8.0,
    pixel_size: Annotated[float, typer.Option(help="Pixel size in µm.")] = 0.5,
    height: Height = 768,
    width: Width = 1024,
    spread: Annotated[
        float, typer.Option(help="Spread of the grain areas, sigma of their logarithm.")
    ] = 0.4,
    etch: Annotated[Etch, typer.Option(help="What the etchant shows.")] = Etch.boundaries,
    boundary: Annotated[float, typer.Option(help="Width of boundaries in pixels.")] = 2.0,
    contrast: Annotated[float, typer.Option(help="How much darker boundaries are.")] = 0.45,
    missing: Annotated[float, typer.Option(help="Part of the boundaries not shown.")] = 0.0,
    grain_grey: Annotated[float, typer.Option(help="Spread of the grains' grey values.")] = 8.0,
    twinned: Annotated[float, typer.Option(help="Part of the grains with twins.")] = 0.0,
    scratches: Annotated[int, typer.Option(help="Scratches across an image.")] = 0,
    pits: Annotated[float, typer.Option(help="Etch pits in a million pixels.")] = 0.0,
    blur: Blur = 0.8,
    noise: Noise = 5.0,
    illumination: Light = 0.1,
) -> None:
    """Write etched polycrystals of a known grain size: images, boundaries, grains, index.csv."""
    from ..synthesis.files import write_polycrystals
    from ..synthesis.polycrystals import PolycrystalParameters

    parameters = validated(
        PolycrystalParameters,
        {
            "height_px": height,
            "width_px": width,
            "pixel_size_um": pixel_size,
            "grain_size": grain_size,
            "sigma_ln": spread,
            "etch": etch.value,
            "boundary_px": boundary,
            "contrast": contrast,
            "missing": missing,
            "grain_grey": grain_grey,
            "twinned": twinned,
            "scratches": scratches,
            "pits": pits,
            "blur_px": blur,
            "noise": noise,
            "illumination": illumination,
        },
        _option,
    )
    _write(write_polycrystals(output, parameters, _counted(count), _known(seed)), count, output)


def synthesize_carbides(
    output: Output,
    count: Count = 5,
    seed: Seed = 0,
    pixel_size: Annotated[float, typer.Option(help="Pixel size in µm.")] = 0.0031,
    height: Height = 768,
    width: Width = 1024,
    median_radius: Annotated[
        float, typer.Option(help="Median radius of the particles in pixels.")
    ] = 12.0,
    spread: Annotated[
        float, typer.Option(help="Spread of the radii, sigma of their logarithm.")
    ] = 0.4,
    area_fraction: Annotated[float, typer.Option(help="Area fraction, 0 to 0.15.")] = 0.06,
    touching_fraction: Annotated[
        float, typer.Option(help="Part of the particles in touching pairs.")
    ] = 0.1,
    blur: Blur = 1.0,
    noise: Noise = 8.0,
    illumination: Light = 0.15,
) -> None:
    """Write SEM fields of carbides of known sizes: images, labels, particles, index.csv."""
    from ..synthesis.carbides import CarbideParameters
    from ..synthesis.files import write_carbides

    parameters = validated(
        CarbideParameters,
        {
            "height_px": height,
            "width_px": width,
            "pixel_size_um": pixel_size,
            "median_radius_px": median_radius,
            "sigma_ln": spread,
            "area_fraction": area_fraction,
            "touching_fraction": touching_fraction,
            "blur_px": blur,
            "noise": noise,
            "illumination": illumination,
        },
        _option,
    )
    _write(write_carbides(output, parameters, _counted(count), _known(seed)), count, output)


def synthesize_structure(
    output: Output,
    name: Annotated[
        list[StructureClass] | None,
        typer.Option("--class", help="Class to make; repeat for several. Default: all."),
    ] = None,
    count: Annotated[int, typer.Option(help="Number of images of each class.")] = 12,
    seed: Seed = 0,
    pixel_size: Annotated[
        list[float] | None,
        typer.Option(
            help="Pixel size in µm; repeat for several, which the images of a class take in turn. "
            "Default: 0.008, 0.016, 0.032 and 0.064."
        ),
    ] = None,
    variant: Annotated[
        VariantName, typer.Option(help="Family of shapes and grey values.")
    ] = VariantName.a,
    height: Height = 512,
    width: Width = 512,
    blur: Blur = 0.7,
    noise: Noise = 5.0,
    illumination: Light = 0.1,
) -> None:
    """Write structures of known class and scale: a folder a class, index.csv."""
    from ..synthesis.files import write_structures
    from ..synthesis.structures import STRUCTURES, StructureParameters

    shared = {
        "variant": variant.value,
        "height_px": height,
        "width_px": width,
        "blur_px": blur,
        "noise": noise,
        "illumination": illumination,
    }
    names = [one.value for one in name] if name else STRUCTURES
    parameters = [
        validated(
            StructureParameters, {**shared, "name": one, "pixel_size_um": size}, _structure_option
        )
        for one in names
        for size in pixel_size or _PIXEL_SIZES_UM
    ]
    running = write_structures(output, parameters, _counted(count), _known(seed))
    _write(running, count * len(set(names)), output)


def _write(running: Events[None], count: int, output: object) -> None:
    terminal.follow(running, "synthesize")
    terminal.done(f"{count} images with their truth; index.csv in {output}")


def _counted(count: int) -> int:
    if count < 1:
        raise InputError(f"--count {count}: make one image at least")
    return count


def _known(seed: int) -> int:
    if seed < 0:
        raise InputError(f"--seed {seed}: give 0 or more")
    return seed


def _structure_option(field: str) -> str:
    return "--pixel-size" if field == "pixel_size_um" else option_of(field)


def _option(field: str) -> str:
    return option_of("spread" if field == "sigma_ln" else field)
