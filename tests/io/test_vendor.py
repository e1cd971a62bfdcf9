import json
import math
import struct

import numpy as np
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from napari_metallography.calibration import Calibration
from napari_metallography.errors import InputError
from napari_metallography.io.vendor import (
    hitachi_sidecar,
    jeol_sidecar,
    read_sidecar,
    tescan_sidecar,
    vendor_metadata,
)
from napari_metallography.io.vendors import ome, resolution
from napari_metallography.io.vendors.reading import fitted

_PIXELS = np.arange(60 * 80, dtype=np.uint16).reshape(60, 80)

_HITACHI = (
    "[SemImageFile]\r\nInstructName=SU-70\r\nImageName=a.tif\r\nDataSize={size}\r\n"
    "PixelSize=99.21875\r\nSignalName=SE(M)\r\nAcceleratingVoltage=15000 Volt\r\n"
    "Magnification=1000\r\nWorkingDistance=14900 um\r\nMicronMarker=50000\r\n"
)
_JEOL = (
    "$CM_FORMAT Tiff\n$CM_MAG 500\n$CM_ACCEL_VOLT 15.0\n$CM_SIGNAL SEI\n"
    "$$SM_MICRON_BAR 100\n$$SM_MICRON_MARKER {marker}\n$CM_FULL_SIZE {size}\n"
)


def _tiff(folder, tags=(), **options):
    path = folder / "image.tif"
    tifffile.imwrite(path, _PIXELS, extratags=tags, **options)
    return path


def _sizes(path):
    calibration, _ = vendor_metadata(path)
    return calibration and (calibration.x_um, calibration.y_um)


# --- real files


def test_real_files_read_as_stated(shared_data):
    folder = shared_data / "vendor"
    expected = json.loads((folder / "expected_um_per_px.json").read_text())
    for name, size in expected.items():
        if name.startswith("_"):
            continue
        path = folder / name
        calibration, stated = read_sidecar(path) if path.suffix == ".txt" else vendor_metadata(path)
        assert stated["vendor"]
        json.dumps(stated, allow_nan=False)
        found = calibration and calibration.mean_um
        assert found == (size and pytest.approx(size, rel=5e-3)), name


def test_real_files_without_claim_are_uncalibrated(shared_data):
    folder = shared_data / "vendor" / "rosettasciio"
    for name in ("optical_Zeiss_AxioVision_RGB", "JEOL-SightX-TEM-mag-dummy"):
        assert vendor_metadata(folder / f"{name}.tif")[0] is None


def test_settings_of_real_files(shared_data):
    folder = shared_data / "vendor"
    _, stated = vendor_metadata(folder / "rosettasciio" / "FEI-Helios-Ebeam-8bits.tif")
    assert stated["detector"] == "ETD"
    assert stated["accelerating_voltage_kv"] == 5
    _, stated = vendor_metadata(folder / "emelyanenko" / "Zeiss_1.tif")
    assert stated["nominal_magnification"] == "50000×"
    assert stated["working_distance_mm"] == 2.8
    _, stated = vendor_metadata(folder / "emelyanenko" / "Tescan_1.TIF")
    assert stated["nominal_magnification"] == "60000×"
    assert stated["accelerating_voltage_kv"] == 1


# --- tags


@pytest.mark.parametrize("tag", [34680, 34682])
def test_fei_reads_the_scan(tmp_path, tag):
    text = "[Beam]\r\nHV=20000\r\n[Scan]\r\nPixelWidth=2.5e-8\r\nPixelHeight=5e-8\r\n"
    path = _tiff(tmp_path, [(tag, "s", 0, text, True)], resolution=(64, 64), resolutionunit=2)
    assert _sizes(path) == pytest.approx((0.025, 0.05))
    assert vendor_metadata(path)[1]["accelerating_voltage_kv"] == 20


