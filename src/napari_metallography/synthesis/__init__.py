"""Micrographs with exact truth."""
