import json
import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import ExitStack

import psutil
import pytest

from napari_metallography.batch import cluster
from napari_metallography.batch.cluster import LocalWorkers, Scheduler
from napari_metallography.batch.results import write_results
from napari_metallography.batch.run import InThisProcess
from napari_metallography.errors import DeviceError, InputError
from napari_metallography.events import drain, ignore

Client = pytest.importorskip("distributed").Client


def files_of(folder):
    """All that a batch wrote, less what tells of the run itself."""
    kept = (".csv", ".tif")
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.suffix in kept
    }


def killing_a_worker(engine):
    """The engine, one of whose workers dies when the first item is done."""

    class Killing(InThisProcess):
        def work(self, tasks):
            killed = False
            for event in engine.work(tasks):
                yield event
                if not killed and type(event).__name__ == "Ended":
                    workers = [
                        child
                        for child in psutil.Process().children(recursive=True)
                        if "spawn_main" in " ".join(child.cmdline())
                    ]
                    assert workers
                    os.kill(workers[0].pid, signal.SIGKILL)
                    killed = True

    return Killing()


def test_workers_find_what_this_process_finds_also_when_one_is_killed(scans, run, tmp_path):
    drain(write_results(run(scans, out="serial")[0]), ignore)
    batch, states = run(scans, out="workers", engine=killing_a_worker(LocalWorkers(2, 1)))
    drain(write_results(batch), ignore)
    assert files_of(tmp_path / "workers") == files_of(tmp_path / "serial")
    assert {key for key, state in states if state == "done"} == {f"field{n}" for n in range(3)}


@pytest.fixture
def started():
    """Starts `dask ARGUMENTS` as a process of its own; all end with the test."""
    with ExitStack() as stack:

        def start(*words):
            command = [sys.executable, "-m", "dask", *map(str, words)]
            process = stack.enter_context(
                subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            )
            stack.callback(process.kill)
            return process

        yield start


@pytest.mark.slow
def test_a_scheduler_and_workers_started_apart(scans, run, started, tmp_path):
    file = tmp_path / "scheduler.json"
    words = ("--host", "127.0.0.1", "--port", 0, "--no-dashboard", "--scheduler-file", file)
    scheduler = started("scheduler", *words)
    address = address_in(file)
    with pytest.raises(
        InputError, match=f"has no worker; start workers with: dask worker {address}"
    ):
        run(scans, out="none", engine=Scheduler(address))
    wide = started("worker", address, "--nthreads", 2, "--no-nanny", "--no-dashboard")
    wait_for_workers(address, 1)
    with pytest.raises(InputError, match="has a worker of 2 threads"):
        run(scans, out="wide", engine=Scheduler(address))
    wide.kill()
    wait_for_workers(address, 0)
    for _ in range(2):
        started("worker", address, "--nthreads", 1, "--no-nanny", "--no-dashboard")
    wait_for_workers(address, 2)
    batch, states = run(scans, out="apart", engine=Scheduler(address))
    drain(write_results(batch), ignore)
    drain(write_results(run(scans, out="serial")[0]), ignore)
    assert files_of(tmp_path / "apart") == files_of(tmp_path / "serial")
    for key in (f"field{n}" for n in range(3)):
        of_key = [state for one, state in states if one == key]
        assert of_key == ["waiting", "running", "done"]

    for number in range(3, 12):
        shutil.copy(scans / "field0.tif", scans / f"field{number}.tif")
    (scans / "index.csv").unlink()
    with pytest.raises(DeviceError, match="the scheduler was lost; what is done is kept"):
        run(scans, out="lost", engine=ending(Scheduler(address), scheduler))
    batch, states = run(scans, out="lost", begin="resume")
    assert len(batch.done) == 12


def ending(engine, scheduler):
    """The engine, whose scheduler is killed when the first item is begun."""

    class Ending(InThisProcess):
        def work(self, tasks):
            for event in engine.work(tasks):
                yield event
                if type(event).__name__ == "Begun" and scheduler.poll() is None:
                    scheduler.kill()
                    scheduler.wait()

    return Ending()


def address_in(file):
    wait_until(lambda: file.exists() and file.stat().st_size)
    return json.loads(file.read_text())["address"]


def wait_for_workers(address, count):
    with Client(address, set_as_default=False) as client:
        wait_until(lambda: len(client.scheduler_info(n_workers=-1)["workers"]) == count)


def wait_until(true):
    until = time.monotonic() + 60
    while not true():
        assert time.monotonic() < until
        time.sleep(0.05)


def test_a_scheduler_that_is_not_there_is_named(scans, run, monkeypatch):
    monkeypatch.setattr(cluster, "_SECONDS_TO_CONNECT", 1)
    with pytest.raises(InputError, match=r"tcp://127.0.0.1:9: cannot be reached; start one with"):
        run(scans, engine=Scheduler("tcp://127.0.0.1:9"))
    # Nothing is begun, so that the next try needs no --resume.
    assert len(run(scans)[0].done) == 3


def test_each_worker_has_a_gpu_of_its_own_where_there_are_several(monkeypatch):
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,5")
    gpus = [cluster._environment(n, 1)["CUDA_VISIBLE_DEVICES"] for n in range(3)]
    assert gpus == ["3", "5", "3"]
    monkeypatch.setattr("torch.cuda.device_count", lambda: 1)
    assert "CUDA_VISIBLE_DEVICES" not in cluster._environment(0, 1)
    assert cluster._environment(0, 7)["OMP_NUM_THREADS"] == "7"


def test_workers_that_die_before_they_are_there_are_started_again(monkeypatch):
    tried = []

    class Failing:
        def __init__(self, spec, *_, **__):
            tried.append(len(spec))
            if len(tried) < 3:
                raise RuntimeError("Nanny failed to start.")

    monkeypatch.setattr("distributed.SpecCluster", Failing)
    assert isinstance(cluster._started(2, 1), Failing)
    assert tried == [2, 2, 2]
    tried.clear()
    monkeypatch.setattr(cluster, "_STARTS", 2)
    with pytest.raises(DeviceError, match="2 workers could not be started"):
        cluster._started(2, 1)
