from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_metallography.errors import InputError
from napari_metallography.io.index import ImageIndex, find_index


def _index(folder: Path, text: str, encoding: str = "utf-8") -> ImageIndex:
    path = folder / "index.csv"
    path.write_bytes(text.encode(encoding))
    return ImageIndex.read(path)


def test_reads_what_is_known(tmp_path):
    index = _index(
        tmp_path,
        "image,pixel_size_um,specimen,class,G,remark\na.png,0.25,S16,pearlite,8.5,x\nb.png,,,,,\n",
    )
    a, b = index.lookup(Path("a.png")), index.lookup(Path("b.png"))
    assert a.calibration.x_um == a.calibration.y_um == 0.25
    assert a.calibration.source == "index.csv"
    assert a.metadata() == {"specimen": "S16", "class": "pearlite", "G": 8.5}
    assert b.calibration is None
    assert b.metadata() == {}


def test_finds_by_relative_path_then_name_then_stem(tmp_path):
    index = _index(tmp_path, "image,specimen\none/a.png,1\ntwo/a.png,2\ntwo\\b.png,3\n")
    assert index.lookup(tmp_path / "two" / "a.png").specimen == "2"
    assert index.lookup(Path("elsewhere/b.png")).specimen == "3"
    assert index.lookup(Path("elsewhere/b.tif")).specimen == "3"
    assert index.lookup(Path("elsewhere/a.png")) is None
    assert index.lookup(Path("c.png")) is None


def test_a_row_with_a_folder_is_of_no_other_image_below_the_index(tmp_path):
    index = _index(tmp_path, "image,specimen\ns1/img1.tif,1\nimg2.tif,2\n")
    assert index.lookup(tmp_path / "s1" / "img1.tif").specimen == "1"
    assert index.lookup(tmp_path / "s1" / "img1.png").specimen == "1"
    for other in ("s2/img1.tif", "img1.tif", "s2/img1.png", "deep/s1/img1.tif"):
        assert index.lookup(tmp_path / other) is None
    assert index.lookup(tmp_path / "s2" / "img2.tif").specimen == "2"
    assert index.lookup(tmp_path.parent / "labels" / "img1.tif").specimen == "1"


def test_finds_by_a_path_relative_to_the_working_folder(tmp_path, monkeypatch):
    index = _index(tmp_path, "image,specimen\none/a.png,1\ntwo/a.png,2\n")
    monkeypatch.chdir(tmp_path / "..")
    assert index.lookup(Path(tmp_path.name) / "two" / "a.png").specimen == "2"


def test_an_exact_name_wins_over_a_stem(tmp_path):
    index = _index(tmp_path, "image,specimen\na.b.png,stem\na.b,name\n")
    assert index.lookup(Path("a.b")).specimen == "name"
    assert index.lookup(Path("a.b.png")).specimen == "stem"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
def test_reads_what_spreadsheets_write(tmp_path, encoding):
    text = "image;pixel_size_um;specimen\r\nStahl-ä.png;0,388;Böhler\r\n\r\n"
    row = _index(tmp_path, text, encoding).lookup(Path("Stahl-ä.png"))
    assert row.pixel_size_um == 0.388
    assert row.specimen == "Böhler"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name,pixel_size_um\na,1\n", "no column 'image'"),
        ("image,pixel_size_um\na.png,wide\n", "line 2: pixel_size_um 'wide' is not a number"),
        ("image,pixel_size_um\na.png,0\n", "line 2: a pixel size of 0 µm is not possible"),
        ("image,pixel_size_um\na.png,inf\n", "line 2: pixel_size_um 'inf' is not a number"),
        ("image,G\na.png,1\nb.png,eight\n", "line 3: G 'eight' is not a number"),
        ("image,G\na.png,1\na.png,2\n", "line 3: 'a.png' is listed twice"),
        ("image,G\n,1\n", "line 2: names no image"),
        ("", "the file is empty"),
    ],
)
def test_refuses_in_one_line(tmp_path, text, message):
    with pytest.raises(InputError, match=message) as refusal:
        _index(tmp_path, text)
    assert "\n" not in str(refusal.value)


def test_finds_the_index_beside_an_image_or_in_a_folder(tmp_path):
    assert find_index(tmp_path / "a.png") is None
    _index(tmp_path, "image\na.png\n")
    assert find_index(tmp_path / "a.png").lookup(Path("a.png")) is not None
    assert find_index(tmp_path).path == tmp_path / "index.csv"


def test_the_real_index(shared_data):
    index = find_index(shared_data / "uhcs" / "images")
    assert len(index.rows) == 20
    for row in index.rows:
        assert 0.03 < index.lookup(index.path.parent / row.image).calibration.x_um < 0.4
        assert row.specimen


@given(st.binary(max_size=200) | st.text(max_size=200).map(lambda t: f"image,G\n{t}".encode()))
def test_any_content_reads_or_is_refused(tmp_path_factory, content):
    path = tmp_path_factory.getbasetemp() / "index.csv"
    path.write_bytes(content)
    try:
        index = ImageIndex.read(path)
    except InputError:
        return
    assert all(index.lookup(Path(row.image)) is not None for row in index.rows if row.image != ".")