@pytest.mark.parametrize(
    "text", ["[Beam]\r\nHV=\r\n", "[Scan]\r\nPixelWidth=0\r\n", "nothing", " "]
)
def test_fei_without_scan_does_not_fall_back_on_resolution(tmp_path, text):
    path = _tiff(tmp_path, [(34682, "s", 0, text, True)], resolution=(9e4, 9e4), resolutionunit=3)
    assert _sizes(path) is None


def _zeiss(width, height):
    return f"0\r\n0\r\nAP_WIDTH\r\nWidth = {width}\r\nAP_HEIGHT\r\nHeight = {height}\r\n" + (
        "AP_PIXEL_SIZE\r\nPixel Size = 1 nm\r\nAP_MAG\r\nMag = 1.50 K X\r\n"
    )


def test_zeiss_divides_the_field_by_the_pixels(tmp_path):
    path = _tiff(tmp_path, [(34118, "s", 0, _zeiss("8.000 µm", "6.030 µm").encode("cp1252"), True)])
    assert _sizes(path) == pytest.approx((0.1, 0.1005))
    assert vendor_metadata(path)[1]["nominal_magnification"] == "1500×"


def test_zeiss_leaves_out_a_height_of_other_rows(tmp_path):
    path = _tiff(tmp_path, [(34118, "s", 0, _zeiss("0.8 mm", "0.7 mm"), True)])
    assert _sizes(path) == pytest.approx((10, 10))


@pytest.mark.parametrize("width", ["wide", "8 kg", "0 nm", "-8 nm", ""])
def test_zeiss_without_usable_width_is_uncalibrated(tmp_path, width):
    assert _sizes(_tiff(tmp_path, [(34118, "s", 0, _zeiss(width, "6 nm"), True)])) is None


def test_tescan_reads_text_after_a_thumbnail(tmp_path):
    value = (
        b"\x08\0\0\0\xff\xd8\0=[x  Detector=SE\r\nPixelSizeX=2e-7\r\nPixelSizeY=3e-7\r\nHV=5e3\r\n"
    )
    path = _tiff(tmp_path, [(50431, 1, len(value), value, True)])
    assert _sizes(path) == pytest.approx((0.2, 0.3))
    assert vendor_metadata(path)[1] == {
        "vendor": "TESCAN",
        "detector": "SE",
        "accelerating_voltage_kv": 5,
    }


def _gatan(unit, size):
    return [
        (65003, "s", 0, unit, True),
        (65004, "s", 0, unit, True),
        (65009, "d", 1, size, True),
        (65010, "d", 1, 2 * size, True),
    ]


def test_digitalmicrograph_tags(tmp_path):
    assert _sizes(_tiff(tmp_path, _gatan("nm", 5.0))) == pytest.approx((0.005, 0.01))
    assert _sizes(_tiff(tmp_path, _gatan("1/nm", 5.0))) is None


def _olympus(path, exponent, x, y):
    """Olympus SIS structure as tifffile's reader describes it."""
    header = struct.pack("<4s6xhhhhh6x32sH", b"SIS0", 1, 2, 3, 4, 120, b"name", 1)
    general = struct.pack("<10xhdd8xd2x34s32s", exponent, x, y, 50.0, b"SC50", b"")
    value = header + struct.pack("<hhI", 1, 0, 0) + general
    tifffile.imwrite(path, _PIXELS, extratags=[(33560, 1, len(value), value, True)])
    content = bytearray(path.read_bytes())
    start = content.index(b"SIS0")
    struct.pack_into("<I", content, start + len(header) + 4, start + len(header) + 8)
    path.write_bytes(content)


def test_olympus_reads_metres(tmp_path):
    path = tmp_path / "image.tif"
    _olympus(path, -9, 172.5, 173.5)
    assert _sizes(path) == pytest.approx((0.1725, 0.1735))
    assert vendor_metadata(path)[1]["nominal_magnification"] == "50×"
    _olympus(path, 0, 1.0, 1.0)
    assert _sizes(path) is None


def test_micromanager_zero_means_uncalibrated(tmp_path):
    for stated, expected in ((0.108, (0.108, 0.108)), (0.0, None)):
        path = _tiff(tmp_path, [(51123, "s", 0, json.dumps({"PixelSizeUm": stated}), True)])
        assert _sizes(path) == expected


