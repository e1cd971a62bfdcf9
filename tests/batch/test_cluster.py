import os
import signal

import psutil
import pytest

from napari_metallography.batch import cluster
from napari_metallography.batch.cluster import LocalWorkers, Scheduler
from napari_metallography.batch.results import write_results
from napari_metallography.errors import DeviceError, InputError
from napari_metallography.events import drain, ignore

pytest.importorskip("distributed")


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

    class Killing:
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


def test_a_scheduler_that_is_not_there_is_named(scans, run, monkeypatch):
    monkeypatch.setattr(cluster, "_SECONDS_TO_CONNECT", 1)
    with pytest.raises(InputError, match=r"tcp://127.0.0.1:9: cannot be reached; start one with"):
        run(scans, engine=Scheduler("tcp://127.0.0.1:9"))


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
