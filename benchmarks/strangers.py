"""How many strange images a few examples of each class refuse, and how many known ones.

python benchmarks/strangers.py --data FOLDER -o benchmarks/results/strangers.json

In each draw half of the classes of FOLDER, a folder a class, are learnt from some images of each;
others of these classes are to be named, and images of the other classes to be refused.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np

from hardware import hardware
from napari_metallography.classification.images import OUTSIDERS
from napari_metallography.classification.library import SMALLEST_PX, Library, example_of
from napari_metallography.classification.micrographs import ClassifiedMicrographs, read_micrographs
from napari_metallography.devices import choose_device
from napari_metallography.evaluation.few_shot import interval
from napari_metallography.events import drain
from napari_metallography.training.few_examples import learn, name_planes


def scores_of_draw(
    images: ClassifiedMicrographs, shots: int, number: int, options: argparse.Namespace
) -> dict[str, float]:
    """Shares of a draw: named rightly but for "none", known and strange ones called "none"."""
    random = np.random.default_rng([options.seed, shots, number])
    classes = random.permutation(len(images.names))
    half = len(classes) // 2
    library, known = Library(), []
    for one in classes[:half]:
        members = random.permutation(np.flatnonzero(images.classes == one))
        for place in members[:shots]:
            example = example_of(
                images.planes[place], images.names[one], None, "", images.files[place]
            )
            library = library.added(example)
        known += members[shots : shots + options.images].tolist()
    others = np.flatnonzero(np.isin(images.classes, classes[half:]))
    strange = random.choice(others, min(len(known), len(others)), replace=False).tolist()
    learnt = drain(learn(options.model, library, choose_device(options.device)))
    planes = [images.planes[place] for place in [*known, *strange]]
    answers = drain(name_planes(learnt, planes, [None] * len(planes)))
    best = [learnt.names[int(answer.probabilities.argmax())] for answer in answers]
    right = [best[n] == images.names[images.classes[place]] for n, place in enumerate(known)]
    none = np.array([answer.answer == OUTSIDERS for answer in answers])
    return {
        "most_probable_right": float(np.mean(right)),
        "known_called_none": float(none[: len(known)].mean()),
        "strangers_called_none": float(none[len(known) :].mean()),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--model", default="microstructure-resnet18")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--shots", type=int, nargs="*", default=[1, 2, 5, 10])
    parser.add_argument("--draws", type=int, default=20)
    parser.add_argument("--images", type=int, default=15, help="of a class to name, at most")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="auto")
    options = parser.parse_args()
    images = drain(read_micrographs(options.data, smallest_px=SMALLEST_PX))
    found: dict[str, Any] = {}
    for shots in options.shots:
        rows = [scores_of_draw(images, shots, n, options) for n in range(options.draws)]
        found[f"{shots} of each"] = {
            key: interval(np.array([row[key] for row in rows]), 0, 1) for key in rows[0]
        }
    recipe = {key: getattr(options, key) for key in ("model", "draws", "images", "seed")}
    recipe["classes"] = list(images.names)
    text = json.dumps({"scores": found, "recipe": recipe, "hardware": hardware()}, indent=1)
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
