"""The dock *Batch*, over files and layers, and what its rows open."""

from __future__ import annotations

import time
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import tifffile
from napari.components import ViewerModel
from napari.layers import Image, Labels
from napari.utils.notifications import notification_manager
from qtpy.QtWidgets import QMessageBox

from napari_metallography._napari import batch as batch_module
from napari_metallography._napari import batch_runs
from napari_metallography._napari.batch import BatchWidget
from napari_metallography._napari.layers import calibrate_layer, layer_calibration
from napari_metallography._napari.recipe_step import clipboard
from napari_metallography._napari.worker import CANCELLED
from napari_metallography.batch import run as run_module
from napari_metallography.batch.journal import alone
from napari_metallography.calibration import Calibration
from napari_metallography.errors import InputError
from napari_metallography.io.labels import read_labels

RECIPE = "segment: {method: threshold}\nquantify: {smallest_area_px: 4}\n"
PIXEL_UM = 0.1


def micrograph(seed: int, shape: tuple[int, int] = (60, 80)) -> np.ndarray:
    """Dark with noise, and a bright square of 12×12 pixels, elsewhere for each seed."""
    random = np.random.default_rng(seed)
    pixels = random.normal(60, 5, shape)
    row, column = random.integers(5, 40, 2)
    pixels[row : row + 12, column : column + 12] += 120
    return pixels.clip(0, 255).astype(np.uint8)


@pytest.fixture
def scans(tmp_path: Path) -> Path:
    """Two images with a pixel size, and a broken one."""
    folder = tmp_path / "scans"
    folder.mkdir()
    for number in range(2):
        tifffile.imwrite(folder / f"field{number}.tif", micrograph(number))
    (folder / "field9.tif").write_bytes(b"no image at all")
    rows = "".join(f"field{number}.tif,{PIXEL_UM}\n" for number in range(2))
    (folder / "index.csv").write_text(f"image,pixel_size_um\n{rows}")
    return folder


@pytest.fixture
def form(tmp_path: Path, ended: Any, qtbot: Any) -> Any:
    """Makes the dock for a viewer, with the threshold recipe and a folder for the results."""
    notification_manager.records.clear()

    def made(viewer: Any) -> BatchWidget:
        widget = ended(BatchWidget(viewer))
        widget.editor.replace(RECIPE)
        widget.folder.path.value = str(tmp_path / "out")
        return widget

    return made


@pytest.fixture
def widget(form: Any, qtbot: Any) -> BatchWidget:
    widget = form(ViewerModel())
    qtbot.addWidget(widget.native)
    return widget


def rows(widget: BatchWidget) -> list[tuple[str, str, str]]:
    model = widget.rows.table.model()
    return [
        tuple(model.data(model.index(row, column)) for column in range(3))
        for row in range(model.rowCount())
    ]


def states(widget: BatchWidget) -> dict[str, str]:
    return {name: state for name, state, _ in rows(widget)}


def edges(image: Image) -> list[Any]:
    """Where the outer corners of the first and of the last pixel lie."""
    last = np.array(image.data.shape[:2]) - 0.5
    return [image.data_to_world((-0.5, -0.5)), image.data_to_world(last)]


def open_row(widget: BatchWidget, number: int, qtbot: Any) -> None:
    widget.rows.table.selectRow(number)
    widget.rows.open.native.click()
    qtbot.waitUntil(lambda: widget._opening is None, timeout=30_000)


# --- in the window -------------------------------------------------------------------------------


