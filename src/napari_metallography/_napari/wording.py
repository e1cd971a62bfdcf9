"""What the core says to people, in the words of the window."""

from __future__ import annotations

from ..calibration import HOW_TO_CALIBRATE


def in_window(message: str) -> str:
    """The message without what can only be done on the command line."""
    return message.replace(HOW_TO_CALIBRATE, "use the Calibrate widget")
