from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile
from PIL import Image

from napari_metallography.calibration import Calibration
from napari_metallography.classes import UNLABELLED, PhaseClass, named_classes
from napari_metallography.errors import InputError
from napari_metallography.inputs import PixelSizes
from napari_metallography.io.labels import LabelImage, write_labels
from napari_metallography.labelled import (
    LabelledImage,
    check_labels,
    classes_or_default,
    digest,
    joined,
    read_labelled_folder,
)
from napari_metallography.regions import Box, Field

SHAPE = (60, 80)
UNKNOWN_SIZE = PixelSizes()
STEEL = named_classes(["matrix", "carbide"])


def _grey(seed: int, shape: tuple[int, int] = SHAPE) -> np.ndarray:
    return np.random.default_rng(seed).integers(40, 200, shape).astype(np.uint8)


def _truth(seed: int, classes: int = 3) -> np.ndarray:
    truth = np.random.default_rng(seed).integers(0, classes, SHAPE).astype(np.uint8)
    truth.flat[:classes] = range(classes)
    return truth


def _write_own(path: Path, indices: np.ndarray, classes: tuple[PhaseClass, ...]) -> None:
    calibration = Calibration.square(9.0, "test")
    write_labels(path, LabelImage(indices, classes, calibration, Field(indices.shape)))


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """Three micrographs: b, a and c."""
    folder = tmp_path / "images"
    folder.mkdir()
    for number, stem in enumerate("bac"):
        tifffile.imwrite(folder / f"{stem}.tif", _grey(number))
    return folder


@pytest.fixture
def labels(tmp_path: Path) -> Path:
    """Labels of b and a."""
    folder = tmp_path / "labels"
    folder.mkdir()
    for number, stem in enumerate("ba"):
        Image.fromarray(_truth(number)).save(folder / f"{stem}.png")
    return folder


def _read(images: Path, labels: Path, **options) -> list[LabelledImage]:
    found, _ = read_labelled_folder(images, labels, **{"sizes": UNKNOWN_SIZE, **options})
    return found


def _image(labels: np.ndarray, shape: tuple[int, int] | None = None) -> LabelledImage:
    pixels = np.zeros((*(shape or labels.shape), 3), np.uint8)
    return LabelledImage("steel", pixels, labels.astype(np.uint8))


def test_images_are_paired_by_stem_in_order_and_those_without_labels_left_out(
    images, labels
) -> None:
    read, classes = read_labelled_folder(images, labels, sizes=UNKNOWN_SIZE)
    assert [image.name for image in read] == ["a", "b"]
    assert classes == ()
    for image, seed in zip(read, (1, 0), strict=True):
        assert (image.pixels == _grey(seed)[..., None]).all()
        assert (image.labels == _truth(seed)).all()
        assert image.pixel_size_um is None
        assert image.field.mask().all()


@pytest.mark.parametrize("ending", ["tif", "png"])
def test_labels_may_have_an_ending_of_their_own(images, tmp_path, ending) -> None:
    folder = tmp_path / "ours"
    folder.mkdir()
    for stem in "ab":
        Image.fromarray(_truth(4)).save(folder / f"{stem}_labels.{ending}")
    read = _read(images, folder)
    assert [image.name for image in read] == ["a", "b"]
    assert (read[0].labels == _truth(4)).all()


def test_images_and_labels_may_share_a_folder(images) -> None:
    _write_own(images / "c_labels.tif", _truth(2, 2), STEEL)
    (read,) = _read(images, images)
    assert read.name == "c"
    assert (read.pixels[..., 0] == _grey(2)).all()
    assert (read.labels == _truth(2, 2)).all()


def test_listed_stems_alone_are_read_in_their_order(images, labels) -> None:
    assert [image.name for image in _read(images, labels, stems=["b", "a"])] == ["b", "a"]
    assert [image.name for image in _read(images, labels, stems=["b"])] == ["b"]


def test_what_has_no_partner_is_counted_unless_a_list_says_what_is_wanted(images, labels) -> None:
    for stem in ("y", "x"):
        Image.fromarray(_truth(0)).save(labels / f"{stem}.png")
    told: list[str] = []
    _read(images, labels, notice=told.append)
    partners = [
        "1 images without labels are left out, such as c",
        "2 labels without an image are left out, such as x",
    ]
    assert told[:2] == partners
    told.clear()
    _read(images, labels, notice=told.append, stems=["a"])
    assert not set(told) & set(partners)


def test_what_is_assumed_of_labels_without_names_is_told_once(images, labels) -> None:
    told: list[str] = []
    _read(images, labels, notice=told.append, ignore=2)
    (said,) = [text for text in told if "taken as class indices: 0 = matrix" in text]
    assert said.startswith(f"{labels}: 2 without class names")
    assert said.endswith("; of these 2 = unlabelled")


