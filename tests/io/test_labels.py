import struct
from dataclasses import replace
from pathlib import Path
from zlib import compress, crc32

import cv2
import numpy as np
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from napari_metallography import plane as plane_module
from napari_metallography.calibration import Calibration
from napari_metallography.classes import (
    PALETTE,
    UNLABELLED,
    indices_to_layer,
    layer_to_indices,
    named_classes,
)
from napari_metallography.errors import InputError
from napari_metallography.io import tiff_planes, tiff_writing
from napari_metallography.io.images import is_image_file, read_micrograph
from napari_metallography.io.labels import (
    LabelImage,
    is_label_image,
    looks_like_labels,
    looks_like_mask,
    read_labels,
    write_labels,
)
from napari_metallography.io.tiff_planes import TiffPlanes
from napari_metallography.regions import Box, Field

WHITE = "#ffffff"
CLASSES = named_classes(["matrix", "carbide network", "Karbid – fein"])


def _labels(shape: tuple[int, ...]) -> LabelImage:
    indices = np.random.default_rng(1).choice(np.array([0, 1, 2, 255], np.uint8), shape)
    return LabelImage(
        indices,
        CLASSES,
        Calibration(0.2, 0.21, "index.csv", 0.01),
        Field(shape[-2:], Box(30, 0, 40, 50), (((1.5, 2), (20, 2), (20, 30.25)),)),
        {"method": "model", "model_digest": "abc"},
    )


@pytest.mark.parametrize("shape", [(40, 50), (3, 40, 50), (1, 1)])
def test_labels_come_back_as_they_were_written(tmp_path: Path, shape: tuple[int, ...]) -> None:
    labels = _labels(shape)
    path = tmp_path / "Größe 鋼_labels.tif"
    write_labels(path, labels)
    read = read_labels(path)
    assert (read.indices == labels.indices).all()
    assert read.indices.shape == shape
    assert read.classes == labels.classes
    assert read.calibration == labels.calibration
    assert read.measured.to_dict() == labels.measured.to_dict()
    assert read.provenance == labels.provenance


