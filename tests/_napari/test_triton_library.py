from __future__ import annotations

import os
import subprocess
import sys

import pytest


@pytest.mark.skipif(
    os.environ.get("QT_QPA_PLATFORM") == "offscreen", reason="a viewer needs a screen"
)
@pytest.mark.slow
def test_networks_load_in_a_process_that_draws_with_mesa_already() -> None:
    code = (
        "import napari, numpy; viewer = napari.Viewer(show=False);"
        "viewer.add_image(numpy.zeros((5, 5)));"
        "import napari_metallography._napari.reader, segmentation_models_pytorch;"
        "viewer.close()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
