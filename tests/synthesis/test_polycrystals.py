import numpy as np
import pytest

from napari_metallography.grains.standards import intercept_g, planimetric_g
from napari_metallography.synthesis.polycrystals import PolycrystalParameters, polycrystal

SMALL = PolycrystalParameters(height_px=256, width_px=320, pixel_size_um=0.5, grain_size=9)


def _with(**changes: object) -> PolycrystalParameters:
    return SMALL.model_copy(update=changes)


def test_the_same_seed_gives_the_same_micrograph() -> None:
    first, again, other = (polycrystal(SMALL, seed) for seed in (1, 1, 2))
    assert (first.image == again.image).all()
    assert (first.image != other.image).any()


@pytest.mark.parametrize("grain_size", [7.0, 10.0, 12.0])
def test_the_intercept_number_is_the_wanted_one(grain_size: float) -> None:
    found = polycrystal(_with(grain_size=grain_size), 0)
    assert found.intercept_g == pytest.approx(grain_size, abs=0.02)
    assert found.intercept_g == pytest.approx(intercept_g(found.mean_intercept_um / 1000))
    # Planimetric numbers of such shapes are a little lower.
    assert 0.1 < found.intercept_g - found.planimetric_g < 0.5


def test_grains_are_numbered_without_gaps_and_fill_the_field() -> None:
    grains = polycrystal(SMALL, 3).grains
    assert set(np.unique(grains)) == set(range(1, grains.max() + 1))


def test_counted_grains_agree_with_the_planimetric_truth() -> None:
    found = polycrystal(_with(height_px=700, width_px=700, grain_size=10), 3)
    edges = (found.grains[0], found.grains[-1], found.grains[:, 0], found.grains[:, -1])
    cut = len(np.unique(np.concatenate(edges)))
    inside = found.grains.max() - cut
    counted = (inside + cut / 2 + 1) / (700 * 0.5e-3) ** 2
    assert planimetric_g(counted) == pytest.approx(found.planimetric_g, abs=0.05)


def test_grooves_are_dark_where_the_boundaries_are() -> None:
    found = polycrystal(_with(noise=1, illumination=0, grain_grey=0, boundary_px=3), 0)
    on = found.image[found.boundaries].mean()
    far = found.image[~found.boundaries].mean()
    assert on < far - 20


def test_boundaries_lie_between_grains() -> None:
    found = polycrystal(SMALL, 5)
    changes = np.zeros(found.grains.shape, bool)
    changes[:, 1:] |= found.grains[:, 1:] != found.grains[:, :-1]
    changes[1:] |= found.grains[1:] != found.grains[:-1]
    near = np.zeros_like(changes)
    near[1:-1, 1:-1] = [
        [changes[y : y + 3, x : x + 3].any() for x in range(changes.shape[1] - 2)]
        for y in range(changes.shape[0] - 2)
    ]
    inner = (slice(1, -1), slice(1, -1))
    assert near[inner][found.boundaries[inner]].mean() > 0.99


def test_missing_boundaries_do_not_change_the_truth() -> None:
    whole, faint = polycrystal(SMALL, 2), polycrystal(_with(missing=0.4), 2)
    assert (whole.grains == faint.grains).all()
    assert (whole.boundaries == faint.boundaries).all()
    shown = [p.image[p.boundaries].astype(float).mean() for p in (whole, faint)]
    assert shown[1] > shown[0] + 5


def test_twins_are_no_grains() -> None:
    plain, twinned = polycrystal(SMALL, 4), polycrystal(_with(twinned=0.6), 4)
    assert not plain.twins.any()
    assert 0.05 < twinned.twins.mean() < 0.5
    assert (plain.grains == twinned.grains).all()
    assert plain.intercept_g == twinned.intercept_g


def test_colour_etching_gives_hues() -> None:
    image = polycrystal(_with(etch="colour"), 1).image
    assert image.shape == (256, 320, 3)
    assert np.ptp(image.astype(float), axis=2).mean() > 20


def test_scratches_and_pits_show() -> None:
    plain = _with(noise=0, blur_px=0, illumination=0)
    scratched = plain.model_copy(update={"scratches": 5, "pits": 4000.0})
    clean, marked = (polycrystal(p, 6).image.astype(float) for p in (plain, scratched))
    # The Poisson noise has a standard deviation of about 13.
    assert 0.005 < (np.abs(clean - marked) > 80).mean() < 0.2
