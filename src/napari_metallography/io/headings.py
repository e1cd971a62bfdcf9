"""Names of columns as a reader understands them."""

from __future__ import annotations

_UNITS = {"per_mm2": "1/mm²", "um2": "µm²", "um": "µm", "px": "px", "percent": "%"}

_WORDS = {
    "n_particles": "number of particles",
    "equivalent_radius": "equivalent-circle radius",
    "enclosing_radius": "enclosing-circle radius",
    "std_radius": "standard deviation of the radius",
    "touches_border": "touches the border",
    "mean_grey": "mean grey value",
}


def heading(name: str) -> str:
    """A column's name in words, its unit in parentheses: "area_um2" becomes "area (µm²)".

    For what people read: reports and workbooks. CSV and JSON keep the names, which programs
    rely on.
    """
    for ending, unit in _UNITS.items():
        if name.endswith(f"_{ending}"):
            return f"{_in_words(name.removesuffix(f'_{ending}'))} ({unit})"
    return _in_words(name)


def _in_words(name: str) -> str:
    return _WORDS.get(name, name.replace("_", " "))
