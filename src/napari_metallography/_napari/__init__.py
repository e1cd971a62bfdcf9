"""The napari shell: the only folder that imports napari or Qt."""
