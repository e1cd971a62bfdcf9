import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_metallography.batch.recipe import (
    STEPS,
    Recipe,
    parse_recipe,
    read_recipe,
    recipe_schema,
    recipe_text,
    step_text,
)
from napari_metallography.errors import InputError
from napari_metallography.quantification.parameters import QuantifyParameters

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("quantify:\n  edge_rul: all", "unknown key edge_rul in quantify; did you mean edge_rule?"),
        ("quantifi:", "unknown key quantifi; did you mean quantify?"),
        ("grain-size:", "unknown key grain-size; did you mean grain_size?"),
        ("segment: {threshold: {methd: otsu}}", "methd in segment: threshold; did you mean method"),
        ("zzz: 1", "unknown key zzz; there are calibrate, field, segment"),
        ("quantify: {split_depth: 3}", "quantify: split_depth: must be 0.99 or less, not 3"),
        ("calibrate: {pixel_size_um: 0}\nquantify:", "pixel_size_um: must be larger than 0, not 0"),
        ("field: {region: [3, 3, 1, 9]}\nquantify:", "region is empty"),
        ("calibrate: {pixel_size_um: 1}", "nothing to do; name one of segment, quantify"),
        ("quantify: [", "not YAML in line 1"),
        ("- quantify", "a recipe names steps"),
        ("", "a recipe names steps"),
    ],
)
def test_what_cannot_be_done_is_named_in_one_line(text, said):
    with pytest.raises(InputError, match=r"^my recipe: ") as raised:
        parse_recipe(text, "my recipe")
    assert said in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_step_without_settings_is_taken_as_it_is_by_default():
    assert parse_recipe("quantify:").quantify == QuantifyParameters()
    assert parse_recipe("quantify:").steps == ("quantify",)
    assert parse_recipe("quantify:").takes_labels


@given(
    st.sets(st.sampled_from([s for s in STEPS if s != "classify_structure"]), min_size=1),
    st.text(max_size=20),
    st.one_of(st.none(), st.floats(1e-3, 100)),
)
def test_a_recipe_written_and_read_is_the_same(steps, operator, pixel_size):
    recipe = Recipe.model_validate(
        {name: {} for name in steps}
        | {"report": {"operator": operator}, "calibrate": {"pixel_size_um": pixel_size}}
    )
    assert parse_recipe(recipe_text(recipe)) == recipe


def test_a_step_that_was_copied_can_be_put_into_a_recipe():
    rules = QuantifyParameters(edge_rule="guard-frame", classes=(1, 2))
    assert parse_recipe(step_text("quantify", rules)).quantify == rules


def test_an_index_lies_beside_its_recipe(tmp_path):
    (tmp_path / "r.yaml").write_text("calibrate: {index: sizes.csv}\nquantify:\n")
    assert read_recipe(tmp_path / "r.yaml").calibrate.index == tmp_path / "sizes.csv"


def test_a_model_file_lies_beside_its_recipe_and_names_stay_names(tmp_path):
    (tmp_path / "mine.safetensors").touch()
    (tmp_path / "r.yaml").write_text("segment: {model: mine.safetensors}\nclassify_defects:\n")
    recipe = read_recipe(tmp_path / "r.yaml")
    assert recipe.segment.model == str(tmp_path / "mine.safetensors")
    assert recipe.classify_defects.model == "xsdd-pdmsnet"


def test_models_of_all_steps_are_known_beforehand():
    recipe = parse_recipe(
        "segment:\ngrain_size: {methods: [lines, network], boundaries_model: grain-boundaries}\n"
        "classify_defects:\nclassify_structure: {model: mine}"
    )
    assert recipe.models() == (
        *("uhcs-carbides", "grain-boundaries", "grain-line-net", "mine", "xsdd-pdmsnet"),
    )
    assert parse_recipe("segment: {method: threshold}\ngrain_size:").models() == ()


def test_a_device_is_that_of_all_steps():
    recipe = parse_recipe("segment:\nquantify:\nclassify_defects:").on("cuda")
    assert recipe.segment.device == recipe.classify_defects.device == "cuda"


def test_the_schema_that_is_shipped_is_that_of_the_program():
    shipped = json.loads((EXAMPLES / "recipe.schema.json").read_text(encoding="utf-8"))
    assert shipped == json.loads(json.dumps(recipe_schema())), "write it anew: see docs/batch.md"


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.yaml")), ids=lambda path: path.stem)
def test_the_examples_are_recipes(path):
    assert read_recipe(path).steps
    assert "recipe.schema.json" in path.read_text(encoding="utf-8").splitlines()[0]


def test_a_key_that_stands_twice_is_named_with_its_line():
    with pytest.raises(InputError, match="line 3: segment stands there twice"):
        parse_recipe("segment:\nquantify:\nsegment: {method: threshold}")
    with pytest.raises(InputError, match="stands there twice"):
        parse_recipe("quantify: {smallest_area_px: 4, smallest_area_px: 5}")


def test_what_is_compared_does_not_depend_on_the_machine():
    recipe = parse_recipe("segment: {model: /a/mine.safetensors, device: cuda}\nclassify_defects:")
    other = parse_recipe("segment: {model: /b/c/mine.safetensors}\nclassify_defects:")
    assert recipe.anywhere() == other.anywhere()
    assert recipe.model_names() == {
        "/a/mine.safetensors": "mine.safetensors",
        "xsdd-pdmsnet": "xsdd-pdmsnet",
    }
    alike = parse_recipe("segment: {model: /a/m.pt}\ngrain_size: {boundaries_model: /b/m.pt}")
    assert [*alike.model_names().values()] == ["/a/m.pt", "/b/m.pt"]
