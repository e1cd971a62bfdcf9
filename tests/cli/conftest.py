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


@pytest.fixture(scope="session")
def call() -> Callable[..., int]:
    """Calls the command line as a shell would, and gives its exit code."""

    def code_of(*arguments: object) -> int:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sys, "argv", ["napari-metallography", *map(str, arguments)])
            with pytest.raises(SystemExit) as ended:
                main()
        return int(ended.value.code or 0)

    return code_of


@pytest.fixture
def run(call, capfd) -> Callable[..., Run]:
    """Calls the command line, and keeps what it says."""

    def said(*arguments: object) -> Run:
        capfd.readouterr()
        code = call(*arguments)
        captured = capfd.readouterr()
        return Run(code, captured.out, captured.err)

    return said
