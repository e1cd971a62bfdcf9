from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from napari_metallography.classification.crops import Atlas
from napari_metallography.classification.structure_model import CropReader
from napari_metallography.models.card import StructureInput
from napari_metallography.training.structure_samples import (
    TripletSampler,
    drawn_warp,
    dusted,
    edges,
    varied,
)

CPU = torch.device("cpu")
CLASSES = np.array([0, 0, 1, 2, 2, 2, 1])


@pytest.fixture(scope="module")
def reader() -> CropReader:
    """Images whose grey value is 20 times their number, with a faint texture."""
    random = np.random.default_rng(0)
    planes = [
        (20 * number + random.integers(0, 3, (70, 80))).astype(np.uint8) for number in range(7)
    ]
    sizes = torch.linspace(0.1, 0.7, 7, dtype=torch.float64)
    return CropReader(Atlas(planes, CPU), sizes, StructureInput(side=32, smallest_px=40), 0.0, 1.0)


@given(st.integers(0, 99), st.integers(2, 4), st.integers(2, 6))
def test_a_batch_has_so_many_crops_of_each_class(reader, seed, classes, crops) -> None:
    sampler = TripletSampler(reader, CLASSES, varied=False)
    random = torch.Generator().manual_seed(seed)
    pixels, magnifications, targets = sampler.batch(classes, crops, random)
    numbers, counts = targets.unique(return_counts=True)
    assert counts.tolist() == [crops] * min(classes, 3)
    assert pixels.shape == (len(targets), 1, 32, 32)
    assert magnifications.shape == targets.shape
    images = (pixels.mean((1, 2, 3)) / 20).long().numpy()
    assert (CLASSES[images] == targets.numpy()).all()
    for number in numbers:
        own = images[targets.numpy() == int(number)]
        members = (int(number) == CLASSES).sum()
        # Every image of a class has its turn before one comes again.
        assert len(set(own)) == min(members, crops)


def test_batches_follow_the_generator_alone(reader) -> None:
    sampler = TripletSampler(reader, CLASSES, varied=True)
    made = [sampler.batch(3, 4, torch.Generator().manual_seed(s))[0] for s in (1, 1, 2)]
    assert torch.equal(made[0], made[1])
    assert not torch.equal(made[0], made[2])


def test_edges_are_the_slopes_whatever_the_brightness() -> None:
    step = torch.full((2, 1, 16, 16), 60.0)
    step[0, :, :, 8:] = 160
    step[1, :, 8:] = 20
    found = edges(step)
    assert float(found[0, 0, 4, 7]) == pytest.approx(255)
    assert float(found[1, 0, 7, 4]) == pytest.approx(255)
    assert float(found[0, 0, 4, 2]) == 0
    assert torch.allclose(edges(step + 40), found)
    assert (edges(torch.full((1, 1, 8, 8), 90.0)) == 0).all()


def test_dust_blurs_a_spot_only() -> None:
    noise = torch.rand(40, 1, 48, 48, generator=torch.Generator().manual_seed(0)) * 255
    found = dusted(noise, torch.Generator().manual_seed(1))
    changed = (found - noise).abs().amax((1, 2, 3)) > 1
    assert 8 < int(changed.sum()) < 32
    shares = ((found - noise).abs() > 1).double().mean((1, 2, 3))[changed]
    assert float(shares.mean()) < 0.6
    assert found[changed].std() < noise[changed].std()


def test_variations_stay_in_range_and_differ_by_crop() -> None:
    crops = torch.full((30, 1, 24, 24), 128.0)
    crops[:, :, ::2] = 100
    found = varied(crops, torch.Generator().manual_seed(0))
    assert float(found.min()) >= 0
    assert float(found.max()) <= 255
    assert len(found.mean((1, 2, 3)).unique()) > 20


def test_warps_are_smooth_and_half_of_them_none() -> None:
    warp = drawn_warp(200, 32, torch.Generator().manual_seed(0), CPU)
    none = (warp == 0).all(3).all(2).all(1)
    assert 0.35 < float(none.double().mean()) < 0.65
    assert 0.01 < float(warp[~none].std()) < 0.05
    assert float((warp[:, :, 1:] - warp[:, :, :-1]).abs().max()) < 0.03
