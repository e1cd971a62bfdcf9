from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from napari_metallography.errors import InputError
from napari_metallography.io.files import digest, together, write_bytes


def test_a_full_disk_leaves_what_was_there(tmp_path, monkeypatch) -> None:
    path = tmp_path / "a.bin"
    write_bytes(path, b"before")
    write = Path.write_bytes

    def failing(beside: Path, content: bytes) -> int:
        write(beside, content[:2])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as small:
        small.setattr(Path, "write_bytes", failing)
        with pytest.raises(InputError, match=r"a\.bin: cannot be written \(No space left"):
            write_bytes(path, b"after")
    assert path.read_bytes() == b"before"
    assert list(tmp_path.iterdir()) == [path]


def test_files_appear_together_or_not_at_all(tmp_path) -> None:
    first, second = tmp_path / "a", tmp_path / "b"
    second.mkdir()
    with pytest.raises(InputError, match="cannot be written"):
        _write_both(first, second)
    assert list(tmp_path.iterdir()) == [second]
    second.rmdir()
    _write_both(first, second)
    assert sorted(tmp_path.iterdir()) == [first, second]


def test_what_was_there_before_a_failure_stays(tmp_path) -> None:
    first, second = tmp_path / "a", tmp_path / "b"
    first.write_bytes(b"of another")
    second.mkdir()
    with pytest.raises(InputError, match="cannot be written"):
        _write_both(first, second)
    assert sorted(tmp_path.iterdir()) == [first, second]


def _write_both(first: Path, second: Path) -> None:
    with together(first, second):
        write_bytes(first, b"1")
        write_bytes(second, b"2")


def test_the_digest_of_a_folder_is_that_of_all_in_it(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name / "c").mkdir(parents=True)
        (tmp_path / name / "c" / "0").write_bytes(b"chunk")
        (tmp_path / name / "empty").write_bytes(b"")
    assert digest(tmp_path / "a") == digest(tmp_path / "b")
    before = digest(tmp_path / "a")
    (tmp_path / "a" / "c" / "0").write_bytes(b"other")
    assert digest(tmp_path / "a") != before
    (tmp_path / "b" / "c" / "0").rename(tmp_path / "b" / "c" / "1")
    assert digest(tmp_path / "b") != before
