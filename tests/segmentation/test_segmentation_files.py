"""From image files to label files, by thresholds: no network is asked."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile

from napari_metallography.classes import UNLABELLED, named_classes
from napari_metallography.errors import InputError
from napari_metallography.events import drain
from napari_metallography.inputs import PixelSizes
from napari_metallography.io import tiff_planes
from napari_metallography.io.labels import read_labels
from napari_metallography.io.mark import is_own_picture
from napari_metallography.io.tiff_planes import TiffPlanes
from napari_metallography.regions import Box
from napari_metallography.segmentation import files
from napari_metallography.segmentation.files import phase_rows, segment_file
from napari_metallography.segmentation.prediction import QUICK
from napari_metallography.segmentation.segment import SegmentParameters
from napari_metallography.segmentation.thresholding import ThresholdParameters

THRESHOLD = SegmentParameters(method="threshold")
PIXEL_UM = 0.25


def squares() -> np.ndarray:
    truth = np.zeros((120, 160), np.uint8)
    for row, column in np.ndindex(3, 4):
        truth[40 * row + 10 :, 40 * column + 15 :][:8, :8] = 1
    return truth


@pytest.fixture
def steel(tmp_path: Path) -> Path:
    noise = np.random.default_rng(5).normal(0, 6, squares().shape)
    grey = np.clip(np.where(squares() == 1, 190, 90) + noise, 0, 255).astype(np.uint8)
    tifffile.imwrite(tmp_path / "steel.tif", grey)
    return tmp_path / "steel.tif"


def segmented(path: Path, folder: Path, **options):
    return drain(segment_file(path, folder, THRESHOLD, sizes=PixelSizes(PIXEL_UM), **options))


def test_labels_carry_pixel_size_field_and_how_they_were_made(steel: Path, tmp_path: Path) -> None:
    segmented(steel, tmp_path / "out", region=Box(0, 0, 80, 160))
    labels = read_labels(tmp_path / "out/steel_labels.tif")
    assert labels.calibration is not None
    assert (labels.calibration.x_um, labels.calibration.y_um) == (PIXEL_UM, PIXEL_UM)
    assert labels.provenance["image"] == "steel.tif"
    assert labels.provenance["method"] == "threshold"
    assert 100 < labels.provenance["grey_value_thresholds"][0] < 180
    assert labels.measured.mask().sum() == 80 * 160


def test_a_region_off_the_image_writes_nothing(steel: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="the region"):
        segmented(steel, tmp_path / "out", region=Box(500, 500, 600, 600))
    assert not (tmp_path / "out").exists()


def test_unlabelled_planes_have_no_fraction(steel: Path, tmp_path: Path) -> None:
    labels = segmented(steel, tmp_path)
    labels.indices[:] = UNLABELLED
    assert [row["area_fraction"] for row in phase_rows("a", labels)] == [None, None]


def test_labels_of_a_former_run_are_not_replaced_unasked(steel: Path, tmp_path: Path) -> None:
    made = segmented(steel, tmp_path / "out")
    target = tmp_path / "out/steel_labels.tif"
    before = target.read_bytes()
    with pytest.raises(InputError, match=r"steel_labels\.tif: exists already .* --overwrite"):
        segmented(steel, tmp_path / "out", region=Box(0, 0, 40, 40))
    assert target.read_bytes() == before
    segmented(steel, tmp_path / "out", region=Box(0, 0, 40, 40), overwrite=True)
    assert (read_labels(target).indices != made.indices).any()


def test_a_file_that_is_its_own_result_is_refused_before_any_work(
    steel: Path, tmp_path: Path, monkeypatch
) -> None:
    before = steel.read_bytes()
    (tmp_path / "out").mkdir()
    link = tmp_path / "out/steel_labels.tif"
    try:
        link.symlink_to(steel)
    except OSError:
        pytest.skip("links cannot be made here")
    monkeypatch.setattr(files, "read_image", lambda *_: pytest.fail("the image was read"))
    with pytest.raises(InputError, match="would overwrite its input; choose another folder"):
        segmented(steel, tmp_path / "out")
    assert link.is_symlink()
    assert steel.read_bytes() == before


def test_labels_that_cannot_be_written_leave_nothing_half_done(
    steel: Path, tmp_path: Path, monkeypatch
) -> None:
    out = tmp_path / "out"
    segmented(steel, out)
    before = (out / "steel_labels.tif").read_bytes()

    def full(self: Path, target: Path) -> Path:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(InputError, match=r"steel_labels\.tif: cannot be written \(No space left"):
        segmented(steel, out, region=Box(0, 0, 40, 40), overwrite=True)
    assert (out / "steel_labels.tif").read_bytes() == before
    assert [path.name for path in out.iterdir()] == ["steel_labels.tif"]


def test_a_dark_phase_is_the_rest_of_a_bright_one(steel: Path, tmp_path: Path) -> None:
    dark = SegmentParameters(method="threshold", threshold=ThresholdParameters(phase="dark"))
    labels = drain(segment_file(steel, tmp_path, dark, sizes=PixelSizes(PIXEL_UM)))
    np.testing.assert_array_equal(labels.indices, 1 - squares())
    assert labels.classes == named_classes(["matrix", "phase"])


def noisy(folder: Path, planes: int = 0) -> tuple[Path, np.ndarray]:
    stack = np.stack(
        [np.where(squares() == 1, 190 - 9 * n, 90 + 5 * n) for n in range(planes or 1)]
    )
    grey = np.random.default_rng(9).normal(stack, 6).clip(0, 255).astype(np.uint8)
    pixels = grey if planes else grey[0]
    path = folder / "stack.tif"
    tifffile.imwrite(path, pixels, photometric="minisblack", compression="zlib", rowsperstrip=9)
    return path, pixels


@pytest.fixture
def everything_is_large(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (files, tiff_planes):
        monkeypatch.setattr(module, "LARGE_BYTES", 100)


@pytest.mark.parametrize("planes", [0, 3])
def test_large_images_are_segmented_to_the_same_file(
    tmp_path: Path, planes: int, request: pytest.FixtureRequest
) -> None:
    path, _ = noisy(tmp_path, planes)
    small = segmented(path, tmp_path / "small")
    assert isinstance(small.indices, np.ndarray)
    request.getfixturevalue("everything_is_large")
    large = segmented(path, tmp_path / "large")
    assert isinstance(large.indices, TiffPlanes)
    name = "stack_labels.tif"
    assert (tmp_path / "large" / name).read_bytes() == (tmp_path / "small" / name).read_bytes()
    np.testing.assert_array_equal(np.asarray(large.indices), small.indices)
    assert phase_rows("a", large) == phase_rows("a", small)
    assert [one.name for one in (tmp_path / "large").iterdir()] == [name]


@pytest.mark.parametrize("large", [False, True])
def test_a_plane_alone_is_that_of_the_stack(
    tmp_path: Path, large: bool, request: pytest.FixtureRequest
) -> None:
    path, _ = noisy(tmp_path, 3)
    whole = segmented(path, tmp_path / "whole")
    if large:
        request.getfixturevalue("everything_is_large")
    for number in range(3):
        alone = segmented(path, tmp_path / "alone", plane=number)
        assert alone.indices.shape == squares().shape
        np.testing.assert_array_equal(np.asarray(alone.indices), whole.indices[number])
        assert alone.provenance["plane"] == number
        stored = read_labels(tmp_path / f"alone/stack_plane000{number}_labels.tif")
        np.testing.assert_array_equal(np.asarray(stored.indices), whole.indices[number])
    with pytest.raises(InputError, match=r"stack\.tif: has no plane 3, only 0 to 2"):
        segmented(path, tmp_path / "alone", plane=3)
    with pytest.raises(InputError, match=r"stack_plane0001_labels\.tif: exists already"):
        segmented(path, tmp_path / "alone", plane=1)


def test_a_zarr_is_segmented_as_the_tiff_of_its_pixels(tmp_path: Path, untrained) -> None:
    zarr = pytest.importorskip("zarr")
    path, pixels = noisy(tmp_path, 2)
    made = zarr.create_array(
        tmp_path / "stack.zarr", shape=pixels.shape, dtype="uint8", chunks=(1, 33, 50)
    )
    made[:] = pixels
    model = untrained(["matrix", "phase"])
    quick = SegmentParameters(prediction=QUICK, uncertainty=True)
    for source in (path, tmp_path / "stack.zarr"):
        out = tmp_path / source.suffix[1:]
        drain(segment_file(source, out, quick, sizes=PixelSizes(PIXEL_UM), model=model))
    for name in ("labels", "uncertainty"):
        one, other = (
            tifffile.imread(tmp_path / folder / f"stack_{name}.tif") for folder in ("tif", "zarr")
        )
        np.testing.assert_array_equal(one, other)


def test_cancelling_leaves_nothing(tmp_path: Path, everything_is_large: None) -> None:
    path, _ = noisy(tmp_path, 3)
    out = tmp_path / "out"
    events = segment_file(path, out, THRESHOLD, sizes=PixelSizes(PIXEL_UM))
    next(events)
    next(events)
    events.close()
    assert [*out.iterdir()] == []


def test_large_uncertainties_go_to_their_file_too(
    tmp_path: Path, untrained, request: pytest.FixtureRequest
) -> None:
    path, _ = noisy(tmp_path)
    model = untrained(["matrix", "phase"])
    quick = SegmentParameters(prediction=QUICK, uncertainty=True)
    for folder in ("small", "large"):
        drain(segment_file(path, tmp_path / folder, quick, sizes=PixelSizes(None), model=model))
        if folder == "small":
            request.getfixturevalue("everything_is_large")
    for name in ("stack_labels.tif", "stack_uncertainty.tif"):
        small, large = (tmp_path / folder / name for folder in ("small", "large"))
        assert small.read_bytes() == large.read_bytes()
    assert is_own_picture(tmp_path / "large/stack_uncertainty.tif")
