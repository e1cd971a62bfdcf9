"""What the core says to people, in the words of the window."""

from __future__ import annotations

from ..calibration import HOW_TO_CALIBRATE

_INSTEAD = {
    HOW_TO_CALIBRATE: "use the Calibrate widget",
    "go on with --resume": "press Run to go on",
    "begin anew with --recompute": "tick Begin anew",
    "--scheduler ": "scheduler ",
}


def in_window(message: str) -> str:
    """The message without what can only be done on the command line."""
    for words, others in _INSTEAD.items():
        message = message.replace(words, others)
    return message
