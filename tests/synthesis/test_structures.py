from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_metallography.errors import InputError, validated
from napari_metallography.synthesis.structures import (
    PEARLITE_UM,
    SCALE_PAIRS,
    SCALE_RATIO,
    STRUCTURES,
    StructureParameters,
    structure,
)

QUIET = {"noise": 0.0, "blur_px": 0.0, "illumination": 0.0}


def _made(name: str, seed: int = 0, **more) -> np.ndarray:
    shape = {"height_px": 192, "width_px": 208}
    return structure(StructureParameters(name=name, **{**shape, **more}), seed).image


@pytest.mark.parametrize("name", STRUCTURES)
def test_the_same_seed_gives_the_same_image_and_another_does_not(name) -> None:
    one = _made(name, pixel_size_um=0.03)
    assert one.shape == (192, 208)
    assert one.dtype == np.uint8
    assert (one == _made(name, pixel_size_um=0.03)).all()
    for other in (_made(name, 1, pixel_size_um=0.03), _made(name, pixel_size_um=0.03, variant="b")):
        assert (one != other).mean() > 0.5


@pytest.mark.parametrize("name", STRUCTURES)
@pytest.mark.parametrize("variant", ["a", "b"])
def test_every_structure_shows_over_a_factor_of_eight_in_magnification(name, variant) -> None:
    for size in (0.008, 0.0226, 0.064):
        image = _made(name, 5, pixel_size_um=size, variant=variant, **QUIET)
        assert image.std() > 8
        # Nothing is cut off at black or white.
        assert ((image == 0) | (image == 255)).mean() < 0.02


@pytest.mark.parametrize("pair", SCALE_PAIRS)
@pytest.mark.parametrize("variant", ["a", "b"])
def test_a_scale_pair_differs_in_nothing_but_its_scale(pair, variant) -> None:
    fine, coarse = pair
    # Pixels alone: the coarse structure at a coarser pixel is the fine one.
    same = _made(coarse, 3, pixel_size_um=0.016 * SCALE_RATIO, variant=variant)
    image = _made(fine, 3, pixel_size_um=0.016, variant=variant)
    assert (image != same).mean() < 0.01
    # At one pixel size they differ.
    assert (image != _made(coarse, 3, pixel_size_um=0.016, variant=variant)).mean() > 0.5


@settings(max_examples=12)
@given(st.integers(0, 1000), st.floats(0.008, 0.03))
def test_lamellae_are_as_far_apart_as_stated(seed, pixel_size) -> None:
    image = _made("pearlite-fine", seed, pixel_size_um=pixel_size, **QUIET)
    power = np.abs(np.fft.fft2(image - image.mean())) ** 2
    y, x = np.meshgrid(*map(np.fft.fftfreq, image.shape), indexing="ij")
    frequency = np.hypot(y, x)
    # Half the power of a pattern of lines lies at its spacing and above.
    shown = frequency > 0.3 * pixel_size / PEARLITE_UM
    order = np.argsort(frequency[shown])
    cumulated = np.cumsum(power[shown][order])
    middle = frequency[shown][order][np.searchsorted(cumulated, cumulated[-1] / 2)]
    # The plane of section widens it by up to 1.3, specimens differ by 15 %.
    assert 0.7 < pixel_size / (middle * PEARLITE_UM) < 1.6


def test_coarse_spheroidite_has_larger_carbides() -> None:
    sizes = {}
    for name in SCALE_PAIRS[1]:
        # Specimens differ: several of them.
        images = [_made(name, seed, pixel_size_um=0.016, **QUIET) for seed in range(6)]
        carbide = np.stack(images) > 130
        outline = (carbide[..., 1:] != carbide[..., :-1]).sum()
        sizes[name] = carbide.sum() / outline
    fine, coarse = sizes.values()
    assert coarse / fine == pytest.approx(SCALE_RATIO, rel=0.25)


def test_specimens_to_learn_from_differ_in_their_proportions() -> None:
    images = [_made("pearlite-fine", seed, pixel_size_um=0.016, **QUIET) for seed in range(8)]
    shares = [(image > 135).mean() for image in images]
    # Of cementite: three tenths, up to half as far from that as the four tenths of "b" are.
    assert np.mean(shares) == pytest.approx(0.3, abs=0.03)
    assert 0.04 < np.ptp(shares) < 0.14


def test_a_field_smaller_than_a_grain_and_bad_values_are_refused() -> None:
    with pytest.raises(InputError, match="smaller than a grain"):
        _made("polycrystal", pixel_size_um=1e-4)
    with pytest.raises(InputError, match="name"):
        validated(StructureParameters, {"name": "bainite"})
