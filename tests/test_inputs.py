import time
from pathlib import Path

import numpy as np
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from napari_metallography.calibration import Calibration
from napari_metallography.errors import InputError
from napari_metallography.inputs import (
    PixelSizes,
    image_files,
    image_of_labels,
    label_files,
    measured_field,
    read_image,
    require_distinct_stems,
    table_names,
)
from napari_metallography.io.images import Micrograph
from napari_metallography.io.index import ImageIndex
from napari_metallography.io.labels import LabelImage, write_labels
from napari_metallography.io.overlays import write_png
from napari_metallography.regions import Box, Field

_STEPS = np.arange(0, 256, 4, dtype=np.uint8).reshape(8, 8).repeat(4, axis=1)


def _touch(folder: Path, *names: str) -> list[Path]:
    paths = [folder / name for name in names]
    for path in paths:
        path.write_bytes(b"x")
    return paths


_PATHS = st.lists(st.lists(st.sampled_from("abc"), min_size=1, max_size=4), min_size=1, max_size=6)


@given(_PATHS)
def test_tables_call_files_by_the_shortest_paths_that_tell_them_apart(parts) -> None:
    files = [Path("/data", *folders, "1.png") for folders in parts]
    names = table_names(files)
    assert len(set(names)) == len(set(files))
    # One folder is the beginning of all, and the names say the rest.
    beginnings = {
        file.as_posix().removesuffix(name) for file, name in zip(files, names, strict=True)
    }
    assert len(beginnings) == 1
    folders = [name.rpartition("/")[0] for name in names]
    assert "" in folders or len({folder.partition("/")[0] for folder in folders}) > 1


def test_files_of_one_folder_keep_plain_names(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert table_names([Path("a/1.png"), Path("a/../a/2.png")]) == ["1.png", "2.png"]
    assert table_names([Path("a/1.png"), tmp_path / "b" / "1.png"]) == ["a/1.png", "b/1.png"]
    apart = [(tmp_path / "a" / "1.png").as_posix(), "/elsewhere-by-itself/1.png"]
    assert table_names([Path(path) for path in apart]) == apart
    assert table_names([]) == []


def test_folders_give_their_images_by_name_and_files_stay_as_given(tmp_path) -> None:
    b, a, _ = _touch(tmp_path, "b.tif", "a.png", "notes.txt")
    assert image_files([tmp_path]) == [a, b]
    assert image_files([b, a]) == [b, a]
    assert image_files([tmp_path / "missing.tif"]) == [tmp_path / "missing.tif"]


def test_labels_are_no_images_beside_images(tmp_path) -> None:
    image, labels = _touch(tmp_path, "a.tif", "a_labels.tif")
    assert image_files([tmp_path]) == [image]
    assert label_files([tmp_path]) == [labels]
    image.unlink()
    assert image_files([tmp_path]) == [labels]


def test_a_folder_without_images_is_refused(tmp_path) -> None:
    with pytest.raises(InputError, match="holds no image"):
        image_files([tmp_path])


def test_folders_in_a_folder_are_not_searched_and_one_is_named(tmp_path) -> None:
    for name in ("Tag 2", "Tag 1"):
        (tmp_path / name).mkdir()
        _touch(tmp_path / name, "a.tif")
    with pytest.raises(InputError) as refusal:
        image_files([tmp_path])
    assert "are not searched" in str(refusal.value)
    assert str(refusal.value).endswith(f"such as {tmp_path / 'Tag 1'}")
    (image,) = _touch(tmp_path, "b.tif")
    assert image_files([tmp_path]) == [image]


def test_names_beyond_ascii_are_listed_and_paired(tmp_path) -> None:
    folder = tmp_path / "Gefüge 組織"
    folder.mkdir()
    image, labels = _touch(folder, "Härte µ.tif", "Härte µ_labels.tif")
    assert image_files([folder]) == [image]
    assert label_files([folder]) == [labels]
    assert image_of_labels(labels) == image


def test_labels_of_other_names_are_found_where_none_has_the_ending(tmp_path) -> None:
    a, b = _touch(tmp_path, "a.png", "b.png")
    assert label_files([tmp_path]) == [a, b]
    (labels,) = _touch(tmp_path, "b_labels.tif")
    assert label_files([tmp_path]) == [labels]
    assert label_files([a, tmp_path]) == [a, labels]


@pytest.mark.parametrize("named", ["a2_labels.tif", "a2_labels.png", "a1_labels.png"])
def test_labels_with_and_without_the_ending_are_not_mixed(tmp_path, named) -> None:
    for name in ("a1.png", "a3.png", named):
        Image.fromarray(np.eye(20, dtype=np.uint8)).save(tmp_path / name)
    with pytest.raises(InputError, match=rf"holds {named}, and a1\.png which looks like labels"):
        label_files([tmp_path])


def test_images_beside_labels_are_left_out_whatever_their_ending(tmp_path) -> None:
    for name in ("a.tif", "b.tif", "uncertainty.tif"):
        tifffile.imwrite(tmp_path / name, _STEPS)
    for name in ("a_labels.tif", "c_labels.png"):
        Image.fromarray(np.eye(20, dtype=np.uint8)).save(tmp_path / name)
    assert label_files([tmp_path]) == [tmp_path / "a_labels.tif", tmp_path / "c_labels.png"]


def test_two_labels_of_one_image_are_refused(tmp_path) -> None:
    with pytest.raises(InputError, match=r"a\.png and .*a_labels\.tif are both labels of 'a'"):
        label_files([tmp_path / "a.png", tmp_path / "a_labels.tif"])


def test_a_folder_that_cannot_be_listed_is_refused(tmp_path, monkeypatch) -> None:
    def refuse(self: Path) -> None:
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "iterdir", refuse)
    with pytest.raises(InputError, match=r"cannot be listed \(Permission denied\)"):
        image_files([tmp_path])


