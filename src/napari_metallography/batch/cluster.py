"""Batches on several processes or machines, by dask.distributed."""

from __future__ import annotations

import logging
import os
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from ..errors import DeviceError, InputError
from ..events import Event, Progress
from .run import Begun, Ended, worked_out
from .work import Task

if TYPE_CHECKING:
    from distributed import Client, Future, SpecCluster

_HOW = "install it: pip install 'napari-metallography[cluster]'"
_SECONDS_BETWEEN_LOOKS = 0.25
_SECONDS_TO_CONNECT = 15
_QUEUED_A_WORKER = 3
_STARTS = 3
_LOGGERS = ("distributed", "tornado", "asyncio")
_MOST_DEATHS = 20
"""Workers that may die over one item before it is taken for the cause."""


@dataclass(frozen=True)
class LocalWorkers:
    """Processes on this machine, each on one GPU where there are as many.

    Attributes
    ----------
    workers
        How many.
    threads
        That each computes with; None shares the processors among them.
    """

    workers: int
    threads: int | None = None

    def work(self, tasks: Sequence[Task]) -> Generator[Begun | Ended | Event]:
        """As `run.Engine.work`."""
        with _local_cluster(self.workers, self.threads) as client:
            yield from _work(client, tasks)

    def require_ready(self) -> None:
        """As `run.Engine.require_ready`."""
        require_distributed()


@dataclass(frozen=True)
class Scheduler:
    """The workers of a scheduler that runs somewhere; they must see the same files.

    Attributes
    ----------
    address
        Such as `tcp://node7:8786`.
    """

    address: str

    def work(self, tasks: Sequence[Task]) -> Generator[Begun | Ended | Event]:
        """As `run.Engine.work`.

        Raises
        ------
        InputError
            When a worker of several threads joins, in which items would share networks and memory.
        DeviceError
            When the scheduler is lost.
        """
        with _connected(self.address) as client:
            yield from _work(client, tasks)

    def require_ready(self) -> None:
        """Refuse a scheduler that cannot be reached, without workers, or with wide ones."""
        with _connected(self.address) as client:
            if not _workers(client):
                raise _unsuitable(client, "no worker")


def require_distributed() -> None:
    """Refuse, before any work, what needs a package that is not there."""
    try:
        import distributed  # noqa: F401
    except ImportError as error:
        raise InputError(f"this needs dask.distributed; {_HOW}") from error


