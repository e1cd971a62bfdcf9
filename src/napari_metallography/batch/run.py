"""Runs of a recipe: each item once, whatever happens in between."""

from __future__ import annotations

import errno
import shutil
from collections.abc import Generator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from .. import __version__
from ..errors import DeviceError, InputError
from ..events import Event, Events, Part, Progress, drain, ignore
from ..inputs import PixelSizes
from ..io.files import digest, require_writable, write_text
from ..io.index import ImageIndex
from ..models import registry
from .items import Item, input_files, survey
from .journal import NAME, Journal, Record, Run, alone, begun, read_journal, resumed
from .recipe import Recipe, found_from, recipe_text
from .work import Done, Task, found_done, worked

Begin = Literal["new", "resume", "recompute"]

_NOT_OF_ITEMS = {"report"}
"""Steps of a recipe that change no item: they may differ when a batch is gone on with."""
_FULL = {getattr(errno, name, None) for name in ("ENOSPC", "EROFS", "EDQUOT")}


@dataclass(frozen=True)
class ItemState(Part):
    """An item that waits, is worked on, is done or has failed, and why."""

    item: Item
    state: Literal["waiting", "running", "done", "failed"]
    why: str = ""


@dataclass(frozen=True)
class Ended:
    """How the work on a task ended.

    Attributes
    ----------
    done
        What is to be kept; None where it failed.
    why
        It failed.
    is_full
        It failed as nothing more can be written: neither could what comes after it.
    """

    task: Task
    done: Done | None = None
    why: str = ""
    is_full: bool = False


@dataclass(frozen=True)
class Begun:
    """A task that is being worked on."""

    task: Task


class Engine(Protocol):
    """Where tasks are worked on."""

    def require_ready(self) -> None:
        """Refuse what cannot work, before anything is begun."""

    def work(self, tasks: Sequence[Task]) -> Generator[Begun | Ended | Event]:
        """Work on all tasks; closing the generator ends the work."""


class InThisProcess:
    """One task after the other, here."""

    def require_ready(self) -> None:
        """As `Engine.require_ready`: it always is."""

    def work(self, tasks: Sequence[Task]) -> Generator[Begun | Ended | Event]:
        """As `Engine.work`."""
        for task in tasks:
            yield Begun(task)
            yield (yield from _ended(task))


def worked_out(task: Task) -> Ended:
    """Work on a task to its end; what is wrong with its item is no error."""
    return drain(_ended(task), ignore)


def _ended(task: Task) -> Events[Ended]:
    try:
        return Ended(task, (yield from worked(task)))
    except (InputError, DeviceError) as error:
        cause = error.__cause__
        return Ended(task, None, str(error), isinstance(cause, OSError) and cause.errno in _FULL)
    except MemoryError:
        return Ended(task, None, f"{task.item.name}: not enough memory; take fewer workers")
    except Exception as error:
        # One bad file must not end the others, whatever is wrong with it, or with the program.
        return Ended(task, None, f"{task.item.name}: unexpected {type(error).__name__}: {error}")


@dataclass(frozen=True)
class Batch:
    """A finished run: its items in order, and how each ended; the name is that of the journal."""

    folder: Path
    recipe: Recipe
    run: Run
    name: str
    items: tuple[Item, ...]
    records: dict[str, Record]

    @property
    def done(self) -> tuple[Item, ...]:
        """Those that went well."""
        return tuple(item for item in self.items if self.records[item.key].state == "done")

    @property
    def failed(self) -> tuple[tuple[Item, str], ...]:
        """Those that failed, and why."""
        ended = ((item, self.records[item.key]) for item in self.items)
        return tuple((item, one.why) for item, one in ended if one.state == "failed")


def run_batch(
    recipe: Recipe,
    inputs: Sequence[str | Path],
    folder: Path,
    *,
    begin: Begin = "new",
    engine: Engine | None = None,
) -> Events[Batch]:
    """Take the steps of a recipe for every plane of every input; a bad one fails its row only.

    Parameters
    ----------
    inputs
        Files, folders, and patterns such as `scans/*.tif`.
    folder
        Of the results.
    begin
        "new": refuse a folder that holds a batch. "resume": go on with it; what is done stays, what
        failed is tried again, and so is an input that changed since. "recompute": begin anew; what
        an earlier batch of this folder left is removed.
    engine
        Where the work is done; None for this process.

    Yields
    ------
    ItemState
        Of all items at first, and of each as it changes.
    Progress
        Of the items.

    Raises
    ------
    InputError
        When no input is there, the recipe or a model changed since the batch was begun, another run
        works in the folder or it cannot be written, or the engine is not ready.
    """
    require_writable(folder)
    engine = engine or InThisProcess()
    engine.require_ready()
    # Workers may have been started in another folder.
    recipe = found_from(recipe, Path.cwd())
    sizes = _sizes(recipe)
    files = _inputs(inputs, recipe, folder)
    run = run_of(recipe)
    with ExitStack() as stack:
        stack.enter_context(alone(folder))
        earlier = read_journal(folder) if begin == "resume" else None
        sources = yield from survey(
            files, sizes, labels=recipe.takes_labels, folders=earlier.folders if earlier else None
        )
        items = tuple(item for source in sources for item in source.items)
        journal = stack.enter_context(_journal(folder, run, begin))
        journal.place({str(source.path): source.folder for source in sources})
        write_text(folder / "recipe.yaml", recipe_text(recipe))
        _remove_parts(folder)
        tasks = _tasks(items, recipe, folder, journal)
        yield from _run(tasks, journal, engine)
        # Those of workers that were killed, too.
        _remove_parts(folder)
        records = {item.key: journal.records[item.key] for item in items}
    return Batch(folder, recipe, run, journal.batch, items, records)


