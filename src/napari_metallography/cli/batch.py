"""`batch`: a recipe over files, folders and stacks, here or on a cluster."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import InputError
from ..events import Event, Events, Notice, relayed
from . import terminal
from .options import DeviceName, Index, Output, PixelSize

if TYPE_CHECKING:
    from ..batch.recipe import Recipe
    from ..batch.run import Batch, Begin, Engine


def batch(
    recipe: Annotated[Path, typer.Argument(help="Recipe, a YAML file.")],
    inputs: Annotated[
        list[str], typer.Argument(help="Images, stacks, folders of them, or patterns.")
    ],
    output: Output,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the batch in the folder.")
    ] = False,
    recompute: Annotated[
        bool, typer.Option("--recompute", help="Begin anew, and drop the batch in the folder.")
    ] = False,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Processes on this machine, one a GPU if there are.")
    ] = None,
    threads: Annotated[
        int | None, typer.Option(min=1, help="Threads of each; default: all cores shared.")
    ] = None,
    scheduler: Annotated[
        str | None, typer.Option(help="Address of a dask scheduler, such as tcp://node:8786.")
    ] = None,
    pixel_size: PixelSize = None,
    index: Index = None,
    device: Annotated[
        DeviceName | None, typer.Option(help="Where to compute; default: as the recipe says.")
    ] = None,
) -> None:
    """Take the steps of a recipe for every image; write tables, labels and report.html."""
    from ..batch.recipe import read_recipe

    begin = _begin(resume=resume, recompute=recompute)
    if scheduler is not None and (workers is not None or threads is not None):
        raise InputError("--scheduler has workers of its own; leave out --workers and --threads")
    chosen = _changed(read_recipe(recipe), pixel_size, index, device)
    engine = _engine(workers, threads, scheduler)
    # Only now: these take seconds to import.
    from ..batch.results import write_results
    from ..batch.run import run_batch

    running = _told(run_batch(chosen, inputs, output, begin=begin, engine=engine))
    try:
        done: Batch = terminal.follow(running, recipe.stem)
    except KeyboardInterrupt:
        terminal.notice(f"what is done stays in {output}; go on with --resume")
        raise
    for said in terminal.follow(write_results(done), "writing results"):
        terminal.notice(said)
    _say(done)


def _begin(*, resume: bool, recompute: bool) -> Begin:
    if resume and recompute:
        raise InputError("--resume and --recompute: choose one of them")
    return "resume" if resume else "recompute" if recompute else "new"


def _changed(
    recipe: Recipe, pixel_size: float | None, index: Path | None, device: DeviceName | None
) -> Recipe:
    """The recipe with what the command line states."""
    if pixel_size is not None and not pixel_size > 0:
        raise InputError(f"--pixel-size {pixel_size}: a pixel size is larger than zero")
    update = {"pixel_size_um": pixel_size, "index": index}
    stated = {name: value for name, value in update.items() if value is not None}
    calibrate = recipe.calibrate.model_copy(update=stated)
    changed = recipe.model_copy(update={"calibrate": calibrate})
    return changed if device is None else changed.on(device.value)


def _engine(workers: int | None, threads: int | None, scheduler: str | None) -> Engine:
    from ..batch.run import InThisProcess

    if scheduler is None and workers is None:
        if threads is not None:
            import torch

            torch.set_num_threads(threads)
        return InThisProcess()
    from ..batch.cluster import LocalWorkers, Scheduler, require_distributed

    require_distributed()
    return Scheduler(scheduler) if scheduler is not None else LocalWorkers(workers or 1, threads)


def _told(running: Events[Batch]) -> Events[Batch]:
    """Failures are told as they come; notes on items stand in items.csv and the report."""
    from ..batch.run import ItemState

    def change(event: Event) -> Event | None:
        if isinstance(event, ItemState) and event.state == "failed":
            terminal.error(event.why)
        return None if isinstance(event, Notice) else event

    return (yield from relayed(running, change))


def _say(done: Batch) -> None:
    states = Counter(one.state for one in (done.records[item.key] for item in done.items))
    failed = f", {states['failed']} failed: see items.csv" if states["failed"] else ""
    terminal.done(f"{states['done']} of {len(done.items)} done{failed}; results in {done.folder}")
    if states["failed"]:
        raise typer.Exit(terminal.BAD_INPUT)
