"""`evaluate few-shot`: how well a network learns new classes from a few images of each."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from .. import __version__
from . import terminal
from .options import Device, DeviceName, PixelSize, pixel_sizes, results_file


def evaluate_few_shot(
    model: Annotated[str, typer.Option(help="Name or file of a few-shot model.")],
    data: Annotated[
        Path, typer.Option(help="Folder with a folder a class, or an index.csv with class.")
    ],
    output: Annotated[
        Path,
        typer.Option("-o", "--output", help="JSON file to write.", callback=results_file),
    ],
    ways: Annotated[int, typer.Option(min=2, help="Classes of a task.")] = 5,
    shots: Annotated[int, typer.Option(min=1, help="Images of each class to learn from.")] = 1,
    tasks: Annotated[int, typer.Option(min=1, help="Tasks to draw.")] = 100,
    seed: Annotated[int, typer.Option(help="Same seed: same tasks.")] = 0,
    steps: Annotated[
        int | None,
        typer.Option(min=0, help="Steps of the tuning to a task; default: the model's."),
    ] = None,
    rate: Annotated[
        float | None,
        typer.Option(min=0, help="Its learning rate, 0 for no tuning; default: the model's."),
    ] = None,
    pixel_size: PixelSize = None,
    device: Device = DeviceName.auto,
) -> None:
    """Score a few-shot model on tasks of new classes, with and without tuning to each task."""
    from ..classification.few_shot_model import load_few_shot_model
    from ..devices import choose_device
    from ..evaluation.few_shot import evaluate_few_shot as evaluate
    from ..io.tables import write_json
    from ..training.tasks import Tasks

    loaded = load_few_shot_model(model)
    running = evaluate(
        loaded,
        data,
        choose_device(device.value),
        Tasks(ways, shots, tasks, seed),
        sizes=pixel_sizes(pixel_size, None) if pixel_size is not None else None,
        steps=steps,
        rate=rate,
    )
    result = terminal.follow(running, "evaluating")
    provenance = {
        "model": loaded.card.name,
        "model_digest": loaded.digest,
        "version": __version__,
    }
    write_json(output, {**result, "provenance": provenance})
    print(
        f"{tasks} tasks, {ways}-way {shots}-shot: accuracy of the prototypes "
        f"{_words(result['accuracy_prototypes'])}, {_tuned_words(result)}"
    )
    terminal.done(f"written to {output}")


def _tuned_words(result: dict[str, Any]) -> str:
    if not result["tuned"]:
        return "nothing tuned (give --steps and --rate to tune)"
    return f"tuned {_words(result['accuracy_finetuned'])}"


def _words(found: dict[str, Any]) -> str:
    if found["ci95"] is None:
        return f"{found['mean']:.4f}"
    low, high = found["ci95"]
    return f"{found['mean']:.4f} (95 % confidence {low:.4f} to {high:.4f})"
