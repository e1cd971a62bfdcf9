"""Results in a temporary file."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import numpy as np
import pytest

from napari_metallography.errors import InputError
from napari_metallography.io import scratch
from napari_metallography.io.scratch import ScratchPlanes

PLANES = np.random.default_rng(0).integers(0, 255, (3, 20, 30), np.uint8)


def test_rows_come_back_as_they_were_written(tmp_path: Path) -> None:
    with ScratchPlanes(tmp_path, PLANES.shape) as made:
        for number, top in ((2, 0), (0, 7), (0, 0), (1, 0), (2, 7)):
            made[number, top : top + 13] = PLANES[number, top : top + 13]
        made[1, 0:7, :] = PLANES[1, :7]
        made[1, 10:] = PLANES[1, 10:]
        np.testing.assert_array_equal(np.asarray(made), PLANES)
        np.testing.assert_array_equal(made[1, 3:9, 4:20:3], PLANES[1, 3:9, 4:20:3])
        np.testing.assert_array_equal(made.plane(2)[::5], PLANES[2, ::5])


def test_a_plane_alone_needs_no_number_and_what_is_not_written_is_0(tmp_path: Path) -> None:
    with ScratchPlanes(tmp_path, (20, 30)) as made:
        made[5:9] = np.uint8(7)
        expected = np.zeros((20, 30), np.uint8)
        expected[5:9] = 7
        np.testing.assert_array_equal(made[:], expected)


@pytest.mark.parametrize("key", [(0, slice(0, 9, 2)), (0, 3), (slice(0, 1), slice(0, 2)), 9])
def test_other_parts_cannot_be_written(tmp_path: Path, key: object) -> None:
    with ScratchPlanes(tmp_path, PLANES.shape) as made, pytest.raises(IndexError):
        made[key] = np.uint8(0)


def test_nothing_is_left_in_a_folder_that_is_made_for_it(tmp_path: Path) -> None:
    folder = tmp_path / "a" / "b"
    with pytest.raises(RuntimeError), ScratchPlanes(folder, (4, 5)):
        raise RuntimeError
    assert [*folder.iterdir()] == []


def test_a_full_disk_and_a_folder_that_is_none_are_one_line(tmp_path: Path, monkeypatch) -> None:
    class Full(BytesIO):
        def write(self, *_: object) -> int:
            raise OSError(28, "No space left on device")

    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be written"):
        ScratchPlanes(tmp_path / "file", (4, 5))
    monkeypatch.setattr(scratch, "TemporaryFile", lambda **_: Full())
    with (
        ScratchPlanes(tmp_path, (4, 5)) as made,
        pytest.raises(InputError, match=r"cannot be written \(No space left on device\)"),
    ):
        made[:2] = np.uint8(1)