def test_a_folder_with_a_broken_file_in_the_window(
    viewer, ended, scans, run, qtbot, tmp_path, monkeypatch
) -> None:
    dock, widget = viewer.window.add_plugin_dock_widget("napari-metallography", "Batch")
    ended(widget)
    widget.editor.replace(RECIPE)
    widget.inputs.files.value = str(scans)
    widget.folder.path.value = str(tmp_path / "out")
    assert run(widget) == "finished: out"
    assert widget.rows.counted.value == "2 done, 1 failed"
    assert states(widget) == {"field0.tif": "done", "field1.tif": "done", "field9.tif": "failed"}
    (why,) = (why for _, state, why in rows(widget) if state == "failed")
    assert why.startswith("not a TIFF")
    widget.rows.table.selectRow(2)
    assert widget.rows.detail.value == f"field9.tif: {why}"
    out = tmp_path / "out"
    assert {"results.csv", "items.csv", "report.html"} <= {path.name for path in out.iterdir()}

    table = widget.rows.table
    table.doubleClicked.emit(table.model().index(1, 0))
    qtbot.waitUntil(lambda: "field1 phases" in viewer.layers, timeout=30_000)
    image, labels = viewer.layers["field1"], viewer.layers["field1 phases"]
    assert isinstance(image, Image)
    assert isinstance(labels, Labels)
    np.testing.assert_array_equal(image.data, micrograph(1))
    np.testing.assert_allclose(labels.scale, (PIXEL_UM, PIXEL_UM))
    assert str(labels.units[-1]) == "micrometer"
    stored = read_labels(out / "items/field1/field1_labels.tif")
    np.testing.assert_array_equal(labels.data, np.asarray(stored.indices) + 1)
    assert set(np.unique(labels.data)) == {1, 2}
    assert labels.metadata["classes"] == [phase.model_dump() for phase in stored.classes]

    seen: list[str] = []
    monkeypatch.setattr(
        batch_module.QDesktopServices, "openUrl", lambda url: seen.append(url.toLocalFile())
    )
    widget.rows.report.native.click()
    assert seen == [str(out / "report.html")]
    viewer.window.remove_dock_widget(dock)


# --- recipes -------------------------------------------------------------------------------------


def test_what_is_wrong_with_a_recipe_is_said_while_it_is_typed(widget, qtbot, scans) -> None:
    assert widget.editor.found.value == "Takes images: segment, quantify."
    widget.editor.text.value = "quantify: {edge_rul: all}"
    qtbot.waitUntil(lambda: "did you mean edge_rule?" in widget.editor.found.value, timeout=5000)
    widget.inputs.files.value = str(scans)
    widget.controls.run_button.native.click()
    assert not widget.controls.is_running
    assert "did you mean edge_rule?" in widget.controls.status.value
    assert rows(widget) == []
    widget.editor.text.value = "quantify:"
    qtbot.waitUntil(lambda: widget.editor.found.value == "Takes labels: quantify.", timeout=5000)


def test_a_copied_step_is_pasted_into_the_text(widget) -> None:
    clipboard().setText("quantify:\n  edge_rule: guard-frame\n")
    widget.editor.paste.native.click()
    recipe = widget.editor.recipe()
    assert (recipe.segment.method, recipe.quantify.edge_rule) == ("threshold", "guard-frame")
    clipboard().setText("nothing of use")
    widget.editor.paste.native.click()
    assert "press Copy as recipe step in another dock first" in widget.controls.status.value
    assert widget.editor.recipe() == recipe
    widget.editor.text.native.undo()
    assert widget.editor.text.value == RECIPE


def test_a_ready_recipe_takes_the_place_of_the_text(widget) -> None:
    widget.editor.ready.value = "carbides"
    assert widget.editor.recipe().segment.model == "uhcs-carbides"
    assert "yaml-language-server" not in widget.editor.text.value
    assert widget.editor.ready.value == ""
    widget.editor.text.native.undo()
    assert widget.editor.text.value == RECIPE


def test_a_recipe_is_saved_and_opened_with_the_index_beside_it(widget, tmp_path) -> None:
    text = "# mine\ncalibrate: {index: sizes.csv}\nquantify:\n"
    widget.editor.replace(text)
    assert "save the recipe beside it" in widget.editor.found.value
    widget.editor.save_recipe(tmp_path / "mine")
    assert (tmp_path / "mine.yaml").read_text() == text
    widget.editor.replace(RECIPE)
    widget.editor.open_recipe(tmp_path / "mine.yaml")
    assert widget.editor.text.value == text
    assert widget.editor.recipe().calibrate.index == tmp_path / "sizes.csv"


def test_the_form_is_remembered(widget, scans, run, qtbot) -> None:
    widget.inputs.files.value = str(scans / "field0.tif")
    run(widget)
    again = BatchWidget(ViewerModel())
    qtbot.addWidget(again.native)
    assert again.editor.text.value == RECIPE
    assert again.inputs.files.value == str(scans / "field0.tif")
    assert again.folder.path.value == widget.folder.path.value


@pytest.mark.parametrize(
    ("field", "said"),
    [("files", "name a folder, files or a pattern"), ("folder", "choose a folder for the results")],
)
def test_what_is_missing_is_said(widget, scans, field, said) -> None:
    widget.inputs.files.value = str(scans)
    {"files": widget.inputs.files, "folder": widget.folder.path}[field].value = " "
    widget.controls.run_button.native.click()
    assert said in widget.controls.status.value


