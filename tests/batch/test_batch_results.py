from __future__ import annotations

from batch_inputs import RECIPE

from napari_metallography.batch.results import RESULT_FILES, write_results
from napari_metallography.events import drain, ignore


def test_what_is_written_beside_the_items_is_what_goes_when_a_batch_is_begun_anew(scans, run):
    batch, _ = run(scans, RECIPE + "\ngrain_size:\nclassify_defects:")
    before = {path.name for path in batch.folder.iterdir()}
    drain(write_results(batch), ignore)
    written = {path.name for path in batch.folder.iterdir()} - before
    assert written == {*RESULT_FILES} - {"classes_structure.csv"}