def test_ome_units(tmp_path):
    path = tmp_path / "a.ome.tif"
    sizes = {"PhysicalSizeX": 250.0, "PhysicalSizeXUnit": "nm", "PhysicalSizeY": 0.5}
    tifffile.imwrite(path, _PIXELS, metadata={"axes": "YX", **sizes})
    assert _sizes(path) == (0.25, 0.5)
    tifffile.imwrite(path, _PIXELS, metadata={"axes": "YX"})
    assert _sizes(path) is None
    tifffile.imwrite(path, _PIXELS, metadata={**sizes, "PhysicalSizeXUnit": "pixel"})
    assert _sizes(path) is None


def test_ome_settings():
    text = (
        '<?xml version="1.0" encoding="UTF-8"?><OME xmlns="http://www.openmicroscopy.org/x">'
        '<Instrument><Microscope Model="M"/><Objective NominalMagnification="20.0"/></Instrument>'
        '<Image><Pixels PhysicalSizeX="2"/></Image></OME>'
    )
    calibration, stated = ome.parse(text)
    assert (calibration.x_um, calibration.y_um) == (2, 2)
    assert stated == {"vendor": "OME", "instrument": "M", "nominal_magnification": "20×"}


def test_ome_entities_are_refused(tmp_path):
    text = '<!DOCTYPE o [<!ENTITY a "0.5">]><OME><Pixels PhysicalSizeX="&a;"/></OME>'
    assert ome.parse(text) is None
    path = _tiff(tmp_path, description=text, metadata=None)
    assert vendor_metadata(path) == (None, {"vendor": "OME"})


@pytest.mark.parametrize(
    ("unit", "per_unit", "expected"),
    [
        ("um", 4.0, 0.25),
        ("micron", 4.0, 0.25),
        (r"\u00B5m", 4.0, 0.25),
        ("nm", 0.5, 0.002),
        ("mm", 500.0, 2.0),
        ("inch", 50800.0, 0.5),
        ("inch", 72.0, None),
        ("inch", 600.0, None),
        ("cm", 10000.0, 1.0),
        ("cm", 28.35, None),
        ("pixel", 4.0, None),
        ("sec", 4.0, None),
        ("um", 1.0, None),
    ],
)
def test_imagej_units(tmp_path, unit, per_unit, expected):
    path = tmp_path / "image.tif"
    resolution = (per_unit, per_unit)
    tifffile.imwrite(path, _PIXELS, imagej=True, resolution=resolution, metadata={"unit": unit})
    assert _sizes(path) == (expected and pytest.approx((expected, expected), rel=1e-5))


@pytest.mark.parametrize("encoding", ["utf-8", "latin-1"])
def test_imagej_unit_beyond_ascii(tmp_path, encoding):
    text = "ImageJ=1.54f\nunit=µm\n".encode(encoding)
    assert _sizes(_tiff(tmp_path, description=text, metadata=None, resolution=(4, 4))) == (
        0.25,
        0.25,
    )


def test_imagej_without_unit_is_uncalibrated(tmp_path):
    path = tmp_path / "image.tif"
    tifffile.imwrite(path, _PIXELS, imagej=True, resolution=(4e4, 4e4), resolutionunit=3)
    assert _sizes(path) is None


@pytest.mark.parametrize(
    ("per_unit", "unit", "expected"),
    [
        (20000, "CENTIMETER", 0.5),
        (50800, "INCH", 0.5),
        (20000, "NONE", None),
        (100, "CENTIMETER", None),
        (118.11, "CENTIMETER", None),
        (472.441, "CENTIMETER", None),
        (72, "INCH", None),
        (600, "INCH", None),
        (1200, "INCH", None),
        (2400, "INCH", None),
        (315, "CENTIMETER", None),
        (393.7, "CENTIMETER", None),
        (1575, "CENTIMETER", None),
        (2540, "INCH", 10.0),
    ],
)
def test_resolution_tags_only_where_believable(tmp_path, per_unit, unit, expected):
    path = _tiff(tmp_path, resolution=(per_unit, per_unit), resolutionunit=unit)
    assert _sizes(path) == (expected and pytest.approx((expected, expected)))


