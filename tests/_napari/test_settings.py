from __future__ import annotations

from pathlib import Path

import pytest

from napari_metallography._napari import settings
from napari_metallography.errors import InputError


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(settings.ENVIRONMENT, str(tmp_path))
    return tmp_path


@pytest.fixture(autouse=True)
def told(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    messages: list[str] = []
    monkeypatch.setattr(settings, "show_warning", messages.append)
    settings._tell_once.cache_clear()
    return messages


def test_sections_are_kept_apart() -> None:
    settings.save("segment", {"mode": "paper"})
    settings.save("objectives", {"50×": 0.11})
    assert settings.load("segment") == {"mode": "paper"}
    assert settings.load("objectives") == {"50×": 0.11}


def test_saving_a_section_replaces_it_whole() -> None:
    settings.save("segment", {"mode": "paper", "flips": True})
    settings.save("segment", {"mode": "fast"})
    assert settings.load("segment") == {"mode": "fast"}


def test_unknown_section_is_empty() -> None:
    assert settings.load("segment") == {}


DAMAGED = ["", "{", "[1]", "\x00\xff", "[" * 100_000]


@pytest.mark.parametrize("content", DAMAGED)
def test_a_damaged_file_is_kept_under_another_name_and_told_once(
    content: str, folder: Path, told: list[str]
) -> None:
    (folder / "settings.json").write_text(content, "latin-1")
    assert settings.load("segment") == {}
    assert settings.load("objectives") == {}
    settings.save("segment", {"mode": "fast"})
    assert settings.load("segment") == {"mode": "fast"}
    assert (folder / "settings.json.damaged").read_text("latin-1") == content
    assert len(told) == 1
    assert "kept as settings.json.damaged" in told[0]


def test_a_second_damaged_file_does_not_replace_the_first(folder: Path, told: list[str]) -> None:
    for content in ("{1", "{2", "{3"):
        (folder / "settings.json").write_text(content)
        settings.save("segment", {"mode": "fast"})
    kept = sorted(path.name for path in folder.glob("*.damaged*"))
    assert kept == ["settings.json.damaged", "settings.json.damaged2", "settings.json.damaged3"]
    assert (folder / kept[0]).read_text() == "{1"
    assert len(told) == 3


def test_a_section_of_the_wrong_kind_counts_as_empty(folder: Path) -> None:
    (folder / "settings.json").write_text('{"segment": 3, "objectives": {"50×": 0.11}}', "utf-8")
    assert settings.load("segment") == {}
    settings.save("segment", {"mode": "fast"})
    assert settings.load("objectives") == {"50×": 0.11}


def test_a_file_that_cannot_be_read_is_not_written_over(
    folder: Path, told: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.save("objectives", {"50×": 0.11})

    def refused(*_: object) -> str:
        raise PermissionError(13, "Permission denied")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "read_text", refused)
        assert settings.load("objectives") == settings.load("segment") == {}
        with pytest.raises(InputError, match=r"cannot be read \(Permission denied\)"):
            settings.save("segment", {"mode": "fast"})
    assert settings.load("objectives") == {"50×": 0.11}
    assert len(told) == 1


def test_a_damaged_file_that_cannot_be_renamed_is_not_written_over(
    folder: Path, monkeypatch: pytest.MonkeyPatch, told: list[str]
) -> None:
    (folder / "settings.json").write_text("{")

    def refused(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "rename", refused)
    with pytest.raises(InputError, match="damaged and cannot be renamed"):
        settings.save("segment", {})
    assert settings.load("segment") == {}
    assert (folder / "settings.json").read_text() == "{"


def test_settings_that_cannot_be_written_are_a_clear_refusal(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refused(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "write_bytes", refused)
    with pytest.raises(InputError, match="cannot be written"):
        settings.save("segment", {})
