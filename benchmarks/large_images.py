"""Peak memory and time of segmenting images and stacks that need not fit into memory.

python benchmarks/large_images.py --methods threshold model -o benchmarks/results/large_images.json

Every case is a process of its own. Mapped pages of an uncompressed TIFF count as resident, though
the system takes them back when memory runs short.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray

from hardware import hardware
from napari_metallography.events import drain
from napari_metallography.inputs import PixelSizes, read_image
from napari_metallography.samples import sample_path
from napari_metallography.segmentation.files import segment_file
from napari_metallography.segmentation.model import load_model
from napari_metallography.segmentation.prediction import QUICK
from napari_metallography.segmentation.segment import SegmentParameters

METHODS = {
    "threshold": SegmentParameters(method="threshold"),
    "model": SegmentParameters(model="uhcs-carbides", prediction=QUICK),
    "nothing": None,
}
STACK_SIDE = 512
STACKS = 10, 50


def rows_of(side: int) -> Iterator[NDArray[np.uint8]]:
    """Blocks of rows of a square image: a sample micrograph repeated by reflection."""
    tile = np.asarray(read_image(sample_path("uhcs1061"), PixelSizes()).pixels)[:448]
    mirrored = np.vstack([tile, tile[::-1]])
    across = np.hstack([mirrored, mirrored[:, ::-1]])
    wide = np.tile(across, (1, -(-side // across.shape[1])))[:, :side]
    for top in range(0, side, len(wide)):
        yield np.ascontiguousarray(wide[: min(len(wide), side - top)])


def write_plain(path: Path, side: int) -> None:
    image = tifffile.memmap(path, shape=(side, side), dtype=np.uint8)
    top = 0
    for rows in rows_of(side):
        image[top : top + len(rows)] = rows
        top += len(rows)
    image.flush()


def write_compressed(path: Path, side: int) -> None:
    image = np.vstack([*rows_of(side)])
    tifffile.imwrite(path, image, compression="zlib", tile=(256, 256))


def write_zarr(path: Path, side: int) -> None:
    import zarr

    image = zarr.create_array(path, shape=(side, side), dtype="uint8", chunks=(1024, 1024))
    top = 0
    for rows in rows_of(side):
        image[top : top + len(rows)] = rows
        top += len(rows)


def write_stack(path: Path, planes: int) -> None:
    plane = next(rows_of(STACK_SIDE))[:STACK_SIDE]
    with tifffile.TiffWriter(path) as tiff:
        for number in range(planes):
            tiff.write(np.roll(plane, 7 * number, axis=1), compression="zlib", metadata=None)


def cases(sides: list[int]) -> dict[str, tuple[str, Callable[[Path], None]]]:
    """Name of a file and what writes it, by what it is."""
    made: dict[str, tuple[str, Callable[[Path], None]]] = {}
    for side in sides:
        made[f"{side}² TIFF"] = "plain.tif", partial(write_plain, side=side)
        made[f"{side}² compressed TIFF"] = "compressed.tif", partial(write_compressed, side=side)
        made[f"{side}² Zarr"] = "image.zarr", partial(write_zarr, side=side)
    for planes in STACKS:
        name = f"{planes} planes of {STACK_SIDE}²"
        made[name] = "stack.tif", partial(write_stack, planes=planes)
    return made


def peak_mib() -> float:
    """Largest resident memory of this process so far; what its parent had does not count."""
    status = Path("/proc/self/status").read_text()
    line = next(line for line in status.splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) / 1024


def segmented(method: str, path: Path, folder: Path) -> dict[str, float]:
    """Seconds, and MiB at the peak."""
    parameters = METHODS[method]
    began = time.perf_counter()
    if parameters is not None:
        model = load_model(parameters.model) if method == "model" else None
        drain(segment_file(path, folder, parameters, sizes=PixelSizes(1.0), model=model))
    return {"seconds": time.perf_counter() - began, "peak_mib": peak_mib()}


def in_a_process(method: str, path: Path, folder: Path) -> dict[str, float]:
    command = [sys.executable, __file__, "--of", method, str(path), str(folder)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def measured(methods: list[str], sides: list[int]) -> Iterator[dict[str, Any]]:
    for name, (file, write) in cases(sides).items():
        with TemporaryDirectory() as folder:
            path = Path(folder) / file
            write(path)
            for method in methods:
                found = in_a_process(method, path, Path(folder) / method)
                row = {"image": name, "method": method, **found}
                print(json.dumps(row), file=sys.stderr, flush=True)
                yield row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--of", nargs=3, help=argparse.SUPPRESS)
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=["nothing", "threshold"])
    parser.add_argument("--sides", nargs="+", type=int, default=[8192, 16384])
    parser.add_argument("-o", "--output", type=Path)
    given = parser.parse_args()
    if given.of:
        method, path, folder = given.of
        print(json.dumps(segmented(method, Path(path), Path(folder))))
        return
    found = {"hardware": hardware(), "cases": [*measured(given.methods, given.sides)]}
    text = json.dumps(found, indent=1, ensure_ascii=False)
    if given.output:
        given.output.write_text(text + "\n", encoding="utf-8")
    else:
        print(text)


if __name__ == "__main__":
    main()