def test_other_programs_see_colours_and_resolution(tmp_path: Path) -> None:
    path = tmp_path / "a_labels.tif"
    write_labels(path, _labels((40, 50)))
    with tifffile.TiffFile(path) as tiff:
        page = tiff.pages.first
        assert tuple(page.colormap[:, 1] // 257) == CLASSES[1].rgb
        numerator, denominator = page.tags["XResolution"].value
        assert 1e4 / (numerator / denominator) == pytest.approx(0.2, rel=1e-6)


def test_a_label_image_is_known_by_its_metadata(tmp_path: Path) -> None:
    write_labels(tmp_path / "a.tif", _labels((3, 40, 50)))
    assert is_label_image(tmp_path / "a.tif")
    for description in (
        "napari_metallography: labels",
        '{"note": {"napari_metallography": "labels"}}',
        '["napari_metallography", "labels"]',
        "[" * 5000,
    ):
        tifffile.imwrite(tmp_path / "b.tif", np.eye(9, dtype=np.uint8), description=description)
        assert not is_label_image(tmp_path / "b.tif")
    Image.new("L", (4, 4)).save(tmp_path / "c.png")
    (tmp_path / "d.tif").write_bytes(b"II*\0nonsense")
    for path in (tmp_path / "c.png", tmp_path / "d.tif", tmp_path / "missing.tif", tmp_path):
        assert not is_label_image(path)


def test_the_content_of_labels_counts_not_the_suffix(tmp_path: Path) -> None:
    labels = _labels((40, 50))
    write_labels(tmp_path / "a.tif", labels)
    (tmp_path / "a.tif").rename(tmp_path / "a.png")
    assert read_labels(tmp_path / "a.png").classes == CLASSES


@pytest.mark.parametrize("name", ["a.tif", "a.png"])
def test_labels_that_may_not_be_read_are_refused_as_such(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    Image.fromarray(np.eye(9, dtype=np.uint8)).save(tmp_path / name)

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(tifffile, "TiffFile", refuse)
    monkeypatch.setattr(Path, "read_bytes", refuse)
    with pytest.raises(InputError, match=rf"{name}: cannot be read \(Permission denied\)$"):
        read_labels(tmp_path / name)


def _areas(values: list[int], dtype: str = "uint8") -> np.ndarray:
    return np.repeat(np.array([values], dtype), 8, axis=0).repeat(8, axis=1)


@pytest.mark.parametrize("values", [[0, 1], [0, 2, 255], [1, 2], [0, 9], [1, 255]])
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int32"])
def test_a_few_small_numbers_in_areas_are_labels(values: list[int], dtype: str) -> None:
    assert looks_like_labels(_areas(values, dtype))
    assert not looks_like_mask(_areas(values, dtype))


@pytest.mark.parametrize("values", [[0, 255], [3], [0], [255], [0, 10], [0, 1, 254], [0, 36, 72]])
def test_what_may_be_a_micrograph_does_not_look_like_labels(values: list[int]) -> None:
    assert not looks_like_labels(_areas(values))
    assert looks_like_mask(_areas(values)) == (values == [0, 255])


def test_real_numbers_and_one_column_do_not_look_like_labels() -> None:
    assert not looks_like_labels(_areas([0, 1], "float32"))
    assert not looks_like_labels(np.arange(9, dtype=np.uint8)[:, None])


def test_one_odd_pixel_of_a_large_image_makes_it_a_micrograph() -> None:
    labels = np.zeros((2000, 2000), np.uint8)
    labels[500:900] = 1
    assert looks_like_labels(labels)
    labels[1, 1] = 77
    assert not looks_like_labels(labels)
    assert not looks_like_mask(np.where(labels == 1, 255, labels))


@given(level=st.floats(0, 9), noise=st.floats(0.8, 3), seed=st.integers(0, 99))
def test_an_image_exposed_far_too_little_is_still_one(
    level: float, noise: float, seed: int
) -> None:
    values = np.random.default_rng(seed).normal(4.5 + level / 9, noise, (64, 64))
    assert not looks_like_labels(np.clip(values, 0, 9).round().astype(np.uint8))


def test_real_labels_look_like_labels_and_real_micrographs_do_not(shared_data: Path) -> None:
    folders = [shared_data / "uhcs", *sorted((shared_data / "nasa").glob("*/*"))]
    for folder in folders:
        for path in sorted((folder / "labels").glob("*.*")):
            assert looks_like_labels(read_micrograph(path).planes[0]), path
    for path in sorted((shared_data / "uhcs/labels_coarse").glob("*.png")):
        plane = read_micrograph(path).planes[0]
        assert looks_like_labels(plane) == (len(np.unique(plane)) > 1), path
    vendors = sorted((shared_data / "vendor").rglob("*.[tT][iI][fF]"))
    images = [path for folder in folders for path in sorted((folder / "images").glob("*.*"))]
    images = [path for path in images if is_image_file(path)]
    sheets = [path for name in ("neu", "xsdd") for path in (shared_data / name).rglob("*.*g")]
    assert len(images) > 30
    for path in [*vendors, *images, *sheets[::10], *(shared_data / "tbm/full_images").glob("*.*")]:
        micrograph = read_micrograph(path)
        if not micrograph.rgb:
            assert not looks_like_labels(micrograph.planes[0]), path
            assert not looks_like_mask(micrograph.planes[0]), path


def test_a_foreign_image_is_taken_as_class_indices(tmp_path: Path) -> None:
    path = tmp_path / "x.png"
    expected = np.array([[0, 1], [2, 255]], np.uint8)
    path.write_bytes(cv2.imencode(".png", expected)[1].tobytes())
    read = read_labels(path)
    assert (read.indices == expected).all()
    assert read.classes == ()
    assert read.calibration is None


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ([0, 1, 2], "0 = matrix, 1 = class 1, 2 = class 2, 255 = unlabelled"),
        ([0, 3, 255], "0 = matrix, 3 = class 3, 255 = unlabelled"),
        ([0, 77, 200], "0 = matrix, 77 = class 77, 200 = class 200, 255 = unlabelled"),
        ([0, 1, 2, 3, 9], "0 = matrix, 1 = class 1, …, 9 = class 9, 255 = unlabelled"),
    ],
)
def test_what_is_assumed_of_a_foreign_image_is_said(
    tmp_path: Path, values: list[int], said: str
) -> None:
    path = tmp_path / "x.tif"
    tifffile.imwrite(path, np.array([values], np.uint8))
    assert read_labels(path).assumed == f"taken as class indices: {said}"


