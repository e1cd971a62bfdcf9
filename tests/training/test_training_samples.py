import numpy as np
import pytest
import torch

from napari_metallography.classes import UNLABELLED
from napari_metallography.labelled import LabelledImage
from napari_metallography.training.samples import CropSampler, Geometry

CPU = torch.device("cpu")


def _numbered(shape: tuple[int, int]) -> LabelledImage:
    """An image whose red and green say where a pixel lies."""
    rows, columns = np.indices(shape)
    pixels = np.stack([rows, columns, np.zeros(shape)], -1).astype(np.uint8)
    return LabelledImage("numbered", pixels, ((rows // 7 + columns // 5) % 3).astype(np.uint8))


@pytest.fixture
def random() -> torch.Generator:
    return torch.Generator().manual_seed(5)


def test_plain_crops_are_parts_of_the_image(random) -> None:
    image = _numbered((80, 90))
    images, labels = CropSampler([image], Geometry(64), CPU).batch(20, random)
    for pixels, label in zip(images.round().byte().numpy(), labels.numpy(), strict=True):
        top, left = pixels[0, 0, 0], pixels[1, 0, 0]
        part = (slice(top, top + 64), slice(left, left + 64))
        assert (pixels.transpose(1, 2, 0) == image.pixels[part]).all()
        assert (label == image.labels[part]).all()


def test_plain_crops_reach_every_edge(random) -> None:
    images, _ = CropSampler([_numbered((66, 67))], Geometry(64), CPU).batch(60, random)
    tops, lefts = images[:, 0, 0, 0].round().int(), images[:, 1, 0, 0].round().int()
    assert set(tops.tolist()) == {0, 1, 2}
    assert set(lefts.tolist()) == {0, 1, 2, 3}


def test_turned_crops_keep_pixels_and_labels_together(random) -> None:
    image = _numbered((120, 150))
    geometry = Geometry(48, zoom=1.5, stretch=1.2, rotate=True)
    images, labels = CropSampler([image], geometry, CPU).batch(12, random)
    known = labels != UNLABELLED
    assert known.float().mean() > 0.6
    rows, columns = images[:, 0], images[:, 1]
    # Where the interpolated position lies well inside a label's cell, the label must be that one.
    inside = known & ((rows % 7 - 3).abs() < 2) & ((columns % 5 - 2).abs() < 1)
    expected = ((rows // 7 + columns // 5) % 3).long()
    assert inside.sum() > 500
    agree = (labels == expected)[inside].float().mean()
    assert agree > 0.97


def test_small_images_are_padded_but_the_padding_is_unlabelled(random) -> None:
    _, labels = CropSampler([_numbered((20, 30))], Geometry(64), CPU).batch(2, random)
    assert (labels != UNLABELLED).sum(dim=(1, 2)).tolist() == [600, 600]


def test_no_class_takes_more_than_its_share_where_that_can_be(random) -> None:
    labels = np.zeros((200, 200), np.uint8)
    labels[:, 150:] = 1
    image = LabelledImage("two", np.zeros((200, 200, 3), np.uint8), labels)
    _, crops = CropSampler([image], Geometry(64, largest_share=0.75), CPU).batch(30, random)
    free = CropSampler([image], Geometry(64, largest_share=1.0), CPU)
    _, any_crops = free.batch(30, random)

    def balanced(batch: torch.Tensor) -> float:
        share = (batch == 0).float().mean(dim=(1, 2))
        return float(((share >= 0.25) & (share <= 0.75)).float().mean())

    assert balanced(crops) > balanced(any_crops) + 0.3


def _painted(shape: tuple[int, int]) -> LabelledImage:
    """Two small strokes far apart, the second a tenth of the first."""
    labels = np.full(shape, UNLABELLED, np.uint8)
    labels[20:30, 20:120] = 0
    labels[170:180, 180:190] = 1
    return LabelledImage("strokes", np.zeros((*shape, 3), np.uint8), labels)


@pytest.mark.parametrize(
    "geometry", [Geometry(64), Geometry(64, zoom=1.5, stretch=1.2, rotate=True)]
)
def test_crops_lie_around_paint_of_every_class(random, geometry) -> None:
    _, labels = CropSampler([_painted((200, 200))], geometry, CPU).batch(60, random)
    assert (labels != UNLABELLED).flatten(1).any(1).all()
    seen = [(labels == index).flatten(1).any(1).float().mean() for index in (0, 1)]
    assert min(seen) > 0.3


def test_an_image_without_labels_is_not_drawn(random) -> None:
    blank = LabelledImage(
        "blank", np.zeros((900, 900, 3), np.uint8), np.full((900, 900), UNLABELLED, np.uint8)
    )
    _, labels = CropSampler([blank, _numbered((64, 64))], Geometry(64), CPU).batch(10, random)
    assert (labels != UNLABELLED).all()


def test_parts_of_a_batch_make_up_the_whole() -> None:
    sampler = CropSampler([_numbered((150, 120))], Geometry(32, zoom=1.5, rotate=True), CPU)

    def drawn(part: slice) -> tuple[torch.Tensor, torch.Tensor]:
        random = torch.Generator().manual_seed(1)
        images, _ = sampler.batch(6, random, part)
        return images, torch.rand(1, generator=random)

    whole, after = drawn(slice(None))
    parts = [drawn(slice(0, 3)), drawn(slice(3, 6))]
    assert torch.equal(torch.cat([images for images, _ in parts]), whole)
    assert all(torch.equal(then, after) for _, then in parts)
