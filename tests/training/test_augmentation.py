import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from napari_metallography.classes import UNLABELLED
from napari_metallography.training.augmentation import cutout_, photometric_, turned

seeds = st.integers(0, 2**32)


def _random(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _batch(seed: int, count: int, side: int) -> tuple[Tensor, Tensor]:
    """Noise of 0 to 255 and labels that follow from its red, some of them unlabelled."""
    images = torch.randint(0, 256, (count, 3, side, side), generator=_random(seed)).float()
    labels = (images[:, 0] // 64).long()
    return images, torch.where(labels == 3, UNLABELLED, labels)


def _orientations(image: Tensor) -> list[Tensor]:
    return [
        (image.flip(-1) if mirrored else image).rot90(turns, (-2, -1))
        for mirrored in (False, True)
        for turns in range(4)
    ]


@given(seeds, st.integers(1, 4), st.integers(1, 9))
def test_turned_images_keep_their_labels(seed: int, count: int, side: int) -> None:
    images, labels = _batch(seed, count, side)
    new_images, new_labels = turned(images, labels, _random(seed))
    follow = (new_images[:, 0] // 64).long()
    assert torch.equal(new_labels, torch.where(follow == 3, UNLABELLED, follow))
    for image, new in zip(images, new_images, strict=True):
        assert any(torch.equal(new, orientation) for orientation in _orientations(image))


def test_every_orientation_comes_as_often_as_its_draws_say() -> None:
    image = torch.arange(9.0).view(1, 1, 3, 3)
    images, labels = image.expand(1600, 3, 3, 3), image[:, 0].expand(1600, 3, 3)
    new, _ = turned(images, labels, _random(3))
    counts = [int((new[:, 0] == o[0, 0]).all((1, 2)).sum()) for o in _orientations(image)]
    # Three independent draws of ½ reach each of the eight orientations once; σ is 13.
    assert sum(counts) == 1600
    assert all(140 <= count <= 260 for count in counts)


def test_turning_leaves_the_given_batch_alone() -> None:
    images, labels = _batch(1, 8, 16)
    before = images.clone(), labels.clone()
    turned(images, labels, _random(1))
    assert torch.equal(images, before[0])
    assert torch.equal(labels, before[1])


@given(seeds)
def test_brightness_and_contrast_are_a_straight_line_within_the_range(seed: int) -> None:
    ramp = torch.arange(256.0).view(1, 1, 16, 16).expand(6, 3, 16, 16)
    changed = photometric_(ramp.clone(), _random(seed))
    assert changed.shape == ramp.shape
    assert float(changed.min()) >= 0
    assert float(changed.max()) <= 255
    for image in changed:
        assert torch.equal(image[0], image[1])
        inside = (image[0] > 0) & (image[0] < 255)
        slopes = image[0].flatten().diff()[(inside.flatten()[1:]) & (inside.flatten()[:-1])]
        assert float(slopes.min()) > 0.49
        assert float(slopes.max()) < 1.51
        assert float(slopes.max() - slopes.min()) < 1e-3
        shift = (image[0] - float(slopes.mean()) * ramp[0, 0])[inside]
        assert float(shift.abs().max()) < 32.2


def test_brightness_and_contrast_change_half_the_images_each() -> None:
    grey = torch.tensor([80.0, 140.0]).view(1, 1, 1, 2).expand(1200, 3, 1, 2)
    changed = photometric_(grey.clone(), _random(2))[:, 0, 0]
    gain = (changed[:, 1] - changed[:, 0]) / 60
    shift = changed[:, 0] - 80 * gain
    # σ of a count out of 1200 is 17. No value reaches 0 or 255.
    assert 520 < int(((gain - 1).abs() > 1e-5).sum()) < 680
    assert 520 < int((shift.abs() > 1e-3).sum()) < 680
    assert float(gain.min()) == pytest.approx(0.5, abs=0.01)
    assert float(gain.max()) == pytest.approx(1.5, abs=0.01)
    assert float(shift.min()) == pytest.approx(-32, abs=0.5)
    assert float(shift.max()) == pytest.approx(32, abs=0.5)


@given(seeds, st.integers(5, 40))
def test_holes_are_black_and_the_rest_is_untouched(seed: int, side: int) -> None:
    images = _batch(seed, 4, side)[0] + 1
    cut = cutout_(images.clone(), _random(seed))
    for image, new in zip(images, cut, strict=True):
        hole = (new == 0).all(0)
        assert torch.equal(new[:, ~hole], image[:, ~hole])
        assert ((new == 0) == hole).all()
        # Holes may overlap: one at least and five at most, each of 25 pixels.
        assert int(hole.sum()) == 0 or 25 <= int(hole.sum()) <= 125


def test_half_the_images_get_five_holes_of_five_pixels() -> None:
    cut = cutout_(torch.ones(300, 1, 128, 128), _random(7))[:, 0] == 0
    areas = cut.sum((1, 2))
    assert 115 < int((areas > 0).sum()) < 185
    # Ten pairs of holes overlap in 625 / 124² pixels on average.
    assert float(areas[areas > 0].float().mean()) == pytest.approx(125 - 10 * 625 / 124**2, abs=0.7)
    assert cut.any(0)[:, [0, -1]].any()
    assert cut.any(0)[[0, -1]].any()


@pytest.mark.parametrize("change", [photometric_, cutout_])
def test_the_generator_alone_decides(change) -> None:
    images, _ = _batch(1, 8, 16)
    once = change(images.clone(), _random(5))
    torch.rand(3)
    assert torch.equal(once, change(images.clone(), _random(5)))
    assert not torch.equal(once, change(images.clone(), _random(6)))


def test_turning_too_is_decided_by_the_generator() -> None:
    images, labels = _batch(1, 8, 16)
    once, again, other = (turned(images, labels, _random(seed)) for seed in (5, 5, 6))
    assert torch.equal(once[0], again[0])
    assert torch.equal(once[1], again[1])
    assert not torch.equal(once[0], other[0])
