"""The work on one item: all steps of a recipe, into a folder that appears whole or not at all."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

from .. import __version__
from ..calibration import HOW_TO_CALIBRATE
from ..errors import InputError
from ..events import Event, Events, Notice, Progress, relayed
from ..io.files import digest, write_text, writing
from ..models import registry
from ..quantification.measured_files import MEASURED
from .items import Item, State, has_changed, state_of
from .journal import Run
from .recipe import Recipe
from .steps import STEP_WORK, opened

RESULT = "item.json"

_BEGUN = ".begun"


@dataclass(frozen=True)
class Task:
    """What is to be done, in plain data that can be sent to another machine.

    Attributes
    ----------
    folder
        Of the results of the whole batch; all workers must see it under this name.
    batch
        Names the batch that the results belong to.
    run
        The models and the version by which they are to be had.
    needs_scale
        Refuse an item of unknown pixel size, since others have one.
    """

    item: Item
    recipe: Recipe
    folder: Path
    batch: str
    run: Run
    needs_scale: bool = False

    @property
    def target(self) -> Path:
        """Where the results of the item go."""
        return item_folder(self.folder, self.item.key)


@dataclass(frozen=True)
class Done:
    """What the driver keeps of an item that went well.

    Attributes
    ----------
    digest
        SHA-256 of `item.json`.
    """

    source: State
    digest: str


def item_folder(folder: Path, key: str) -> Path:
    """Where the results of an item go in those of a batch."""
    return folder / "items" / key


def worked(task: Task) -> Events[Done]:
    """Take all steps for an item, and put what they give into its folder.

    Yields
    ------
    Progress, Notice
        Of the steps.

    Raises
    ------
    InputError
        When the item cannot be used, or its results cannot be written.
    DeviceError
        When the device fails.
    """
    target = task.target
    beside = target.with_name(f".{target.name}.{os.getpid()}.{uuid4().hex[:8]}.part")
    if (done := found_done(task)) is not None:
        # By a worker that died before it could say so.
        return done
    _require_same(task.run, task.recipe)
    try:
        source = state_of(task.item.source.path)
        with writing(beside):
            beside.mkdir(parents=True)
            (beside / _BEGUN).touch()
        told = yield from _taken(task, source, beside)
        told = {"batch": task.batch, "source": asdict(source), **told}
        with writing(target):
            _require_whole(beside, task)
            files = {path.name: path.stat().st_size for path in sorted(beside.iterdir())}
            write_text(beside / RESULT, json.dumps({**told, "files": files}))
            sha256 = digest(beside / RESULT)
            _put_in_place(beside, target)
        return Done(source, sha256)
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def found_done(task: Task) -> Done | None:
    """An item that is finished, with all of its files, as it would be now; None where it is not."""
    result = task.target / RESULT
    source = task.item.source
    try:
        told = json.loads(result.read_text(encoding="utf-8"))
        state = State(**told["source"])
        size = source.calibration
        # Another file of the same size and time is another file.
        is_it = told["file"] == str(source.path.resolve())
        same = (
            told["batch"] == task.batch
            and told["calibration"] == (size.to_dict() if size else None)
            and told["specimen"] == source.specimen
            and not (task.needs_scale and size is None)
            and all((task.target / n).stat().st_size == b for n, b in told["files"].items())
            and (is_it or state_of(source.path).sha256 == state.sha256)
            and not has_changed(source.path, state)
        )
    except (InputError, OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return Done(state, digest(result)) if same else None


def _require_same(run: Run, recipe: Recipe) -> None:
    """Refuse to work with other models or another program than the batch was begun with."""
    if run.version != __version__:
        raise InputError(f"this worker has version {__version__}, the batch {run.version}")
    for model, name in recipe.model_names().items():
        path = registry.model_path(model)
        if path.exists() and state_of(path).sha256 != run.models[name]:
            raise InputError(
                f"the model {name} changed since the batch was begun; begin anew with --recompute"
            )


def _require_whole(folder: Path, task: Task) -> None:
    """Refuse what another run of the batch took away while it was written."""
    steps = task.recipe.steps
    labels = any(folder.glob("*_labels.tif")) or "segment" not in steps
    measured = (folder / MEASURED).exists() or "quantify" not in steps
    if not ((folder / _BEGUN).exists() and labels and measured):
        raise InputError(f"{task.item.name}: another run works on this batch; go on with --resume")
    (folder / _BEGUN).unlink()


def _put_in_place(beside: Path, target: Path) -> None:
    if not target.exists():
        beside.replace(target)
        return
    old = target.with_name(f"{beside.name}.old")
    target.replace(old)
    try:
        beside.replace(target)
    except OSError:
        old.replace(target)
        raise
    shutil.rmtree(old, ignore_errors=True)


def _taken(task: Task, source: State, folder: Path) -> Events[dict[str, Any]]:
    """All steps; JSON form of what they give, the larger parts of it in files of the folder."""
    notices: list[str] = []

    def heard(event: Event) -> Event:
        if isinstance(event, Notice):
            notices.append(event.message)
        return event

    found = yield from relayed(_steps(task, source, folder), heard)
    return {**found, "notices": [*dict.fromkeys(notices)]}


def _steps(task: Task, source: State, folder: Path) -> Events[dict[str, Any]]:
    recipe, item = task.recipe, task.item
    subject = opened(item, recipe)
    if task.needs_scale and subject.calibration is None:
        raise InputError(
            f"{item.name}: no pixel size is known, but other inputs have one, and pixels and µm "
            f"have no common mean; {HOW_TO_CALIBRATE}"
        )
    steps: dict[str, Any] = {}
    for name in recipe.steps:
        yield Progress(0, 0, name.replace("_", " "))
        subject, told = yield from STEP_WORK[name](subject, recipe, source.sha256, folder)
        if told is not None:
            steps[name] = told
    calibration = subject.calibration
    return {
        "image": item.source.name,
        "file": str(item.source.path.resolve()),
        "plane": item.plane,
        "specimen": subject.specimen,
        "calibration": calibration.to_dict() if calibration else None,
        "steps": steps,
    }
