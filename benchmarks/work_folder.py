"""The folder that keeps what a benchmark has done, so that a stopped one goes on."""

from __future__ import annotations

import argparse
import json
from collections.abc import Collection


def require_same_recipe(options: argparse.Namespace, passing: Collection[str] = ()) -> None:
    """Refuse a work folder whose results were made by other options; note those of a new one.

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
        path.write_text(json.dumps(recipe, indent=1) + "\n", encoding="utf-8")
        return
    known = json.loads(path.read_text(encoding="utf-8"))
    other = [name for name, value in recipe.items() if known.get(name) != value]
    if other:
        raise SystemExit(
            f"{options.work}: was filled with other values of {', '.join(other)}; "
            "choose another folder"
        )
