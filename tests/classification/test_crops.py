from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_metallography.classification.crops import Atlas, Crops, drawn_crops, drawn_sides

CPU = torch.device("cpu")


def _crop(centre, side, angle: float = 0.0, mirrored: bool = False, image: int = 0) -> Crops:
    return Crops(
        torch.tensor([image]),
        torch.tensor([centre], dtype=torch.float32),
        torch.tensor([float(side)]),
        torch.tensor([float(angle)]),
        torch.tensor([mirrored]),
    )


@pytest.fixture(scope="module")
def images() -> list[np.ndarray]:
    random = np.random.default_rng(0)
    return [random.integers(0, 255, shape, np.uint8) for shape in ((64, 64), (50, 90), (33, 40))]


def test_a_crop_at_its_own_scale_is_that_part_of_the_image(images) -> None:
    atlas = Atlas(images, CPU)
    for number, image in enumerate(images):
        found = atlas.cut(_crop((16, 20), 24, image=number), 24)[0, 0].numpy()
        assert found == pytest.approx(image[4:28, 8:32], abs=1e-2)


def test_crops_are_mirrored_and_turned_about_their_centre(images) -> None:
    atlas = Atlas(images, CPU)
    plain = atlas.cut(_crop((30, 30), 20), 20)[0, 0]
    mirrored = atlas.cut(_crop((30, 30), 20, mirrored=True), 20)[0, 0]
    assert torch.allclose(mirrored, plain.flip(1), atol=0.05)
    turned = atlas.cut(_crop((30, 30), 20, angle=math.pi / 2), 20)[0, 0]
    matches = [torch.allclose(turned, plain.rot90(k), atol=0.05) for k in (1, -1)]
    assert sum(matches) == 1


def test_beyond_its_edge_an_image_is_mirrored(images) -> None:
    atlas = Atlas(images, CPU)
    found = atlas.cut(_crop((0, 32), 20), 20)[0, 0].numpy()
    inside = found[10:]
    assert inside == pytest.approx(images[0][:10, 22:42], abs=1e-2)
    # Mirrored at the middle of the first row.
    assert found[:10] == pytest.approx(images[0][1:11, 22:42][::-1], abs=1e-2)


@pytest.mark.parametrize("factor", [1.5, 3.0, 5.0, 7.5])
def test_shrinking_does_not_alias(factor) -> None:
    # Stripes of two pixels vanish into their mean where they cannot be resolved.
    stripes = np.tile(np.array([0, 0, 250, 250], np.uint8), (400, 100))
    found = Atlas([stripes], CPU).cut(_crop((200, 200), 40 * factor), 40)
    expected_contrast = 125 if factor < 2 else 45
    assert float(found.std()) < expected_contrast
    assert float(found.mean()) == pytest.approx(125, abs=6)


@settings(max_examples=25)
@given(st.floats(24, 60), st.floats(0, 6.28), st.booleans())
def test_a_linear_image_is_cut_exactly(side, angle, mirrored) -> None:
    y, x = np.mgrid[:120, :120]
    ramp = (60 + 0.5 * x + 0.25 * y).astype(np.float32)
    atlas = Atlas([np.rint(ramp).astype(np.uint8)], CPU)
    found = atlas.cut(_crop((60, 60), side, angle, mirrored), 24)[0, 0]
    # Opposite points of the crop average to its centre.
    centre = 60 + 0.75 * 59.5
    assert (found + found.flip(0, 1)).numpy() / 2 == pytest.approx(centre, abs=0.8)
    # Slopes scale with the side.
    slope = torch.stack(torch.gradient(found)).mean((1, 2)).norm()
    assert float(slope) == pytest.approx(math.hypot(0.5, 0.25) * side / 24, rel=0.06)


def test_many_crops_of_images_of_other_shapes_are_those_cut_one_by_one(images) -> None:
    atlas = Atlas(images, CPU)
    random = torch.Generator().manual_seed(0)
    numbers = torch.tensor([0, 2, 1, 1, 0])
    sides = drawn_sides(torch.full((5,), 12.0), atlas.shapes[numbers].amin(1).float(), random)
    crops = drawn_crops(numbers, atlas.shapes[numbers], sides, random, turned=True)
    together = atlas.cut(crops, 16)
    for place in range(5):
        one = Crops(*(getattr(crops, n)[place : place + 1] for n in vars(crops)))
        assert torch.allclose(atlas.cut(one, 16)[0], together[place], atol=1e-3)


@given(st.integers(0, 999), st.booleans())
def test_drawn_crops_lie_within_their_images(seed, turned) -> None:
    random = torch.Generator().manual_seed(seed)
    shapes = torch.tensor([[50, 90], [64, 64], [400, 120]])
    sides = drawn_sides(torch.full((3,), 20.0), shapes.amin(1).clamp(max=100).float(), random)
    crops = drawn_crops(torch.arange(3), shapes, sides, random, turned=turned)
    assert (crops.sides >= 19.99).all()
    assert (crops.sides <= torch.tensor([50.01, 64.01, 100.01])).all()
    half = crops.sides[:, None] / 2
    assert (crops.centres - half >= -1e-3).all()
    assert (crops.centres + half <= shapes + 1e-3).all()
    assert turned or not (crops.angles.any() or crops.mirrored.any())


def test_the_logarithm_of_sides_is_uniform() -> None:
    random = torch.Generator().manual_seed(0)
    sides = drawn_sides(torch.full((4000,), 100.0), torch.full((4000,), 1000.0), random)
    shares = torch.histc(sides.log10(), 5, 2, 3) / 4000
    assert shares.numpy() == pytest.approx(0.2, abs=0.03)


@pytest.mark.parametrize("period", [5, 30])
def test_the_contrast_changes_smoothly_with_the_scale(period) -> None:
    wave = 127 + 100 * np.sin(2 * np.pi * np.arange(1400) / period)
    atlas = Atlas([np.rint(np.tile(wave, (1400, 1))).astype(np.uint8)], CPU)
    ratios = torch.from_numpy(np.geomspace(0.8, 33, 100)).float().repeat_interleave(4)
    none = torch.zeros(400)
    centres = torch.full((400, 2), 700.0) + 3.3 * torch.arange(4).repeat(100)[:, None]
    cut = atlas.cut(Crops(none.long(), centres, 40 * ratios, none, none.bool()), 40)
    ratios, found = ratios[::4].numpy(), cut.std((1, 2, 3)).view(100, 4).mean(1).numpy()
    # Four per cent of magnification change little of 71, the whole contrast.
    assert np.abs(np.diff(found)).max() < 9
    # What can be seen is not blurred away, and what cannot be is hardly seen.
    assert found[ratios < period / 5].min(initial=70) > 50
    assert found[ratios > 0.7 * period].max(initial=0) < 20
    assert found[ratios > 1.4 * period].max(initial=0) < 12
