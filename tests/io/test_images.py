import contextlib
import io
import json
import logging
import os
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile
from PIL import Image, TiffImagePlugin

from napari_metallography.calibration import Calibration
from napari_metallography.classes import PhaseClass
from napari_metallography.errors import InputError
from napari_metallography.io import tiff
from napari_metallography.io.images import IMAGE_SUFFIXES, is_image_file, read_micrograph
from napari_metallography.io.index import ImageIndex
from napari_metallography.io.labels import LabelImage, write_labels
from napari_metallography.regions import Field

_RNG = np.random.default_rng(0)
_GREY = _RNG.integers(0, 256, (20, 30), np.uint8)
_COLOUR = _RNG.integers(0, 256, (20, 30, 3), np.uint8)


def _assert_reads(path, pixels, rgb=False):
    image = read_micrograph(path)
    assert image.pixels.dtype == pixels.dtype
    assert image.pixels.dtype.isnative
    np.testing.assert_array_equal(image.pixels, pixels)
    assert image.rgb == rgb
    assert image.shape == (20, 30)
    json.dumps(image.metadata, allow_nan=False)
    return image


# --- TIFF


@pytest.mark.parametrize(
    "dtype", ["uint8", "uint16", "uint32", "int16", "int32", "float32", "float64", ">u2", ">f4"]
)
def test_tiff_types(tmp_path, dtype):
    pixels = (_GREY * 7.0).astype(np.dtype(dtype).newbyteorder("="))
    byteorder = ">" if dtype.startswith(">") else "<"
    tifffile.imwrite(tmp_path / "a.tif", pixels, byteorder=byteorder)
    _assert_reads(tmp_path / "a.tif", pixels)


def test_half_floats_and_bilevel_become_usual_types(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", _GREY.astype(np.float16))
    _assert_reads(tmp_path / "a.tif", _GREY.astype(np.float32))
    for photometric, bright in (("minisblack", _GREY > 99), ("miniswhite", _GREY <= 99)):
        tifffile.imwrite(tmp_path / "a.tif", _GREY > 99, photometric=photometric)
        _assert_reads(tmp_path / "a.tif", np.where(bright, 255, 0).astype(np.uint8))


@pytest.mark.parametrize("planar", ["contig", "separate"])
@pytest.mark.parametrize("samples", [3, 4])
def test_tiff_colour(tmp_path, planar, samples):
    pixels = _RNG.integers(0, 65536, (20, 30, samples), np.uint16)
    stored = pixels if planar == "contig" else np.moveaxis(pixels, -1, 0)
    tifffile.imwrite(tmp_path / "a.tif", stored, photometric="rgb", planarconfig=planar)
    _assert_reads(tmp_path / "a.tif", pixels, rgb=True)


@pytest.mark.parametrize("pixels", [np.stack([_GREY] * 4), np.stack([_COLOUR] * 4)])
@pytest.mark.parametrize("imagej", [False, True])
def test_tiff_stacks(tmp_path, pixels, imagej):
    rgb = pixels.ndim == 4
    pixels = pixels + np.arange(4, dtype=np.uint8).reshape(-1, *[1] * (pixels.ndim - 1))
    photometric = "rgb" if rgb else "minisblack"
    # Without axes tifffile takes grey planes for ImageJ's channels.
    axes = {"axes": "ZYXS" if rgb else "ZYX"}
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, pixels, imagej=imagej, photometric=photometric, metadata=axes)
    image = _assert_reads(tmp_path / "a.tif", pixels, rgb)
    assert len(image.planes) == 4
    np.testing.assert_array_equal(image.plane(2), pixels[2])
    with pytest.raises(InputError, match="has no plane 4, only 0 to 3"):
        image.plane(4)


def test_several_leading_axes_become_one(tmp_path):
    pixels = _RNG.integers(0, 256, (2, 3, 20, 30), np.uint8)
    tifffile.imwrite(tmp_path / "a.tif", pixels, imagej=True, metadata={"axes": "TZYX"})
    _assert_reads(tmp_path / "a.tif", pixels.reshape(6, 20, 30))


