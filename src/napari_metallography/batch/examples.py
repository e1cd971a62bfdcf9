"""The ready recipes that come with the package, and the schema by which editors check recipes."""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).parents[1]


def example_paths() -> dict[str, Path]:
    """Files of the ready recipes by name."""
    return {path.stem: path for path in sorted(_folder(_PACKAGE).glob("*.yaml"))}


def schema_path() -> Path:
    """The JSON schema of recipes."""
    return _folder(_PACKAGE) / "recipe.schema.json"


def _folder(package: Path) -> Path:
    # An unpacked source distribution lacks the link that a checkout has in the package.
    inside = package / "examples"
    return inside if inside.is_dir() else package.parents[1] / "examples"
