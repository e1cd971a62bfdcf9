from pathlib import Path

import numpy as np
import tifffile
from PIL import Image

from napari_metallography.io.mark import PICTURE, SOFTWARE, is_own_picture, own_pictures
from napari_metallography.io.overlays import write_png

GREY = np.full((30, 40), 90, np.uint8)


def test_pictures_of_results_bear_the_mark_and_masks_do_not(tmp_path: Path) -> None:
    write_png(tmp_path / "shown.png", GREY)
    write_png(tmp_path / "mask.png", GREY, to_be_measured=True)
    assert is_own_picture(tmp_path / "shown.png")
    assert not is_own_picture(tmp_path / "mask.png")
    with Image.open(tmp_path / "mask.png") as image:
        assert image.info["Software"] == SOFTWARE


def test_a_tiff_bears_the_mark_as_its_software(tmp_path: Path) -> None:
    for name, software in (("shown.tif", PICTURE), ("image.tif", SOFTWARE)):
        tifffile.imwrite(tmp_path / name, GREY, software=software, compression="zlib")
    assert is_own_picture(tmp_path / "shown.tif")
    assert not is_own_picture(tmp_path / "image.tif")


def test_what_cannot_be_read_is_no_picture_of_ours(tmp_path: Path) -> None:
    assert not is_own_picture(tmp_path / "missing.png")
    assert not is_own_picture(tmp_path)


def test_pictures_without_a_mark_are_known_by_the_image_beside_them(tmp_path: Path) -> None:
    names = ("a.tif", "a_lines.png", "a_automatic.png", "a_lines.tif", "b_lines.png", "a_b.png")
    paths = [tmp_path / name for name in names]
    for path in paths:
        path.write_bytes(b"x")
    assert own_pictures(paths) == {tmp_path / "a_lines.png", tmp_path / "a_automatic.png"}