def test_nothing_but_0_is_said_to_be_the_matrix(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "x.tif", np.zeros((2, 2), np.uint8))
    read = read_labels(tmp_path / "x.tif")
    assert read.assumed == "every pixel is 0, which is taken as the matrix"
    assert not read.indices.any()


def test_a_labels_layer_saved_by_napari_is_suspected(tmp_path: Path) -> None:
    path = tmp_path / "x.tif"
    layer = np.array([[1, 1, 2]], np.int32)
    # As napari.utils.io.imsave writes it.
    tifffile.imwrite(path, layer, compression="zlib", compressionargs={"level": 1})
    assert "there is no 0, as if napari had saved a Labels layer" in read_labels(path).assumed
    tifffile.imwrite(path, layer - 1, compression="zlib", compressionargs={"level": 1})
    assert "napari" not in read_labels(path).assumed
    tifffile.imwrite(path, layer, metadata=None)
    assert "napari" not in read_labels(path).assumed


def test_of_own_labels_nothing_is_assumed(tmp_path: Path) -> None:
    path = tmp_path / "x.tif"
    write_labels(path, _labels((4, 5)))
    assert read_labels(path).assumed == ""


def test_one_bit_masks_are_alike_in_every_format(tmp_path: Path) -> None:
    expected = np.random.default_rng(0).random((9, 13)) > 0.5
    for name in ("x.tif", "x.png", "x.bmp"):
        Image.fromarray(expected).save(tmp_path / name)
        assert (read_labels(tmp_path / name).indices == expected).all()


@pytest.mark.parametrize("name", ["x.png", "x.bmp"])
def test_a_palette_image_keeps_its_indices(tmp_path: Path, name: str) -> None:
    expected = np.array([[0, 1, 2], [3, 2, 255]], np.uint8)
    image = Image.fromarray(expected, "L").convert("P")
    image.putpalette([200, 0, 0, 0, 200, 0, 0, 0, 200, 9, 9, 9] + [7, 8, 9] * 252)
    image.putdata(expected.ravel().tolist())
    image.save(tmp_path / name)
    assert (read_labels(tmp_path / name).indices == expected).all()


@pytest.mark.parametrize("bits", [2, 4])
def test_a_grey_png_of_few_bits_keeps_its_indices(tmp_path: Path, bits: int) -> None:
    rows = [[0, 1, 2, 3], [3, 2, 1, 0]]
    (tmp_path / "x.png").write_bytes(_grey_png(rows, bits))
    assert read_labels(tmp_path / "x.png").indices.tolist() == rows


