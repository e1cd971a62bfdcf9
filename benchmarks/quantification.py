"""Speed and memory of measuring particles; its peer is scikit-image's regionprops_table.

python benchmarks/quantification.py -o benchmarks/results/quantification.json
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from skimage.measure import regionprops_table

from hardware import hardware
from napari_metallography.calibration import Calibration
from napari_metallography.classes import named_classes
from napari_metallography.events import drain
from napari_metallography.quantification.edges import border_of, touching
from napari_metallography.quantification.measure import Quantification, quantify
from napari_metallography.quantification.parameters import QuantifyParameters
from napari_metallography.quantification.particles import measure_particles
from napari_metallography.quantification.pixel_counts import grey_sums
from napari_metallography.quantification.runs import row_blocks, runs_of
from napari_metallography.regions import Field

SIDE, PER_ROW = 8192, 142
"""142 × 142 places give 20 164 particles."""

MEMORY = ("particles", "quantify", "quantify_painted")
"""Memory of the particles' table from given instances; of both tables from labels in a mapped file,
the pages of which count, 64 MiB; and of these with the numbers painted, 256 MiB, as a viewer needs
them."""

PIXEL = Calibration.square(0.0031, "benchmark")

PEER_COLUMNS = (
    "label",
    "area",
    "equivalent_diameter_area",
    "feret_diameter_max",
    "axis_major_length",
    "axis_minor_length",
    "orientation",
    "perimeter_crofton",
    "solidity",
    "centroid",
    "bbox",
    "intensity_mean",
)
"""What the peer has of our columns. We also measure the enclosing circle, the smallest Feret
diameter, the nearest neighbour and the border in the time given: that is to our disadvantage. Our
perimeter is from sixteen directions, the peer's from four."""


def particle_field(seed: int = 0) -> NDArray[np.int32]:
    """Ellipses of log-normal size, one in each cell of a grid: about 6 % of the area."""
    rng = np.random.default_rng(seed)
    ids = np.zeros((SIDE, SIDE), np.int32)
    pitch = SIDE / PER_ROW
    for number in range(PER_ROW**2):
        radius = 7.4 * np.exp(0.4 * np.clip(rng.standard_normal(), -3, 2.4))
        aspect, angle = rng.uniform(1, 1.8), rng.uniform(0, np.pi)
        centre = (np.array(divmod(number, PER_ROW)) + 0.5) * pitch + rng.uniform(-0.5, 0.5, 2)
        top, left = (np.rint(centre) - 27).astype(int)
        y, x = np.ogrid[top : top + 55, left : left + 55]
        along = (x - centre[1]) * np.cos(angle) + (y - centre[0]) * np.sin(angle)
        across = (y - centre[0]) * np.cos(angle) - (x - centre[1]) * np.sin(angle)
        inside = along**2 / aspect + across**2 * aspect <= radius**2
        ids[top : top + 55, left : left + 55][inside] = number + 1
    return ids


def grey_values(ids: NDArray[np.int32]) -> NDArray[np.uint8]:
    return np.where(ids > 0, np.uint8(180), np.uint8(90))


def table_of(
    ids: NDArray[np.int32], known: NDArray[np.bool_], grey: NDArray[np.uint8] | None = None
) -> pd.DataFrame:
    """The particles' table from given instances."""
    runs, totals = runs_of(ids), None
    if grey is not None:
        sums = np.zeros(len(runs.rows))
        for rows in row_blocks(ids.shape):
            sums[runs.within(rows)] = grey_sums(grey, runs, rows, ids.shape[1])
        totals = runs.total(sums)
    return measure_particles(runs, touching(ids, runs.n, border_of(known)), PIXEL, totals)


def speed(runs: int) -> dict[str, Any]:
    ids = particle_field()
    grey, known = grey_values(ids), np.ones(ids.shape, bool)

    def ours() -> Any:
        return table_of(ids, known, grey)

    def peer() -> Any:
        return regionprops_table(  # type: ignore[no-untyped-call]
            ids, grey, properties=PEER_COLUMNS, spacing=(PIXEL.y_um, PIXEL.x_um)
        )

    ours()
    seconds: dict[str, list[float]] = {"ours": [], "regionprops_table": []}
    for _ in range(runs):
        for name, job in (("ours", ours), ("regionprops_table", peer)):
            # Of the processor: other work on the machine must not count.
            start = time.process_time()
            job()
            seconds[name].append(time.process_time() - start)
    return {
        "particles": int(ids.max()),
        "image": list(ids.shape),
        "columns_of_ours": list(ours().columns),
        "columns_of_peer": list(PEER_COLUMNS),
        "processor_seconds": seconds,
        "median_processor_seconds": {name: statistics.median(s) for name, s in seconds.items()},
        "times_faster": statistics.median(
            slow / fast
            for slow, fast in zip(seconds["regionprops_table"], seconds["ours"], strict=True)
        ),
        "largest_relative_difference": difference(ours(), peer()),
    }


def difference(ours: Any, peer: dict[str, NDArray[np.float64]]) -> dict[str, float]:
    """Of columns that are defined alike, in the worst particle."""
    pairs = {
        "area_um2": "area",
        "major_axis_um": "axis_major_length",
        "minor_axis_um": "axis_minor_length",
        "centroid_x_um": "centroid-1",
        "mean_grey": "intensity_mean",
    }
    return {
        mine: float(np.abs(ours[mine] / peer[theirs] - 1).max()) for mine, theirs in pairs.items()
    }


def peak_memory(part: str) -> dict[str, Any]:
    """Growth of the peak resident memory, in a process of its own."""
    command = [sys.executable, __file__, "--memory", part]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def resident_kib(name: str) -> int:
    """`VmHWM` (peak) or `VmRSS` (now) of Linux."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name))


def print_memory(part: str) -> None:
    """Measure once and print the growth of memory, also in instance images (int32)."""
    ids = particle_field()
    instance_bytes = ids.nbytes
    with TemporaryDirectory() as folder:
        stored = Path(folder) / "labels.npy"
        np.save(stored, (ids > 0).astype(np.uint8))
        labels = np.load(stored, mmap_mode="r")
        known = np.ones(ids.shape, bool)
        if part != "particles":
            del ids, known
        # The peak so far, which making the field may have left high, starts anew from what is held.
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
        before = resident_kib("VmRSS")
        start = time.process_time()
        n = (
            len(table_of(ids, known))
            if part == "particles"
            else len(quantified(labels, paint=part == "quantify_painted").particles)
        )
        seconds = time.process_time() - start
        extra = (resident_kib("VmHWM") - before) * 1024
    report = {
        "particles": n,
        "processor_seconds": seconds,
        "extra_mib": extra / 2**20,
        "extra_in_instance_images": extra / instance_bytes,
    }
    print(json.dumps(report))


def quantified(labels: NDArray[np.uint8], *, paint: bool) -> Quantification:
    classes, measured = named_classes(["matrix", "carbide"]), Field((SIDE, SIDE))
    rules = QuantifyParameters()
    return drain(quantify(labels, classes, PIXEL, measured, rules, paint=paint))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-o", "--output", type=Path)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--memory", choices=MEMORY, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.memory:
        print_memory(options.memory)
        return
    report = {
        "hardware": hardware(),
        "speed": speed(options.runs),
        "memory": {part: peak_memory(part) for part in MEMORY},
    }
    text = json.dumps(report, indent=1)
    print(text)
    if options.output:
        options.output.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
