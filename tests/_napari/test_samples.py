from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from napari.layers import Image, Labels, Layer
from npe2 import PluginManifest
from npe2.manifest.utils import import_python_name

from napari_metallography import samples
from napari_metallography._napari import samples as napari_samples
from napari_metallography._napari.layers import labels_as_indices, layer_calibration
from napari_metallography.errors import InputError
from napari_metallography.grains.grading import grade
from napari_metallography.grains.partition import from_boundaries
from napari_metallography.io.index import find_index

PACKAGE = Path(samples.__file__).parent


@pytest.fixture(scope="module")
def manifest() -> PluginManifest:
    return PluginManifest.from_file(PACKAGE / "napari.yaml")


def opened(function) -> list[Layer]:
    return [Layer.create(*data) for data in function()]


def test_every_sample_is_a_file_listed_in_the_index_and_in_the_licences() -> None:
    index = find_index(PACKAGE / "sample_data")
    licences = (PACKAGE / "sample_data" / "LICENSES.md").read_text("utf-8")
    assert index is not None
    assert len(index.rows) == len(samples.sample_names())
    for name in samples.sample_names():
        path = samples.sample_path(name)
        assert path.is_file()
        assert index.lookup(path) is not None
        assert f"`{path.name}`" in licences


def test_no_sample_file_lacks_a_licence() -> None:
    licences = (PACKAGE / "sample_data" / "LICENSES.md").read_text("utf-8")
    for path in (PACKAGE / "sample_data").iterdir():
        assert path.name in (*licences.split("`"), "LICENSES.md", "index.csv")


def test_samples_stay_small() -> None:
    sizes = [path.stat().st_size for path in (PACKAGE / "sample_data").iterdir()]
    assert sum(sizes) < 3_000_000


def test_unknown_sample_is_refused_with_the_names_there_are() -> None:
    with pytest.raises(InputError, match="uhcs1061"):
        samples.sample_path("nothing")
    with pytest.raises(InputError, match="uhcs1061"):
        samples.truth_path("tbm10")


@pytest.mark.parametrize(
    ("function", "pixel_size_um"),
    [
        (napari_samples.carbides, 20 / 103),
        (napari_samples.spheroidite, 5 / 129),
        (napari_samples.grains, 50 / 222),
    ],
)
def test_sample_opens_with_the_pixel_size_of_its_scale_bar(function, pixel_size_um) -> None:
    (layer,) = opened(function)
    calibration = layer_calibration(layer)
    assert calibration is not None
    assert calibration.x_um == calibration.y_um == pytest.approx(pixel_size_um)
    assert calibration.source == "index.csv"


@pytest.mark.parametrize(
    "function", [napari_samples.colour_etched_grains, napari_samples.strip_defect]
)
def test_sample_of_unknown_scale_opens_in_pixels(function) -> None:
    (layer,) = opened(function)
    assert layer_calibration(layer) is None


def test_colours_of_the_colour_etched_grains_are_seen() -> None:
    (layer,) = opened(napari_samples.colour_etched_grains)
    assert layer.rgb
    assert layer.data.shape == (512, 512, 3)


def test_true_phases_lie_on_their_image() -> None:
    image, labels = opened(napari_samples.carbides_with_truth)
    assert isinstance(image, Image)
    assert isinstance(labels, Labels)
    assert labels.data.shape == image.data.shape
    assert layer_calibration(labels) == layer_calibration(image)
    indices, classes = labels_as_indices(labels)
    assert tuple(phase.name for phase in classes) == samples.CARBIDE_CLASSES
    assert set(np.unique(indices)) == {0, 1, 2, 3}
    # The network is the darkest phase of this image, the particles are brighter than it.
    assert image.data[indices == 1].mean() < image.data[indices == 2].mean()


