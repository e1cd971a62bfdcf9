"""`evaluate defects`: a model of surface defects against a folder a class."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from ..errors import validated
from . import terminal
from .options import Device, DeviceName, results_file, stems


def evaluate_defects(
    model: Annotated[str, typer.Option(help="Name or file of a model.")],
    data: Annotated[
        Path, typer.Option(help="Folder with a folder a class; that named none holds outsiders.")
    ],
    output: Annotated[
        Path,
        typer.Option("-o", "--output", help="JSON file to write.", callback=results_file),
    ],
    split: Annotated[
        Path | None, typer.Option(help="File that lists the images to use; default: all.")
    ] = None,
    risk: Annotated[
        float, typer.Option(help="Share of wrong answers to put up with; the rest is 'unsure'.")
    ] = 0.02,
    robustness: Annotated[
        bool, typer.Option(help="Also score them brighter, darker, blurred and noisy.")
    ] = False,
    device: Device = DeviceName.auto,
) -> None:
    """Score a model of surface defects; write accuracy, macro F1, confusion and outsiders."""
    from ..classification.defect_parameters import DefectParameters
    from ..classification.defects import Classifier, provenance
    from ..classification.model import load_defect_model
    from ..devices import choose_device
    from ..evaluation.defects import evaluate_defects as evaluation
    from ..io.tables import write_json

    values = {"model": model, "device": device.value, "risk": risk}
    parameters = validated(DefectParameters, values)
    classifier = Classifier(load_defect_model(model), choose_device(device.value), risk)
    events = evaluation(classifier, data, files=stems(split), robustness=robustness)
    result = terminal.follow(events, "evaluating")
    told = provenance(classifier.model, parameters, classifier.least_probability)
    told |= {"data": data, "split": split}
    write_json(output, {**result, "provenance": told})
    print(
        f"accuracy {result['accuracy']:.4f}, macro F1 {result['macro_f1']:.4f} on {result['n']} "
        f"images; {100 * result['answered']:.1f} % answered, {_percent(result)} of these rightly"
    )
    if result["outsiders"]:
        share = 100 * result["outsiders_rejected"]
        print(f"{share:.1f} % of {result['outsiders']} outsiders answered unsure")
    for name, accuracy in result.get("robustness", {}).items():
        answered = 100 * result["robustness_answered"][name]
        print(f"  {name}: accuracy {accuracy:.4f}, {answered:.1f} % answered")
    terminal.done(f"written to {output}")


def _percent(result: dict[str, Any]) -> str:
    share = result["accuracy_of_answered"]
    return "none" if share is None else f"{100 * share:.1f} %"
