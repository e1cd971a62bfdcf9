from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter
from skimage import io

from napari_metallography.classification.images import (
    OUTSIDER,
    OUTSIDERS,
    ClassifiedImages,
    prepared,
    read_classified,
)
from napari_metallography.errors import InputError
from napari_metallography.events import Notice, drain
from napari_metallography.models.card import DefectInput

AS_SHOWN = {"side": 32, "quality": 75}


def _read(data, **options) -> ClassifiedImages:
    return drain(read_classified(data, **{**AS_SHOWN, **options}))


def test_a_folder_is_a_class(folder) -> None:
    images = _read(folder(3))
    assert images.names == ("spots", "stripes")
    assert images.classes.tolist() == [0, 0, 0, 1, 1, 1]
    assert images.pixels.shape == (6, 32, 32, 3)
    assert images.files[0] == "spots/spots0.png"
    assert images.usual_side_px == 48
    assert images.pixel_size_range_um is None


def test_an_index_names_classes_and_pixel_sizes(folder) -> None:
    data = folder(2)
    rows = ["image,class,pixel_size_um"]
    rows += [f"spots/spots{n}.png,first,0.5" for n in range(2)]
    rows += [f"stripes/stripes{n}.png,second,0.25" for n in range(2)]
    (data / "index.csv").write_text("\n".join(rows))
    images = _read(data)
    assert images.names == ("first", "second")
    assert images.pixel_size_range_um == (0.25, 0.5)


def test_the_folder_none_holds_outsiders(folder) -> None:
    data = folder(2)
    (data / "none").mkdir()
    noise = np.random.default_rng(0).integers(0, 255, (40, 40), np.uint8)
    io.imsave(data / "none" / "noise.png", noise, check_contrast=False)
    images = _read(data)
    assert images.names == ("spots", "stripes")
    assert (images.classes == OUTSIDER).sum() == 1


def test_what_cannot_be_read_is_skipped_and_told(folder) -> None:
    data = folder(2)
    (data / "spots" / "broken.png").write_bytes(b"no image")
    events: list[object] = []
    images = drain(read_classified(data, **AS_SHOWN), events.append)
    assert len(images) == 4
    assert "broken.png" in images.skipped[0]
    assert [e for e in events if isinstance(e, Notice) and "1 skipped" in e.message]


def test_a_file_is_no_folder(folder) -> None:
    data = folder(2)
    (data / "index.csv").write_text("image,class\nspots/spots0.png,a\n")
    with pytest.raises(InputError, match="name the folder that holds it"):
        _read(data / "index.csv")


def test_too_few_classes_are_refused(folder, tmp_path) -> None:
    data = folder(2)
    (data / "empty").mkdir()
    with pytest.raises(InputError, match="empty: a class without an image"):
        _read(data)
    for path in (data / "empty", data / "stripes"):
        for file in path.iterdir():
            file.unlink()
        path.rmdir()
    with pytest.raises(InputError, match="one class only, spots"):
        _read(data)
    with pytest.raises(InputError, match="no such folder"):
        _read(tmp_path / "missing")


def test_a_class_of_which_nothing_can_be_read_is_refused(folder) -> None:
    data = folder(1)
    (data / "spots" / "spots0.png").write_bytes(b"no image")
    with pytest.raises(InputError, match="no image of the class 'spots' can be used"):
        _read(data)


def test_a_split_chooses_and_must_exist(folder) -> None:
    data = folder(3)
    images = _read(data, files=["spots/spots1.png", "stripes/stripes0", "stripes2"])
    assert images.files == ("spots/spots1.png", "stripes/stripes0.png", "stripes/stripes2.png")
    with pytest.raises(InputError, match=r"has no image 'spots/spots9.png'"):
        _read(data, files=["spots/spots1.png", "spots/spots9.png"])