@pytest.mark.parametrize(
    ("name", "axes", "options"),
    [
        ("a.tif", "CYX", {"imagej": True}),
        ("a.tif", "ZCYX", {"imagej": True}),
        ("a.tif", "CYX", {}),
        ("a.ome.tif", "CYX", {}),
        ("a.ome.tif", "ZCYX", {}),
    ],
)
def test_channels_of_one_area_are_no_planes(tmp_path, name, axes, options):
    pixels = np.broadcast_to(_GREY, (*[2] * (len(axes) - 2), *_GREY.shape))
    tifffile.imwrite(tmp_path / name, pixels, metadata={"axes": axes}, **options)
    with pytest.raises(InputError, match="2 channels of one area; save the one to measure"):
        read_micrograph(tmp_path / name)


def test_a_single_channel_and_colour_are_no_channels(tmp_path):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, _GREY[None], imagej=True, metadata={"axes": "CYX"})
    _assert_reads(path, _GREY)
    path = tmp_path / "a.ome.tif"
    tifffile.imwrite(path, _COLOUR, photometric="rgb", metadata={"axes": "YXS"})
    _assert_reads(path, _COLOUR, rgb=True)


def test_a_single_plane_has_itself_as_plane(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", _COLOUR[None], photometric="rgb")
    image = _assert_reads(tmp_path / "a.tif", _COLOUR, rgb=True)
    assert len(image.planes) == 1
    np.testing.assert_array_equal(image.plane(0), _COLOUR)


def test_palette_as_colours_or_grey(tmp_path):
    colours = _RNG.integers(0, 256, (3, 256), np.uint16)
    tifffile.imwrite(tmp_path / "a.tif", _GREY, photometric="palette", colormap=colours * 257)
    _assert_reads(tmp_path / "a.tif", colours.T.astype(np.uint8)[_GREY], rgb=True)
    inverted = np.tile(np.arange(255, -1, -1, dtype=np.uint16), (3, 1))
    tifffile.imwrite(tmp_path / "a.tif", _GREY, photometric="palette", colormap=inverted * 257)
    _assert_reads(tmp_path / "a.tif", 255 - _GREY)


def test_min_is_white_is_inverted(tmp_path):
    pixels = _GREY.astype(np.uint16)
    tifffile.imwrite(tmp_path / "a.tif", pixels, photometric="miniswhite")
    _assert_reads(tmp_path / "a.tif", 65535 - pixels)


def test_grey_with_alpha_is_grey(tmp_path):
    pixels = np.stack([_GREY, 255 - _GREY], -1)
    tifffile.imwrite(
        tmp_path / "a.tif",
        pixels,
        photometric="minisblack",
        planarconfig="contig",
        extrasamples=[2],
    )
    _assert_reads(tmp_path / "a.tif", _GREY)


@pytest.mark.parametrize("compression", ["tiff_lzw", "tiff_adobe_deflate", "packbits"])
@pytest.mark.parametrize("pixels", [_GREY, _COLOUR, _GREY.astype(np.uint16) * 200])
def test_lossless_compression(tmp_path, compression, pixels):
    Image.fromarray(pixels).save(tmp_path / "a.tif", compression=compression)
    _assert_reads(tmp_path / "a.tif", pixels, rgb=pixels.ndim == 3)


def test_lzw_stack_and_palette(tmp_path):
    pages = [Image.fromarray(_GREY), Image.fromarray(255 - _GREY)]
    options = {"compression": "tiff_lzw", "save_all": True, "append_images": pages[1:]}
    pages[0].save(tmp_path / "a.tif", **options)
    _assert_reads(tmp_path / "a.tif", np.stack([_GREY, 255 - _GREY]))
    table = _RNG.integers(0, 256, (256, 3), np.uint8)
    image = Image.fromarray(_GREY, "L").convert("P")
    image.putpalette(table.tobytes())
    image.save(tmp_path / "b.tif", compression="tiff_lzw")
    expected = np.array(image.convert("RGB"))
    _assert_reads(tmp_path / "b.tif", expected, rgb=True)


def test_jpeg_in_tiff(tmp_path):
    smooth = np.tile(np.arange(30, dtype=np.uint8)[None, :, None] * 8, (20, 1, 3))
    Image.fromarray(smooth).save(tmp_path / "a.tif", compression="jpeg", quality=95)
    image = read_micrograph(tmp_path / "a.tif")
    assert image.rgb
    assert np.abs(image.pixels.astype(int) - smooth).max() < 12


def test_pages_of_different_size_read_the_first_and_say_so(tmp_path):
    with tifffile.TiffWriter(tmp_path / "a.tif") as writer:
        writer.write(_GREY)
        writer.write(_GREY[:5, :5])
    image = _assert_reads(tmp_path / "a.tif", _GREY)
    assert "first of 2" in image.metadata["series"]


def test_ome_tiff_does_not_look_for_other_files(tmp_path):
    path = tmp_path / "a.ome.tif"
    tifffile.imwrite(path, np.stack([_GREY, _GREY]), metadata={"axes": "ZYX", "PhysicalSizeX": 0.5})
    image = _assert_reads(path, np.stack([_GREY, _GREY]))
    assert image.calibration.x_um == 0.5


def test_large_uncompressed_tiffs_stay_in_the_file(tmp_path, monkeypatch):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, _GREY)
    assert not isinstance(read_micrograph(path).pixels, np.memmap)
    monkeypatch.setattr(tiff, "_MAP_FROM_BYTES", 100)
    before = path.read_bytes()
    image = read_micrograph(path)
    assert isinstance(image.pixels, np.memmap)
    np.testing.assert_array_equal(image.pixels, _GREY)
    image.pixels[:] = 0
    assert path.read_bytes() == before
    tifffile.imwrite(path, _GREY.astype(np.uint16), byteorder=">")
    _assert_reads(path, _GREY.astype(np.uint16))


