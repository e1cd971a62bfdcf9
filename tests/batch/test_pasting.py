import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from napari_metallography.batch.pasting import with_step
from napari_metallography.batch.recipe import STEPS, parse_recipe, step_text
from napari_metallography.errors import InputError
from napari_metallography.quantification.parameters import QuantifyParameters

RULES = QuantifyParameters(smallest_area_px=7)
COMMENTED = """\
# What we do with carbides.

segment:
  method: threshold  # no network
  # the usual one

# As agreed.
quantify:
  smallest_area_px: 4

# To sign.
report:
  title: Carbides
"""


def test_a_step_takes_the_place_of_the_one_there_and_leaves_the_rest_as_it_was():
    pasted = with_step(COMMENTED, step_text("quantify", RULES))
    before, after = COMMENTED.split("quantify:\n  smallest_area_px: 4\n")
    assert pasted.startswith(before)
    assert pasted.endswith(after)
    assert parse_recipe(pasted).quantify == RULES


def test_a_step_that_is_not_there_comes_where_it_is_taken():
    pasted = with_step(COMMENTED, "grain_size:\n  methods: [lines]\n")
    assert [*yaml.safe_load(pasted)] == ["segment", "quantify", "grain_size", "report"]
    assert pasted.replace("grain_size:\n  methods:\n  - lines\n", "") == COMMENTED
    first = with_step("# mine\nquantify:\n", "calibrate: {pixel_size_um: 0.2}")
    assert first == "# mine\ncalibrate:\n  pixel_size_um: 0.2\nquantify:\n"


@pytest.mark.parametrize("text", ["", "# nothing yet", "quantify:", "{quantify: {split: none}}"])
def test_any_recipe_takes_a_step(text):
    pasted = with_step(text, step_text("quantify", RULES))
    assert parse_recipe(pasted).quantify == RULES
    assert pasted.startswith(text if text.startswith("#") else "quantify")


@given(
    st.lists(st.sampled_from(STEPS), unique=True),
    st.sampled_from(STEPS),
    st.sampled_from([None, False]),
)
def test_the_other_steps_mean_what_they_meant(there, pasted, flow):
    content = {name: {"device": "cpu", "n": [1, {"a": "b"}]} for name in there}
    text = yaml.safe_dump(content, sort_keys=False, default_flow_style=flow)
    found = yaml.safe_load(with_step(text, f"{pasted}: {{method: lines}}"))
    assert found == {**content, pasted: {"method": "lines"}}


def test_several_keys_are_pasted_together():
    pasted = with_step("quantify:", "field: {keep_data_bar: true}\nsegment: {method: threshold}")
    assert [*yaml.safe_load(pasted)] == ["field", "segment", "quantify"]


@pytest.mark.parametrize(
    "step", ["", "x", "zzz: 1", "- quantify", "quantify: [", "quantify:\n2: 3"]
)
def test_what_is_no_step_is_not_pasted(step):
    with pytest.raises(InputError, match="no step of a recipe"):
        with_step("segment:", step)


def test_a_recipe_that_is_not_yaml_takes_no_step():
    with pytest.raises(InputError, match="not YAML"):
        with_step("segment: [", "quantify:")
