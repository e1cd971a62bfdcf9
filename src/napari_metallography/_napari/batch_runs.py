"""What the dock *Batch* runs: inputs, the batch itself, and its files."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..batch.journal import Record, read_journal
from ..batch.recipe import Recipe
from ..batch.results import write_results
from ..batch.run import (
    Batch,
    Begin,
    Engine,
    InThisProcess,
    ItemState,
    require_begin,
    run_batch,
)
from ..errors import InputError
from ..events import Event, Events, Notice, relayed
from .batch_layers import Given, input_paths
from .worker import leave_the_window_a_core


@dataclass(frozen=True)
class Where:
    """Where a batch is computed.

    Attributes
    ----------
    workers
        Processes on this machine; 0 for the window's own.
    scheduler
        Address of one whose workers are taken instead; empty for none.
    """

    workers: int = 0
    scheduler: str = ""

    def engine(self) -> Engine:
        """The engine; its import takes a while.

        Raises
        ------
        InputError
            When the package for it is missing.
        """
        if not self.workers and not self.scheduler:
            return InThisProcess()
        from ..batch.cluster import LocalWorkers, Scheduler, require_distributed

        require_distributed()
        if self.scheduler:
            return Scheduler(self.scheduler)
        # The window is left a core.
        return LocalWorkers(self.workers, max(1, ((os.cpu_count() or 2) - 1) // self.workers))


@dataclass(frozen=True)
class BatchDone:
    """A finished batch, and what the user should know of its files."""

    batch: Batch
    notes: tuple[str, ...]


def batch_events(
    recipe: Recipe,
    inputs: Sequence[str] | Sequence[Given],
    folder: Path,
    begin: Begin,
    where: Where,
) -> Events[BatchDone]:
    """Run a batch and write its files; layers are written first, but not for a refused one.

    Parameters
    ----------
    inputs
        Files, folders and patterns, or layers.

    Yields, raises
        As `run_batch`; notices are kept back, as items.csv has those of each item.
    """
    named = [one for one in inputs if isinstance(one, str)]
    layers = [one for one in inputs if not isinstance(one, str)]
    # Its package may be missing.
    engine = where.engine()
    if layers:
        sizes = require_begin(recipe, folder, begin)
        named += map(str, (yield from input_paths(layers, sizes)))
    running = run_batch(recipe, named, folder, begin=begin, engine=engine)
    batch = yield from relayed(running, _quiet)
    notes = yield from write_results(batch)
    return BatchDone(batch, tuple(notes))


def earlier_records(folder: Path) -> dict[str, Record]:
    """How the items of an earlier batch ended, by key.

    Raises
    ------
    InputError
        When the folder holds no batch, or a damaged one.
    """
    journal = read_journal(folder)
    if journal is None:
        raise InputError(f"{folder}: holds no batch")
    return journal.records


def _quiet(event: Event) -> Event | None:
    if isinstance(event, ItemState):
        # What the last item imported may compute on all cores.
        leave_the_window_a_core()
    return None if isinstance(event, Notice) else event