def test_one_stem_twice_matters_only_where_results_are_written(tmp_path) -> None:
    files = _touch(tmp_path, "a.png", "a.tif")
    assert image_files([tmp_path]) == files
    with pytest.raises(InputError, match=r"a\.png and .*a\.tif would write the same result"):
        require_distinct_stems(files)
    with pytest.raises(InputError, match="same result"):
        require_distinct_stems([files[0], files[0]])
    with pytest.raises(InputError, match=r"a\.png and .*a\.tif are both labels of 'a'"):
        label_files([tmp_path])
    require_distinct_stems([tmp_path / "a.tif", tmp_path / "b.tif"])


def test_many_files_take_one_pass() -> None:
    files = [Path(f"{number}.tif") for number in range(20_000)]
    start = time.process_time()
    require_distinct_stems(files)
    assert time.process_time() - start < 2


@pytest.mark.parametrize(
    ("labels", "image"), [("a_labels.tif", "a.tif"), ("a.png", "a.png"), ("_labels.tif", ".tif")]
)
def test_labels_name_their_image(labels, image) -> None:
    assert image_of_labels(Path("x") / labels) == Path("x") / image


def test_a_stated_size_goes_before_the_index_and_the_file(tmp_path) -> None:
    path = tmp_path / "a_labels.tif"
    labels = LabelImage(
        np.zeros((4, 4), np.uint8), (), Calibration.square(3, "file"), Field((4, 4))
    )

    def size(sizes: PixelSizes) -> float:
        found = sizes.of_labels(path, labels)
        assert found is not None
        return found.mean_um

    assert size(PixelSizes()) == 3
    (tmp_path / "index.csv").write_text("image,pixel_size_um\na.tif,2\n", encoding="utf-8")
    assert size(PixelSizes()) == 2
    assert size(PixelSizes(1)) == 1


def test_a_size_is_stated_or_in_an_index_or_in_the_file(tmp_path) -> None:
    path, other = tmp_path / "a.tif", tmp_path / "other.csv"
    tifffile.imwrite(path, _STEPS, imagej=True, resolution=(0.25, 0.25), metadata={"unit": "um"})

    def size(sizes: PixelSizes) -> float:
        found = read_image(path, sizes).calibration
        assert found is not None
        return found.mean_um

    assert size(PixelSizes()) == 4
    (tmp_path / "index.csv").write_text("image,pixel_size_um\na.tif,3\n", encoding="utf-8")
    assert size(PixelSizes()) == 3
    other.write_text("image,pixel_size_um\na,2\n", encoding="utf-8")
    named = ImageIndex.read(other)
    assert size(PixelSizes(index=named)) == 2
    assert size(PixelSizes(1, named)) == 1
    other.write_text("image,pixel_size_um\nb.tif,2\n", encoding="utf-8")
    assert size(PixelSizes(index=ImageIndex.read(other))) == 4