def test_names_known_otherwise_are_those_told(images, labels) -> None:
    told: list[str] = []
    _read(images, labels, notice=told.append, names=["ferrite", "pearlite"], ignore=2)
    (said,) = [text for text in told if "taken as class indices" in text]
    assert "indices: 0 = ferrite, 1 = pearlite, 255 = unlabelled" in said
    assert said.endswith("; of these 2 = unlabelled")


def test_a_stem_that_is_listed_twice_is_refused(images, labels) -> None:
    with pytest.raises(InputError, match="'b' is listed twice"):
        _read(images, labels, stems=["b", "a", "b"])


def test_two_labels_of_one_image_are_refused(images, labels) -> None:
    for name in ("a.png", "a_labels.png"):
        Image.fromarray(np.eye(60, 80, dtype=np.uint8)).save(labels / name)
    with pytest.raises(
        InputError, match=r"holds a_labels\.png, and a\.png which looks like labels"
    ):
        _read(images, labels)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_the_data_bar_does_not_change_the_pixels_above_it(tmp_path, dtype) -> None:
    alone = np.random.default_rng(3).integers(40, 200, (260, 400)).astype(dtype)
    bar = np.zeros((40, 400), np.uint8)
    cv2.putText(bar, "20 um  15.0 kV  x500", (8, 26), 0, 0.6, 255, 1)
    for folder in ("images", "labels"):
        (tmp_path / folder).mkdir()
    for stem, grey in (("a", alone), ("b", np.concatenate([alone, bar.astype(dtype)]))):
        tifffile.imwrite(tmp_path / f"images/{stem}.tif", grey)
        tifffile.imwrite(tmp_path / f"labels/{stem}.tif", np.eye(*grey.shape, dtype=np.uint8))
    plain, barred = _read(tmp_path / "images", tmp_path / "labels")
    assert barred.field.data_bar == Box(260, 0, 300, 400)
    assert (barred.pixels[:260] == plain.pixels).all()


@pytest.mark.parametrize("stem", ["c", "d"])
def test_a_listed_image_without_its_pair_is_refused(images, labels, stem: str) -> None:
    with pytest.raises(InputError, match=f"'{stem}' has no image in .* or no labels in"):
        _read(images, labels, stems=["a", stem])


def test_folders_without_a_common_stem_are_refused(images, tmp_path) -> None:
    folder = tmp_path / "others"
    folder.mkdir()
    Image.fromarray(_truth(0)).save(folder / "z.png")
    with pytest.raises(InputError, match="labels of the same name"):
        _read(images, folder)
    with pytest.raises(InputError, match="no such folder"):
        _read(images, tmp_path / "nowhere")
    with pytest.raises(InputError, match="no such folder"):
        _read(tmp_path / "nowhere", images)


def test_an_ignored_value_is_unlabelled(images, labels) -> None:
    truth = _truth(1)
    read = _read(images, labels, stems=["a"], ignore=2)[0].labels
    assert (read == np.where(truth == 2, UNLABELLED, truth)).all()


def test_labels_of_another_size_are_refused(images, labels) -> None:
    Image.fromarray(_truth(0)[:-1]).save(labels / "a.png")
    with pytest.raises(InputError, match=r"a.png: \(59, 80\) pixels, but its image has \(60, 80\)"):
        _read(images, labels)


def test_the_data_bar_is_unlabelled(images, labels) -> None:
    height, width = 300, 400
    grey = _grey(9, (height, width))
    grey[260:] = 0
    cv2.putText(grey, "20 um  15.0 kV  x500", (8, 286), 0, 0.6, 255, 1)
    tifffile.imwrite(images / "a.tif", grey)
    truth = np.ones((height, width), np.uint8)
    truth[:, ::2] = 0
    Image.fromarray(truth).save(labels / "a.png")
    (read,) = _read(images, labels, stems=["a"])
    assert read.field.data_bar == Box(260, 0, 300, 400)
    assert (read.labels[260:] == UNLABELLED).all()
    assert (read.labels[:260] == truth[:260]).all()


def test_pixel_size_and_specimen_come_from_the_index_unless_stated(images, labels) -> None:
    rows = "image,pixel_size_um,specimen\na.tif,0.25,S1\n"
    (images / "index.csv").write_text(rows, encoding="utf-8")
    a, b = _read(images, labels)
    assert (a.pixel_size_um, a.specimen) == (0.25, "S1")
    assert (b.pixel_size_um, b.specimen) == (None, "")
    stated = _read(images, labels, sizes=PixelSizes(stated_um=2.0))
    assert [image.pixel_size_um for image in stated] == [2.0, 2.0]


