"""Manifest and samples are found in a wheel and in an editable installation."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

OPEN_EVERYTHING = """
from pathlib import Path
import napari_metallography
from npe2 import PluginManifest
from npe2.manifest.utils import import_python_name

folder = Path(napari_metallography.__file__).parent
manifest = PluginManifest.from_file(folder / "napari.yaml")
commands = {command.id: command.python_name for command in manifest.contributions.commands}
for sample in manifest.contributions.sample_data:
    layers = import_python_name(commands[sample.command])()
    assert layers and all(data.size for data, *_ in layers), sample.key
assert (folder / "models/shipped/uhcs-carbides.safetensors").is_file()
from napari_metallography.batch.examples import example_paths, schema_path
recipes = [*example_paths().values(), schema_path()]
assert len(recipes) >= 2 and all(path.is_file() for path in recipes)
assert {path.parent.parent for path in recipes} == {folder}
print(folder, len(manifest.contributions.sample_data))
"""


def _opened(python_path: Path) -> tuple[Path, int]:
    environment = {**os.environ, "PYTHONPATH": str(python_path)}
    done = subprocess.run(
        [sys.executable, "-c", OPEN_EVERYTHING],
        env=environment,
        cwd=python_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    folder, count = done.stdout.split()
    return Path(folder), int(count)


@pytest.fixture(scope="module")
def unpacked_wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("hatchling")
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        assert len(names) == len(set(names))
        archive.extractall(folder / "installed")
    return folder / "installed"


def test_every_sample_opens_from_a_wheel(unpacked_wheel: Path) -> None:
    folder, count = _opened(unpacked_wheel)
    assert folder.is_relative_to(unpacked_wheel)
    assert count >= 4


def test_every_sample_opens_from_an_editable_installation() -> None:
    folder, count = _opened(ROOT / "src")
    assert folder == ROOT / "src" / "napari_metallography"
    assert count >= 4


def test_the_wheel_carries_licences_and_types(unpacked_wheel: Path) -> None:
    package = unpacked_wheel / "napari_metallography"
    assert (package / "py.typed").is_file()
    assert (package / "sample_data" / "LICENSES.md").is_file()
    (licences,) = unpacked_wheel.glob("*.dist-info/licenses")
    assert (licences / "LICENSE").is_file()
