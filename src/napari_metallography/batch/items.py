"""What a batch works on: every plane of every input is an item of its own."""

from __future__ import annotations

import glob
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path, PurePosixPath

from ..calibration import Calibration
from ..errors import InputError
from ..events import Events, Progress
from ..inputs import PixelSizes, distinct_files, image_files, label_files, read_image, table_names
from ..io.files import digest, file_name, unreadable
from ..io.labels import read_labels

_MAGIC = frozenset("*?[")
_SECONDS_LOOKED_AT_HOLDS = 5


@dataclass(frozen=True)
class Source:
    """A file of the inputs.

    Attributes
    ----------
    name
        What tables call it: its name, or its path below the folder that all inputs share.
    folder
        Name of its folder in that of the results; no two sources have the same.
    planes
        How many it holds; 1 also where it cannot be read, which is said when its turn comes.
    calibration, specimen
        As files and index say it; None and empty where they do not, or cannot be read.
    """

    path: Path
    name: str
    folder: str
    planes: int = 1
    calibration: Calibration | None = None
    specimen: str = ""

    @property
    def items(self) -> tuple[Item, ...]:
        """Its planes."""
        return tuple(Item(self, plane) for plane in range(self.planes))


@dataclass(frozen=True)
class Item:
    """A plane of a source, numbered from 0."""

    source: Source
    plane: int

    @property
    def key(self) -> str:
        """Names it in the journal, and its folder below that of the results."""
        if self.source.planes == 1:
            return self.source.folder
        return f"{self.source.folder}/plane_{self.plane:04d}"

    @property
    def name(self) -> str:
        """What people call it."""
        if self.source.planes == 1:
            return self.source.name
        return f"{self.source.name}, plane {self.plane}"


@dataclass(frozen=True)
class State:
    """How a source looks, so that another file in its place is noticed.

    Attributes
    ----------
    size, changed_ns
        Bytes, and when it was changed last; of a folder the sum and the latest of all files in it.
    sha256
        As `io.files.digest` gives it.
    """

    size: int
    changed_ns: int
    sha256: str


def input_files(inputs: Sequence[str | Path], *, labels: bool = False) -> list[Path]:
    """Files as given, those in folders, and those that a pattern such as `*.tif` matches.

    Raises
    ------
    InputError
        When an input is not there, a folder holds no image, or a pattern matches nothing.
    """
    named = [path for one in inputs for path in _matching(one)]
    missing = next((path for path in named if not path.exists()), None)
    if missing is not None:
        raise InputError(f"{missing}: no such file or folder")
    return distinct_files(label_files(named) if labels else image_files(named))


def survey(
    files: Sequence[Path],
    sizes: PixelSizes,
    *,
    labels: bool = False,
    folders: Mapping[str, str] | None = None,
) -> Events[list[Source]]:
    """Look at all inputs first: how many planes each has, and whether its scale is known.

    What cannot be read is left to its turn.

    Parameters
    ----------
    folders
        Those that sources have already, by their whole paths; they stay theirs, also of those that
        are no inputs now.

    Yields
    ------
    Progress
        Of the files.
    """
    names = table_names(files)
    elsewhere = dict(folders or {})
    kept = [elsewhere.pop(str(path.absolute()), None) for path in files]
    others = [folder for path, folder in elsewhere.items() if Path(path).exists()]
    found = []
    places = zip(files, names, _folders(names, kept, others), strict=True)
    for number, (path, name, folder) in enumerate(places):
        yield Progress(number, len(files), "inputs looked at")
        try:
            planes, size, specimen = _labels(path, sizes) if labels else _image(path, sizes)
        except InputError:
            found.append(Source(path.absolute(), name, folder))
        else:
            found.append(Source(path.absolute(), name, folder, planes, size, specimen))
    return found


def state_of(path: Path) -> State:
    """How a source looks now; its bytes are read once as long as size and time stay.

    Raises
    ------
    InputError
        When it cannot be read.
    """
    try:
        size, changed = _size_and_time(path)
    except OSError as error:
        raise unreadable(path, error) from error
    return State(size, changed, _digest(path, size, changed))


def has_changed(path: Path, known: State) -> bool:
    """Whether a source holds something else than it did; true where it cannot be read."""
    try:
        if not path.is_dir() and _size_and_time(path) == (known.size, known.changed_ns):
            return False
        return state_of(path).sha256 != known.sha256
    except (InputError, OSError):
        return True


def _size_and_time(path: Path) -> tuple[int, int]:
    if path.is_dir():
        # Thousands of files: once for all planes that come one after the other.
        return _size_and_time_of_all(path, int(time.monotonic() / _SECONDS_LOOKED_AT_HOLDS))
    stat = path.stat()
    return stat.st_size, stat.st_mtime_ns


@lru_cache(maxsize=8)
def _size_and_time_of_all(folder: Path, moment: int) -> tuple[int, int]:
    stats = [one.stat() for one in folder.rglob("*")]
    changed = max((one.st_mtime_ns for one in stats), default=0)
    return sum(one.st_size for one in stats), changed


# The planes of a stack come one after the other.
@lru_cache(maxsize=8)
def _digest(path: Path, size: int, changed_ns: int) -> str:
    return digest(path)


def _matching(one: str | Path) -> Iterator[Path]:
    path = Path(one)
    if not _MAGIC & set(str(one)) or path.exists():
        yield path
        return
    found = sorted(glob.glob(str(one), recursive=True))  # noqa: PTH207
    if not found:
        raise InputError(f"{one}: matches no file")
    yield from map(Path, found)


def _image(path: Path, sizes: PixelSizes) -> tuple[int, Calibration | None, str]:
    micrograph = read_image(path, sizes)
    specimen = str(micrograph.metadata.get("specimen") or "")
    return len(micrograph.planes), micrograph.calibration, specimen


def _labels(path: Path, sizes: PixelSizes) -> tuple[int, Calibration | None, str]:
    labels = read_labels(path)
    return len(labels.planes), sizes.of_labels(path, labels), sizes.specimen_of_labels(path)


def _folders(
    names: Sequence[str], kept: Sequence[str | None], others: Sequence[str] = ()
) -> Iterator[str]:
    """The folder kept, else one for each name, less its ending unless two differ in that alone.

    Those of others are nobody's.

    None lies in another: what is put in its place would take the other along.
    """
    # Where upper and lower case are one, they would share a folder.
    whole = [_safe(name).casefold() for name in names]
    plain = [str(PurePosixPath(_safe(name)).with_suffix("")) for name in names]
    counted = Counter(one.casefold() for one in plain)
    taken = {folder.casefold() for folder in (*kept, *others) if folder is not None}
    for name, one, own in zip(names, plain, kept, strict=True):
        if own is not None:
            yield own
            continue
        alone = counted[one.casefold()] == 1 and one.casefold() not in whole
        folder = one if alone else _safe(name)
        number = 1
        while folder.casefold() in taken:
            number += 1
            folder = f"{one} ({number})"
        taken.add(folder.casefold())
        yield folder


def _safe(name: str) -> str:
    """A path as the name of one folder, on any system."""
    whole = PurePosixPath(name.replace("\\", "/"))
    parts = [part for part in whole.parts if part != ".." and part.strip("/")]
    return "__".join(map(file_name, parts))
