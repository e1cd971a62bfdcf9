"""The n + 2 search for a recipe on painted micrographs; the best training is the result."""

from __future__ import annotations

from pathlib import Path

from ..errors import InputError
from ..events import Events
from .checkpoint import fingerprint
from .fine_tuning import (
    Plan,
    Session,
    Tuned,
    description_of,
    forget_old,
    job_of,
    look_after,
    read_painted,
)
from .job import TrainingJob
from .search import kept_in, paper_search, read_kept
from .split import split

_SUFFIX = ".search"


def search_painted(plan: Plan, session: Session) -> Events[Tuned]:
    """Search for a recipe on painted micrographs and look at them with the best network.

    The trainings are kept in a folder of the plan's checkpoints: a search that was stopped goes
    on where it was when the same is asked for again.

    Parameters
    ----------
    plan
        Starts from a new network; the weights of its encoder are one of the tricks.
    session
        Filled in as the search gets under way.

    Yields
    ------
    Event
        Those of `training.search.paper_search`; Notice when the pixel sizes differ much.

    Raises
    ------
    InputError
        When the paint does not do for a search, or the plan starts from a trained model.
    """
    images = yield from read_painted(plan)
    session.images = images
    session.split = parts = split(images)
    if not parts.validation:
        raise InputError(
            "a search compares its trainings on held-out labels, and there is too little paint "
            "to hold some out: paint three strokes of every class, or press Train"
        )
    start = plan.origin([phase.name for phase in plan.classes]).start
    if start.state is not None:
        raise InputError("a search trains new networks: choose 'a new network' to start from")
    job = job_of(plan, parts, start, session.watch)
    session.kept = folder = _folder(plan, job)
    description = description_of(plan, images)
    found, best = yield from paper_search(job, kept_in(folder, description))
    session.job = best
    trained = read_kept(folder, found.best.name)
    after = yield from look_after(plan, best, trained, description)
    session.kept = None
    return Tuned(best, trained, description, after=after, search=found)


def _folder(plan: Plan, job: TrainingJob) -> Path:
    """Where the trainings of this search are kept, those of earlier ones being forgotten."""
    settings = job.settings() | {"names": [phase.name for phase in plan.classes]}
    folder = plan.checkpoints / f"{fingerprint(settings)[:16]}{_SUFFIX}"
    if folder.exists():
        # The latest are kept.
        folder.touch()
    forget_old(plan.checkpoints, f"*{_SUFFIX}")
    return folder
