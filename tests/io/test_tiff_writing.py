"""TIFFs written strip by strip."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from napari_metallography import plane
from napari_metallography.errors import InputError
from napari_metallography.io import tiff_writing
from napari_metallography.io.tiff_writing import write_planes

PLANES = np.random.default_rng(6).integers(0, 3, (3, 50, 60), np.uint8)


@pytest.mark.parametrize("pixels", [PLANES, PLANES[0], PLANES.astype(np.uint16)])
def test_the_file_is_the_one_that_is_written_at_once(tmp_path: Path, pixels) -> None:
    tags: dict[str, Any] = {"photometric": "minisblack", "description": "x", "software": "y"}
    write_planes(tmp_path / "strips.tif", pixels, **tags)
    tifffile.imwrite(tmp_path / "once.tif", pixels, compression="zlib", metadata=None, **tags)
    assert (tmp_path / "strips.tif").read_bytes() == (tmp_path / "once.tif").read_bytes()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(strip=st.integers(1, 4000), block=st.integers(1, 20_000))
def test_pixels_do_not_depend_on_strips_and_blocks(tmp_path: Path, strip: int, block: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tiff_writing, "_STRIP_BYTES", strip)
        patch.setattr(plane, "_BLOCK_BYTES", block)
        write_planes(tmp_path / "a.tif", PLANES, photometric="minisblack")
    with tifffile.TiffFile(tmp_path / "a.tif") as tiff:
        assert len(tiff.pages) == 3
        assert tiff.pages.first.rowsperstrip == min(50, max(1, strip // 60))
        np.testing.assert_array_equal(tiff.asarray(), PLANES)


def test_what_is_too_large_for_a_tiff_becomes_a_bigtiff(tmp_path: Path, monkeypatch) -> None:
    for largest, big in ((PLANES.nbytes, False), (PLANES.nbytes - 1, True)):
        monkeypatch.setattr(tiff_writing, "_LARGEST_CLASSIC", largest)
        write_planes(tmp_path / "a.tif", PLANES, photometric="minisblack")
        with tifffile.TiffFile(tmp_path / "a.tif") as tiff:
            assert tiff.is_bigtiff == big
            np.testing.assert_array_equal(tiff.asarray(), PLANES)


class Failing:
    """Planes of which the later rows cannot be read."""

    shape, dtype = PLANES.shape, PLANES.dtype

    def __init__(self, error: Exception) -> None:
        self.error = error

    def __getitem__(self, key: tuple[int, ...]) -> np.ndarray:
        if key == (2,):
            raise self.error
        return PLANES[key]


@pytest.mark.parametrize("error", [InputError("damaged"), OSError(5, "Input/output error")])
def test_a_file_that_is_not_finished_is_not_there(tmp_path: Path, error: Exception) -> None:
    write_planes(tmp_path / "a.tif", PLANES[0], photometric="minisblack")
    before = (tmp_path / "a.tif").read_bytes()
    with pytest.raises(InputError, match=r"damaged|Input/output error"):
        write_planes(tmp_path / "a.tif", Failing(error), photometric="minisblack")
    assert (tmp_path / "a.tif").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["a.tif"]