def require_begin(recipe: Recipe, folder: Path, begin: Begin) -> PixelSizes:
    """Refuse what `run_batch` would refuse, before its inputs are made.

    Returns
    -------
    PixelSizes
        Where the batch takes pixel sizes from.

    Raises
    ------
    InputError
        When a model or the index is missing or damaged, or when the folder cannot be written, holds
        a batch of something else, or another run works in it.
    """
    require_writable(folder)
    recipe = found_from(recipe, Path.cwd())
    run, sizes = run_of(recipe), _sizes(recipe)
    if (folder / NAME).exists():
        with alone(folder):
            if begin == "resume":
                resumed(folder, run).close()
    return sizes


def _inputs(inputs: Sequence[str | Path], recipe: Recipe, folder: Path) -> list[Path]:
    """The files of the inputs, less what an earlier run wrote, which a pattern may match."""
    items = folder.resolve() / "items"
    found = input_files(inputs, labels=recipe.takes_labels)
    files = [path for path in found if items not in path.resolve().parents]
    if not files:
        raise InputError(f"{items}: holds results of a batch; name other inputs")
    return files


def run_of(recipe: Recipe) -> Run:
    """What results of a recipe belong to.

    Raises
    ------
    InputError
        When a model or the index is missing.
    """
    told = recipe.anywhere().model_dump(mode="json", exclude=_NOT_OF_ITEMS)
    told["overlays"] = recipe.report.overlays
    if recipe.calibrate.index is not None:
        told["calibrate"]["index"] = digest(recipe.calibrate.index)
    models = {
        name: digest(registry.model_path(model)) for model, name in recipe.model_names().items()
    }
    return Run(told, models, __version__)


def _sizes(recipe: Recipe) -> PixelSizes:
    step = recipe.calibrate
    return PixelSizes(step.pixel_size_um, ImageIndex.read(step.index) if step.index else None)


def _journal(folder: Path, run: Run, begin: Begin) -> Journal:
    if begin == "resume":
        return resumed(folder, run)
    if begin == "recompute" and (folder / NAME).exists():
        # Only here: it imports this module.
        from .results import RESULT_FILES

        # First the journal: what it does not name is nobody's.
        (folder / NAME).unlink()
        shutil.rmtree(folder / "items", ignore_errors=True)
        for name in RESULT_FILES:
            (folder / name).unlink(missing_ok=True)
    return begun(folder, run)


def _remove_parts(folder: Path) -> None:
    """Remove what was under way when an earlier run was killed."""
    for part in (folder / "items").rglob(".*.part*"):
        shutil.rmtree(part, ignore_errors=True)


def _tasks(items: Sequence[Item], recipe: Recipe, folder: Path, journal: Journal) -> list[Task]:
    needs_scale = any(item.source.calibration is not None for item in items)
    whole, batch, run = folder.resolve(), journal.batch, journal.run
    return [Task(item, recipe, whole, batch, run, needs_scale) for item in items]


def _run(tasks: Sequence[Task], journal: Journal, engine: Engine) -> Events[None]:
    todo = []
    for task in tasks:
        if (ended := _known(task, journal)) is not None:
            yield ItemState(task.item, ended)
        else:
            todo.append(task)
            yield ItemState(task.item, "waiting")
    done = len(tasks) - len(todo)
    yield Progress(done, len(tasks), "items")
    with closing(engine.work(todo)) as working:
        for event in working:
            if isinstance(event, Begun):
                yield ItemState(event.task.item, "running")
            elif isinstance(event, Ended):
                if event.is_full:
                    raise InputError(f"{event.why}; make room, then go on with --resume")
                record = _record(event)
                journal.add(record)
                done += 1
                yield ItemState(event.task.item, record.state, record.why)
                yield Progress(done, len(tasks), "items")
            elif isinstance(event, Progress):
                # Not of use as a number, but whoever follows can stop the work here.
                within = f" ({event.message})" if event.message else ""
                yield Progress(done, len(tasks), f"items{within}")
            else:
                yield event


def _known(task: Task, journal: Journal) -> Literal["done"] | None:
    """Whether an item is done; what lies in its folder tells, with the journal of this batch."""
    found = found_done(task)
    if found is None:
        return None
    record = Record(task.item.key, "done", found.source, found.digest)
    if journal.records.get(task.item.key) != record:
        # A driver that was killed may not have written down what its workers finished.
        journal.add(record)
    return "done"


def _record(ended: Ended) -> Record:
    key = ended.task.item.key
    if ended.done is None:
        return Record(key, "failed", why=" ".join(ended.why.split()))
    return Record(key, "done", ended.done.source, ended.done.digest)
