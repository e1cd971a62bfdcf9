from __future__ import annotations

import sys

from napari_metallography._napari.device_choice import devices


def test_devices_offered_are_those_there_are(monkeypatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert "cuda" not in [value for _, value in devices()]
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.get_device_name", lambda _: "H200")
    assert ("H200", "cuda") in devices()


def test_all_there_may_be_is_offered_until_torch_is_imported(monkeypatch) -> None:
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    assert [value for _, value in devices()] == ["auto", "cuda", "cpu"]
    assert "torch" not in sys.modules
