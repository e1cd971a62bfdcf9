"""What importing costs, each in a fresh interpreter."""

import subprocess
import sys

import pytest

CORE = [
    "calibration",
    "classes",
    "inputs",
    "pipeline",
    "quantification.measure",
    "segmentation.segment",
    "training.segmentation",
    "evaluation.segmentation",
    "models.registry",
    "io.images",
    "cli.app",
]


def _loaded(statement: str) -> set[str]:
    code = f"{statement}\nimport sys\nprint(' '.join(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_the_package_imports_neither_torch_nor_qt() -> None:
    loaded = _loaded("import napari_metallography")
    assert not loaded & {"torch", "napari", "qtpy", "numpy"}


def test_the_core_imports_neither_napari_nor_qt() -> None:
    loaded = _loaded("\n".join(f"import napari_metallography.{name}" for name in CORE))
    assert "torch" in loaded
    assert not loaded & {"napari", "qtpy", "PyQt6", "PySide6"}


def test_the_command_line_starts_without_torch() -> None:
    assert "torch" not in _loaded("import napari_metallography.cli")


def test_the_package_imports_in_under_a_third_of_a_second() -> None:
    code = (
        "import time; start = time.perf_counter(); import napari_metallography; "
        "print(time.perf_counter() - start)"
    )
    times = [
        float(subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout)
        for _ in range(3)
    ]
    assert min(times) < 0.3


def test_discovery_imports_neither_torch_nor_qt() -> None:
    pytest.importorskip("npe2")
    loaded = _loaded(
        "from npe2 import PluginManager\n"
        "manager = PluginManager()\n"
        "manager.discover()\n"
        "assert 'napari-metallography' in manager"
    )
    assert not loaded & {"torch", "qtpy", "PyQt6", "PySide6"}
