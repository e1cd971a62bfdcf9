import errno
import json
import os
import shutil
import time

import numpy as np
import pandas as pd
import pytest
import tifffile
from batch_inputs import RECIPE, micrograph, write_index

from napari_metallography.batch import steps
from napari_metallography.batch.items import survey
from napari_metallography.batch.journal import NAME
from napari_metallography.batch.recipe import parse_recipe
from napari_metallography.batch.results import write_results
from napari_metallography.batch.run import InThisProcess, run_batch
from napari_metallography.batch.tables import read_item
from napari_metallography.calibration import Calibration
from napari_metallography.classes import named_classes
from napari_metallography.errors import InputError
from napari_metallography.events import drain, ignore
from napari_metallography.inputs import PixelSizes
from napari_metallography.io.files import digest
from napari_metallography.io.index import ImageIndex
from napari_metallography.io.labels import LabelImage, read_labels, write_labels
from napari_metallography.quantification.point_count import PointGrid
from napari_metallography.regions import Field


def tables(batch):
    """The bytes of all tables of a batch."""
    drain(write_results(batch), ignore)
    return {path.name: path.read_bytes() for path in batch.folder.glob("*.csv")}


def test_every_item_waits_runs_and_is_done(scans, run):
    batch, states = run(scans)
    keys = [f"field{n}" for n in range(3)]
    assert states[:3] == [(key, "waiting") for key in keys]
    assert states[3:] == [(key, state) for key in keys for state in ("running", "done")]
    assert [item.key for item in batch.done] == keys


def test_a_bad_file_fails_its_own_row_only(scans, run):
    (scans / "bad.tif").write_bytes(b"no image")
    batch, _ = run(scans)
    [(item, why)] = batch.failed
    assert item.name == "bad.tif"
    assert "not a TIFF" in why
    assert len(batch.done) == 3
    shown = pd.read_csv(batch.folder / "items.csv") if tables(batch) else None
    assert shown.set_index("image").loc["bad.tif", "state"] == "failed"


def test_a_mistake_of_the_program_fails_a_row_and_says_so(scans, run, monkeypatch):
    def fails(path, *_):
        raise ZeroDivisionError("oh")

    monkeypatch.setattr(steps, "_read", fails)
    batch, _ = run(scans)
    assert "unexpected ZeroDivisionError: oh" in batch.failed[0][1]


def test_what_is_done_is_not_done_again(scans, run, monkeypatch):
    whole = tables(run(scans)[0])
    monkeypatch.setattr(steps, "_read", lambda *_: pytest.fail("worked again"))
    batch, states = run(scans, begin="resume")
    assert {state for _, state in states} == {"done"}
    assert tables(batch) == whole


def test_what_failed_is_tried_again(scans, run):
    good = (scans / "field1.tif").read_bytes()
    (scans / "field1.tif").write_bytes(good[:50])
    assert len(run(scans)[0].failed) == 1
    (scans / "field1.tif").write_bytes(good)
    batch, states = run(scans, begin="resume")
    assert ("field0", "running") not in states
    assert not batch.failed


def test_an_input_that_changed_is_worked_on_again(scans, run):
    run(scans)
    tifffile.imwrite(scans / "field1.tif", micrograph(9))
    batch, states = run(scans, begin="resume")
    assert [key for key, state in states if state == "running"] == ["field1"]
    assert tables(batch)["results.csv"] == tables(run(scans, out="fresh")[0])["results.csv"]


def test_a_result_that_was_lost_is_had_again(scans, run, tmp_path):
    run(scans)
    shutil.rmtree(tmp_path / "out/items/field2")
    _, states = run(scans, begin="resume")
    assert [key for key, state in states if state == "running"] == ["field2"]


def test_a_pixel_size_corrected_in_the_index_is_taken_up(scans, run):
    run(scans)
    write_index(
        scans, [(f"field{n}.tif", 0.1 if n else 0.2, "A" if n < 2 else "B") for n in range(3)]
    )
    batch, states = run(scans, begin="resume")
    assert [key for key, state in states if state == "running"] == ["field0"]
    tables(batch)
    sizes = pd.read_csv(batch.folder / "results.csv").groupby("image")["pixel_size_um"].first()
    assert sizes.tolist() == [0.2, 0.1, 0.1]