def _grey_png(rows: list[list[int]], bits: int) -> bytes:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", crc32(kind + body))

    packed = ["0" * 8 + "".join(f"{value:0{bits}b}" for value in row) for row in rows]
    lines = b"".join(int(row, 2).to_bytes(len(row) // 8, "big") for row in packed)
    header = struct.pack(">IIBBBBB", len(rows[0]), len(rows), bits, 0, 0, 0, 0)
    parts = [chunk(b"IHDR", header), chunk(b"IDAT", compress(lines)), chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA"])
def test_grey_in_all_channels_is_one_number_a_pixel(tmp_path: Path, mode: str) -> None:
    expected = np.array([[0, 1], [2, 1]], np.uint8)
    Image.fromarray(expected).convert(mode).save(tmp_path / "x.png")
    assert (read_labels(tmp_path / "x.png").indices == expected).all()


def test_a_colour_image_is_not_labels(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (9, 9, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "x.png")
    with pytest.raises(
        InputError, match=r"x\.png: a colour image of 81 colours; labels have at mo"
    ):
        read_labels(tmp_path / "x.png")
    tifffile.imwrite(tmp_path / "x.tif", pixels.astype(np.uint16), photometric="rgb")
    with pytest.raises(InputError, match="a colour image of uint16; save the labels with 8 bits"):
        read_labels(tmp_path / "x.tif")


def _coloured(path: Path, indices: np.ndarray, colours: list[str]) -> Path:
    table = np.array([list(bytes.fromhex(colour[1:])) for colour in colours], np.uint8)
    if path.suffix == ".tif":
        tifffile.imwrite(path, table[indices], photometric="rgb")
    else:
        Image.fromarray(table[indices]).save(path)
    return path


@pytest.mark.parametrize("name", ["x.png", "x.bmp", "x.tif"])
def test_the_palette_s_colours_are_its_classes(tmp_path: Path, name: str) -> None:
    indices = np.array([[0, 3, 2], [2, 3, 0]])
    read = read_labels(_coloured(tmp_path / name, indices, list(PALETTE)))
    np.testing.assert_array_equal(read.indices, indices)
    assert read.classes == ()
    assert read.assumed == "colours taken as classes: #009e73 = 3, #56b4e9 = 2, #808080 = 0"


def test_a_field_of_matrix_in_colour_has_no_other_class(tmp_path: Path) -> None:
    read = read_labels(_coloured(tmp_path / "x.png", np.zeros((4, 5), int), list(PALETTE)))
    assert not read.indices.any()
    white = read_labels(_coloured(tmp_path / "y.png", np.array([[0, 1, 2]]), [*PALETTE[:2], WHITE]))
    assert white.indices.tolist() == [[0, 1, UNLABELLED]]


def test_few_colours_are_classes_that_are_named_by_them(tmp_path: Path) -> None:
    colours = ["#00ff00", "#000000", "#ff0000"]
    indices = np.array([[0, 1], [1, 2]])
    read = read_labels(_coloured(tmp_path / "x.png", indices, colours))
    assert [phase.name for phase in read.classes] == sorted(colours)
    assert read.indices.tolist() == [[1, 0], [0, 2]]
    assert read.assumed == "colours taken as classes: #000000 = 0, #00ff00 = 1, #ff0000 = 2"


def test_labels_that_do_not_fit_eight_bits_are_refused(tmp_path: Path) -> None:
    write_labels(tmp_path / "a.tif", _labels((9, 9)))
    with tifffile.TiffFile(tmp_path / "a.tif") as tiff:
        description = tiff.pages.first.description
    beyond = np.full((9, 9), 256, np.uint16)
    tifffile.imwrite(tmp_path / "b.tif", beyond, description=description, metadata=None)
    with pytest.raises(InputError, match=r"b\.tif: holds classes beyond 0 to 255"):
        read_labels(tmp_path / "b.tif")


@given(st.sets(st.integers(0, 2**24 - 1), min_size=2, max_size=32), st.data())
def test_each_colour_is_a_class_of_its_own(tmp_path_factory, numbers, data) -> None:
    colours = [f"#{number:06x}" for number in sorted(numbers)]
    if all(colour[1:3] == colour[3:5] == colour[5:] for colour in colours):
        return  # A grey image is taken as class indices.
    order = data.draw(st.permutations(range(len(colours))))
    path = _coloured(tmp_path_factory.mktemp("c") / "x.png", np.array([order]), colours)
    read = read_labels(path)
    if read.classes:
        assert [read.classes[i].name for i in read.indices[0]] == [colours[i] for i in order]


def test_a_stack_of_three_columns_is_no_colour_image(tmp_path: Path) -> None:
    stack = np.arange(3, dtype=np.uint8) * np.ones((2, 5, 3), np.uint8)
    tifffile.imwrite(tmp_path / "x.tif", stack, photometric="minisblack")
    assert read_labels(tmp_path / "x.tif").indices.shape == (2, 5, 3)


@pytest.mark.parametrize("name", ["x.tif", "x.png", "x.bmp"])
@pytest.mark.parametrize(
    ("values", "said"),
    [
        ([0, 255], "a mask of 0 and 255: 255 means unlabelled here; write the phases as 0 and 1"),
        ([255, 255], "every pixel is 255, which means unlabelled; label it first"),
    ],
)
def test_a_mask_and_an_unlabelled_image_are_refused(
    tmp_path: Path, name: str, values: list[int], said: str
) -> None:
    Image.fromarray(np.array([values, values], np.uint8)).save(tmp_path / name)
    with pytest.raises(InputError, match=said):
        read_labels(tmp_path / name)


def test_0_and_255_are_no_mask_where_255_is_said_to_be_unlabelled(tmp_path: Path) -> None:
    pixels = np.array([[0, 255], [255, 0]], np.uint8)
    Image.fromarray(pixels).save(tmp_path / "x.png")
    assert read_labels(tmp_path / "x.png", ignore=255).indices.tolist() == pixels.tolist()
    with pytest.raises(InputError, match="a mask of 0 and 255"):
        read_labels(tmp_path / "x.png", ignore=0)


@pytest.mark.parametrize(
    "pixels",
    [
        np.arange(256, dtype=np.uint8).reshape(16, 16),
        np.full((4, 4), 300, np.uint16),
        np.full((4, 4), -1, np.int16),
        np.ones((4, 4), np.float32),
    ],
)
def test_an_image_is_not_labels(tmp_path: Path, pixels: np.ndarray) -> None:
    path = tmp_path / "x.tif"
    tifffile.imwrite(path, pixels)
    with pytest.raises(InputError, match=r"labels|values"):
        read_labels(path)


@pytest.mark.parametrize("content", [b"", b"II*\0nonsense", b"hello"])
def test_unreadable_files_are_refused(tmp_path: Path, content: bytes) -> None:
    for name in ("x.tif", "x.png"):
        path = tmp_path / name
        path.write_bytes(content)
        with pytest.raises(InputError):
            read_labels(path)


@given(arrays(np.uint8, (5, 6), elements=st.integers(0, 255)))
def test_layer_values_and_indices_are_inverse(indices: np.ndarray) -> None:
    layer = indices_to_layer(indices)
    assert (layer_to_indices(layer) == indices).all()
    assert ((layer == 0) == (indices == 255)).all()


def test_layer_values_of_instances_are_refused() -> None:
    with pytest.raises(ValueError, match="0 to 255"):
        layer_to_indices(np.array([[300]]))


@pytest.mark.parametrize("shape", [(40, 50), (3, 40, 50)])
def test_large_labels_stay_in_the_file(tmp_path: Path, monkeypatch, shape: tuple[int, ...]) -> None:
    monkeypatch.setattr(tiff_planes, "LARGE_BYTES", 100)
    monkeypatch.setattr(tiff_writing, "_STRIP_BYTES", 700)
    written, path = _labels(shape), tmp_path / "a_labels.tif"
    write_labels(path, written)
    read = read_labels(path)
    assert isinstance(read.indices, TiffPlanes)
    np.testing.assert_array_equal(np.asarray(read.indices), written.indices)
    assert len(read.planes) == len(written.planes) == (3 if len(shape) > 2 else 1)
    np.testing.assert_array_equal(read.planes[-1][7:30:2], written.planes[-1][7:30:2])
    assert (read.classes, read.measured) == (written.classes, written.measured)
    again = tmp_path / "again_labels.tif"
    write_labels(again, read)
    assert again.read_bytes() == path.read_bytes()


def test_large_labels_beyond_their_classes_are_refused(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(tiff_planes, "LARGE_BYTES", 100)
    monkeypatch.setattr(plane_module, "_BLOCK_BYTES", 100)
    made = _labels((40, 50))
    indices = np.zeros((40, 50), np.uint8)
    indices[33, 3] = len(made.classes)
    write_labels(tmp_path / "a.tif", replace(made, indices=indices))
    with pytest.raises(InputError, match=f"holds class {len(made.classes)}, but there are only"):
        read_labels(tmp_path / "a.tif")


@pytest.mark.parametrize("block", [1, 500, 10**6])
def test_labels_and_masks_are_known_whatever_is_looked_at_together(monkeypatch, block) -> None:
    monkeypatch.setattr(plane_module, "_BLOCK_BYTES", block)
    areas = _areas([0, 1, 255])
    assert looks_like_labels(areas)
    assert not looks_like_mask(areas)
    assert looks_like_mask(np.where(areas == 1, 255, 0).astype(np.uint8))
    for value in (0, 255):
        assert not looks_like_mask(np.full((30, 30), value, np.uint8))
        assert not looks_like_labels(np.full((30, 30), value, np.uint8))
