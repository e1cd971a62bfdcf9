"""Fixtures that several rooms share."""

from __future__ import annotations

import os
from pathlib import Path

# Small networks are fastest on one thread, and tests then do not fight over cores.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
from hypothesis import settings

# No deadline: the machines that run this differ tenfold in speed.
settings.register_profile("project", deadline=None, max_examples=40)
settings.load_profile("project")

_SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real micrographs that is not part of the repository."""
    if not _SHARED.is_dir():
        pytest.skip("the real micrographs are not at hand")
    return _SHARED
