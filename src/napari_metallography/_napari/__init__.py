"""The napari shell: the only folder that imports napari or Qt."""

from .triton_library import load_apart

load_apart()
