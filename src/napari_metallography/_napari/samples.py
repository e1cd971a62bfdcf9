"""File › Open Sample: micrographs that come with the package, and synthetic ones with truth."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from napari.utils.colormaps import DirectLabelColormap
from numpy.typing import NDArray

from ..calibration import Calibration
from ..classes import named_classes
from ..grains.drawing import BOUNDARY
from ..io.images import Micrograph, read_micrograph
from ..io.labels import LabelImage, read_labels
from ..regions import Field
from ..samples import CARBIDE_CLASSES, sample_path, truth_path
from ..synthesis.carbides import CarbideField, CarbideParameters, carbide_field
from ..synthesis.exposure import Exposure
from ..synthesis.polycrystals import PolycrystalParameters, polycrystal
from .reader import LayerData, image_layer, labels_layer
from .results import PARTICLES_OF

TRUTH = "truth"
"""Key of the metadata of synthetic layers: the exact numbers."""

_SEED = 8


def carbides() -> list[LayerData]:
    """Ultra-high-carbon steel with a carbide network and particles."""
    return _image("uhcs1061", "UHCS carbides")


def carbides_with_truth() -> list[LayerData]:
    """The same with the phases as people labelled them, for *Compare with truth*."""
    return [*_image("uhcs1061", "UHCS carbides"), _truth("uhcs1061", "UHCS carbides truth")]


def spheroidite() -> list[LayerData]:
    """Ultra-high-carbon steel with carbide particles only, five times closer."""
    return _image("uhcs0596", "UHCS spheroidite")


def grains() -> list[LayerData]:
    """Etched grain boundaries of a steel."""
    return _image("grain_structures_steel", "NIST steel grains")


def colour_etched_grains() -> list[LayerData]:
    """Grains told apart by colour; pixel size unknown."""
    return _image("tbm10", "TBM colour-etched grains")


def strip_defect() -> list[LayerData]:
    """Iron sheet ash on a hot-rolled strip; pixel size unknown."""
    return _image("xsdd3001", "X-SDD iron sheet ash")


def synthetic_grains() -> list[LayerData]:
    """An etched polycrystal of G 8, 0.5 µm a pixel, and its true boundaries."""
    parameters = PolycrystalParameters(grain_size=8.0, pixel_size_um=0.5)
    made = polycrystal(parameters, _SEED)
    truth = {
        "G": made.intercept_g,
        "G_planimetric": made.planimetric_g,
        "mean_intercept_um": made.mean_intercept_um,
        **_recipe(parameters),
    }
    name = f"Synthetic grains, G {made.intercept_g:.2f} by intercepts"
    image = _synthetic(made.image, name, made.calibration, truth)
    colours = {None: BOUNDARY.colour, 0: "transparent", 1: BOUNDARY.colour}
    boundaries = _truth_over(
        image,
        made.boundaries.astype(np.uint8),
        "true boundaries",
        colormap=DirectLabelColormap(color_dict=colours),
    )
    return [image, boundaries]


def synthetic_carbides() -> list[LayerData]:
    """Carbides as an SEM shows them, their true phases, and each true carbide with its sizes."""
    parameters = CarbideParameters()
    made = carbide_field(parameters, _SEED)
    truth = {
        "number_density_per_mm2": made.number_density_per_mm2,
        "mean_radius_um": made.mean_radius_um,
        "area_fraction": float(made.labels.mean()),
        **_recipe(parameters),
    }
    name = f"Synthetic carbides, mean radius {1000 * made.truth['radius_um'].mean():.1f} nm"
    image = _synthetic(made.image, name, made.calibration, truth)
    # A row a label; the first is the matrix.
    features = pd.concat([pd.DataFrame({"particle": [0]}), made.truth], ignore_index=True)
    carbides = _truth_over(image, made.ids, "true carbides", features=features)
    carbides[1]["metadata"][PARTICLES_OF] = f"{name}, true phases"
    return [image, _true_phases(made, f"{name}, true phases"), carbides]


def _synthetic(
    pixels: NDArray[np.uint8], name: str, calibration: Calibration, truth: dict[str, Any]
) -> LayerData:
    made = Micrograph(pixels, pixels.ndim == 3, calibration, {"instrument": "synthetic"})
    data, keywords, kind = image_layer(made, name)
    keywords["metadata"][TRUTH] = truth
    return data, keywords, kind


def _truth_over(image: LayerData, values: NDArray[Any], what: str, **keywords: Any) -> LayerData:
    """A Labels layer that lies on a synthetic image."""
    of_image = image[1]
    known = {key: of_image["metadata"][key] for key in ("calibration", TRUTH)}
    placed = {key: of_image[key] for key in ("scale", "units")}
    named = {"name": f"{of_image['name']}, {what}", "metadata": known}
    return values, {**placed, **named, **keywords}, "labels"


def _true_phases(made: CarbideField, name: str) -> LayerData:
    height, width = made.labels.shape
    labels = LabelImage(
        made.labels,
        named_classes(("matrix", "carbide")),
        made.calibration,
        Field((height, width)),
        {"method": "synthetic", "seed": _SEED},
    )
    data, keywords, kind = labels_layer(labels, name)
    return data, keywords | {"visible": False}, kind


def _recipe(parameters: Exposure) -> dict[str, Any]:
    return {"seed": _SEED, "parameters": parameters.model_dump()}


def _image(sample: str, name: str) -> list[LayerData]:
    return [image_layer(read_micrograph(sample_path(sample)), name)]


def _truth(sample: str, name: str) -> LayerData:
    drawn = read_labels(truth_path(sample))
    image = read_micrograph(sample_path(sample))
    labels = LabelImage(
        drawn.indices,
        named_classes(CARBIDE_CLASSES),
        image.calibration,
        drawn.measured,
        {"method": "labelled by hand", "source": "MatSeg, Bo Lei"},
    )
    return labels_layer(labels, name)
