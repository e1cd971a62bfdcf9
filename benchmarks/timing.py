"""Timing of jobs that are compared."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any


def timed(jobs: dict[str, Callable[[], Any]], runs: int) -> dict[str, list[float]]:
    """Seconds of each job, run in turn so that a drifting machine harms all alike."""
    seconds: dict[str, list[float]] = {name: [] for name in jobs}
    for job in jobs.values():
        job()
    for _ in range(runs):
        for name, job in jobs.items():
            start = time.perf_counter()
            job()
            seconds[name].append(time.perf_counter() - start)
    return seconds