@pytest.mark.parametrize(
    "name",
    [
        "particles.npz",
        pytest.param("quantify.json", marks=pytest.mark.slow),
        pytest.param("field1_labels.tif", marks=pytest.mark.slow),
    ],
)
def test_a_result_that_was_cut_short_or_is_missing_is_had_again(scans, run, tmp_path, name):
    whole = tables(run(scans)[0])
    path = tmp_path / "out/items/field1" / name
    path.write_bytes(path.read_bytes()[:20])
    assert [k for k, s in run(scans, begin="resume")[1] if s == "running"] == ["field1"]
    path.unlink()
    batch, states = run(scans, begin="resume")
    assert [key for key, state in states if state == "running"] == ["field1"]
    assert tables(batch) == whole


def test_no_item_lies_in_the_folder_of_another(run, tmp_path):
    folder = tmp_path / "in"
    (folder / "a").mkdir(parents=True)
    for number, name in enumerate(["a.tif", "a/b.tif", "a/plane_0000.tif"]):
        tifffile.imwrite(folder / name, micrograph(number))
    inputs = [folder / "a", folder / "a.tif"]
    (folder / "a.tif").write_bytes(b"broken")
    run(inputs)
    tifffile.imwrite(folder / "a.tif", micrograph(0))
    batch, _ = run(inputs, begin="resume")
    assert len(batch.done) == 3
    assert set(pd.read_csv(batch.folder / "items.csv")["state"]) == {"done"} if tables(batch) else 0


def test_a_part_that_another_run_took_away_is_no_result(scans, run, tmp_path, monkeypatch):
    write = steps.write_measured

    def taken_away(folder, image):
        shutil.rmtree(folder)
        write(folder, image)

    monkeypatch.setattr("napari_metallography.batch.steps.write_measured", taken_away)
    batch, _ = run(scans)
    assert all("another run works on this batch" in why for _, why in batch.failed)
    assert len(batch.failed) == 3


def test_a_model_that_changes_meanwhile_is_not_used(scans, run, monkeypatch):
    monkeypatch.setattr("napari_metallography.batch.items._digest", lambda *_: "another")
    batch, _ = run(scans, RECIPE + "\nclassify_defects:")
    assert "the model xsdd-pdmsnet changed since the batch was begun" in batch.failed[0][1]


def test_beginning_anew_never_takes_over_what_an_earlier_batch_left(scans, run, monkeypatch):
    run(scans)
    # As where a program holds the files open.
    monkeypatch.setattr("napari_metallography.batch.run.shutil.rmtree", lambda *_, **__: None)
    _, states = run(scans, begin="recompute")
    assert [state for _, state in states].count("running") == 3


def test_results_are_no_inputs_though_a_pattern_matches_them(scans, run, tmp_path):
    first, _ = run(str(tmp_path / "**/*.tif"))
    again, _ = run(str(tmp_path / "**/*.tif"), begin="resume")
    assert first.items == again.items


def test_what_was_finished_before_it_was_written_down_is_taken_over(scans, run, tmp_path):
    run(scans)
    journal = tmp_path / "out" / NAME
    lines = journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(b"".join(lines[:2]) + lines[2][:20])
    batch, states = run(scans, begin="resume")
    assert {state for _, state in states} == {"done"}
    assert len(batch.records) == 3


def test_a_cancelled_run_is_gone_on_with_and_leaves_no_parts(scans, run, tmp_path):
    whole = tables(run(scans, out="whole")[0])
    running = run_batch(parse_recipe(RECIPE), [scans], tmp_path / "out")
    for event in running:
        if getattr(event, "state", "") == "running" and event.item.key == "field1":
            next(running)
            break
    running.close()
    assert [p.name for p in (tmp_path / "out/items").iterdir()] == ["field0"]
    assert tables(run(scans, begin="resume")[0]) == whole


def test_parts_of_a_killed_run_are_removed(scans, run, tmp_path):
    run(scans)
    left = tmp_path / "out/items/.field1.99.abc.part"
    left.mkdir()
    run(scans, begin="resume")
    assert not left.exists()


@pytest.mark.parametrize("begin", ["new", "resume"])
def test_another_recipe_does_not_go_into_a_folder_with_results(scans, run, begin):
    run(scans)
    with pytest.raises(InputError, match="--recompute"):
        run(scans, RECIPE.replace("4", "5"), begin=begin)