_USUAL_DPI = (
    *(72, 96, 150, 300, 600, 720, 800, 1000, 1200, 1350, 1440, 1600, 2000, 2400, 2880, 2900),
    *(3200, 4000, 4800, 5400, 5760, 6400, 7200, 8000, 9600, 12800),
)


@pytest.mark.parametrize("dpi", _USUAL_DPI)
def test_resolutions_of_scanners_and_printers_are_no_microscopes(dpi):
    per_cm = dpi / 2.54
    for written in (per_cm, round(per_cm, 2), round(per_cm)):
        assert not resolution.is_believable(1e4 / written)


@given(st.floats(1e-3, 1.9))
def test_every_size_of_a_high_magnification_is_believable(size):
    assert resolution.is_believable(size)


@given(st.floats(allow_nan=True, allow_infinity=True))
def test_believable_sizes_are_a_microscopes(size):
    if resolution.is_believable(size):
        assert 0 < size < 50
        assert abs(25400 / size - 600) > 0.5


# --- sidecars


@pytest.mark.parametrize("marker", ["10µm", "10 um", "10μm", "10000nm", "0.01mm", "10,0 µm"])
def test_jeol_marker_over_bar(marker):
    calibration, stated = jeol_sidecar(_JEOL.format(marker=marker, size="1280 960"))
    assert calibration.x_um == calibration.y_um == pytest.approx(0.1)
    assert calibration.relative_uncertainty == pytest.approx(1 / math.sqrt(12) / 100)
    assert stated["nominal_magnification"] == "500×"
    assert stated["frame_px"] == [1280, 960]


@pytest.mark.parametrize("marker", ["", "10", "µm", "10 apples", "1.2.3µm", "0µm"])
def test_jeol_without_usable_marker_is_uncalibrated(marker):
    calibration, stated = jeol_sidecar(_JEOL.format(marker=marker, size="1280 960"))
    assert calibration is None
    assert stated["vendor"] == "JEOL"


def test_hitachi_reads_nanometres():
    calibration, stated = hitachi_sidecar(_HITACHI.format(size="1280x960"))
    assert calibration.x_um == calibration.y_um == pytest.approx(0.09921875)
    assert calibration.source == "Hitachi sidecar"
    assert stated == {
        "vendor": "Hitachi",
        "instrument": "SU-70",
        "detector": "SE(M)",
        "nominal_magnification": "1000×",
        "accelerating_voltage_kv": 15,
        "working_distance_mm": 14.9,
        "frame_px": [1280, 960],
    }


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp932", "latin-1"])
def test_sidecar_beside_an_image_in_any_encoding(tmp_path, encoding):
    marker = {"cp932": "10μm", "latin-1": "10µm"}.get(encoding, "10µm")
    path = tmp_path / "Stahl ä 鋼.bmp"
    Image.fromarray(_PIXELS.astype(np.uint8)).save(path)
    text = _JEOL.format(marker=marker, size="80 60")
    path.with_suffix(".txt").write_bytes(text.encode(encoding))
    assert _sizes(path) == pytest.approx((0.1, 0.1))


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ("80x60", 0.09921875),
        ("80x64", 0.09921875),
        ("160x120", 0.1984375),
        ("160x60", None),
        ("40x30", 0.049609375),
        ("1280x960", 1.5875),
        ("1280x1024", None),
        ("81x100", None),
    ],
)
def test_sidecar_of_another_frame(tmp_path, size, expected):
    path = _tiff(tmp_path)
    path.with_suffix(".txt").write_text(_HITACHI.format(size=size))
    assert _sizes(path) == (expected and pytest.approx((expected, expected)))


