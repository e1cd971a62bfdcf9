from __future__ import annotations

from pathlib import Path

import pytest

from napari_metallography.models import registry


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("NAPARI_METALLOGRAPHY_MODELS", str(tmp_path))
    return tmp_path


def test_own_models_lie_in_the_folder_or_in_one_of_their_name(own: Path) -> None:
    (own / "bare.safetensors").touch()
    (own / "steel").mkdir()
    (own / "steel" / "steel.safetensors").touch()
    (own / "steel" / "steel.checkpoint.safetensors").touch()
    (own / "other").mkdir()
    (own / "other" / "steel.safetensors").touch()
    found = registry.model_paths()
    assert found["bare"] == own / "bare.safetensors"
    assert found["steel"] == own / "steel" / "steel.safetensors"
    assert set(found) - {"bare", "steel"} == {
        path.stem for path in registry._SHIPPED.glob("*.safetensors")
    }


def test_a_shipped_model_is_not_hidden(own: Path) -> None:
    shipped = next(iter(registry.model_paths().items()))
    (own / shipped[0]).mkdir()
    (own / shipped[0] / f"{shipped[0]}.safetensors").touch()
    assert registry.model_paths()[shipped[0]] == shipped[1]
