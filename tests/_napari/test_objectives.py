from __future__ import annotations

import pytest

from napari_metallography._napari import settings
from napari_metallography._napari.objectives import (
    add_objective,
    delete_objective,
    objective_calibration,
    objectives,
)
from napari_metallography.calibration import Calibration
from napari_metallography.errors import InputError


def test_objectives_are_kept_in_the_order_of_their_names() -> None:
    add_objective(" 50× air ", 0.11)
    add_objective("10×", 0.55)
    assert list(objectives().items()) == [("10×", 0.55), ("50× air", 0.11)]


def test_objective_becomes_a_calibration_that_names_it() -> None:
    add_objective("50×", 0.11)
    assert objective_calibration("50×") == Calibration.square(0.11, "objective 50×")


def test_objective_of_the_same_name_is_replaced() -> None:
    add_objective("50×", 0.11)
    add_objective("50×", 0.12)
    assert objectives() == {"50×": 0.12}


def test_deleted_objective_is_gone_and_the_others_stay() -> None:
    add_objective("50×", 0.11)
    add_objective("10×", 0.55)
    delete_objective("50×")
    assert objectives() == {"10×": 0.55}
    with pytest.raises(InputError, match="no objective"):
        objective_calibration("50×")


@pytest.mark.parametrize(("name", "size"), [("", 1), ("  ", 1), ("50×", 0), ("50×", float("nan"))])
def test_objective_without_name_or_possible_size_is_refused(name: str, size: float) -> None:
    with pytest.raises(InputError):
        add_objective(name, size)
    assert objectives() == {}


def test_damaged_entries_are_left_out() -> None:
    settings.save("objectives", {"10×": 0.55, "50×": "wide", "100×": -1})
    assert objectives() == {"10×": 0.55}