@contextmanager
def _local_cluster(workers: int, threads: int | None) -> Iterator[Client]:
    require_distributed()
    from distributed import Client

    each = threads or max(1, (os.cpu_count() or 1) // workers)
    with _quiet(), _started(workers, each) as cluster, Client(cluster) as client:
        yield client


def _started(workers: int, threads: int) -> SpecCluster:
    """Processes that are there; those that die before are started again, if not for ever."""
    from distributed import Nanny, SpecCluster
    from distributed import Scheduler as DaskScheduler

    scheduler = {"cls": DaskScheduler, "options": {"dashboard_address": ":0", "port": 0}}
    for _ in range(_STARTS):
        spec = {
            number: {
                "cls": Nanny,
                "options": {"nthreads": 1, "env": _environment(number, threads), "memory_limit": 0},
            }
            for number in range(workers)
        }
        try:
            return SpecCluster(spec, scheduler, silence_logs="CRITICAL")
        except (RuntimeError, OSError, TimeoutError):
            continue
    raise DeviceError(f"{workers} workers could not be started; try fewer, or none")


def _environment(number: int, threads: int) -> dict[str, str]:
    count = str(threads)
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
    return {**dict.fromkeys(names, count), **_gpu_of(number)}


def _gpu_of(number: int) -> dict[str, str]:
    """The GPU of a worker, one after the other, among those that this process may use."""
    import torch

    count = torch.cuda.device_count()
    if count < 2:
        return {}
    allowed = os.environ.get("CUDA_VISIBLE_DEVICES")
    names = allowed.split(",") if allowed else [str(n) for n in range(count)]
    return {"CUDA_VISIBLE_DEVICES": names[number % len(names)]}


@contextmanager
def _connected(address: str) -> Iterator[Client]:
    require_distributed()
    from distributed import Client

    try:
        client = Client(address, timeout=_SECONDS_TO_CONNECT, set_as_default=False)
    except (OSError, ValueError, TimeoutError) as error:
        raise InputError(
            f"--scheduler {address}: cannot be reached; start one with: dask scheduler, and give "
            "its address, such as tcp://127.0.0.1:8786"
        ) from error
    with _quiet(), client, client.as_current():
        yield client


def _workers(client: Client) -> int:
    """How many there are; refuses those of several threads."""
    _require_there(client)
    # A scheduler that is lost just now has nothing to say.
    found = client.scheduler_info(n_workers=-1).get("workers", {}).values()
    threads = max((worker["nthreads"] for worker in found), default=1)
    if threads > 1:
        raise _unsuitable(client, f"a worker of {threads} threads")
    return len(found)


def _unsuitable(client: Client, has: str) -> InputError:
    address = client.scheduler.address
    return InputError(
        f"--scheduler {address}: has {has}; start workers with: dask worker {address} --nthreads 1"
    )


def _work(client: Client, tasks: Sequence[Task]) -> Iterator[Begun | Ended | Event]:
    """Keep the workers busy; what is not begun when the work ends is taken back."""
    from concurrent.futures import CancelledError

    from distributed import wait
    from distributed.client import ClosedClientError

    waiting = list(reversed(tasks))
    underway: dict[Future, Task] = {}
    taken: SimpleQueue[str] = SimpleQueue()
    topic = uuid4().hex
    client.subscribe_topic(topic, lambda event: taken.put(event[1]))
    try:
        while waiting or underway:
            # They may come and go.
            workers = _workers(client)
            while waiting and len(underway) < _QUEUED_A_WORKER * max(1, workers):
                task = waiting.pop()
                underway[_submitted(client, task, topic)] = task
            try:
                ready = wait(list(underway), _SECONDS_BETWEEN_LOOKS, "FIRST_COMPLETED").done
            except TimeoutError:
                ready = set()
                # So that whoever follows can stop it.
                yield Progress(0, 0, "" if workers else "waiting for a worker")
            yield from _begun(taken, underway.values())
            for future in ready:
                yield _ended(future, underway.pop(future))
    except (CancelledError, ClosedClientError) as error:
        raise _lost() from error
    finally:
        _take_back(client, underway)


def _submitted(client: Client, task: Task, topic: str) -> Future:
    # Two batches of one recipe may share a scheduler.
    key = f"{task.item.key}-{uuid4().hex}"
    return client.submit(_taken, task, topic, key=key, pure=False, retries=0)


def _taken(task: Task, topic: str) -> Ended:
    """On a worker: say that the task is begun, and work on it."""
    from distributed import get_worker

    get_worker().log_event(topic, task.item.key)
    return worked_out(task)


def _begun(taken: SimpleQueue[str], underway: Iterable[Task]) -> Iterator[Begun]:
    tasks = {task.item.key: task for task in underway}
    while not taken.empty():
        key = taken.get()
        if key in tasks:
            yield Begun(tasks[key])


def _require_there(client: Client) -> None:
    if client.status not in ("running", "connecting"):
        raise _lost()


def _lost() -> DeviceError:
    return DeviceError("the scheduler was lost; what is done is kept: go on with --resume")


def _ended(future: Future, task: Task) -> Ended:
    from distributed import KilledWorker

    if future.status == "cancelled":
        raise _lost()
    error = future.exception() if future.status == "error" else None
    if error is None:
        found: Ended = future.result()
        return found
    if isinstance(error, KilledWorker):
        return Ended(task, None, f"{task.item.name}: ended every worker that took it, for memory?")
    return Ended(task, None, f"{task.item.name}: unexpected {type(error).__name__}: {error}")


def _take_back(client: Client, underway: dict[Future, Task]) -> None:
    if underway and client.status == "running":
        client.cancel(list(underway), force=True)


@contextmanager
def _quiet() -> Iterator[None]:
    """Let workers die and be replaced without a word, but for one item only so often."""
    import dask

    settings: dict[str, Any] = {
        "distributed.scheduler.allowed-failures": _MOST_DEATHS,
        "distributed.scheduler.worker-saturation": 1.0,
        "distributed.comm.timeouts.connect": f"{_SECONDS_TO_CONNECT}s",
        # Read when a worker imports the package, before any other environment is set there.
        "distributed.nanny.pre-spawn-environ": {"DASK_LOGGING__DISTRIBUTED": "critical"},
    }
    known = [*_LOGGERS, *logging.root.manager.loggerDict]
    loggers = [logging.getLogger(name) for name in known if name.split(".")[0] in _LOGGERS]
    levels = [logger.level for logger in loggers]
    with dask.config.set(settings):
        try:
            for logger in loggers:
                logger.setLevel(logging.CRITICAL)
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)
