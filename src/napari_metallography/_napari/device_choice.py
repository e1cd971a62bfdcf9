"""What forms offer to compute on."""

from __future__ import annotations

import torch


def devices() -> list[tuple[str, str]]:
    """What can be computed on here, as (text, value)."""
    if not torch.cuda.is_available():
        return [("processor (no CUDA)", "auto"), ("processor", "cpu")]
    name = torch.cuda.get_device_name(0)
    return [(f"automatic ({name})", "auto"), (name, "cuda"), ("processor", "cpu")]
