"""The micrographs that come with the package; sample_data/LICENSES.md says whose they are."""

from __future__ import annotations

from pathlib import Path

from .errors import InputError

_PACKAGE = Path(__file__).parent

_FILES = {
    "uhcs1061": "uhcs1061.tif",
    "uhcs0075": "uhcs0075.tif",
    "uhcs0495": "uhcs0495.tif",
    "uhcs0596": "uhcs0596.tif",
    "grain_structures_steel": "grain_structures_steel.tif",
    "tbm10": "tbm10.png",
    "xsdd3001": "xsdd3001.jpg",
}
_TRUTH = {"uhcs1061": "uhcs1061_labels.png"}

CARBIDES = ("uhcs1061", "uhcs0075", "uhcs0495")
"""Three fields of one specimen; the shipped carbide model was not trained on these images."""

CARBIDE_CLASSES = ("matrix", "carbide network", "carbide particles", "Widmanstätten carbide")
"""Class names of the true labels of `CARBIDES`, by class index."""


def sample_names() -> tuple[str, ...]:
    """Names of all samples."""
    return tuple(_FILES)


def sample_path(name: str) -> Path:
    """The image of a sample; an index.csv beside it states its pixel size where one is known.

    Raises
    ------
    InputError
        When there is no such sample.
    """
    return _folder(_PACKAGE) / _file(_FILES, name)


def truth_path(name: str) -> Path:
    """The labels that people drew for a sample, as class indices.

    Raises
    ------
    InputError
        When there are none.
    """
    return _folder(_PACKAGE) / _file(_TRUTH, name)


def _folder(package: Path) -> Path:
    # An unpacked source distribution lacks the link that a checkout has in the package.
    inside = package / "sample_data"
    return inside if inside.is_dir() else package.parents[1] / "sample_data"


def _file(files: dict[str, str], name: str) -> str:
    if name not in files:
        raise InputError(f"there is no sample '{name}', only {', '.join(files)}")
    return files[name]
