from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from napari_metallography.cli import main


@dataclass(frozen=True)
class Run:
    """What a call of the command line left behind."""

    code: int
    out: str
    err: str

    @property
    def errors(self) -> list[str]:
        """The lines that say what is wrong."""
        return [line for line in self.err.splitlines() if line.startswith("error: ")]


@pytest.fixture
def run(monkeypatch, capfd) -> Callable[..., Run]:
    """Call the command line as a shell would."""

    def call(*arguments: object) -> Run:
        monkeypatch.setattr(sys, "argv", ["napari-metallography", *map(str, arguments)])
        capfd.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        captured = capfd.readouterr()
        return Run(int(ended.value.code or 0), captured.out, captured.err)

    return call
