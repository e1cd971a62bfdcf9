from __future__ import annotations

import inspect

import pytest
from pydantic import ValidationError

from napari_metallography.cli.quantify import quantify
from napari_metallography.errors import InputError
from napari_metallography.quantification.parameters import QuantifyParameters


def test_all_classes_but_the_matrix_are_particles_unless_chosen():
    assert QuantifyParameters().particle_classes(4) == (1, 2, 3)
    assert QuantifyParameters(classes=(2, 0, 2)).particle_classes(4) == (0, 2)
    assert QuantifyParameters(classes=()).particle_classes(4) == ()


def test_a_class_that_does_not_exist_is_refused():
    with pytest.raises(InputError, match="class 4 cannot be measured; choose from 0 to 3"):
        QuantifyParameters(classes=(1, 4)).particle_classes(4)


@pytest.mark.parametrize(
    "wrong",
    [{"smallest_area_px": 0}, {"classes": (-1,)}, {"edge_rule": "half"}, {"edge": "all"}],
)
def test_impossible_parameters_are_refused(wrong):
    with pytest.raises(ValidationError):
        QuantifyParameters(**wrong)


def test_the_command_line_has_the_same_defaults():
    options = inspect.signature(quantify).parameters
    fields = QuantifyParameters.model_fields
    shared = {name: options[name.removesuffix("_px")].default for name in fields}
    assert shared == {name: known.default for name, known in fields.items()}


def test_parameters_survive_json():
    parameters = QuantifyParameters(classes=(1, 3), smallest_area_px=5, edge_rule="exclude-border")
    assert QuantifyParameters.model_validate_json(parameters.model_dump_json()) == parameters
