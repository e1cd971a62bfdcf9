"""The journal of a batch: what is finished, written by the driver alone, a line at a time."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Literal
from uuid import uuid4

from filelock import FileLock, Timeout

from ..errors import InputError
from ..io.files import unreadable, writing
from .items import State

NAME = "journal.jsonl"

_KIND = "napari-metallography batch"
_FOLDERS = "folders"
_LOCK = "journal.lock"
_NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP}
_HOW = "go on with --resume, begin anew with --recompute, or choose another folder"


@dataclass(frozen=True)
class Run:
    """What must be the same for results to belong together.

    Attributes
    ----------
    recipe
        JSON form, less what does not change results.
    models
        SHA-256 of each model file by its name.
    version
        Of the program.
    """

    recipe: Mapping[str, Any]
    models: Mapping[str, str]
    version: str

    def changes(self, other: Run) -> list[str]:
        """What differs, in words."""
        changed = [
            name
            for name in sorted({*self.recipe, *other.recipe})
            if self.recipe.get(name) != other.recipe.get(name)
        ]
        models = [
            f"the model {name}"
            for name in sorted({*self.models, *other.models})
            if self.models.get(name) != other.models.get(name)
        ]
        version = ["the version of the program"] if self.version != other.version else []
        return [*(f"{name} of the recipe" for name in changed), *models, *version]


@dataclass(frozen=True)
class Record:
    """How an item ended.

    Attributes
    ----------
    source
        As it looked; None where it could not be read.
    digest
        SHA-256 of what is kept of the item, empty where it failed.
    why
        It failed, empty where it did not.
    """

    key: str
    state: Literal["done", "failed"]
    source: State | None = None
    digest: str = ""
    why: str = ""


@dataclass
class Journal:
    """The journal in a folder of results, open for further lines.

    Attributes
    ----------
    run
        What the results belong to.
    batch
        Names this batch: items of an earlier one in the same folder are not its own.
    records
        The last of each item, by key.
    folders
        Of the sources, by their whole paths.
    """

    path: Path
    run: Run
    batch: str
    records: dict[str, Record] = field(default_factory=dict)
    folders: dict[str, str] = field(default_factory=dict)
    _file: IO[bytes] | None = None

    def add(self, record: Record) -> None:
        """Append a line, which then stays whatever happens.

        Raises
        ------
        InputError
            When it cannot be written.
        """
        self._append({**asdict(record), "source": record.source and asdict(record.source)})
        self.records[record.key] = record

    def place(self, folders: Mapping[str, str]) -> None:
        """Write down which folder each source has, where that is new; errors as for `add`."""
        new = {path: one for path, one in folders.items() if self.folders.get(path) != one}
        if new:
            self._append({_FOLDERS: new})
            self._take(new)

    def _take(self, new: Mapping[str, str]) -> None:
        # A source that is gone may have had a folder before.
        taken = {*new.values()}
        for path in [path for path, one in self.folders.items() if one in taken]:
            del self.folders[path]
        self.folders.update(new)

    def _append(self, line: Mapping[str, Any]) -> None:
        with writing(self.path):
            if self._file is None:
                self._file = self.path.open("ab")
            self._file.write(json.dumps(line).encode() + b"\n")
            self._file.flush()
            os.fsync(self._file.fileno())

    def close(self) -> None:
        """Write no more."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def __enter__(self) -> Journal:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Keep other runs out of a folder, which is made, for as long as the block runs or is killed.

    Raises
    ------
    InputError
        When another run is in it, or it cannot be written.
    """
    with ExitStack() as stack:
        with writing(folder):
            folder.mkdir(parents=True, exist_ok=True)
            try:
                stack.enter_context(FileLock(folder / _LOCK, timeout=0))
            except Timeout as error:
                raise InputError(
                    f"{folder}: another run works in it; wait for it, or stop it"
                ) from error
            except (NotImplementedError, OSError) as error:
                # File systems without locks are taken as they are.
                if isinstance(error, OSError) and error.errno not in _NO_LOCKS:
                    raise
        yield


def begun(folder: Path, run: Run) -> Journal:
    """A new journal, in a folder that is there.

    Raises
    ------
    InputError
        When there is one already, or it cannot be written.
    """
    path = folder / NAME
    if path.exists():
        raise InputError(f"{folder}: holds a batch already; {_HOW}")
    journal = Journal(path, run, uuid4().hex)
    journal._append({"journal": _KIND, "batch": journal.batch, **asdict(run)})
    return journal


def resumed(folder: Path, run: Run) -> Journal:
    """The journal that is there, to go on with; a new one where there is none.

    A last line that was cut short is taken away.

    Raises
    ------
    InputError
        When its results belong to another recipe, model or version, or it is damaged.
    """
    path = folder / NAME
    if not path.exists():
        return begun(folder, run)
    lines, end = _lines(path)
    if not lines:
        # Killed while the first line was written: nothing was finished yet.
        path.unlink()
        return begun(folder, run)
    known = _read(path, lines)
    if changes := known.run.changes(run):
        changed = ", ".join(changes)
        raise InputError(
            f"{folder}: {changed} changed since this batch was begun, and its results would not "
            "belong together; begin anew with --recompute, or choose another folder"
        )
    if end < path.stat().st_size:
        with path.open("r+b") as file:
            file.truncate(end)
    return replace(known, run=run)


def read_journal(folder: Path) -> Journal | None:
    """The journal of a batch, to look at only; None where nothing is written yet.

    Raises
    ------
    InputError
        When it is damaged.
    """
    path = folder / NAME
    lines = _lines(path)[0] if path.exists() else []
    return _read(path, lines) if lines else None


def _lines(path: Path) -> tuple[list[bytes], int]:
    """The whole lines of a journal, and how many bytes they are."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise unreadable(path, error) from error
    end = content.rfind(b"\n") + 1
    return content[:end].splitlines(), end


def _read(path: Path, lines: list[bytes]) -> Journal:
    try:
        head = json.loads(lines[0])
        if head.pop("journal") != _KIND:
            raise KeyError
        batch = str(head.pop("batch"))
        journal = Journal(path, Run(**head), batch)
        for line in lines[1:]:
            told = json.loads(line)
            if _FOLDERS in told:
                journal._take(told[_FOLDERS])
                continue
            source = told.pop("source")
            record = Record(**told, source=State(**source) if source else None)
            journal.records[record.key] = record
    except (ValueError, KeyError, TypeError, IndexError) as error:
        raise InputError(
            f"{path}: damaged, so that what is finished is not known; begin anew with --recompute"
        ) from error
    return journal