# --- runs ----------------------------------------------------------------------------------------


def test_a_cancelled_batch_is_gone_on_with(widget, scans, run, wait, qtbot, monkeypatch) -> None:
    worked = run_module.worked

    def slow(task: Any) -> Any:
        if task.item.name == "field1.tif":
            while True:
                time.sleep(0.01)
                yield run_module.Progress(0, 0, "asleep")
        return (yield from worked(task))

    monkeypatch.setattr(run_module, "worked", slow)
    widget.inputs.files.value = str(scans)
    widget.controls.run_button.native.click()
    qtbot.waitUntil(lambda: states(widget).get("field1.tif") == "running", timeout=30_000)
    widget.controls.cancel_button.native.click()
    assert wait(widget) == CANCELLED
    assert states(widget) == {
        "field0.tif": "done",
        "field1.tif": "waiting",
        "field9.tif": "waiting",
    }
    open_row(widget, 0, qtbot)
    assert "field0 phases" in widget.viewer.layers
    assert not widget.rows.report.enabled

    begun: list[str] = []
    monkeypatch.setattr(
        run_module, "worked", lambda task: begun.append(task.item.name) or worked(task)
    )
    run(widget)
    assert widget.rows.counted.value == "2 done, 1 failed"
    assert begun == ["field1.tif", "field9.tif"]
    assert widget.rows.report.enabled


def test_begin_anew_asks_first(widget, scans, run, monkeypatch) -> None:
    widget.inputs.files.value = str(scans / "field*.tif")
    run(widget)
    widget.editor.replace(RECIPE.replace("4", "9"))
    assert "tick Begin anew, or choose another folder" in run(widget)
    answers = [QMessageBox.StandardButton.No, QMessageBox.StandardButton.Yes]
    monkeypatch.setattr(QMessageBox, "question", lambda *_: answers.pop(0))
    widget.anew.value = True
    widget.controls.run_button.native.click()
    assert not widget.controls.is_running
    assert widget.anew.value
    run(widget)
    assert widget.rows.counted.value == "2 done, 1 failed"
    assert not widget.anew.value
    assert answers == []


def test_rows_of_an_earlier_batch_open_their_results(widget, scans, run, wait, qtbot, form) -> None:
    widget.inputs.files.value = str(scans)
    run(widget)
    later = form(ViewerModel())
    qtbot.addWidget(later.native)
    later.show_earlier(Path(widget.folder.path.value))
    assert "2 done, 1 failed" in wait(later)
    assert states(later) == {"field0": "done", "field1": "done", "field9": "failed"}
    assert later.rows.report.enabled
    open_row(later, 1, qtbot)
    np.testing.assert_allclose(later.viewer.layers["field1 phases"].scale, PIXEL_UM)
    open_row(later, 0, qtbot)
    visible = [layer.name for layer in later.viewer.layers if layer.visible]
    assert visible == ["field0", "field0 phases"]
    open_row(later, 1, qtbot)
    assert len(later.viewer.layers) == 4
    open_row(later, 2, qtbot)
    assert later.rows.detail.value.startswith("field9: not a TIFF")


def test_a_folder_without_a_batch_is_refused(widget, tmp_path, wait) -> None:
    widget.show_earlier(tmp_path)
    assert "holds no batch" in wait(widget)


def test_an_image_that_is_gone_leaves_its_labels(widget, scans, run, qtbot) -> None:
    widget.inputs.files.value = str(scans / "field0.tif")
    run(widget)
    (scans / "field0.tif").unlink()
    open_row(widget, 0, qtbot)
    assert [layer.name for layer in widget.viewer.layers] == ["field0 phases"]
    np.testing.assert_allclose(widget.viewer.layers[0].scale, PIXEL_UM)
    assert "is not there any more" in widget.rows.detail.value


def test_planes_of_a_stack_are_rows(widget, tmp_path, run, qtbot) -> None:
    planes = np.stack([micrograph(number) for number in range(3)])
    tifffile.imwrite(tmp_path / "stack.tif", planes, photometric="minisblack")
    widget.editor.replace(f"calibrate: {{pixel_size_um: 0.2}}\n{RECIPE}")
    widget.inputs.files.value = str(tmp_path / "stack.tif")
    run(widget)
    assert [*states(widget)] == [f"stack.tif, plane {number}" for number in range(3)]
    open_row(widget, 2, qtbot)
    image, labels = widget.viewer.layers
    assert (image.name, labels.name) == ("stack, plane 2", "stack, plane 2 phases")
    np.testing.assert_array_equal(image.data, planes[2])
    np.testing.assert_array_equal(labels.data > 1, planes[2] > 120)
    np.testing.assert_allclose(labels.scale, 0.2)