def test_synthetic_grains_state_their_truth_and_the_grade_of_their_boundaries_is_near_it() -> None:
    image, boundaries = opened(napari_samples.synthetic_grains)
    truth = image.metadata[napari_samples.TRUTH]
    assert f"G {truth['G']:.2f}" in image.name
    assert truth["G"] == pytest.approx(8.0, abs=0.01)
    calibration = layer_calibration(boundaries)
    assert calibration == layer_calibration(image)
    assert calibration is not None
    assert calibration.x_um == 0.5
    found = grade(from_boundaries(boundaries.data > 0), calibration)
    assert found.g == pytest.approx(truth["G"], abs=0.1)
    # Grooves are dark where the truth says that there is a boundary.
    inside = image.data[boundaries.data == 0].mean()
    assert image.data[boundaries.data > 0].mean() < 0.9 * inside


def test_synthetic_carbides_come_with_each_carbide_and_its_sizes() -> None:
    image, phases, carbides = opened(napari_samples.synthetic_carbides)
    assert layer_calibration(image) == layer_calibration(phases) == layer_calibration(carbides)
    indices, _ = labels_as_indices(phases)
    np.testing.assert_array_equal(indices == 1, carbides.data > 0)
    features = carbides.features
    assert len(features) == carbides.data.max() + 1
    whole = ~features["crosses_border"].iloc[1:].astype(bool) & (features["touches"].iloc[1:] == 0)
    areas = np.bincount(carbides.data.ravel())[1:] * image.scale[0] ** 2
    np.testing.assert_allclose(
        areas[whole].sum(), features["area_um2"].iloc[1:][whole].sum(), rtol=0.01
    )
    truth = image.metadata[napari_samples.TRUTH]
    assert truth["area_fraction"] == pytest.approx((indices == 1).mean())


def test_every_contribution_has_a_command_and_every_command_a_contribution(manifest) -> None:
    contributions = manifest.contributions
    used = {item.command for item in contributions.readers}
    used |= {item.command for item in contributions.writers}
    used |= {item.command for item in contributions.sample_data}
    used |= {item.command for item in contributions.widgets}
    assert used == {command.id for command in contributions.commands}


@pytest.mark.parametrize("kind", ["readers", "sample_data", "widgets"])
def test_commands_lead_to_something_callable(manifest, kind: str) -> None:
    named = {command.id: command for command in manifest.contributions.commands}
    for item in getattr(manifest.contributions, kind):
        assert callable(import_python_name(named[item.command].python_name))


def test_menus_are_open_to_plugins(manifest) -> None:
    from napari._app_model.constants import MenuId

    open_menus = {str(menu) for menu in MenuId.contributables()}
    assert set(manifest.contributions.menus) <= open_menus


@pytest.mark.parametrize(
    ("key", "layers"),
    [("carbides", 1), ("carbides-truth", 2), ("spheroidite", 1), ("grains", 1),
     ("colour-etched-grains", 1), ("strip-defect", 1), ("synthetic-grains", 2),
     ("synthetic-carbides", 3)],
)  # fmt: skip
def test_samples_open_in_a_viewer(viewer, key: str, layers: int) -> None:
    viewer.open_sample("napari-metallography", key)
    assert len(viewer.layers) == layers


def test_discovery_imports_neither_torch_nor_qt_nor_napari(tmp_path: Path) -> None:
    folder = tmp_path / "napari_metallography-0.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: napari-metallography\nVersion: 0"
    )
    (folder / "entry_points.txt").write_text(
        "[napari.manifest]\nnapari-metallography = napari_metallography:napari.yaml"
    )
    code = (
        "import sys; from npe2 import PluginManager; manager = PluginManager();"
        "manager.discover(); assert 'napari-metallography' in manager, list(manager);"
        "loaded = {'torch', 'qtpy', 'PyQt6', 'PySide6', 'napari'} & set(sys.modules);"
        "assert not loaded, loaded"
    )
    paths = os.pathsep.join([str(tmp_path), str(PACKAGE.parent)])
    subprocess.run(
        [sys.executable, "-c", code], check=True, env={**os.environ, "PYTHONPATH": paths}
    )


def test_samples_are_found_in_an_unpacked_source_distribution(tmp_path: Path) -> None:
    package = tmp_path / "src" / "napari_metallography"
    package.mkdir(parents=True)
    assert samples._folder(package) == tmp_path / "sample_data"
    (package / "sample_data").mkdir()
    assert samples._folder(package) == package / "sample_data"