# --- PNG, JPEG, BMP


@pytest.mark.parametrize("suffix", [".png", ".bmp"])
@pytest.mark.parametrize("pixels", [_GREY, _COLOUR])
def test_raster(tmp_path, suffix, pixels):
    path = tmp_path / f"a{suffix}"
    Image.fromarray(pixels).save(path)
    _assert_reads(path, pixels, rgb=pixels.ndim == 3)


@pytest.mark.parametrize("shape", [(20, 30), (20, 30, 3), (20, 30, 4)])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_png_keeps_depth_and_alpha(tmp_path, shape, dtype):
    pixels = _RNG.integers(0, np.iinfo(dtype).max, shape, dtype)
    bgr = pixels if pixels.ndim == 2 else pixels[..., [2, 1, 0, 3][: shape[-1]]]
    (tmp_path / "a.png").write_bytes(cv2.imencode(".png", np.ascontiguousarray(bgr))[1].tobytes())
    _assert_reads(tmp_path / "a.png", pixels, rgb=pixels.ndim == 3)


def test_png_palette_bilevel_and_grey_alpha(tmp_path):
    path = tmp_path / "a.png"
    few = Image.fromarray(_COLOUR).quantize(16)
    few.save(path)
    _assert_reads(path, np.array(few.convert("RGB")), rgb=True)
    Image.fromarray(_GREY > 99).save(path)
    _assert_reads(path, np.where(_GREY > 99, 255, 0).astype(np.uint8))
    Image.merge("LA", [Image.fromarray(_GREY), Image.fromarray(_GREY)]).save(path)
    _assert_reads(path, _GREY)


def test_jpeg(tmp_path):
    smooth = np.tile(np.arange(30, dtype=np.uint8) * 8, (20, 1))
    Image.fromarray(smooth).save(tmp_path / "a.jpg", quality=95)
    image = read_micrograph(tmp_path / "a.jpg")
    assert not image.rgb
    assert np.abs(image.pixels.astype(int) - smooth).max() < 12


@pytest.mark.parametrize("suffix", IMAGE_SUFFIXES)
def test_paths_beyond_ascii(tmp_path, suffix):
    folder = tmp_path / "Gefüge 組織"
    folder.mkdir()
    path = folder / f"Härte µ{suffix}"
    Image.fromarray(_COLOUR).save(path)
    assert read_micrograph(path).pixels.shape == (20, 30, 3)


def test_the_content_counts_not_the_suffix(tmp_path):
    Image.fromarray(_GREY).save(tmp_path / "a.png")
    (tmp_path / "a.png").rename(tmp_path / "a.tif")
    _assert_reads(tmp_path / "a.tif", _GREY)


