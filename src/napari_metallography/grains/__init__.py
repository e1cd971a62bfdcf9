"""Grain size by the standards and by a line network."""
