"""A batch that is killed again and again, and gone on with each time, against one left in peace.

python benchmarks/batch_kill.py -o benchmarks/results/batch_kill.json

200 small images, two workers. At random the driver or a worker is ended by SIGKILL, at random
moments: as a number of items has been finished since the last start, or after some seconds whatever
has been finished. The tables and labels of both runs must be equal, byte for byte, and the results
that were there at a kill must be the same files at the end: nothing finished is done again.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import psutil
import tifffile

from batch_scale import digest_of
from hardware import hardware

RECIPE = "segment: {method: threshold}\nquantify: {smallest_area_px: 4}\n"
_LONGEST_S = 900
_START_S = (0.5, 20.0)
_ITEMS = (1, 14)


def write_images(folder: Path, count: int) -> None:
    """Bright squares on a dark ground, with noise."""
    folder.mkdir()
    random_ = np.random.default_rng(0)
    lines = ["image,pixel_size_um,specimen"]
    for number in range(count):
        pixels = random_.normal(60, 6, (240, 320))
        for _ in range(60):
            y, x = random_.integers(0, 230), random_.integers(0, 310)
            pixels[y : y + 7, x : x + 9] = random_.normal(
                190, 6, pixels[y : y + 7, x : x + 9].shape
            )
        tifffile.imwrite(folder / f"{number:03d}.tif", pixels.clip(0, 255).astype(np.uint8))
        lines.append(f"{number:03d}.tif,0.1,{number // 20}")
    (folder / "index.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")


def started(recipe: Path, images: Path, out: Path) -> subprocess.Popen[bytes]:
    words = ["batch", recipe, images, "-o", out, "--resume", "--workers", "2", "--threads", "1"]
    command = [sys.executable, "-m", "napari_metallography", *map(str, words)]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


def lines_of(journal: Path) -> int:
    return journal.read_bytes().count(b"\n") if journal.exists() else 0


def until(
    driver: subprocess.Popen[bytes], journal: Path, items: int | None, seconds: float
) -> bool:
    """Wait for so many items more, or so many seconds; False when the driver ended before."""
    first, began = lines_of(journal), time.monotonic()
    while driver.poll() is None:
        if items is not None and lines_of(journal) >= first + items:
            return True
        if time.monotonic() > began + (seconds if items is None else _LONGEST_S):
            return True
        time.sleep(0.02)
    return False


def kill(driver: subprocess.Popen[bytes], what: str) -> bool:
    """Kill the driver, or one of its workers; False where it has none yet."""
    if what == "driver":
        driver.send_signal(signal.SIGKILL)
        driver.wait()
        return True
    try:
        family = psutil.Process(driver.pid).children(recursive=True)
        found = [one for one in family if "spawn_main" in " ".join(one.cmdline())]
        if found:
            os.kill(random.choice(found).pid, signal.SIGKILL)
    except (psutil.NoSuchProcess, ProcessLookupError):
        return False
    return bool(found)


def finished(out: Path) -> dict[Path, tuple[int, int]]:
    """The items that have results, and which file it is that says so."""
    stats = {path: path.stat() for path in (out / "items").glob("*/item.json")}
    return {path: (one.st_ino, one.st_mtime_ns) for path, one in stats.items()}


def disturbed(
    recipe: Path, images: Path, out: Path, kills: int
) -> tuple[list[dict[str, Any]], dict[Path, tuple[int, int]]]:
    """Run a batch to its end, which is killed so many times; and what was finished at each kill."""
    journal = out / "journal.jsonl"
    done: list[dict[str, Any]] = []
    before: dict[Path, tuple[int, int]] = {}
    driver = started(recipe, images, out)
    while len(done) < kills:
        items = random.randint(*_ITEMS) if random.random() < 0.7 else None
        if not until(driver, journal, items, random.uniform(*_START_S)):
            break
        what = random.choice(["driver", "worker"])
        if kill(driver, what):
            done.append({"killed": what, "lines_of_the_journal": lines_of(journal)})
            before = finished(out) | before
            print(json.dumps(done[-1]), file=sys.stderr, flush=True)
        if driver.poll() is not None:
            driver = started(recipe, images, out)
    _, said = driver.communicate(timeout=_LONGEST_S)
    if driver.returncode:
        raise SystemExit(said.decode())
    return done, before


def keys_done_twice(journal: Path) -> int:
    """Items that the journal says to be done more than once."""
    lines = [json.loads(line) for line in journal.read_text(encoding="utf-8").splitlines()[1:]]
    keys = [line["key"] for line in lines if line.get("state") == "done"]
    return len(keys) - len(set(keys))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--images", type=int, default=200)
    parser.add_argument("--kills", type=int, default=25)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    random.seed(options.seed)
    with TemporaryDirectory() as name:
        work = Path(name)
        recipe, images = work / "recipe.yaml", work / "images"
        recipe.write_text(RECIPE, encoding="utf-8")
        write_images(images, options.images)
        began = time.monotonic()
        undisturbed = started(recipe, images, work / "peace")
        _, said = undisturbed.communicate()
        if undisturbed.returncode:
            raise SystemExit(said.decode())
        in_peace = time.monotonic() - began
        kills, before = disturbed(recipe, images, work / "war", options.kills)
        found = {
            "images": options.images,
            "kills": kills,
            "seed": options.seed,
            "seconds_undisturbed": in_peace,
            "seconds_disturbed": time.monotonic() - began - in_peace,
            "finished_at_kills": len(before),
            "finished_and_done_again": len(before.items() - finished(work / "war").items()),
            "items_done_twice": keys_done_twice(work / "war/journal.jsonl"),
            "parts_left": len([*(work / "war").rglob("*.part*")]),
            "equal": digest_of(work / "war") == digest_of(work / "peace"),
            "hardware": hardware(),
        }
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    print({key: found[key] for key in ("equal", "finished_and_done_again", "parts_left")})
    if not found["equal"] or found["finished_and_done_again"] or len(kills) < options.kills:
        raise SystemExit("the tables differ, work was done again, or the batch ended too early")


if __name__ == "__main__":
    main()