def test_grain_sizes_open_with_what_was_counted(widget, tmp_path, run, qtbot) -> None:
    from napari_metallography.synthesis.polycrystals import PolycrystalParameters, polycrystal

    made = polycrystal(
        PolycrystalParameters(height_px=120, width_px=160, pixel_size_um=0.5, grain_size=11.0), 3
    )
    tifffile.imwrite(tmp_path / "grains.tif", made.image)
    widget.editor.replace("calibrate: {pixel_size_um: 0.5}\ngrain_size:\n")
    widget.inputs.files.value = str(tmp_path / "grains.tif")
    run(widget)
    open_row(widget, 0, qtbot)
    image, picture = widget.viewer.layers
    assert picture.name == "grains lines"
    np.testing.assert_allclose(edges(picture), edges(image))
    assert " by lines" in widget.rows.detail.value


def test_a_closed_dock_abandons_its_batch(
    viewer, ended, scans, tmp_path, qtbot, monkeypatch
) -> None:
    def endless(*_: object, **__: object) -> Any:
        while True:
            time.sleep(0.01)
            yield run_module.Progress(0, 3, "items")

    monkeypatch.setattr(batch_runs, "run_batch", endless)
    dock, widget = viewer.window.add_plugin_dock_widget("napari-metallography", "Batch")
    ended(widget)
    widget.editor.replace(RECIPE)
    widget.inputs.files.value = str(scans)
    widget.folder.path.value = str(tmp_path / "out")
    widget.controls.run_button.native.click()
    assert widget.controls.is_running
    viewer.window.remove_dock_widget(dock)
    assert not widget.controls.is_running


def test_thousands_of_rows_do_not_freeze_the_window(widget, longest_stretch) -> None:
    from napari_metallography.batch.items import Source

    many = [Source(Path(f"{n}.tif"), f"{n}.tif", str(n)).items[0] for n in range(5000)]
    widget.native.show()

    def put() -> None:
        for item in many:
            widget.rows.put(run_module.ItemState(item, "waiting"))

    assert longest_stretch(put) < 0.6
    assert widget.rows.counted.value == "5000 waiting"


# --- layers --------------------------------------------------------------------------------------


def by_layers(widget: BatchWidget, *layers: Any) -> None:
    widget.inputs.kind.value = "layers"
    widget.viewer.layers.selection = set(layers)


def written(widget: BatchWidget) -> set[str]:
    folder = Path(widget.folder.path.value) / "inputs"
    return {path.name for path in folder.glob("*.tif")} if folder.exists() else set()


def test_layers_without_a_file_are_written_with_their_pixel_size(widget, run, qtbot) -> None:
    steel = widget.viewer.add_image(micrograph(0), name="steel: a/b")
    other = widget.viewer.add_image(np.stack([micrograph(n) for n in (1, 2)]), name="stack")
    calibrate_layer(steel, Calibration(0.3, 0.7, "test"))
    calibrate_layer(other, Calibration.square(1 / 3, "test"))
    by_layers(widget, steel, other)
    run(widget)
    assert widget.rows.counted.value == "3 done"
    assert [*states(widget)] == ["steel_ a_b.tif", "stack.tif, plane 0", "stack.tif, plane 1"]
    assert written(widget) == {"steel_ a_b.tif", "stack.tif"}
    open_row(widget, 0, qtbot)
    labels = widget.viewer.layers["steel: a/b phases"]
    assert len(widget.viewer.layers) == 3
    size = layer_calibration(labels)
    assert (size.x_um, size.y_um) == (0.3, 0.7)
    open_row(widget, 2, qtbot)
    assert layer_calibration(widget.viewer.layers["stack, plane 1 phases"]).x_um == 1 / 3
    # The same layers again: all is done, nothing is written or measured anew.
    before = Path(widget.folder.path.value, "inputs", "stack.tif").stat().st_mtime_ns
    journal = Path(widget.folder.path.value, "journal.jsonl").read_bytes()
    run(widget)
    assert Path(widget.folder.path.value, "inputs", "stack.tif").stat().st_mtime_ns == before
    assert Path(widget.folder.path.value, "journal.jsonl").read_bytes() == journal