def test_another_report_may_be_had_of_the_same_results(scans, run):
    run(scans)
    batch, states = run(scans, RECIPE + "\nreport: {operator: Me}", begin="resume")
    assert {state for _, state in states} == {"done"}
    drain(write_results(batch), ignore)
    assert "Me" in (batch.folder / "report.html").read_text()


def test_beginning_anew_drops_what_was_there(scans, run, tmp_path):
    run(scans)
    (scans / "field2.tif").unlink()
    batch, _ = run(scans, RECIPE.replace("4", "5"), begin="recompute")
    assert len(batch.done) == 2
    assert not (tmp_path / "out/items/field2").exists()


def test_an_input_without_a_scale_fails_where_others_have_one(scans, run):
    tifffile.imwrite(scans / "field3.tif", micrograph(3))
    [(item, why)] = run(scans)[0].failed
    assert item.key == "field3"
    assert "no pixel size is known, but other inputs have one" in why


def test_an_index_of_the_recipe_tells_size_and_specimen_to_every_step(scans, tmp_path):
    (scans / "index.csv").replace(tmp_path / "sizes.csv")
    sizes = PixelSizes(index=ImageIndex.read(tmp_path / "sizes.csv"))
    files = sorted(scans.glob("*.tif"))
    sources = drain(survey(files, sizes), ignore)
    found = [steps.opened(source.items[0], parse_recipe(RECIPE)).image for source in sources]
    assert [image.metadata["specimen"] for image in found] == ["A", "A", "B"]
    assert all(image.calibration.mean_um == 0.1 for image in found)


def test_without_any_scale_all_is_in_pixels(scans, run):
    (scans / "index.csv").unlink()
    batch, _ = run(scans)
    drain(write_results(batch), ignore)
    table = pd.read_csv(batch.folder / "results.csv")
    assert table["pixel_size_um"].isna().all()
    assert "mean_radius_px" in set(table["quantity"])


def test_a_full_disk_ends_the_run_and_loses_nothing(scans, run, monkeypatch):
    write = steps.write_measured

    def fails(folder, image):
        if image.name == "field1.tif":
            raise InputError("x: cannot be written") from OSError(errno.ENOSPC, "full")
        write(folder, image)

    monkeypatch.setattr("napari_metallography.batch.steps.write_measured", fails)
    with pytest.raises(InputError, match="make room, then go on with --resume"):
        run(scans)
    monkeypatch.undo()
    batch, states = run(scans, begin="resume")
    assert ("field0", "running") not in states
    assert len(batch.done) == 3


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is read-only to root")
def test_a_folder_that_cannot_be_written_is_refused_first(scans, run, tmp_path):
    (tmp_path / "out").mkdir(mode=0o500)
    with pytest.raises(InputError, match="cannot be written"):
        run(scans)


def test_the_table_is_tidy_and_knows_where_its_numbers_come_from(scans, run):
    batch, _ = run(scans, RECIPE + "\nclassify_defects:")
    drain(write_results(batch), ignore)
    table = pd.read_csv(batch.folder / "results.csv")
    keys = ["image", "plane", "step", "of", "quantity"]
    assert not table.duplicated(keys).any()
    assert set(table["specimen"]) == {"A", "B"}
    assert (table["pixel_size_um"] == 0.1).all()
    assert set(table["calibration"]) == {"index.csv"}
    phases = pd.read_csv(batch.folder / "phases.csv")
    fraction = table.query("quantity == 'area_fraction' and of == 'phase'")["value"]
    expected = phases.query("phase == 'phase'")["area_fraction"]
    np.testing.assert_array_equal(fraction, expected)
    answers = table.query("step == 'classify_defects'")
    assert set(answers["model"]) == {"xsdd-pdmsnet"}
    sums = answers.query("quantity == 'probability'").groupby("image")["value"].sum()
    np.testing.assert_allclose(sums, 1, atol=1e-3)


