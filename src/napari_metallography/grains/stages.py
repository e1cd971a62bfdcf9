"""How far a computation of several stages is."""

from __future__ import annotations

from ..events import Event, Events, Progress, T, relayed

_STEPS = 120
_SAID = "steps: "


def staged(events: Events[T], stage: int, stages: int) -> Events[T]:
    """A computation as one of several stages, numbered from 0, which share the progress evenly.

    Yields
    ------
    Progress
        Of all stages together, in steps alike; other events as they are.
    """

    def change(event: Event) -> Event:
        if not isinstance(event, Progress):
            return event
        done = _STEPS * event.done // max(event.total, 1)
        what = event.message.removeprefix(_SAID)
        return Progress(_STEPS * stage + done, _STEPS * stages, f"{_SAID}{what}")

    return (yield from relayed(events, change))