@pytest.mark.parametrize("change", ["nothing", "scale", "pixels"])
def test_layers_are_taken_by_their_files_unless_they_were_changed(
    viewer, form, scans, run, change
) -> None:
    (layer,) = viewer.open(str(scans / "field0.tif"), plugin="napari-metallography")
    widget = form(viewer)
    if change == "scale":
        calibrate_layer(layer, Calibration.square(0.4, "test"))
    if change == "pixels":
        layer.data = 255 - layer.data
    by_layers(widget, layer)
    run(widget)
    assert widget.rows.counted.value == "1 done"
    assert written(widget) == (set() if change == "nothing" else {"field0.tif"})


@pytest.mark.parametrize("size", ["pixel_size_um: 0.4", "index: sizes.csv"])
def test_a_layer_has_the_pixel_size_that_the_recipe_gives_its_file(
    viewer, form, scans, run, tmp_path, size
) -> None:
    (tmp_path / "sizes.csv").write_text("image,pixel_size_um\nfield0.tif,0.4\n")
    (layer,) = viewer.open(str(scans / "field0.tif"), plugin="napari-metallography")
    calibrate_layer(layer, Calibration.square(0.4, "test"))
    widget = form(viewer)
    recipe = tmp_path / "mine.yaml"
    recipe.write_text(f"calibrate: {{{size}}}\n{RECIPE}")
    widget.editor.open_recipe(recipe)
    by_layers(widget, layer)
    run(widget)
    assert widget.rows.counted.value == "1 done"
    assert written(widget) == set()
    assert sizes(widget) == {0.4}


def test_a_layer_whose_file_has_another_size_by_the_index_is_written(
    viewer, form, scans, run, tmp_path
) -> None:
    (tmp_path / "sizes.csv").write_text("image,pixel_size_um\nfield0.tif,0.4\n")
    (layer,) = viewer.open(str(scans / "field0.tif"), plugin="napari-metallography")
    layer.name = "mine"
    widget = form(viewer)
    widget.editor.replace(f"calibrate: {{index: {tmp_path / 'sizes.csv'}}}\n{RECIPE}")
    by_layers(widget, layer)
    run(widget)
    assert written(widget) == {"mine.tif"}
    assert sizes(widget) == {PIXEL_UM}


def test_images_without_a_size_are_not_copied_for_that_of_the_recipe(
    viewer, form, scans, run
) -> None:
    (scans / "index.csv").unlink()
    layers = viewer.open(sorted(scans.glob("field[01].tif")), plugin="napari-metallography")
    widget = form(viewer)
    widget.editor.replace(f"calibrate: {{pixel_size_um: 0.4}}\n{RECIPE}")
    by_layers(widget, *layers)
    run(widget)
    assert widget.rows.counted.value == "2 done"
    assert written(widget) == set()
    assert sizes(widget) == {0.4}


def test_a_zarr_layer_is_taken_by_its_folder(viewer, form, tmp_path, run, qtbot) -> None:
    zarr = pytest.importorskip("zarr")
    pixels = micrograph(0)
    zarr.create_array(tmp_path / "steel.zarr", data=pixels, chunks=(20, 30))
    (layer,) = viewer.open(tmp_path / "steel.zarr", plugin="napari-metallography")
    widget = form(viewer)
    by_layers(widget, layer)
    run(widget)
    assert states(widget) == {"steel.zarr": "done"}
    assert written(widget) == set()
    open_row(widget, 0, qtbot)
    assert [one.name for one in viewer.layers] == ["steel", "steel phases"]
    np.testing.assert_array_equal(viewer.layers["steel phases"].data > 1, pixels > 120)


@pytest.mark.parametrize(
    ("why", "said"),
    [
        ("another recipe", "choose another folder"),
        ("another run", "another run works in it"),
        ("damaged index", "has no column 'image'"),
        ("missing package", "pip install"),
    ],
)
def test_nothing_is_written_of_layers_when_the_batch_is_refused(
    widget, scans, run, tmp_path, monkeypatch, why, said
) -> None:
    out, index = tmp_path / "out", tmp_path / "sizes.csv"
    widget.inputs.files.value = str(scans / "field0.tif")
    run(widget)
    before = content(out)
    if why == "another recipe":
        widget.editor.replace(RECIPE.replace("4", "9"))
    elif why == "damaged index":
        index.write_text("no,table\n")
        widget.editor.replace(f"calibrate: {{index: {index}}}\n{RECIPE}")
    elif why == "missing package":
        monkeypatch.setattr(batch_runs.Where, "engine", missing_package)
    by_layers(widget, widget.viewer.add_image(micrograph(3), name="steel"))
    with alone(out) if why == "another run" else nullcontext():
        assert said in run(widget)
    assert content(out) == before


