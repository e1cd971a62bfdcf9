import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial import cKDTree

from napari_metallography.errors import InputError
from napari_metallography.grains.partition import from_boundaries, from_labels, numbered
from napari_metallography.synthesis.polycrystals import PolycrystalParameters, polycrystal


def _four_squares() -> np.ndarray:
    mask = np.zeros((41, 41), bool)
    mask[20] = mask[:, 20] = True
    return mask


def test_boundary_pixels_go_to_the_nearest_grain() -> None:
    found = from_boundaries(_four_squares())
    assert found.n == 4
    assert found.grains.min() == 1
    assert found.areas.sum() == 41 * 41
    assert np.ptp(found.areas) < 50


def test_boundaries_that_touch_by_corners_are_closed() -> None:
    mask = np.eye(30, dtype=bool)
    assert from_boundaries(mask).n == 2


def test_every_grain_of_a_truth_is_found_from_its_boundaries() -> None:
    truth = polycrystal(PolycrystalParameters(height_px=300, width_px=300, grain_size=8), 1)
    found = from_boundaries(truth.boundaries, smallest_area_px=9)
    assert abs(found.n - truth.grains.max()) <= 0.03 * truth.grains.max()
    agree = [
        np.bincount(found.grains[truth.grains == number]).max() / (truth.grains == number).sum()
        for number in range(1, truth.grains.max() + 1)
        if (truth.grains == number).sum() > 200
    ]
    assert np.mean(agree) > 0.95


def test_numbers_of_labels_do_not_matter() -> None:
    labels = np.zeros((20, 20), np.int32)
    labels[:, :9], labels[:, 11:] = 700, 12
    found = from_labels(labels)
    assert found.n == 2
    assert found.areas.tolist() == [200, 200]
    assert found.on_border().all()


def test_small_grains_are_given_to_their_neighbours() -> None:
    mask = _four_squares()
    mask[5:8, 5:8] = True
    mask[6, 6] = False
    assert from_boundaries(mask).n == 5
    assert from_boundaries(mask, smallest_area_px=4).n == 4


def test_four_grains_meet_in_one_point() -> None:
    points, meeting = from_boundaries(_four_squares()).triple_points
    assert meeting.tolist() == [4]
    assert points == pytest.approx(np.array([[20, 20]]), abs=1.1)


def test_triple_points_agree_with_the_truth() -> None:
    truth = polycrystal(PolycrystalParameters(height_px=400, width_px=400, grain_size=8), 2)
    _, meeting = from_labels(truth.grains).triple_points
    # Two triple points a grain; N_A from them is the truth of the planimetric number.
    pixel_mm = 0.5e-3
    counted = (meeting - 2).sum() / 2 / (400 * pixel_mm) ** 2
    true = 10 ** ((truth.planimetric_g + 2.954) / 3.321928)
    assert counted == pytest.approx(true, rel=0.03)


@pytest.mark.parametrize(
    ("mask", "says"),
    [
        (np.zeros((20, 20), bool), "no grain boundary"),
        (~_four_squares(), "seems inverted"),
    ],
)
def test_masks_without_grains_are_refused(mask: np.ndarray, says: str) -> None:
    with pytest.raises(InputError, match=says):
        from_boundaries(mask)


def test_labels_without_a_grain_are_refused() -> None:
    with pytest.raises(InputError, match="holds no grain"):
        from_labels(np.zeros((5, 5), np.int32))


@given(st.integers(0, 10_000), st.integers(10, 400))
def test_triple_points_near_places_are_those_of_the_whole_field(seed, count) -> None:
    random = np.random.default_rng(seed)
    y, x = np.mgrid[:60, :70]
    cells = cKDTree(random.uniform(0, 70, (count, 2)))
    grains = numbered(cells.query(np.column_stack([y.ravel(), x.ravel()]))[1].reshape(60, 70))
    places = random.uniform(0, 69, (50, 2))
    points, counts = grains.triple_points
    near, meeting = grains.triple_points_near(places, 0.51)
    known = dict(zip(map(tuple, points), counts, strict=True))
    assert all(known[tuple(point)] == n for point, n in zip(near, meeting, strict=True))
    found = set(map(tuple, near))
    within = (np.abs(points[:, None] - places) <= 0.51).all(2).any(1)
    assert all(tuple(point) in found for point in points[within])
