import numpy as np
import pytest
import tifffile
from batch_inputs import RECIPE, micrograph, write_index

from napari_metallography.batch.recipe import parse_recipe
from napari_metallography.batch.run import ItemState, run_batch
from napari_metallography.events import drain


@pytest.fixture
def scans(tmp_path):
    """Three images of two specimens, with pixel sizes."""
    folder = tmp_path / "scans"
    folder.mkdir()
    for number in range(3):
        tifffile.imwrite(folder / f"field{number}.tif", micrograph(number))
    write_index(folder, [(f"field{n}.tif", 0.1, "A" if n < 2 else "B") for n in range(3)])
    return folder


@pytest.fixture
def stack(tmp_path):
    """A stack of three planes."""
    path = tmp_path / "stack.tif"
    planes = np.stack([micrograph(number) for number in range(3)])
    tifffile.imwrite(path, planes, photometric="minisblack")
    return path


@pytest.fixture
def run(tmp_path):
    """Run a batch into `out`; returns it, and its states in order as (key, state)."""

    def start(inputs, recipe=RECIPE, out="out", **options):
        states = []

        def hear(event):
            if isinstance(event, ItemState):
                states.append((event.item.key, event.state))

        inputs = inputs if isinstance(inputs, list) else [inputs]
        made = parse_recipe(recipe)
        return drain(run_batch(made, inputs, tmp_path / out, **options), hear), states

    return start