def test_the_classes_are_those_the_label_files_name(images, labels) -> None:
    # c names them, a and b do not.
    _write_own(labels / "c.tif", _truth(3, 2), STEEL)
    read, classes = read_labelled_folder(images, labels, sizes=UNKNOWN_SIZE)
    assert classes == STEEL
    assert len(read) == 3


def test_label_files_that_name_different_classes_are_refused(images, labels) -> None:
    _write_own(labels / "c.tif", _truth(3, 2), STEEL)
    (labels / "a.png").unlink()
    _write_own(labels / "a.tif", _truth(3, 2), named_classes(["ferrite", "pearlite"]))
    with pytest.raises(InputError) as refused:
        _read(images, labels)
    assert "a.tif: ferrite, pearlite; c.tif: matrix, carbide" in str(refused.value)


def test_the_colours_of_the_classes_may_differ(images, labels) -> None:
    other = tuple(PhaseClass(name=phase.name, colour="#123456") for phase in STEEL)
    _write_own(labels / "c.tif", _truth(3, 2), STEEL)
    (labels / "a.png").unlink()
    _write_own(labels / "a.tif", _truth(3, 2), other)
    assert read_labelled_folder(images, labels, sizes=UNKNOWN_SIZE)[1] == other


def test_real_labels_without_names(shared_data: Path) -> None:
    folder = shared_data / "uhcs"
    stems = ["uhcs1061", "uhcs0075"]
    read, classes = read_labelled_folder(
        folder / "images", folder / "labels", sizes=UNKNOWN_SIZE, stems=stems
    )
    assert classes == ()
    assert [image.name for image in read] == stems
    assert [image.specimen for image in read][1] == "37"
    assert read[1].pixel_size_um == pytest.approx(0.19417, rel=1e-4)
    check_labels(read, 4)
    for image, stem in zip(read, stems, strict=True):
        truth = np.asarray(Image.open(folder / "labels" / f"{stem}.png"))
        assert (image.labels == truth)[image.labels != UNLABELLED].all()
        assert (image.labels != UNLABELLED).mean() > 0.9


def test_labels_that_fit_pass() -> None:
    check_labels([_image(np.array([[0, 1, UNLABELLED]]))], 2)


@pytest.mark.parametrize(
    ("images", "said"),
    [
        ([], "no labelled image"),
        ([_image(np.zeros((2, 3)), (3, 2))], r"image \(3, 2\) and labels \(2, 3\) differ"),
        ([_image(np.zeros((2, 2))), _image(np.full((2, 2), 2))], "label 2, but the 2 classes"),
        ([_image(np.full((2, 2), UNLABELLED))] * 2, "no pixel is labelled"),
    ],
)
def test_labels_that_do_not_fit_are_refused(images: list[LabelledImage], said: str) -> None:
    with pytest.raises(InputError, match=said):
        check_labels(images, 2)


def test_one_image_without_a_label_does_not_matter() -> None:
    check_labels([_image(np.full((2, 2), UNLABELLED)), _image(np.zeros((2, 2)))], 2)


def test_the_digest_knows_shape_content_and_order() -> None:
    one, other = _image(np.zeros((2, 8))), _image(np.zeros((4, 4)))
    assert digest([one]) != digest([other])
    assert digest([one, other]) != digest([other, one])
    assert digest([one]) == digest([_image(np.zeros((2, 8)))])
    assert digest([one]) != digest([_image(np.ones((2, 8)))])
    brighter = LabelledImage("steel", one.pixels + np.uint8(1), one.labels)
    assert digest([one]) != digest([brighter])


def test_the_users_names_come_before_the_files_and_numbers_last() -> None:
    images = [_image(np.array([[0, 2]]))]
    assert classes_or_default(["a", "b", "c"], STEEL, images) == named_classes(["a", "b", "c"])
    assert classes_or_default([], STEEL, images) == STEEL
    numbered = classes_or_default([], (), images)
    assert [phase.name for phase in numbered] == ["matrix", "class 1", "class 2"]


def test_labels_of_one_image_are_joined() -> None:
    pixels = np.zeros((2, 3, 3), np.uint8)
    first, second = (np.full((2, 3), UNLABELLED, np.uint8) for _ in range(2))
    first[0], second[1] = 1, 2
    other = LabelledImage("b", pixels, first)
    one, two = joined(
        [LabelledImage("a", pixels, first), other, LabelledImage("a", pixels, second)]
    )
    assert one.labels.tolist() == [[1, 1, 1], [2, 2, 2]]
    assert two is other
    assert first[1].tolist() == [UNLABELLED] * 3
