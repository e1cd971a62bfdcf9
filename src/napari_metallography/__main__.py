"""`python -m napari_metallography`."""

from .cli import main

main()
