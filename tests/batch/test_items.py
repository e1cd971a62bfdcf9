import os

import numpy as np
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st

from napari_metallography.batch.items import (
    _folders,
    has_changed,
    input_files,
    state_of,
    survey,
)
from napari_metallography.errors import InputError
from napari_metallography.events import drain, ignore
from napari_metallography.inputs import PixelSizes


def test_files_folders_and_patterns_are_inputs_and_each_counts_once(scans):
    one = scans / "field0.tif"
    assert input_files([one, scans, f"{scans}/field*.tif"]) == sorted(scans.glob("*.tif"))


@pytest.mark.parametrize(
    ("name", "said"), [("none.tif", "no such file or folder"), ("x*.tif", "matches no file")]
)
def test_inputs_that_are_not_there_are_named(scans, name, said):
    with pytest.raises(InputError, match=said):
        input_files([str(scans / name)])


def test_every_plane_of_a_stack_is_an_item(stack, scans):
    files = [stack, scans / "field0.tif"]
    sources = drain(survey(files, PixelSizes()), ignore)
    assert [item.key for one in sources for item in one.items] == [
        *(f"stack/plane_000{n}" for n in range(3)),
        "scans__field0",
    ]
    assert [one.calibration and one.calibration.mean_um for one in sources] == [None, 0.1]
    assert [one.specimen for one in sources] == ["", "A"]


def test_what_cannot_be_read_is_an_item_whose_turn_comes(scans):
    bad = scans / "bad.tif"
    bad.write_bytes(b"II*\0 and no more")
    [source] = drain(survey([bad], PixelSizes()), ignore)
    assert (source.planes, source.calibration) == (1, None)


def test_stems_that_are_alike_get_folders_of_their_own(tmp_path):
    names = ["a/x.tif", "b/x.tif", "b/x.png", "B/X.tif", "y.tif"]
    folders = list(_folders(names, [None] * len(names)))
    assert folders[0] == "a__x"
    assert folders[4] == "y"
    assert len({one.casefold() for one in folders}) == len(names)


def test_a_folder_that_is_kept_is_nobody_elses():
    assert list(_folders(["x.tif", "a/x.tif", "b/x.tif"], [None, "x", None])) == [
        "x (2)",
        "x",
        "b__x",
    ]


def test_a_folder_of_an_input_that_is_absent_now_is_nobody_elses():
    assert list(_folders(["x.tif"], [None], ["X"])) == ["x (2)"]


@given(st.lists(st.text("aA./ :é", min_size=1, max_size=8), unique=True, max_size=8))
def test_folders_are_distinct_and_stay_inside(names):
    folders = list(_folders([f"{name}x.tif" for name in names], [None] * len(names)))
    assert len({one.casefold() for one in folders}) == len(names)
    assert not any(one in ("..", "") or "/" in one for one in folders)


def test_another_file_in_its_place_is_noticed(tmp_path):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, np.zeros((4, 4), np.uint8))
    known = state_of(path)
    assert not has_changed(path, known)
    os.utime(path, (1, 1))
    assert not has_changed(path, known)
    tifffile.imwrite(path, np.ones((4, 4), np.uint8))
    assert has_changed(path, known)
    path.unlink()
    assert has_changed(path, known)
