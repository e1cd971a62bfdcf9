"""What a batch works on: every plane of every input is an item of its own."""

from __future__ import annotations

import glob
import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from ..calibration import Calibration
from ..errors import InputError
from ..events import Events, Progress
from ..inputs import PixelSizes, distinct_files, image_files, label_files, read_image, table_names
from ..io.files import digest
from ..io.labels import read_labels

_MAGIC = frozenset("*?[")
_FORBIDDEN = frozenset('<>:"|?*')


@dataclass(frozen=True)
class Source:
    """A file of the inputs.

    Attributes
    ----------
    name
        What tables call it: its name, or its path below the folder that all inputs share.
    folder
        Below that of the results, with forward slashes; no two sources have the same.
    planes
        How many it holds; 1 also where it cannot be read, which is said when its turn comes.
    is_calibrated
        Whether a pixel size is known; None where it cannot be read.
    """

    path: Path
    name: str
    folder: str
    planes: int = 1
    is_calibrated: bool | None = None

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
        Of its bytes; of a folder, of the names, sizes and times of all files in it.
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
    files: Sequence[Path], sizes: PixelSizes, *, labels: bool = False
) -> Events[list[Source]]:
    """Look at all inputs first: how many planes each has, and whether its scale is known.

    What cannot be read is left to its turn.

    Yields
    ------
    Progress
        Of the files.
    """
    names = table_names(files)
    found = []
    for number, (path, name, folder) in enumerate(zip(files, names, _folders(names), strict=True)):
        yield Progress(number, len(files), "inputs looked at")
        try:
            planes, size = _labels(path, sizes) if labels else _image(path, sizes)
        except InputError:
            found.append(Source(path.absolute(), name, folder))
        else:
            found.append(Source(path.absolute(), name, folder, planes, size is not None))
    return found


def state_of(path: Path, known: State | None = None) -> State:
    """How a source looks; what is known of one of the same size and time is not worked out anew.

    Raises
    ------
    InputError
        When it cannot be read.
    """
    if path.is_dir():
        return _folder_state(path)
    try:
        found = path.stat()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from error
    size, changed = found.st_size, found.st_mtime_ns
    if known is not None and (known.size, known.changed_ns) == (size, changed):
        return known
    return State(size, changed, digest(path))


def _folder_state(path: Path) -> State:
    try:
        files = sorted(one for one in path.rglob("*") if one.is_file())
        stats = [(one.relative_to(path).as_posix(), one.stat()) for one in files]
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from error
    told = [(name, stat.st_size, stat.st_mtime_ns) for name, stat in stats]
    sha = hashlib.sha256(json.dumps(told).encode()).hexdigest()
    return State(sum(s for _, s, _ in told), max((t for _, _, t in told), default=0), sha)


def _matching(one: str | Path) -> Iterator[Path]:
    path = Path(one)
    if not _MAGIC & set(str(one)) or path.exists():
        yield path
        return
    found = sorted(glob.glob(str(one), recursive=True))  # noqa: PTH207
    if not found:
        raise InputError(f"{one}: matches no file")
    yield from map(Path, found)


def _image(path: Path, sizes: PixelSizes) -> tuple[int, Calibration | None]:
    micrograph = read_image(path, sizes)
    return len(micrograph.planes), micrograph.calibration


def _labels(path: Path, sizes: PixelSizes) -> tuple[int, Calibration | None]:
    labels = read_labels(path)
    return len(labels.planes), sizes.of_labels(path, labels)


def _folders(names: Sequence[str]) -> Iterator[str]:
    """A folder for each name, less its ending unless two names differ in that alone."""
    # Where upper and lower case are one, they would share a folder.
    whole = [_safe(name).casefold() for name in names]
    plain = [str(PurePosixPath(_safe(name)).with_suffix("")) for name in names]
    counted = Counter(one.casefold() for one in plain)
    taken: set[str] = set()
    for name, one in zip(names, plain, strict=True):
        alone = counted[one.casefold()] == 1 and one.casefold() not in whole
        folder = one if alone else _safe(name)
        number = 1
        while folder.casefold() in taken:
            number += 1
            folder = f"{one} ({number})"
        taken.add(folder.casefold())
        yield folder


def _safe(name: str) -> str:
    """A path that stays below the folder it is put under, on any system."""
    whole = PurePosixPath(name.replace("\\", "/"))
    parts = [part for part in whole.parts if part != ".." and part.strip("/")]
    return "/".join("".join("_" if c in _FORBIDDEN or c < " " else c for c in p) for p in parts)
