import json
from pathlib import Path

import numpy as np
import pytest
import tifffile

from napari_metallography.classes import named_classes
from napari_metallography.io.labels import LabelImage, write_labels
from napari_metallography.regions import Field
from napari_metallography.samples import CARBIDE_CLASSES


def _command(folder: Path, names: tuple[str, ...]) -> tuple[object, ...]:
    """The shipped model against one micrograph whose labels name these classes."""
    for name in ("images", "labels"):
        (folder / name).mkdir()
    noise = np.random.default_rng(0).integers(60, 180, (64, 64)).astype(np.uint8)
    tifffile.imwrite(folder / "images/steel.tif", noise)
    truth = np.zeros((64, 64), np.uint8)
    truth[10:30, 10:30] = 1
    labels = LabelImage(truth, named_classes(names), None, Field(truth.shape))
    write_labels(folder / "labels/steel_labels.tif", labels)
    return (
        *("evaluate", "segmentation", "--model", "uhcs-carbides", "--device", "cpu"),
        *("--images", folder / "images", "--labels", folder / "labels"),
        *("-o", folder / "scores.json"),
    )


@pytest.mark.parametrize("names", [CARBIDE_CLASSES[:2], CARBIDE_CLASSES[::-1]])
def test_labels_of_other_classes_than_the_models_are_refused(run, tmp_path, names) -> None:
    done = run(*_command(tmp_path, names), "--error-maps", tmp_path / "maps")
    assert done.code == 2
    (error,) = done.errors
    assert f"{', '.join(names)}; model uhcs-carbides: {', '.join(CARBIDE_CLASSES)};" in error
    assert sorted(path.name for path in tmp_path.iterdir()) == ["images", "labels"]


def test_labels_of_the_models_classes_are_scored(run, tmp_path) -> None:
    done = run(*_command(tmp_path, CARBIDE_CLASSES), "--no-flips", "--no-multi-scale")
    assert done.code == 0, done.err
    result = json.loads((tmp_path / "scores.json").read_text(encoding="utf-8"))
    assert list(result["iou"]) == list(CARBIDE_CLASSES)
    assert np.sum(result["confusion"]) == 64 * 64
    assert result["provenance"]["model"] == "uhcs-carbides"
