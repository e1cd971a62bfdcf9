from __future__ import annotations

import numpy as np
import pytest
import tifffile

from napari_metallography.errors import InputError
from napari_metallography.events import Notice, drain
from napari_metallography.training.unlabelled import read_micrographs_below


def _write(path, shape=(40, 50), **options) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(len(path.name))
    tifffile.imwrite(path, random.integers(0, 255, shape, np.uint8), **options)


def test_images_of_all_depths_are_read_and_labels_left(tmp_path) -> None:
    _write(tmp_path / "set" / "a.tif")
    _write(tmp_path / "set" / "a_labels.tif")
    _write(tmp_path / "set" / "deep" / "down" / "b.tif")
    _write(tmp_path / "set" / "deep" / "stack.tif", (3, 40, 50), photometric="minisblack")
    _write(tmp_path / "set" / "small.tif", (20, 50))
    (tmp_path / "set" / "broken.tif").write_bytes(b"II*")
    (tmp_path / "set" / "deep" / "index.csv").write_text("image,pixel_size_um\nstack.tif,0.2\n")
    events = []
    found = drain(read_micrographs_below([tmp_path / "set"], 32), events.append)
    assert found.files == ("set/a.tif", *["set/deep/stack.tif"] * 3, "set/deep/down/b.tif")
    assert found.pixel_sizes_um == (None, 0.2, 0.2, 0.2, None)
    assert all(plane.shape == (40, 50) for plane in found.planes)
    assert len(found.skipped) == 2
    (notice,) = [event for event in events if isinstance(event, Notice)]
    assert "2 skipped" in notice.message
    again = drain(read_micrographs_below([tmp_path / "set" / "deep" / "down"], 32))
    assert again.digest() != found.digest()


def test_folders_without_images_are_refused(tmp_path) -> None:
    (tmp_path / "empty" / "inner").mkdir(parents=True)
    _write(tmp_path / "tiny" / "a.tif", (16, 16))
    for name, said in (
        ("absent", "no such folder"),
        ("empty", "holds no image, nor do the folders in it"),
        ("tiny", "no image can be used"),
    ):
        with pytest.raises(InputError, match=said):
            drain(read_micrographs_below([tmp_path / name], 32))
