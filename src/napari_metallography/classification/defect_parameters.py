"""How surface defects are named, for those that must not wait for torch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

UNSURE_NAME = "unsure"
"""The answer where no class is sure enough; no class is called so."""


class DefectParameters(BaseModel):
    """How surface defects are named.

    Attributes
    ----------
    model
        Name or file of a defects model.
    device
        "auto", "cpu" or "cuda".
    risk
        Share of wrong answers that is put up with; what is less sure is answered "unsure".
    scan
        Look at windows of the trained size one by one, not at the image as a whole.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str = "xsdd-pdmsnet"
    device: Literal["auto", "cpu", "cuda"] = "auto"
    risk: float = Field(default=0.02, ge=0, le=1)
    scan: bool = False


def counted(rows: Sequence[dict[str, Any]]) -> str:
    """How many planes were named, in words; rows as of `classes.csv`."""
    unsure = sum(row["answer"] == UNSURE_NAME for row in rows)
    return f"{len(rows)} looked at: {len(rows) - unsure} named, {unsure} unsure"
