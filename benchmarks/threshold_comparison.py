"""The shipped network against single thresholds and Otsu on UHCS: count and mean radius.

python benchmarks/threshold_comparison.py --data UHCS_FOLDER \
    -o benchmarks/results/threshold_comparison.json

UHCS_FOLDER holds images/, labels/ and splits/. Each class of carbides is compared with what a
threshold finds, and all of them together: a threshold cannot tell one from another. The weights of
the shipped model were chosen on these validation images, and the best single threshold is chosen
on them as well, by the truth.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hardware import hardware
from napari_metallography.classes import UNLABELLED
from napari_metallography.evaluation.scores import ParticleMatch, match_particles
from napari_metallography.evaluation.segmentation import segment_labelled
from napari_metallography.events import drain
from napari_metallography.inputs import PixelSizes
from napari_metallography.io.tables import plain
from napari_metallography.labelled import LabelledImage, read_labelled_folder
from napari_metallography.plane import as_plane
from napari_metallography.quantification.resolution import RESOLVABLE_AREA_PX
from napari_metallography.quantification.threshold_sweep import (
    GreyField,
    ThresholdComparison,
    compare,
    count_masks,
)
from napari_metallography.segmentation.model import SegmentationModel, load_model
from napari_metallography.segmentation.segment import SegmentParameters
from napari_metallography.segmentation.thresholding import (
    ThresholdParameters,
    otsu,
    prepared,
    split,
)

MODEL = "uhcs-carbides"
SMOOTHING_PX = 1.0
ALL = "all carbides together"


def predicted(model: SegmentationModel, image: LabelledImage) -> NDArray[np.uint8]:
    """Class indices of an image by the network."""
    return drain(segment_labelled(model, image, SegmentParameters())).indices


def grey_field(image: LabelledImage, parameters: ThresholdParameters) -> GreyField:
    """What the threshold sees, on the labelled pixels."""
    inside = image.labels != UNLABELLED
    plane = as_plane(image.pixels, image.name, image.field)
    return GreyField(prepared(plane, inside, parameters), inside, image.pixel_size_um)


def carbides(labels: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """All classes but the matrix."""
    return (labels > 0) & (labels < UNLABELLED)


def of_class(labels: NDArray[np.uint8], index: int) -> NDArray[np.bool_]:
    """One class."""
    chosen: NDArray[np.bool_] = labels == index
    return chosen


def compared(
    images: Sequence[LabelledImage],
    predictions: Sequence[NDArray[np.uint8]],
    chosen: Callable[[NDArray[np.uint8]], NDArray[np.bool_]],
) -> ThresholdComparison:
    """The classes that `chosen` picks, by hand, by the network and by thresholds."""
    parameters = ThresholdParameters(smoothing_px=SMOOTHING_PX, smallest_area_px=RESOLVABLE_AREA_PX)
    fields = [grey_field(image, parameters) for image in images]
    true, found = (
        count_masks([chosen(labels) for labels in one], fields, RESOLVABLE_AREA_PX)
        for one in ([image.labels for image in images], predictions)
    )
    return compare(
        fields, true, phase=parameters, name="labelled by hand", others={"network": found}
    )


def found_one_by_one(
    images: Sequence[LabelledImage],
    predictions: Sequence[NDArray[np.uint8]],
    chosen: Callable[[NDArray[np.uint8]], NDArray[np.bool_]],
    best: float,
) -> dict[str, Any]:
    """Precision and recall of particles that meet a true one at IoU ≥ 0.5.

    Count and mean radius can be right with the wrong particles; this tells.
    """
    parameters = ThresholdParameters(smoothing_px=SMOOTHING_PX, smallest_area_px=RESOLVABLE_AREA_PX)
    matches: dict[str, list[ParticleMatch]] = {}
    for image, prediction in zip(images, predictions, strict=True):
        field = grey_field(image, parameters)
        masks = {
            "network": chosen(prediction),
            "Otsu, each field its own": split(
                field.grey, field.inside, otsu(field.grey, field.inside), parameters
            )
            == 1,
            "best single threshold": split(field.grey, field.inside, best, parameters) == 1,
        }
        for name, mask in masks.items():
            matches.setdefault(name, []).append(
                match_particles(
                    resolved(chosen(image.labels), field), resolved(mask, field), class_index=1
                )
            )
    pooled = {name: sum(found, ParticleMatch()) for name, found in matches.items()}
    return {name: {"precision": m.precision, "recall": m.recall} for name, m in pooled.items()}


def resolved(mask: NDArray[np.bool_], field: GreyField) -> NDArray[np.uint8]:
    """Class indices of a mask without the objects too small to count; 255 outside."""
    # A threshold at a half leaves a mask as it is, but for its small objects.
    parameters = ThresholdParameters(smallest_area_px=RESOLVABLE_AREA_PX)
    return split(mask.astype(np.float32), field.inside, 0.5, parameters)


def best_threshold(comparison: ThresholdComparison) -> float:
    """The best single threshold."""
    methods = comparison.methods.set_index("method")["threshold"]
    return float(methods["best single threshold"])


def result(comparison: ThresholdComparison) -> dict[str, Any]:
    """JSON form."""
    return {
        "methods": comparison.methods.to_dict("records"),
        "sentence": comparison.sentence,
        "sweep": comparison.sweep.to_dict("list"),
    }


def by_image(
    images: Sequence[LabelledImage], predictions: Sequence[NDArray[np.uint8]], index: int
) -> list[dict[str, Any]]:
    """A class on each image by itself: the single image of the paper's figure 7."""
    rows = []
    for image, prediction in zip(images, predictions, strict=True):
        if (image.labels == index).any():
            comparison = compared([image], [prediction], partial(of_class, index=index))
            rows.append({"image": image.name, **result(comparison)})
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("-o", "--output", type=Path, required=True)
    options = parser.parse_args()
    data: Path = options.data
    stems = (data / "splits" / "validate4A.txt").read_text(encoding="utf-8").split()
    images, _ = read_labelled_folder(
        data / "images", data / "labels", sizes=PixelSizes(), stems=stems
    )
    model = load_model(MODEL)
    predictions = [predicted(model, image) for image in images]
    names = [phase.name for phase in model.card.classes]
    choices = {ALL: carbides} | {
        name: partial(of_class, index=index) for index, name in enumerate(names) if index
    }
    classes = {name: compared(images, predictions, chosen) for name, chosen in choices.items()}
    met = {
        name: found_one_by_one(images, predictions, choices[name], best_threshold(comparison))
        for name, comparison in classes.items()
    }
    report = {
        "hardware": hardware(),
        "images": stems,
        "split": "validate4A (published; its specimens also occur in training)",
        "model": MODEL,
        "caution": "the model's weights were chosen on these images, and so is the best threshold",
        "smallest_area_px": RESOLVABLE_AREA_PX,
        "smoothing_px": SMOOTHING_PX,
        "classes": {
            name: {**result(comparison), "particles_met": met[name]}
            for name, comparison in classes.items()
        },
        "particles_by_image": by_image(images, predictions, names.index("carbide particles")),
    }
    options.output.write_text(
        json.dumps(plain(report), indent=1, ensure_ascii=False) + "\n", encoding="utf-8"
    )
    for name, comparison in classes.items():
        print(f"{name}\n{comparison.methods.to_string(index=False)}\n{comparison.sentence}")
        print(f"{json.dumps(met[name], ensure_ascii=False)}\n")


if __name__ == "__main__":
    main()