def test_without_any_size_there_is_none(tmp_path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", _STEPS)
    assert read_image(tmp_path / "a.tif", PixelSizes()).calibration is None


@pytest.mark.parametrize("name", ["a.png", "a.tif"])
def test_foreign_labels_are_no_micrograph(tmp_path, name) -> None:
    Image.fromarray(_STEPS // 64).save(tmp_path / name)
    with pytest.raises(InputError, match="name the image it was made of"):
        read_image(tmp_path / name, PixelSizes())


@pytest.mark.parametrize(
    "box", [Box(0, 0, 41, 50), Box(0, 0, 40, 51), Box(40, 0, 60, 50), Box(-1, 0, 9, 9)]
)
def test_a_region_beyond_the_image_is_refused(tmp_path, box) -> None:
    micrograph = Micrograph(np.zeros((2, 40, 50), np.uint8), False, None, source=tmp_path)
    with pytest.raises(InputError, match="beyond the image of 40 rows and 50 columns"):
        measured_field(micrograph, region=box)
    whole = measured_field(micrograph, keep_data_bar=True, region=Box(0, 0, 40, 50))
    assert whole.mask().all()


def test_a_region_and_the_first_plane_of_a_stack(tmp_path) -> None:
    stack = np.random.default_rng(0).integers(0, 255, (3, 40, 50), dtype=np.uint8)
    tifffile.imwrite(tmp_path / "stack.tif", stack, photometric="minisblack")
    micrograph = read_image(tmp_path / "stack.tif", PixelSizes(0.5))
    assert micrograph.calibration is not None
    assert micrograph.calibration.mean_um == 0.5
    np.testing.assert_array_equal(micrograph.planes[0], stack[0])
    measured = measured_field(micrograph, keep_data_bar=True, region=Box(2, 3, 12, 23))
    assert measured.mask().sum() == 10 * 20


def test_pictures_of_results_are_left_out_of_folders_and_counted(tmp_path) -> None:
    Image.fromarray(_STEPS).save(tmp_path / "a.png")
    for name in ("a_lines.png", "b_overlay.png"):
        write_png(tmp_path / name, _STEPS)
    said: list[str] = []
    assert image_files([tmp_path], said.append) == [tmp_path / "a.png"]
    assert said == ["2 pictures made by this program are left out: results are no micrographs"]
    assert label_files([tmp_path]) == [tmp_path / "a.png"]
    assert image_files([tmp_path / "a.png"], said.append) == [tmp_path / "a.png"]
    assert len(said) == 1


def test_a_folder_of_results_alone_is_refused(tmp_path) -> None:
    write_png(tmp_path / "a_lines.png", _STEPS)
    with pytest.raises(InputError, match="1 picture made by this program is in it; name the fold"):
        image_files([tmp_path])


def test_a_picture_of_a_result_is_no_micrograph(tmp_path) -> None:
    write_png(tmp_path / "a.png", _STEPS)
    with pytest.raises(InputError, match=r"a\.png: a picture that this program made of a result"):
        read_image(tmp_path / "a.png", PixelSizes())


def test_labels_without_the_ending_are_no_images_beside_images(tmp_path) -> None:
    Image.fromarray(_STEPS).save(tmp_path / "a.png")
    indices = np.zeros((8, 8), np.uint8)
    write_labels(tmp_path / "a_map.tif", LabelImage(indices, (), None, Field((8, 8))))
    assert image_files([tmp_path]) == [tmp_path / "a.png"]


def zarr_image(path: Path, shape: tuple[int, ...] = (40, 50)) -> Path:
    zarr = pytest.importorskip("zarr")
    made = zarr.create_array(path, shape=shape, dtype="uint8", chunks=(*shape[:-2], 16, 20))
    made[:] = np.random.default_rng(0).integers(0, 255, shape)
    return path


def test_a_zarr_folder_is_a_file_among_others(tmp_path: Path) -> None:
    first, second = (
        zarr_image(tmp_path / "a.zarr"),
        zarr_image(tmp_path / "c.ome.zarr", (3, 40, 50)),
    )
    tifffile.imwrite(tmp_path / "b.tif", np.eye(9, dtype=np.uint8))
    assert image_files([first]) == [first]
    assert image_files([tmp_path]) == [first, tmp_path / "b.tif", second]
    stack = read_image(second, PixelSizes(0.5))
    assert len(stack.planes) == 3
    assert stack.calibration == Calibration.square(0.5, "stated by the user")
    assert measured_field(stack).shape == (40, 50)


def test_a_zarr_folder_of_another_kind_is_no_place_to_look_for_images(tmp_path: Path) -> None:
    (tmp_path / "more").mkdir()
    zarr_image(tmp_path / "images" / "a.zarr")
    with pytest.raises(InputError, match="holds no image"):
        image_files([tmp_path / "more"])
    assert image_files([tmp_path / "images"]) == [tmp_path / "images/a.zarr"]


def test_labels_beside_a_zarr_image_are_found(tmp_path: Path) -> None:
    zarr_image(tmp_path / "a.zarr")
    tifffile.imwrite(tmp_path / "a_labels.tif", np.eye(9, dtype=np.uint8))
    assert label_files([tmp_path]) == [tmp_path / "a_labels.tif"]
    assert image_files([tmp_path]) == [tmp_path / "a.zarr"]