def test_a_stack_is_measured_as_quantify_does(stack, run, tmp_path):
    from napari_metallography.quantification.files import points_of, quantify_file
    from napari_metallography.segmentation.files import segment_file

    recipe = parse_recipe(RECIPE)
    sizes = PixelSizes(0.2)
    batch, _ = run(stack, "calibrate: {pixel_size_um: 0.2}\n" + RECIPE)
    drain(write_results(batch), ignore)
    drain(segment_file(stack, tmp_path / "labels", recipe.segment, sizes=sizes), ignore)
    whole = drain(
        quantify_file(
            tmp_path / "labels/stack_labels.tif",
            lambda _: recipe.quantify,
            sizes=sizes,
            images=stack,
        ),
        ignore,
    )
    found = pd.read_csv(batch.folder / "particles.csv")
    pd.testing.assert_frame_equal(
        found.drop(columns="image"), whole.result.particles, check_dtype=False, check_exact=True
    )
    found = pd.read_csv(batch.folder / "phases.csv")
    pd.testing.assert_frame_equal(
        found.drop(columns="image"), whole.result.phases, check_dtype=False, check_exact=True
    )
    points = [
        one.measured.points
        for one in (read_item(batch.folder, i, ("quantify",)) for i in batch.done)
    ]
    expected = points_of(whole, PointGrid())
    assert expected["points"].tolist() == pd.concat(points)["points"].tolist()
    assert len({tuple(one["points"]) for one in points}) > 1


def test_the_labels_of_a_stack_are_one_file_and_failed_planes_are_unlabelled(run, tmp_path):
    planes = np.stack([micrograph(number) for number in range(3)])
    planes[1] = 7
    path = tmp_path / "stack.tif"
    tifffile.imwrite(path, planes, photometric="minisblack")
    batch, _ = run(path)
    [(item, why)] = batch.failed
    assert (item.key, "same value" in why) == ("stack/plane_0001", True)
    drain(write_results(batch), ignore)
    labels = read_labels(batch.folder / "items/stack/stack_labels.tif")
    assert labels.indices.shape == planes.shape
    assert (np.asarray(labels.planes[1]) == 255).all()
    alone = batch.folder / "items/stack/plane_0002/stack_plane0002_labels.tif"
    np.testing.assert_array_equal(labels.planes[2], read_labels(alone).indices)
    for table in ("results", "phases", "particles"):
        assert set(pd.read_csv(batch.folder / f"{table}.csv")["plane"]) == {0, 2}, table


def test_labels_are_measured_as_they_are(scans, run, tmp_path):
    first, _ = run(scans)
    labels = tmp_path / "labels"
    labels.mkdir()
    for item in first.done:
        path = next((first.folder / "items" / item.key).glob("*_labels.tif"))
        shutil.copy(path, labels)
    second, _ = run(labels, "quantify: {smallest_area_px: 4}", out="again")
    assert len(second.done) == 3
    drain(write_results(first), ignore)
    drain(write_results(second), ignore)
    one, other = (
        pd.read_csv(batch.folder / "particles.csv")["area_um2"] for batch in (first, second)
    )
    pd.testing.assert_series_equal(one, other)


def test_the_journal_is_not_written_by_whoever_only_looks(scans, run, tmp_path):
    run(scans)
    before = (tmp_path / "out" / NAME).stat().st_mtime_ns
    time.sleep(0.01)
    run(scans, begin="resume")
    assert (tmp_path / "out" / NAME).stat().st_mtime_ns == before


def test_another_folder_may_join_and_nothing_is_done_again(scans, run, tmp_path, monkeypatch):
    run(scans)
    other = tmp_path / "more"
    other.mkdir()
    tifffile.imwrite(other / "field1.tif", micrograph(8))
    write_index(other, [("field1.tif", 0.1, "C")])
    batch, states = run([scans, other], begin="resume")
    assert [key for key, state in states if state == "running"] == ["more__field1"]
    drain(write_results(batch), ignore)
    # All tables call an image the same, though it was measured under another name.
    names = {f"scans/field{n}.tif" for n in range(3)} | {"more/field1.tif"}
    for table in ("results", "phases", "particles"):
        assert set(pd.read_csv(batch.folder / f"{table}.csv")["image"]) == names


