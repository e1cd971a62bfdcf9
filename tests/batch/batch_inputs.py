"""What batches are tested on."""

import numpy as np

RECIPE = "segment: {method: threshold}\nquantify: {smallest_area_px: 4}"


def micrograph(seed, shape=(60, 80)):
    """Bright squares on a dark ground, with noise."""
    random = np.random.default_rng(seed)
    pixels = random.normal(60, 5, shape)
    for _ in range(12):
        y, x = random.integers(0, shape[0] - 8), random.integers(0, shape[1] - 8)
        pixels[y : y + 6, x : x + 7] = random.normal(190, 5, (6, 7))
    return pixels.clip(0, 255).astype(np.uint8)


def write_index(folder, rows):
    lines = ["image,pixel_size_um,specimen", *(",".join(map(str, row)) for row in rows)]
    (folder / "index.csv").write_text("\n".join(lines) + "\n")
