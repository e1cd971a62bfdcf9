"""Model files, the registry and the shipped weights."""