def test_suffixes(tmp_path):
    assert is_image_file(tmp_path / "a.TIF")
    assert is_image_file(tmp_path / "a.Jpeg")
    assert not is_image_file(tmp_path / "index.csv")
    assert not is_image_file(tmp_path / "tif")


# --- what the index says


def test_the_index_overrides_the_file(tmp_path):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, _GREY, imagej=True, resolution=(4, 4), metadata={"unit": "um"})
    assert read_micrograph(path).calibration.x_um == 0.25
    (tmp_path / "index.csv").write_text(
        "image,pixel_size_um,specimen,class,G\na.tif,0.5,S1,bainite,9\n"
    )
    image = read_micrograph(path)
    assert image.calibration == Calibration.square(0.5, "index.csv")
    assert image.metadata == {"vendor": "ImageJ", "specimen": "S1", "class": "bainite", "G": 9.0}
    other = tmp_path / "other.csv"
    other.write_text("image,pixel_size_um,specimen\na,,S2\n")
    image = read_micrograph(path, ImageIndex.read(other))
    assert image.calibration.source == "ImageJ metadata"
    assert image.metadata["specimen"] == "S2"


def test_without_a_pixel_size_there_is_none(tmp_path):
    Image.fromarray(_GREY).save(tmp_path / "a.png", dpi=(30000, 30000))
    assert read_micrograph(tmp_path / "a.png").calibration is None


# --- what is refused


def _refusal(path):
    with pytest.raises(InputError) as refusal:
        read_micrograph(path)
    message = str(refusal.value)
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    return message


def _encoded(name):
    buffer = io.BytesIO()
    match name:
        case "strips.tif":
            tifffile.imwrite(buffer, _GREY, rowsperstrip=3, compression="zlib")
        case "lzw.tif":
            Image.fromarray(_COLOUR).save(buffer, "TIFF", compression="tiff_lzw")
        case "plain.tif":
            tifffile.imwrite(buffer, _GREY)
        case _:
            Image.fromarray(_COLOUR).save(buffer, {"jpg": "JPEG"}.get(name[2:], name[2:]))
    return buffer.getvalue()


_NAMES = ["plain.tif", "strips.tif", "lzw.tif", "a.png", "a.jpg", "a.bmp"]


@pytest.mark.parametrize("name", _NAMES)
@pytest.mark.parametrize("part", [0.02, 0.5, 0.9])
def test_truncated_files_are_refused_quietly(tmp_path, name, part, caplog, capfd):
    content = _encoded(name)
    path = tmp_path / name
    path.write_bytes(content[: int(part * len(content))])
    with caplog.at_level(logging.INFO):
        _refusal(path)
    assert not caplog.records
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("name", _NAMES)
def test_damaged_files_read_or_are_refused_quietly(tmp_path, name, caplog, capfd):
    content, path = _encoded(name), tmp_path / name
    for _ in range(60):
        damaged = np.frombuffer(content, np.uint8).copy()
        damaged[_RNG.integers(0, min(len(content), 600), 4)] = _RNG.integers(0, 256, 4)
        path.write_bytes(damaged.tobytes())
        # Anything but an InputError fails the test.
        with contextlib.suppress(InputError):
            json.dumps(read_micrograph(path).metadata, allow_nan=False)
    assert not caplog.records
    assert capfd.readouterr() == ("", "")


def test_logging_of_tifffile_by_others_is_left_alone(caplog):
    logging.getLogger("tifffile").warning("theirs")
    assert [record.message for record in caplog.records] == ["theirs"]


def test_other_things_are_refused(tmp_path):
    path = tmp_path / "a.tif"
    assert "no such file" in _refusal(path)
    path.write_bytes(b"")
    assert "empty" in _refusal(path)
    path.write_bytes(b"hello, this is not an image at all")
    assert "not a TIFF, PNG, JPEG or BMP image" in _refusal(path)
    path.write_bytes(b"II*\0" + os.urandom(100))
    assert "not a TIFF" in _refusal(path) or "truncated" in _refusal(path)
    assert "is a folder" in _refusal(tmp_path)


def test_a_claim_of_more_pixels_than_the_file_can_hold_is_refused(tmp_path):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, _GREY, compression="zlib")
    with tifffile.TiffFile(path, mode="r+") as opened:
        for tag in ("ImageWidth", "ImageLength", "RowsPerStrip"):
            opened.pages.first.tags[tag].overwrite(60000)
    assert "truncated or damaged" in _refusal(path)


