import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from napari_metallography.training.grain_lines import Lines
from napari_metallography.training.line_samples import LineSampler, varied


def _numbered(images: int, lines: int = 3) -> Lines:
    """Each line holds the number of its image."""
    values = np.tile(np.arange(images, dtype=np.uint8)[:, None, None], (1, lines, 1376))
    return Lines(values, np.arange(images, dtype=float))


@given(st.integers(1, 20), st.integers(2, 9), st.integers(0, 3))
def test_every_image_has_its_turn_before_one_comes_again(images, size, seed) -> None:
    sampler = LineSampler(_numbered(images), seed)
    random = torch.Generator().manual_seed(0)
    steps = [sampler.batch(i, size, random) for i in range(3 * images)]
    order = torch.cat([sizes for _, sizes in steps]).tolist()
    for start in range(0, len(order) - images + 1, images):
        assert sorted(order[start : start + images]) == list(range(images))


def test_a_batch_depends_on_its_number_not_on_those_before() -> None:
    one, other = LineSampler(_numbered(7), 5), LineSampler(_numbered(7), 5)
    for iteration in range(6):
        one.batch(iteration, 4, torch.Generator())
    random = (torch.Generator().manual_seed(1) for _ in range(2))
    first, again = (s.batch(6, 4, r) for s, r in zip((one, other), random, strict=True))
    assert torch.equal(first[1], again[1])


def test_values_and_grain_sizes_belong_together() -> None:
    lines, sizes = LineSampler(_numbered(9), 0).batch(0, 6, torch.Generator())
    assert torch.equal(lines[:, 0], sizes)


def test_variation_keeps_the_spacing_of_boundaries() -> None:
    period = 43
    line = np.where(np.arange(1376) % period < 4, 60.0, 160.0)
    lines = torch.from_numpy(np.tile(line, (200, 1))).float()
    random = torch.Generator().manual_seed(0)
    found = varied(lines, random).numpy()
    assert found.min() >= 0
    assert found.max() <= 255
    spectra = np.abs(np.fft.rfft(found - found.mean(1, keepdims=True)))[:, 10:60]
    # Mirror images of a part meet at another phase: then the peak is a place or two off.
    assert np.median(spectra.argmax(1) + 10) == pytest.approx(1376 / period, abs=1)
    assert (np.abs(spectra.argmax(1) + 10 - 1376 / period) <= 6).mean() > 0.9


def test_variation_makes_lines_differ_in_brightness_contrast_and_sign() -> None:
    line = torch.where(torch.arange(1376) % 40 < 20, 100.0, 150.0).expand(300, -1)
    found = varied(line, torch.Generator().manual_seed(3))
    assert found.mean(1).std() > 10
    swing = (found.quantile(0.9, 1) - found.quantile(0.1, 1)) / 50
    assert swing.min() < 0.8
    assert swing.max() > 1.3


def test_the_same_generator_gives_the_same_variation() -> None:
    lines = torch.rand(8, 1376) * 255
    first, again = (varied(lines, torch.Generator().manual_seed(7)) for _ in range(2))
    assert torch.equal(first, again)