def missing_package(where: Any) -> None:
    raise InputError("install it: pip install 'napari-metallography[cluster]'")


def content(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def sizes(widget: BatchWidget) -> set[float]:
    """Pixel sizes that the numbers were measured with."""
    table = pd.read_csv(Path(widget.folder.path.value) / "results.csv")
    return set(table["pixel_size_um"])


@pytest.mark.parametrize("dtype", [np.int64, bool])
def test_layers_of_types_that_image_files_lack_are_measured_too(widget, run, dtype) -> None:
    pixels = micrograph(0)
    layer = widget.viewer.add_image((pixels > 120) if dtype is bool else pixels.astype(dtype))
    by_layers(widget, layer)
    run(widget)
    assert widget.rows.counted.value == "1 done"


def test_colours_and_specimens_of_layers_are_kept(widget, run) -> None:
    colours = np.stack([micrograph(0)] * 3, axis=-1)
    layer = widget.viewer.add_image(colours, rgb=True, name="colours")
    layer.metadata["microscope"] = {"specimen": "A7"}
    by_layers(widget, layer)
    run(widget)
    assert widget.rows.counted.value == "1 done"
    table = Path(widget.folder.path.value, "results.csv").read_text()
    assert ",A7," in table


def test_labels_are_measured_as_they_are(widget, run, qtbot) -> None:
    values = np.ones((40, 50), np.uint8)
    values[5:15, 5:20] = 2
    layer = widget.viewer.add_labels(values, name="mine")
    calibrate_layer(layer, Calibration.square(0.5, "test"))
    widget.editor.replace("quantify:\n")
    by_layers(widget, layer)
    run(widget)
    assert widget.rows.counted.value == "1 done"
    open_row(widget, 0, qtbot)
    shown = widget.viewer.layers["mine phases"]
    np.testing.assert_array_equal(shown.data, values)
    np.testing.assert_allclose(shown.scale, 0.5)


def test_labels_of_like_names_are_told_apart(widget, run) -> None:
    values = np.ones((40, 50), np.uint8)
    values[5:15, 5:20] = 2
    layers = [widget.viewer.add_labels(values, name=name) for name in ("mine", "mine_labels")]
    widget.editor.replace("quantify:\n")
    by_layers(widget, *layers)
    run(widget)
    assert widget.rows.counted.value == "2 done"
    assert written(widget) == {"mine.tif", "mine_labels (2).tif"}


def test_layers_must_be_selected(widget) -> None:
    widget.viewer.add_image(micrograph(0))
    by_layers(widget)
    with pytest.raises(InputError, match="select image layers"):
        widget.compute()
    widget.editor.replace("quantify:\n")
    with pytest.raises(InputError, match="select Labels layers"):
        widget.compute()


# --- where ---------------------------------------------------------------------------------------


def test_a_scheduler_takes_the_place_of_workers(widget, scans, run, monkeypatch) -> None:
    taken: list[Any] = []
    monkeypatch.setattr(batch_runs.Where, "engine", lambda self: taken.append(self))
    widget.inputs.files.value = str(scans / "field0.tif")
    widget.workers.value = 1
    run(widget)
    widget.scheduler.value = "tcp://nowhere:1"
    assert not widget.workers.enabled
    run(widget)
    assert taken == [batch_runs.Where(1, ""), batch_runs.Where(0, "tcp://nowhere:1")]


def test_workers_leave_the_window_a_core(monkeypatch) -> None:
    pytest.importorskip("distributed")
    from napari_metallography.batch.cluster import LocalWorkers, Scheduler

    monkeypatch.setattr(batch_runs.os, "cpu_count", lambda: 9)
    assert batch_runs.Where(2).engine() == LocalWorkers(2, 4)
    assert batch_runs.Where(20).engine() == LocalWorkers(20, 1)
    assert batch_runs.Where(0, "tcp://a:1").engine() == Scheduler("tcp://a:1")
