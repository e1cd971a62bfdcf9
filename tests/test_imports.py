"""What importing costs, each in a fresh interpreter."""

import subprocess
import sys
from pathlib import Path

import pytest

import napari_metallography

PACKAGE = Path(napari_metallography.__file__).parent

IMPORT_THE_CORE = """
import importlib, pkgutil, sys
import napari_metallography

asked = []

class Refusal:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {"napari", "qtpy", "magicgui", "PyQt6", "PySide6"}:
            asked.append(name)
            raise ImportError(f"{name} is refused")

sys.meta_path.insert(0, Refusal())
imported = []
for module in pkgutil.walk_packages(napari_metallography.__path__, "napari_metallography."):
    # `__main__` runs the command line.
    if not module.name.startswith("napari_metallography._napari") and "__main__" not in module.name:
        importlib.import_module(module.name)
        imported.append(module.name)
assert not asked, asked
try:
    importlib.import_module("napari_metallography._napari.layers")
except ImportError as error:
    assert "is refused" in str(error)
print(" ".join(imported))
print(" ".join(asked))
"""


def _loaded(statement: str) -> set[str]:
    code = f"{statement}\nimport sys\nprint(' '.join(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_the_package_imports_neither_torch_nor_qt() -> None:
    loaded = _loaded("import napari_metallography")
    assert not loaded & {"torch", "napari", "qtpy", "numpy"}


def test_the_core_imports_neither_napari_nor_qt() -> None:
    command = [sys.executable, "-c", IMPORT_THE_CORE]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    imported, refused = done.stdout.splitlines()
    assert set(imported.split()) == _core_modules()
    # The shell asks for the viewer, so the refusal does refuse.
    assert refused.startswith("napari")


def _core_modules() -> set[str]:
    files = [path.relative_to(PACKAGE.parent).with_suffix("") for path in PACKAGE.rglob("*.py")]
    names = {".".join(file.parts).removesuffix(".__init__") for file in files}
    core = {n for n in names if not n.startswith("napari_metallography._napari")}
    return core - {"napari_metallography", "napari_metallography.__main__"}


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


@pytest.mark.parametrize(
    ("module", "form", "is_open"),
    [
        (
            "grain_size",
            "GrainSizeWidget",
            "widget.line_network.value and widget.device.value == 'auto'",
        ),
        (
            "defects",
            "ClassifyDefectsWidget",
            "widget.table.rowCount() == 0 and widget.device.value == 'auto'",
        ),
        ("batch", "BatchWidget", "widget.editor.recipe().steps"),
    ],
)
def test_forms_open_without_torch(module: str, form: str, is_open: str) -> None:
    pytest.importorskip("napari")
    loaded = _loaded(
        "import os\n"
        "os.environ['QT_QPA_PLATFORM'] = 'offscreen'\n"
        "from napari.components import ViewerModel\n"
        "from qtpy.QtWidgets import QApplication\n"
        "application = QApplication([])\n"
        f"from napari_metallography._napari.{module} import {form}\n"
        f"widget = {form}(ViewerModel())\n"
        f"assert {is_open}"
    )
    assert f"napari_metallography._napari.{module}" in loaded
    assert not loaded & {"torch", "torchvision"}