def test_classes_of_a_model_fix_the_order(folder) -> None:
    images = _read(folder(1), names=("stripes", "dents", "spots"))
    assert images.classes.tolist() == [2, 0]
    with pytest.raises(InputError, match="the class 'spots' is none of the model's"):
        _read(folder(1, name="other"), names=("stripes", "dents"))


@pytest.mark.parametrize("kind", ["grey", "rgb", "rgba", "16-bit", "tiff"])
def test_any_kind_of_file_gives_the_same_pixels(folder, kind) -> None:
    data = folder(1)
    before = _read(data).pixels[0]
    path = data / "spots" / "spots0.png"
    grey = io.imread(path)
    path.unlink()
    colours = np.repeat(grey[..., None], 3, axis=2)
    alpha = np.full((*grey.shape, 1), 255, np.uint8)
    made = {
        "grey": grey,
        "rgb": colours,
        "rgba": np.concatenate([colours, alpha], 2),
        "16-bit": grey.astype(np.uint16) * 257,
        "tiff": grey,
    }[kind]
    suffix = "tif" if kind == "tiff" else "png"
    io.imsave(path.with_suffix(f".{suffix}"), made, check_contrast=False)
    after = _read(data).pixels[0]
    # 16 bits are stretched between quantiles.
    assert np.corrcoef(after.ravel(), before.ravel())[0, 1] > 0.98
    assert kind == "16-bit" or np.array_equal(after, before)


def _blockiness(image: np.ndarray) -> float:
    """How much larger steps between columns are where 8×8 blocks meet."""
    steps = np.abs(np.diff(image[..., 0].astype(float), axis=1))
    by_place = np.array([steps[:, place::8].mean() for place in range(8)])
    return float(by_place[7] / by_place[:7].mean())


def test_an_image_stored_as_jpeg_is_not_told_from_one_that_was_not() -> None:
    noise = np.random.default_rng(0).normal(0, 1, (128, 128))
    smooth = np.clip(gaussian_filter(noise, 3) * 200 + 128, 0, 255).astype(np.uint8)
    clean = np.repeat(smooth[..., None], 3, axis=2)
    stored = prepared(clean, (128, 128), 90)
    assert _blockiness(stored) > 1.05 * _blockiness(clean)
    again = [prepared(image, (128, 128), DefectInput().jpeg_quality) for image in (clean, stored)]
    assert _blockiness(again[0]) == pytest.approx(_blockiness(again[1]), rel=0.02)


def test_a_digest_tells_other_classes(folder) -> None:
    data = folder(2)
    images = _read(data)
    assert images.digest() == _read(data).digest()
    assert images.digest() != images.where([True, True, True, False]).digest()


def test_one_grey_value_is_an_outsider_but_no_defect(folder) -> None:
    data = folder(2)
    (data / OUTSIDERS).mkdir()
    for kind in (OUTSIDERS, "spots"):
        flat = np.full((20, 20), 30, np.uint8)
        io.imsave(data / kind / "flat.png", flat, check_contrast=False)
    images = _read(data)
    assert f"{OUTSIDERS}/flat.png" in images.files
    (skipped,) = images.skipped
    assert "every pixel has the same value" in skipped


def test_a_name_that_several_images_have_is_refused_in_a_split(folder) -> None:
    data = folder(2)
    for name in ("spots", "stripes"):
        (data / name / f"{name}0.png").rename(data / name / "1.png")
    assert len(_read(data, files=["spots/1.png", "stripes/1"])) == 2
    with pytest.raises(InputError, match=r"names '1\.png', which 2 images are called"):
        _read(data, files=["1.png"])


def test_no_class_is_called_unsure(folder) -> None:
    data = folder(2)
    (data / "spots").rename(data / "Unsure")
    with pytest.raises(InputError, match="no class can be called 'Unsure'"):
        _read(data)


def test_a_side_that_jpeg_cannot_hold_is_refused() -> None:
    with pytest.raises(InputError, match="more than 65,500 pixels"):
        prepared(np.zeros((8, 70_000, 3), np.uint8), (32, 32), 90)
