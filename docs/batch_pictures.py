"""Takes the pictures of docs/batch.md:  xvfb-run -a python docs/batch_pictures.py

Of micrographs of the UHCS data beside the repository; one of the files is broken on purpose.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

import napari
from screenshots import PLUGIN, run, settle, shoot, wait

UHCS = Path(__file__).resolve().parents[2] / "shared" / "data" / "uhcs" / "images"
FIELDS = ("uhcs0007", "uhcs0075", "uhcs0124", "uhcs0220", "uhcs0235", "uhcs0312")


def scans(folder: Path) -> Path:
    """Some micrographs with their pixel sizes, and a file that was cut short."""
    inside = folder / "scans"
    inside.mkdir()
    for name in ("index.csv", *(f"{field}.tif" for field in FIELDS)):
        shutil.copy(UHCS / name, inside / name)
    whole = (UHCS / f"{FIELDS[0]}.tif").read_bytes()
    (inside / "uhcs0333.tif").write_bytes(whole[: len(whole) // 3])
    return inside


def main(folder: Path) -> None:
    """Copy a step, then run the carbide recipe over a folder and open the results of a row."""
    viewer = napari.Viewer()
    viewer.window._qt_window.resize(1500, 1000)
    viewer.open_sample(PLUGIN, "carbides")
    dock, segment = viewer.window.add_plugin_dock_widget(PLUGIN, "Segment phases")
    segment.method.value = "threshold"
    segment.by_threshold.fields["phase"].value = "bright"
    segment.by_threshold.fields["shading_px"].value = 40
    segment.by_threshold.preview.value = True
    wait(lambda: "threshold preview" in viewer.layers)
    segment.copy_step.native.click()
    viewer.reset_view()
    shoot(viewer, "batch-copy-step")
    viewer.window.remove_dock_widget(dock)
    viewer.layers.clear()
    _, form = viewer.window.add_plugin_dock_widget(PLUGIN, "Batch")
    form.editor.ready.value = "carbides"
    scans(folder)
    form.inputs.files.value, form.folder.path.value = "scans", "carbides"
    settle()
    run(form)
    form.rows.table.selectRow(1)
    form.rows.open.native.click()
    wait(lambda: len(viewer.layers) == 2)
    viewer.reset_view()
    shoot(viewer, "batch")
    viewer.close()


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(prefix="batch-") as place:
        os.environ["NAPARI_METALLOGRAPHY_CONFIG"] = f"{place}/settings"
        # What the picture shows are paths of nobody's machine.
        os.chdir(place)
        main(Path(place))
