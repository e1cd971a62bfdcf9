from __future__ import annotations

from codecs import BOM_UTF8
from contextlib import suppress
from pathlib import Path

import pytest
import typer
from hypothesis import given
from hypothesis import strategies as st

from napari_metallography.cli.options import box, each, fail_if, results_file, results_folder, stems
from napari_metallography.errors import DeviceError, InputError
from napari_metallography.regions import Box

_EDGES = st.integers(-3, 10_000)
_NAMES = st.text(st.characters(codec="utf-8", exclude_characters="\r\n"), max_size=9)


@given(edges=st.tuples(_EDGES, _EDGES, _EDGES, _EDGES), space=st.sampled_from(["", " "]))
def test_a_box_is_four_edges_in_order_and_anything_else_is_refused(
    edges: tuple[int, int, int, int], space: str
) -> None:
    top, left, bottom, right = edges
    text = f",{space}".join(map(str, edges))
    if 0 <= top < bottom and 0 <= left < right:
        assert box(text) == Box(*edges)
    else:
        with pytest.raises(InputError, match="TOP,LEFT,BOTTOM,RIGHT"):
            box(text)


@given(st.text() | st.text("0123456789,-. ") | st.lists(_EDGES).map(str))
def test_any_text_is_a_box_or_refused(text: str) -> None:
    # Anything but an InputError fails the test.
    with suppress(InputError):
        found = box(text)
        assert found is not None
        assert found.to_list() == [int(part) for part in text.split(",")]


def test_no_box_and_no_list_are_none() -> None:
    assert box(None) is None
    assert stems(None) is None


@given(
    names=st.lists(_NAMES, min_size=1),
    end=st.sampled_from(["\n", "\r\n", "\r"]),
    bom=st.booleans(),
    gap=st.sampled_from(["", "  ", "\t"]),
)
def test_stems_are_the_lines_that_are_not_empty(
    tmp_path_factory: pytest.TempPathFactory, names: list[str], end: str, bom: bool, gap: str
) -> None:
    listed = tmp_path_factory.getbasetemp() / "Liste 組織.txt"
    text = "".join(f"{gap}{name}{gap}{end}{end}" for name in names)
    listed.write_bytes((BOM_UTF8 if bom or text.startswith("\ufeff") else b"") + text.encode())
    assert stems(listed) == [name.strip() for name in names if name.strip()]


@pytest.mark.parametrize("content", [None, b"", b"\xff\xfe\x00\xd8"])
def test_lists_that_cannot_be_read_are_refused(tmp_path: Path, content: bytes | None) -> None:
    listed = tmp_path / "list.txt"
    if content is not None:
        listed.write_bytes(content)
    with pytest.raises(InputError, match=r"list\.txt: (no such file|the file is empty|not UTF-8)"):
        stems(listed)


def test_results_go_where_they_can(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"kept")
    for folder in (tmp_path, tmp_path / "new/one", None):
        assert results_folder(folder) == folder
    for blocked in (tmp_path / "file", tmp_path / "file/in/it"):
        with pytest.raises(InputError, match="is a file; name a folder"):
            results_folder(blocked)
    for file in (tmp_path / "file", tmp_path / "new/one.json"):
        assert results_file(file) == file
    with pytest.raises(InputError, match="is a folder; name a file"):
        results_file(tmp_path)
    with pytest.raises(InputError, match="not a folder"):
        results_file(tmp_path / "file/one.json")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="no folder that even root cannot write")
def test_a_place_that_cannot_be_written_is_refused() -> None:
    for folder in ("/proc", "/proc/new/one"):
        with pytest.raises(InputError, match=rf"^{folder}: cannot be written \(.+\); choose"):
            results_folder(Path(folder))
        with pytest.raises(InputError, match=rf"^{folder}: cannot be written"):
            results_file(Path(folder) / "one.json")


_FILES = [Path(f"{number}.tif") for number in range(4)]


def _failing_at(error: Exception, number: int):
    def work(path: Path) -> str:
        if path == _FILES[number]:
            raise error
        return path.stem

    return work


def test_a_bad_file_is_reported_and_the_others_go_on(capfd) -> None:
    assert each(_FILES, _failing_at(InputError("1.tif: bad"), 1)) == (["0", "2", "3"], 2)
    assert capfd.readouterr().err == "error: 1.tif: bad\n"


@pytest.mark.parametrize("error", [DeviceError("the device broke"), MemoryError("9 TiB")])
def test_a_failed_device_stops_but_what_is_done_is_kept(capfd, error: Exception) -> None:
    assert each(_FILES, _failing_at(error, 1)) == (["0"], 1)
    (line,) = capfd.readouterr().err.splitlines()
    assert line.startswith("error: 1.tif: the device ")
    assert line.endswith("(2 more not begun)")


def test_a_code_of_0_goes_on() -> None:
    fail_if(0)
    for code in (1, 2):
        with pytest.raises(typer.Exit) as ended:
            fail_if(code)
        assert ended.value.exit_code == code
