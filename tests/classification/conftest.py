from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from skimage import io

NAMES = ("spots", "stripes")


def pattern(name: str, seed: int, side: int = 48) -> NDArray[np.uint8]:
    """A grey image with bright spots, or stripes, and noise."""
    random = np.random.default_rng([NAMES.index(name), seed])
    image = np.full((side, side), 110.0)
    if name == "stripes":
        image[:, (np.arange(side) + random.integers(8)) % 8 < 3] = 190
    else:
        rows, columns = random.integers(2, side - 2, (2, 12))
        for row, column in zip(rows, columns, strict=True):
            image[row - 2 : row + 2, column - 2 : column + 2] = 230
    return np.clip(image + random.normal(0, 8, image.shape), 0, 255).astype(np.uint8)


@pytest.fixture
def folder(tmp_path: Path) -> Callable[..., Path]:
    """Makes a data folder of so many images a class."""

    def make(count: int = 6, first: int = 0, name: str = "data") -> Path:
        for kind in NAMES:
            (tmp_path / name / kind).mkdir(parents=True)
            for seed in range(first, first + count):
                path = tmp_path / name / kind / f"{kind}{seed}.png"
                io.imsave(path, pattern(kind, seed), check_contrast=False)
        return tmp_path / name

    return make
