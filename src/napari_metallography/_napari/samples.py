"""File › Open Sample: the micrographs that come with the package."""

from __future__ import annotations

from ..classes import named_classes
from ..io.images import read_micrograph
from ..io.labels import LabelImage, read_labels
from ..samples import CARBIDE_CLASSES, sample_path, truth_path
from .reader import LayerData, image_layer, labels_layer


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
