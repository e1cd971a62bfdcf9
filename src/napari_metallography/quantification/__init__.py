"""Calibrated numbers from labels."""
