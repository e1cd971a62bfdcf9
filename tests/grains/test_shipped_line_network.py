"""The shipped line network on images of a generator that its training has not seen."""

from __future__ import annotations

import numpy as np
import pytest

import other_polycrystals as other
from napari_metallography.calibration import Calibration
from napari_metallography.errors import InputError
from napari_metallography.events import drain
from napari_metallography.grains.image_lines import LineParameters
from napari_metallography.grains.line_grading import grade
from napari_metallography.grains.line_model import load_line_model, save_line_model
from napari_metallography.models.registry import model_path

FEW = LineParameters(rows=16, columns=16)


@pytest.fixture(scope="module")
def model():
    return load_line_model("grain-line-net")


def test_it_leaves_room_for_the_other_shipped_models() -> None:
    path = model_path("grain-line-net")
    assert path.stat().st_size < 16 * 2**20
    assert sum(p.stat().st_size for p in path.parent.glob("*.safetensors")) < 45 * 2**20


def test_a_card_without_the_grade_of_a_class_is_refused(model, tmp_path) -> None:
    lines = model.lines.model_copy(update={"grades": model.lines.grades[:-1]})
    path = tmp_path / "short.safetensors"
    save_line_model(path, model.card.model_copy(update={"lines": lines}), model.network)
    with pytest.raises(InputError, match="does not say the G of each class"):
        load_line_model(str(path))


@pytest.mark.slow
def test_it_grades_images_of_another_generator(model) -> None:
    errors = []
    for number in range(98, 112):
        made = other.other_polycrystal(number)
        calibration = Calibration.square(made.pixel_size_um, "truth")
        found = drain(grade(made.image, calibration, model, FEW))
        errors.append(abs(found.grain_size - made.grain_size))
    assert np.mean(errors) < 0.2
    assert max(errors) < 0.6


@pytest.mark.parametrize("factor", [0.5, 3.0])
def test_pixel_size_alone_changes_g_exactly(model, factor) -> None:
    image = other.other_polycrystal(8).image[:400]
    sizes = (0.23, 0.23 * factor**2)
    first, second = (
        drain(grade(image, Calibration.square(size, "test"), model, FEW)).grain_size
        for size in sizes
    )
    # Steps of a factor of two are whole classes; others resample a little differently.
    tolerance = 1e-6 if factor == 0.5 else 0.1
    assert second == pytest.approx(first - 4 * np.log2(factor), abs=tolerance)


def test_brightness_and_contrast_do_not_matter(model) -> None:
    image = other.other_polycrystal(9).image[:400]
    calibration = Calibration.square(0.23, "test")
    changed = (40 + image * 0.6).round().astype(np.uint8)
    first, second = (drain(grade(i, calibration, model, FEW)).grain_size for i in (image, changed))
    assert second == pytest.approx(first, abs=0.03)