def test_complex_cmyk_and_many_channels_are_refused(tmp_path):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, _GREY.astype(np.complex64))
    assert "not grey values" in _refusal(path)
    Image.fromarray(_COLOUR).convert("CMYK").save(path)
    assert "neither grey nor RGB" in _refusal(path)
    pixels = np.zeros((20, 30, 7), np.uint8)
    tifffile.imwrite(path, pixels, photometric="minisblack", planarconfig="contig")
    assert "7 channels" in _refusal(path)


def test_own_labels_are_refused(tmp_path):
    labels = LabelImage(
        (_GREY % 2).astype(np.uint8),
        (
            PhaseClass(name="ferrite", colour="#808080"),
            PhaseClass(name="carbide", colour="#ff0000"),
        ),
        None,
        Field((20, 30)),
    )
    write_labels(tmp_path / "a_labels.tif", labels)
    assert "a label image, not a micrograph" in _refusal(tmp_path / "a_labels.tif")


@pytest.mark.parametrize(
    ("name", "method"),
    [
        ("a.tif", "open"),
        ("a.png", "open"),
        ("index.csv", "open"),
        ("a.tif", "is_file"),
    ],
)
def test_files_that_may_not_be_read_are_refused_as_such(tmp_path, name, method, monkeypatch):
    path = tmp_path / ("a.tif" if name == "index.csv" else name)
    Image.fromarray(_GREY).save(path)
    (tmp_path / "index.csv").write_text("image\na.tif\n")
    original = getattr(Path, method)

    def refuse(self, *arguments, **options):
        if self.name == name:
            raise PermissionError(13, "Permission denied", str(self))
        return original(self, *arguments, **options)

    monkeypatch.setattr(Path, method, refuse)
    with pytest.raises(InputError, match=rf"{name}: cannot be read \(Permission denied\)$"):
        read_micrograph(path)


def test_a_tiff_that_may_not_be_opened_is_refused_as_such(tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise PermissionError(13, "Permission denied")

    tifffile.imwrite(tmp_path / "a.tif", _GREY)
    monkeypatch.setattr(tifffile, "TiffFile", refuse)
    assert "cannot be read (Permission denied)" in _refusal(tmp_path / "a.tif")


def test_an_unusable_index_is_refused(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", _GREY)
    (tmp_path / "index.csv").write_text("file\na.tif\n")
    with pytest.raises(InputError, match=r"index\.csv: has no column 'image'"):
        read_micrograph(tmp_path / "a.tif")


# --- real files


def test_real_files(shared_data):
    folder = shared_data / "vendor"
    zeiss = read_micrograph(folder / "emelyanenko" / "Zeiss_1.tif")
    assert zeiss.pixels.shape == (768, 1024)
    assert not zeiss.rgb
    stack = read_micrograph(
        folder / "rosettasciio" / "test_loading_image_saved_with_imageJ_stack.tif"
    )
    assert len(stack.planes) == 2
    assert stack.pixels.dtype == np.float32
    images = [path for path in (shared_data / "uhcs" / "images").iterdir() if is_image_file(path)]
    assert len(images) == 20
    for path in images:
        image = read_micrograph(path)
        assert image.calibration.source == "index.csv"
        assert image.metadata["specimen"]


def test_a_real_sidecar_beside_its_image(shared_data, tmp_path):
    sidecar = next((shared_data / "vendor" / "jeol").glob("*.txt"))
    shutil.copy(sidecar, tmp_path / "a.txt")
    Image.fromarray(np.zeros((1024, 1280), np.uint8)).save(tmp_path / "a.bmp")
    image = read_micrograph(tmp_path / "a.bmp")
    assert image.calibration.x_um == pytest.approx(100 / 267)
    assert image.metadata["instrument"] == "JSM 6700F NT"


def test_pillow_and_tifffile_agree_on_min_is_white(tmp_path):
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    tags[262] = 0
    Image.fromarray(_GREY).save(tmp_path / "a.tif", compression="tiff_lzw", tiffinfo=tags)
    with Image.open(tmp_path / "a.tif") as image:
        _assert_reads(tmp_path / "a.tif", np.array(image))
