import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_metallography.regions import Box
from napari_metallography.segmentation.tiling import haloed, overlapping

frames = st.builds(
    lambda top, left, height, width: Box(top, left, top + height, left + width),
    st.integers(0, 50),
    st.integers(0, 50),
    st.integers(1, 3000),
    st.integers(1, 3000),
)


def _times_used(frame: Box, rows: list) -> np.ndarray:
    counts = np.zeros((frame.bottom, frame.right), np.int32)
    for row in rows:
        for window in row:
            counts[window.used.slices] += 1
    return counts[frame.top :, frame.left :]


@given(frames, st.integers(256**2, 2_000_000), st.sampled_from([16, 64]))
def test_haloed_windows_use_every_pixel_once(frame: Box, area: int, halo: int) -> None:
    assert (_times_used(frame, haloed(frame, area, halo)) == 1).all()


@given(frames, st.integers(256**2, 2_000_000))
def test_haloed_windows_see_the_halo_wherever_the_frame_goes_on(frame: Box, area: int) -> None:
    halo = 64
    for row in haloed(frame, area, halo):
        for window in row:
            assert frame.top <= window.seen.top <= max(frame.top, window.used.top - halo)
            assert frame.left <= window.seen.left <= max(frame.left, window.used.left - halo)
            assert min(frame.bottom, window.used.bottom + halo) <= window.seen.bottom
            assert min(frame.right, window.used.right + halo) <= window.seen.right
            assert window.seen.bottom <= frame.bottom
            assert window.seen.right <= frame.right


def test_windows_of_a_large_image_are_of_one_size() -> None:
    rows = haloed(Box(0, 0, 8192, 8192), 1_750_000, 64)
    assert len({window.seen.shape for row in rows for window in row}) == 1


@given(frames, st.integers(320 * 320, 2_000_000))
def test_haloed_windows_keep_to_the_largest_area(frame: Box, area: int) -> None:
    for row in haloed(frame, area, 64):
        for window in row:
            rows, columns = window.seen.shape
            assert rows * columns <= area


@given(frames)
def test_overlapping_windows_cover_the_frame_and_stay_inside(frame: Box) -> None:
    rows = overlapping(frame, 256, 128)
    assert (_times_used(frame, rows) >= 1).all()
    for row in rows:
        for window in row:
            assert window.used.bottom <= frame.bottom
            assert window.used.right <= frame.right


def test_overlapping_windows_lie_where_the_paper_puts_them() -> None:
    rows = overlapping(Box(0, 0, 1536, 2048), 256, 128)
    assert (len(rows), len(rows[0])) == (11, 15)
    assert rows[1][2].used == Box(128, 256, 384, 512)


def test_the_last_window_is_moved_back_inside() -> None:
    rows = overlapping(Box(0, 0, 300, 645), 256, 128)
    assert [row[0].used.top for row in rows] == [0, 44]
    assert rows[0][-1].used == Box(0, 389, 256, 645)


@pytest.mark.parametrize("shape", [(1536, 2048), (2048, 1536)])
def test_two_haloed_windows_serve_a_usual_micrograph(shape: tuple[int, int]) -> None:
    rows = haloed(Box(0, 0, *shape), 1_750_000, 64)
    assert sum(len(row) for row in rows) == 2


def test_inner_is_the_used_part_of_the_seen_part() -> None:
    frame = Box(10, 20, 1010, 2020)
    image = np.arange(1100 * 2100).reshape(1100, 2100)
    for row in haloed(frame, 500_000, 32):
        for window in row:
            seen = image[window.seen.slices]
            assert (seen[window.inner] == image[window.used.slices]).all()


@given(frames, st.integers(320 * 320, 2_000_000))
def test_haloed_windows_lie_on_the_networks_grid(frame: Box, area: int) -> None:
    for row in haloed(frame, area, 64):
        for window in row:
            assert (window.seen.top - frame.top) % 32 == 0
            assert (window.seen.left - frame.left) % 32 == 0
