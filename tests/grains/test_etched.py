import numpy as np
import pytest
import tifffile

from napari_metallography.errors import InputError
from napari_metallography.grains.etched import (
    EtchedParameters,
    boundary_strength,
    grains_of_etched,
)
from napari_metallography.grains.intersections import intersect, straight_lines
from napari_metallography.grains.partition import Partition
from napari_metallography.grains.standards import intercept_g
from napari_metallography.synthesis.polycrystals import PolycrystalParameters, polycrystal

NIST_UM = 50 / 222


def _g(grains: Partition, pixel_um: float) -> float:
    found = intersect(grains, straight_lines(grains.shape, 20))
    return intercept_g(found.mean_intercept_px * pixel_um / 1000)


@pytest.mark.parametrize("seed", [0, 1])
def test_etched_boundaries_give_the_grain_size(seed: int) -> None:
    made = polycrystal(
        PolycrystalParameters(height_px=360, width_px=480, grain_size=9, contrast=0.5), seed
    )
    assert _g(grains_of_etched(made.image), 0.5) == pytest.approx(made.intercept_g, abs=0.25)


def test_light_and_contrast_change_nothing() -> None:
    recipe = {"height_px": 240, "width_px": 320, "grain_size": 9, "noise": 2, "contrast": 0.5}
    image = polycrystal(PolycrystalParameters(**recipe), 3).image.astype(np.float32)
    grains = grains_of_etched(image)
    ramp = np.linspace(0.7, 1.3, 320, dtype=np.float32)
    for other in (0.5 * image, image * ramp):
        assert _g(grains_of_etched(other), 0.5) == pytest.approx(_g(grains, 0.5), abs=0.1)


def test_white_noise_has_a_strength_of_about_one() -> None:
    noise = np.random.default_rng(0).normal(100, 5, (200, 200)).astype(np.float32)
    strength = boundary_strength(noise, 3)
    assert strength.std() < 1 < np.percentile(strength, 90) < 3


def test_an_image_without_boundaries_is_refused() -> None:
    noise = np.random.default_rng(0).normal(100, 5, (100, 100)).astype(np.float32)
    with pytest.raises(InputError, match="no grain boundary shows"):
        grains_of_etched(noise)


def test_boundaries_show_in_any_channel() -> None:
    grey = polycrystal(PolycrystalParameters(height_px=160, width_px=200, grain_size=9), 4).image
    coloured = np.full((160, 200, 3), 150, np.uint8)
    coloured[..., 1] = grey
    coloured[0, 0] = 149
    assert grains_of_etched(coloured).n == pytest.approx(grains_of_etched(grey).n, abs=2)


def test_raw_steel_is_graded_as_by_hand(shared_data) -> None:
    # 10.3 by lines on the boundaries that were highlighted by hand.
    raw = tifffile.imread(shared_data / "nist_steel" / "grain_structures_steel.tif")
    assert _g(grains_of_etched(raw), NIST_UM) == pytest.approx(10.3, abs=0.3)
    coarse = grains_of_etched(raw, EtchedParameters(contrast=0.5))
    assert _g(coarse, NIST_UM) < 10