def test_an_image_much_smaller_than_its_frame_was_resampled(tmp_path):
    path = _tiff(tmp_path)
    Image.fromarray(np.zeros((768, 1024), np.uint8)).save(path)
    path.with_suffix(".txt").write_text(_JEOL.format(marker="10µm", size="5120 3840"))
    assert _sizes(path) == pytest.approx((0.5, 0.5))


@given(st.sampled_from([0.05, 0.1, 0.2, 0.25, 0.5, 1, 2, 4]))
def test_a_resampled_image_keeps_the_width_of_its_field(factor):
    frame = (1280, 960)
    reading = (Calibration.square(0.1, "test"), {"frame_px": list(frame)})
    columns, rows = (round(side * factor) for side in frame)
    calibration, _ = fitted(reading, (rows, columns))
    assert calibration.x_um * columns == pytest.approx(128)
    assert calibration.y_um * rows == pytest.approx(96)


def test_hitachi_without_its_heading():
    assert hitachi_sidecar("DataSize=80x60\nPixelSize=5 nm\n")[0].x_um == pytest.approx(0.005)
    assert hitachi_sidecar("PixelSize=5\n") == (None, {})


def test_tescan_sidecar(tmp_path):
    path = _tiff(tmp_path)
    text = "[MAIN]\r\nDevice=VEGA\r\nPixelSizeX=2e-7\r\nPixelSizeY=2e-7\r\n[SEM]\r\nHV=20000.0\r\n"
    (tmp_path / "image-tif.hdr").write_text(text)
    assert _sizes(path) == pytest.approx((0.2, 0.2))
    assert vendor_metadata(path)[1]["accelerating_voltage_kv"] == 20


def test_tags_come_before_a_sidecar_and_a_sidecar_before_resolution(tmp_path):
    path = _tiff(tmp_path, resolution=(20000, 20000), resolutionunit=3)
    assert _sizes(path) == (0.5, 0.5)
    path.with_suffix(".txt").write_text(_HITACHI.format(size="80x60"))
    assert _sizes(path) == pytest.approx((0.09921875, 0.09921875))
    _tiff(tmp_path, _gatan("nm", 5.0))
    assert _sizes(path) == pytest.approx((0.005, 0.01))


def test_other_texts_are_no_sidecars(tmp_path):
    path = _tiff(tmp_path)
    path.with_suffix(".txt").write_text("Notes: PixelSize=3, magnification 500")
    assert vendor_metadata(path) == (None, {})


@given(st.text())
def test_any_text_is_read_or_left(text):
    for read in (jeol_sidecar, hitachi_sidecar, tescan_sidecar, ome.parse):
        read(text)


_VALUES = st.text(max_size=12) | st.sampled_from(
    ["1e999", "-1", "nan", "10µm", "0", "1x1", "9" * 400]
)


@given(_VALUES, _VALUES, _VALUES)
def test_any_value_is_read_or_left(first, second, third):
    texts = (
        f"$$SM_MICRON_BAR {first}\n$$SM_MICRON_MARKER {second}\n$CM_FULL_SIZE {third}",
        f"[SemImageFile]\nPixelSize={first}\nDataSize={second}\nMagnification={third}",
        f"[MAIN]\nPixelSizeX={first}\nPixelSizeY={second}\nMagnification={third}",
    )
    for read, text in zip((jeol_sidecar, hitachi_sidecar, tescan_sidecar), texts, strict=True):
        calibration, stated = read(text)
        json.dumps(stated, allow_nan=False)
        assert calibration is None or 0 < calibration.x_um <= 1000


@given(st.sampled_from([34682, 34118, 50431, 33560, 37706, 51123, 270]), st.binary(min_size=1))
def test_any_tag_is_read_or_refused(tmp_path_factory, tag, value):
    path = tmp_path_factory.getbasetemp() / "tag.tif"
    tags = [(tag, 1, len(value), value, True)]
    tifffile.imwrite(path, _PIXELS, extratags=tags, metadata=None)
    try:
        _, stated = vendor_metadata(path)
    except InputError:
        return
    json.dumps(stated, allow_nan=False)
