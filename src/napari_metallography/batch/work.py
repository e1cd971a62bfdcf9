"""The work on one item: all steps of a recipe, into a folder that appears whole or not at all."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

from ..calibration import HOW_TO_CALIBRATE
from ..errors import InputError
from ..events import Event, Events, Notice, Progress, relayed
from ..io.files import digest, write_text
from .items import Item, State, state_of
from .recipe import Recipe
from .steps import STEP_WORK, opened

RESULT = "item.json"


@dataclass(frozen=True)
class Task:
    """What is to be done, in plain data that can be sent to another machine.

    Attributes
    ----------
    folder
        Of the results of the whole batch; all workers must see it under this name.
    run
        Names the recipe, models and version that the results belong to.
    needs_scale
        Refuse an item of unknown pixel size, since others have one.
    """

    item: Item
    recipe: Recipe
    folder: Path
    run: str
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
    try:
        source = state_of(task.item.source.path)
        told = yield from _taken(task, source, beside)
        write_text(beside / RESULT, json.dumps({"run": task.run, "source": asdict(source), **told}))
        sha256 = digest(beside / RESULT)
        _put_in_place(beside, target)
        return Done(source, sha256)
    except OSError as error:
        raise InputError(f"{target}: cannot be written ({error.strerror or error})") from error
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def found_done(task: Task) -> Done | None:
    """An item that was finished, though nobody wrote it down; None where it was not."""
    result = task.target / RESULT
    try:
        told = json.loads(result.read_text(encoding="utf-8"))
        source = State(**told["source"])
        same = told["run"] == task.run and state_of(task.item.source.path, source) == source
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return Done(source, digest(result)) if same else None


def _put_in_place(beside: Path, target: Path) -> None:
    if target.exists():
        old = target.with_name(f"{beside.name}.old")
        target.replace(old)
        shutil.rmtree(old, ignore_errors=True)
    beside.replace(target)


def _taken(task: Task, source: State, folder: Path) -> Events[dict[str, Any]]:
    """All steps; JSON form of what they give, the larger parts of it in files of the folder."""
    folder.mkdir(parents=True)
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
