"""Names of columns as a reader understands them; n counts fields or specimens, no particles."""

from __future__ import annotations

_UNITS = {
    "per_mm2": "1/mm²",
    "per_um2": "1/µm²",
    "per_px2": "1/px²",
    "per_mm": "1/mm",
    "per_um": "1/µm",
    "per_px": "1/px",
    "um2": "µm²",
    "px2": "px²",
    "um": "µm",
    "mm": "mm",
    "px": "px",
    "percent": "%",
    "deg": "°",
}

_WORDS = {
    "n_particles": "particles",
    "equivalent_radius": "equivalent-circle radius",
    "enclosing_radius": "enclosing-circle radius",
    "std_radius": "standard deviation of the radius",
    "touches_border": "touches the border",
    "feret_max": "largest Feret diameter",
    "feret_min": "smallest Feret diameter",
    "omega12": "degree of orientation Ω12",
    "n_excluded": "left out by the edge rule",
    "mean_grey": "mean grey value",
    "n_images": "number of images",
    "n_fields": "n fields",
    "n_specimens": "n specimens",
    "ci95": "95 % confidence interval",
    "ci95_low": "95 % confidence from",
    "ci95_high": "95 % confidence to",
    "points_counted": "points on the field",
    "number_cumulative": "number, cumulative",
    "area_cumulative": "area, cumulative",
    "nearest_neighbour": "nearest-neighbour distance",
    "sha256": "SHA-256",
    "measured_on": "measured on",
}


def heading(name: str) -> str:
    """A column's name in words, its unit in parentheses: "area_um2" becomes "area (µm²)".

    For what people read: reports, workbooks and forms. CSV and JSON keep the names, which programs
    rely on.
    """
    for ending, unit in _UNITS.items():
        if name.endswith(f"_{ending}"):
            return f"{_in_words(name.removesuffix(f'_{ending}'))} ({unit})"
    return _in_words(name)


def _in_words(name: str) -> str:
    return _WORDS.get(name, name.replace("_", " "))
