"""Phases from micrographs: networks, tiling, prediction, thresholding."""
