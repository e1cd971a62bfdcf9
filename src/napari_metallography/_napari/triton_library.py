"""Triton's library, loaded so that it bears with the graphics driver's."""

from __future__ import annotations

import ctypes
import importlib.util
import os
import sys
from contextlib import suppress
from pathlib import Path


def load_apart() -> None:
    """Load Triton's library with its own LLVM, where PyTorch came with Triton.

    Mesa's drivers bring an LLVM too, and the viewer has loaded it first: Triton, which PyTorch's
    companions import, would bind to that one and end the process (PyTorch issue 96060).
    """
    own_symbols_first = getattr(os, "RTLD_DEEPBIND", None)
    spec = importlib.util.find_spec("triton")
    if own_symbols_first is None or spec is None or "triton" in sys.modules:
        return
    for folder in spec.submodule_search_locations or ():
        library = Path(folder) / "_C" / "libtriton.so"
        # What is wrong with a library that does not load is for PyTorch to say.
        with suppress(OSError):
            ctypes.CDLL(str(library), mode=os.RTLD_NOW | os.RTLD_LOCAL | own_symbols_first)
