"""Files that appear whole or not at all."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory

from ..errors import InputError

_BYTES_AT_A_TIME = 1 << 20
_FORBIDDEN = frozenset('<>:"|?*/\\')


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a path beside `path` to write to; rename it to `path` when the block succeeds.

    Raises
    ------
    InputError
        When the folder cannot be written or `path` is held open by another program.
    """
    beside = path.with_name(f".{path.name}.{os.getpid()}.part{path.suffix}")
    try:
        with writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            yield beside
            beside.replace(path)
    finally:
        with suppress(OSError):
            beside.unlink(missing_ok=True)


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Write inside the block; what the system refuses becomes one line about `path`."""
    try:
        yield
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror or error})") from error


@contextmanager
def together(*paths: Path) -> Iterator[None]:
    """Files that appear all or none: those the block wrote are removed when it fails.

    Files that were there before stay.
    """
    new = [path for path in paths if not path.exists()]
    try:
        yield
    except BaseException:
        for path in new:
            with suppress(OSError):
                path.unlink(missing_ok=True)
        raise


def require_writable(folder: Path) -> None:
    """Refuse a folder, there already or not, that nothing can be written to; leaves nothing.

    Raises
    ------
    InputError
        When the folder, or the nearest one above it that is there, takes no folder.
    """
    try:
        nearest = next(part for part in (folder, *folder.absolute().parents) if part.exists())
        # Rights alone do not tell: some systems refuse even who has them all.
        with TemporaryDirectory(prefix=".", suffix=".part", dir=nearest):
            pass
    except OSError as error:
        why = error.strerror or error
        raise InputError(f"{folder}: cannot be written ({why}); choose another folder") from error


def file_name(text: str) -> str:
    """A text as (a part of) the name of a file on any system: "_" for signs that none may hold."""
    return "".join("_" if sign in _FORBIDDEN or sign < " " else sign for sign in text)


def write_bytes(path: Path, content: bytes) -> None:
    """Write `content` to `path` whole or not at all."""
    with replacing(path) as beside:
        beside.write_bytes(content)


def write_text(path: Path, content: str) -> None:
    """Write UTF-8 `content` to `path` whole or not at all."""
    write_bytes(path, content.encode())


def read_bytes(path: Path) -> bytes:
    """Content of a non-empty file; raises as `reading` does."""
    with reading(path):
        return path.read_bytes()


def digest(path: Path) -> str:
    """SHA-256 of a file's bytes; raises as `reading` does.

    Of a folder, such as a Zarr image: of the names and digests of all files in it.
    """
    sha = hashlib.sha256()
    if path.is_dir():
        for inside in sorted(one for one in path.rglob("*") if one.is_file()):
            content = digest(inside) if inside.stat().st_size else ""
            sha.update(f"{inside.relative_to(path).as_posix()}\0{content}\n".encode())
        return sha.hexdigest()
    with reading(path), path.open("rb") as file:
        while part := file.read(_BYTES_AT_A_TIME):
            sha.update(part)
    return sha.hexdigest()


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Read a non-empty file inside the block.

    Raises
    ------
    InputError
        When `path` is no file, is empty or cannot be read.
    """
    require_file(path)
    try:
        yield
    except OSError as error:
        raise unreadable(path, error) from error


def require_file(path: Path) -> None:
    """Raise `InputError` unless `path` is a non-empty file."""
    try:
        if path.is_dir():
            raise InputError(f"{path}: is a folder; name the files in it")
        if not path.is_file():
            raise InputError(f"{path}: no such file")
        if path.stat().st_size == 0:
            raise InputError(f"{path}: the file is empty")
    except OSError as error:
        raise unreadable(path, error) from error


def unreadable(path: Path, error: OSError) -> InputError:
    """What to raise when the system refuses to read `path`."""
    return InputError(f"{path}: cannot be read ({error.strerror or error})")
