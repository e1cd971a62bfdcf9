import json
from pathlib import Path

from napari_metallography.batch import examples
from napari_metallography.batch.recipe import read_recipe


def test_ready_recipes_and_schema_are_found_in_the_package():
    found = examples.example_paths()
    assert read_recipe(found["carbides"]).segment.model == "uhcs-carbides"
    assert json.loads(examples.schema_path().read_text(encoding="utf-8"))["title"]
    assert found["carbides"].is_relative_to(Path(examples.__file__).parents[1])


def test_an_unpacked_source_distribution_has_them_beside_the_package(tmp_path):
    package = tmp_path / "src" / "napari_metallography"
    package.mkdir(parents=True)
    assert examples._folder(package) == tmp_path / "examples"


def test_nothing_else_is_shipped_with_them():
    names = {path.name for path in examples.schema_path().parent.iterdir()}
    assert {Path(name).suffix for name in names - {"recipe.schema.json"}} == {".yaml"}
