"""What forms offer to compute on."""

from __future__ import annotations

import sys


def devices() -> list[tuple[str, str]]:
    """What can be computed on here, as (text, value); all there may be until torch is imported.

    Its import takes seconds, too long for the window's thread.
    """
    if "torch" not in sys.modules:
        return [("automatic", "auto"), ("CUDA", "cuda"), ("processor", "cpu")]
    # Waits for an import that is under way in another thread.
    import torch

    if not torch.cuda.is_available():
        return [("processor (no CUDA)", "auto"), ("processor", "cpu")]
    name = torch.cuda.get_device_name(0)
    return [(f"automatic ({name})", "auto"), (name, "cuda"), ("processor", "cpu")]
