from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_metallography.quantification.earlier_files import (
    FILES,
    digests_of,
    files_of_run,
    remove_earlier,
)


def _run(folder: Path, **contents: str) -> Path:
    for name, content in contents.items():
        (folder / name).write_text(content, encoding="utf-8")
    statistics = folder / "statistics.json"
    statistics.write_text(json.dumps({FILES: digests_of(folder, contents)}), encoding="utf-8")
    return statistics


def test_what_a_run_wrote_goes_and_what_somebody_made_stays(tmp_path: Path) -> None:
    files = files_of_run(_run(tmp_path, written="1", again="2", changed="3", gone="4"))
    (tmp_path / "own").write_text("5", encoding="utf-8")
    (tmp_path / "changed").write_text("with a remark", encoding="utf-8")
    (tmp_path / "gone").unlink()
    (said,) = remove_earlier(tmp_path, files, ["again"])
    assert said.startswith(f"{tmp_path / 'changed'} is of an earlier run and was changed since")
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {"again", "changed", "own", "statistics.json"}


@pytest.mark.parametrize("name", ["../taken", "/taken", "", ".", ".."])
def test_no_name_leads_out_of_the_folder(tmp_path: Path, name: str) -> None:
    folder, taken = tmp_path / "out", tmp_path / "taken"
    folder.mkdir()
    taken.write_text("kept", encoding="utf-8")
    digest = digests_of(tmp_path, ["taken"])["taken"]
    statistics = folder / "statistics.json"
    statistics.write_text(json.dumps({FILES: {name: digest}}), encoding="utf-8")
    assert remove_earlier(folder, files_of_run(statistics), []) == []
    assert taken.exists()


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.just(FILES), inner),
)


@given(content=st.binary() | _JSON.map(lambda value: json.dumps(value).encode()))
def test_any_statistics_tell_of_files_or_of_none(tmp_path_factory, content: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "statistics.json"
    path.write_bytes(content)
    assert all(Path(name).name == name for name in files_of_run(path))
