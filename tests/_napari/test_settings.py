from __future__ import annotations

from pathlib import Path

import pytest

from napari_metallography._napari import settings
from napari_metallography.errors import InputError


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(settings.ENVIRONMENT, str(tmp_path))
    return tmp_path


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


@pytest.mark.parametrize("content", ["", "{", "[1]", '{"segment": 3}', "\x00\xff"])
def test_damaged_file_counts_as_empty_and_can_be_saved_over(content: str, folder: Path) -> None:
    (folder / "settings.json").write_text(content, "latin-1")
    assert settings.load("segment") == {}
    settings.save("segment", {"mode": "fast"})
    assert settings.load("segment") == {"mode": "fast"}


def test_settings_that_cannot_be_written_are_a_clear_refusal(folder: Path) -> None:
    (folder / "settings.json").mkdir()
    with pytest.raises(InputError, match="cannot be written"):
        settings.save("segment", {})
