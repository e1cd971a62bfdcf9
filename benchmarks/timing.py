"""Timing of jobs that are compared."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any


def timed(
    jobs: dict[str, Callable[[], Any]],
    runs: int,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, list[float]]:
    """Seconds of each job, run in turn so that a drifting machine harms all alike."""
    seconds: dict[str, list[float]] = {name: [] for name in jobs}
    for job in jobs.values():
        job()
    for _ in range(runs):
        for name, job in jobs.items():
            start = clock()
            job()
            seconds[name].append(clock() - start)
    return seconds
