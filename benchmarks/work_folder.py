"""The folder that keeps what a benchmark has done, so that a stopped one goes on."""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from collections.abc import Collection
from pathlib import Path

import napari_metallography

_CODE = "code"
_NO_CODE_OF_RESULTS = ("_napari", "cli")


def require_same_recipe(options: argparse.Namespace, passing: Collection[str] = ()) -> None:
    """Refuse a work folder whose results were made by other options; note those of a new one.

    Where the code has changed since, results of both may stand side by side: a line says so.

    Parameters
    ----------
    options
        With `work`, the folder, and `output`, which changes no result.
    passing
        Further options that change no result, or that the names of what is kept hold.
    """
    left_out = {"work", "output", "device", *passing}
    recipe = {name: str(value) for name, value in vars(options).items() if name not in left_out}
    path = options.work / "recipe.json"
    if not path.exists():
        options.work.mkdir(parents=True, exist_ok=True)
        text = json.dumps({**recipe, _CODE: code_digest()}, indent=1)
        path.write_text(text + "\n", encoding="utf-8")
        return
    known = json.loads(path.read_text(encoding="utf-8"))
    other = [name for name, value in recipe.items() if known.get(name) != value]
    if other:
        raise SystemExit(
            f"{options.work}: was filled with other values of {', '.join(other)}; "
            "choose another folder"
        )
    if known.get(_CODE) != code_digest():
        print(
            f"{options.work}: begun with other code; what is there is kept, remove what the "
            "changes concern",
            file=sys.stderr,
        )


def code_digest() -> str:
    """SHA-256 over the package, but for the viewer's and the command line's part."""
    root = Path(napari_metallography.__file__).parent
    found = hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        place = path.relative_to(root)
        if place.parts[0] not in _NO_CODE_OF_RESULTS:
            found.update(place.as_posix().encode() + b"\0" + path.read_bytes())
    return found.hexdigest()
