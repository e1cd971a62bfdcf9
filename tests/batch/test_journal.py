import json
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_metallography.batch.items import State
from napari_metallography.batch.journal import (
    NAME,
    Record,
    Run,
    alone,
    begun,
    read_journal,
    resumed,
)
from napari_metallography.errors import InputError

RUN = Run({"quantify": {"edge_rule": "all"}}, {"m": "1"}, "0.1")
DONE = Record("a", "done", State(3, 4, "s"), "d")


def test_what_was_written_is_read_again(tmp_path):
    with begun(tmp_path, RUN) as journal:
        journal.add(DONE)
        journal.add(Record("b", "failed", why="no file"))
        journal.add(Record("b", "done", State(1, 2, "t"), "e"))
    with resumed(tmp_path, RUN) as journal:
        assert journal.records == {"a": DONE, "b": Record("b", "done", State(1, 2, "t"), "e")}
        journal.add(Record("c", "failed", why="x"))
        journal.place({"/scans/a.tif": "a"})
    found = read_journal(tmp_path)
    assert list(found.records) == ["a", "b", "c"]
    assert found.folders == {"/scans/a.tif": "a"}


def test_a_folder_that_holds_a_batch_is_not_begun_again(tmp_path):
    begun(tmp_path, RUN).close()
    with pytest.raises(InputError, match="holds a batch already; go on with --resume"):
        begun(tmp_path, RUN)


@pytest.mark.parametrize(
    ("other", "said"),
    [
        (
            Run({"quantify": {"edge_rule": "x"}}, {"m": "1"}, "0.1"),
            "quantify of the recipe",
        ),
        (Run(RUN.recipe | {"segment": {}}, {"m": "1"}, "0.1"), "segment of the recipe"),
        (Run(RUN.recipe, {"m": "2"}, "0.1"), "the model m"),
        (Run(RUN.recipe, {"m": "1"}, "0.2"), "the version of the program"),
    ],
)
def test_results_of_another_recipe_model_or_version_are_not_gone_on_with(tmp_path, other, said):
    begun(tmp_path, RUN).close()
    with pytest.raises(InputError, match=f"{said} changed.*--recompute"):
        resumed(tmp_path, other)


@given(cut=st.integers(0, 400))
def test_a_journal_cut_short_anywhere_is_gone_on_with(tmp_path_factory, cut):
    folder = tmp_path_factory.mktemp("cut")
    with begun(folder, RUN) as journal:
        journal.add(DONE)
        journal.add(Record("b", "failed", why="x"))
    content = (folder / NAME).read_bytes()
    (folder / NAME).write_bytes(content[:cut])
    whole = content[:cut].count(b"\n")
    with resumed(folder, RUN) as journal:
        assert list(journal.records) == ["a", "b"][: max(0, whole - 1)]
        journal.add(Record("c", "failed", why="x"))
    lines = (folder / NAME).read_text().splitlines()
    assert [json.loads(line).get("key") for line in lines][-1] == "c"


@pytest.mark.parametrize("line", ["[]", "{}", "no json", '{"key": "a"}'])
def test_a_damaged_journal_is_refused(tmp_path, line):
    begun(tmp_path, RUN).close()
    with (tmp_path / NAME).open("a") as file:
        file.write(line + "\n")
    with pytest.raises(InputError, match=r"damaged.*--recompute"):
        resumed(tmp_path, RUN)


def test_two_runs_are_not_in_a_folder_together(tmp_path):
    with (
        alone(tmp_path / "new"),
        pytest.raises(InputError, match="another run works in it"),
        alone(tmp_path / "new"),
    ):
        pass
    with alone(tmp_path / "new"):
        pass


def test_a_run_that_was_killed_keeps_nobody_out(tmp_path):
    hold = (
        "import sys, time; from pathlib import Path\n"
        "from napari_metallography.batch.journal import alone\n"
        "with alone(Path(sys.argv[1])): print('in', flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", hold, tmp_path], stdout=subprocess.PIPE) as other:
        assert other.stdout.readline().strip() == b"in"
        with pytest.raises(InputError, match="another run"), alone(tmp_path):
            pass
        other.kill()
        other.wait()
        with alone(tmp_path):
            pass
