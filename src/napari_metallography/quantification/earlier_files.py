"""Files of an earlier run in a folder of results, which must not pass for those of the last."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path

from ..errors import InputError
from ..io.files import digest, read_bytes

FILES = "files"
"""Key of a run's statistics: the SHA-256 of each file that it wrote beside them, by its name."""


def digests_of(folder: Path, names: Iterable[str]) -> dict[str, str]:
    """SHA-256 of files in a folder, by name."""
    return {name: digest(folder / name) for name in names}


def files_of_run(statistics: Path) -> dict[str, str]:
    """The files that the run wrote whose statistics lie there; none where they tell of none."""
    try:
        stated = json.loads(read_bytes(statistics))
    except (InputError, ValueError, RecursionError):
        return {}
    files = stated.get(FILES) if isinstance(stated, dict) else None
    if not isinstance(files, dict):
        return {}
    # A name that leads elsewhere is none that a run wrote.
    return {name: str(sha256) for name, sha256 in files.items() if Path(name).name == name}


def remove_earlier(folder: Path, files: Mapping[str, str], but: Collection[str]) -> list[str]:
    """Remove what an earlier run wrote, and this one did not, unless it was changed since.

    Parameters
    ----------
    files
        As of `files_of_run`.
    but
        Names that stay.

    Returns
    -------
    A sentence for each file of the earlier run that stays for another reason.
    """
    left = [folder / name for name in files if name not in but and (folder / name).is_file()]
    return [said for path in left if (said := _removed(path, files[path.name]))]


def _removed(path: Path, sha256: str) -> str:
    """Remove a file; a sentence where it stays."""
    try:
        if digest(path) == sha256:
            path.unlink()
            return ""
    except (InputError, OSError):
        return f"{path} is of an earlier run and cannot be removed: do not take it for this one's"
    return f"{path} is of an earlier run and was changed since: it stays, and is not this run's"