def test_inputs_that_take_turns_keep_their_own_results(scans, run, tmp_path):
    other = tmp_path / "more"
    other.mkdir()
    tifffile.imwrite(other / "field0.tif", micrograph(8))
    write_index(other, [("field0.tif", 0.1, "C")])
    # The same size and time, as after unpacking.
    os.utime(scans / "field0.tif", (1, 1))
    os.utime(other / "field0.tif", (1, 1))
    run(scans)
    run(other, begin="resume")
    batch, states = run([scans, other], begin="resume")
    assert {state for _, state in states} == {"done"}
    drain(write_results(batch), ignore)
    found = pd.read_csv(batch.folder / "results.csv").groupby("image")["source_sha256"].first()
    for name in ("scans/field0.tif", "more/field0.tif"):
        assert found[name] == digest(tmp_path / name)
    points = pd.read_csv(batch.folder / "phases.csv")
    fresh = run([scans, other], out="fresh")[0]
    drain(write_results(fresh), ignore)
    pd.testing.assert_frame_equal(points, pd.read_csv(fresh.folder / "phases.csv"))
    told = [json.loads((one.folder / "statistics.json").read_text()) for one in (batch, fresh)]
    assert told[0]["point_count"] == told[1]["point_count"]


def test_tables_are_not_written_over_those_of_a_batch_begun_meanwhile(scans, run):
    first, _ = run(scans)
    second, _ = run(scans, "segment: {method: threshold}\nquantify:", begin="recompute")
    drain(write_results(second), ignore)
    before = {path.name: path.read_bytes() for path in second.folder.glob("*.csv")}
    with pytest.raises(InputError, match="another run began a new batch there meanwhile"):
        drain(write_results(first), ignore)
    assert {path.name: path.read_bytes() for path in second.folder.glob("*.csv")} == before


def test_results_may_lie_beside_or_above_their_inputs(scans, run, tmp_path):
    batch, _ = run(scans, out="scans")
    assert len(batch.done) == 3
    batch, _ = run(scans, out="scans", begin="resume")
    assert len(batch.items) == 3
    with pytest.raises(InputError, match="holds results of a batch; name other inputs"):
        run(tmp_path / "scans/items/*/*.tif", out="scans", begin="resume")


def test_what_changed_its_planes_since_it_was_looked_at_is_refused(scans, run):
    class Changing(InThisProcess):
        def work(self, tasks):
            planes = np.stack([micrograph(number) for number in range(3)])
            tifffile.imwrite(scans / "field0.tif", planes, photometric="minisblack")
            yield from super().work(tasks)

    [(_, why)] = run(scans, engine=Changing())[0].failed
    assert "has 3 planes, 1 when the inputs were looked at" in why


def test_a_batch_of_which_all_failed_leaves_no_older_tables(scans, run):
    drain(write_results(run(scans)[0]), ignore)
    for path in scans.glob("*.tif"):
        path.write_bytes(b"no image")
    batch, _ = run(scans, begin="resume")
    drain(write_results(batch), ignore)
    left = {path.name for path in batch.folder.iterdir() if path.is_file()} - {"journal.lock"}
    assert left == {"items.csv", "report.html", "journal.jsonl", "recipe.yaml"}
    assert "0 of 3 done" in (batch.folder / "report.html").read_text(encoding="utf-8")


def test_overlays_that_were_not_asked_for_are_not_taken_for_done(scans, run):
    run(scans)
    with pytest.raises(InputError, match="overlays of the recipe changed"):
        run(scans, RECIPE + "\nreport: {overlays: true}", begin="resume")
    assert len(run(scans, RECIPE + "\nreport: {operator: N}", begin="resume")[0].done) == 3


def test_corrections_by_hand_of_labels_are_told_as_quantify_tells_them(run, tmp_path):
    rows = [
        {"plane": plane, "correction": "delete", "particles": str(plane + 1)} for plane in (0, 0, 2)
    ]
    planes = np.stack([micrograph(number) > 120 for number in range(3)]).astype(np.uint8)
    classes = named_classes(["matrix", "carbide"])
    size = Calibration.square(0.1, "test")
    field = Field((60, 80))
    labels = LabelImage(planes, classes, size, field, {"corrections": rows, "made_by": "hand"})
    write_labels(tmp_path / "stack_labels.tif", labels)
    batch, _ = run(tmp_path / "stack_labels.tif", "quantify: {smallest_area_px: 4}")
    drain(write_results(batch), ignore)
    told = json.loads((batch.folder / "statistics.json").read_text())
    assert told["provenance"][0]["corrections"] == rows
    assert "corrections" not in told["provenance"][0]["labels"]
    sheet = pd.read_excel(batch.folder / "study.xlsx", sheet_name="corrections")
    assert sheet["plane"].tolist() == [0, 0, 2]
