"""`train`: models from labelled images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from ..errors import InputError, validated
from . import terminal, training
from .options import Device, DeviceName, Index, PixelSize, pixel_sizes, stems

if TYPE_CHECKING:
    import torch

    from ..classes import PhaseClass
    from ..devices import Precision
    from ..inputs import PixelSizes
    from ..labelled import LabelledImage
    from ..models.card import Storage
    from ..training.job import TrainingJob
    from ..training.results import SegmentationDescription
    from ..training.start import Start


class Architecture(StrEnum):
    """Networks."""

    unet = "unet"
    unet_plus_plus = "unet++"
    deeplabv3plus = "deeplabv3plus"
    pspnet = "pspnet"


class Recipe(StrEnum):
    """Ready settings."""

    adamw = "adamw"
    fine_tune = "fine-tune"
    paper = "paper"


class PrecisionName(StrEnum):
    """Arithmetic of a training."""

    auto = "auto"
    float32 = "32-true"
    bfloat16 = "bf16-mixed"
    float16 = "16-mixed"


def train_segmentation(
    images: Annotated[Path, typer.Option(help="Folder of images.")],
    labels: Annotated[Path, typer.Option(help="Folder of labels with the same stems.")],
    output: training.NewModel,
    val_images: Annotated[Path | None, typer.Option(help="Images for validation.")] = None,
    val_labels: Annotated[Path | None, typer.Option(help="Labels for validation.")] = None,
    split: Annotated[Path | None, typer.Option(help="File that lists the stems to use.")] = None,
    val_split: Annotated[
        Path | None, typer.Option(help="File that lists the stems to validate on.")
    ] = None,
    ignore: Annotated[int | None, typer.Option(help="Label value that means unlabelled.")] = None,
    classes: Annotated[
        str | None, typer.Option(help="Class names from index 0, separated by commas.")
    ] = None,
    architecture: Annotated[
        Architecture | None, typer.Option(help="Network; default: unet.")
    ] = None,
    enlargement: Annotated[
        float | None,
        typer.Option(help="Resize the input: 2 for fine particles, 0.5 for a wider view."),
    ] = None,
    encoder: Annotated[
        str | None, typer.Option(help="Encoder; default: efficientnet-lite0.")
    ] = None,
    encoder_weights: Annotated[
        str | None,
        typer.Option(
            help="imagenet (default), random, name or file of a backbone, or a file of tensors."
        ),
    ] = None,
    start_from: Annotated[
        str | None, typer.Option(help="Name or file of a model to train further.")
    ] = None,
    recipe: Annotated[Recipe, typer.Option(help="Settings to start from.")] = Recipe.adamw,
    iterations: training.Iterations = None,
    batch_size: Annotated[int | None, typer.Option(help="Crops a step, two at least.")] = None,
    crop: Annotated[int | None, typer.Option(help="Side of a crop in pixels.")] = None,
    learning_rate: training.LearningRate = None,
    validate_every: training.ValidateEvery = None,
    seed: training.Seed = 0,
    resume: training.Resume = False,
    search: Annotated[
        bool,
        typer.Option(
            help="Train a baseline, each of three tricks alone (pretrained encoder, strong "
            "augmentation, halved image) and those that gain together; keep the best."
        ),
    ] = False,
    precision: Annotated[
        PrecisionName, typer.Option(help="Arithmetic; auto: the fastest of the device.")
    ] = PrecisionName.auto,
    freeze_normalisation: Annotated[
        bool | None, typer.Option(help="Keep the batch statistics of the start.")
    ] = None,
    devices: Annotated[int, typer.Option(help="Processes, or GPUs, on each machine.")] = 1,
    num_nodes: Annotated[
        int, typer.Option(help="Machines; start the same command on each, as torchrun does.")
    ] = 1,
    half: Annotated[bool, typer.Option(help="Store the model in half precision.")] = False,
    data_name: training.DataName = None,
    licence: training.Licence = "unstated",
    attribution: training.Attribution = "",
    pixel_size: PixelSize = None,
    index: Index = None,
    device: Device = DeviceName.auto,
) -> None:
    """Train a segmentation model; write it with history.csv and training.json beside it."""
    from ..devices import choose_device
    from ..training.job import TrainingJob
    from ..training.recipe import RECIPES
    from ..training.results import SegmentationDescription, checkpoint_path, require_free

    require_free(output, resume=resume and not search)
    if search and (start_from or devices * num_nodes > 1):
        raise InputError("--search trains new networks on one device, without --start-from")
    source = _Source(images, labels, split)
    held_out = None
    if val_images or val_labels or val_split:
        held_out = _Source(val_images or images, val_labels or labels, val_split)
    sizes = pixel_sizes(pixel_size, index)
    network = _NetworkOptions(classes, architecture, encoder, encoder_weights, enlargement)
    learnt_from, validation, named = _read(
        source, held_out, ignore=ignore, sizes=sizes, names=network.names()
    )
    phases, start = network.start(start_from, learnt_from, named)
    changes = {
        "iterations": iterations,
        "batch_size": batch_size,
        "crop": crop,
        "learning_rate": learning_rate,
        "validate_every": validate_every,
        "seed": seed,
        "freeze_normalisation": freeze_normalisation,
    }
    where = choose_device(device.value)
    job = TrainingJob(
        images=learnt_from,
        validation=validation,
        start=start,
        classes=len(phases),
        recipe=training.changed(RECIPES[recipe.value], changes),
        device=where,
        checkpoint=checkpoint_path(output),
        precision=_precision(precision, where),
    )
    storage: Storage = "float16" if half else "float32"
    name = data_name or images.name
    description = SegmentationDescription(name, licence, attribution, storage, classes=phases)
    _require_fit(learnt_from, phases)
    if not (validation or search):
        job = _with_strokes_held_out(job)
    if search:
        _search(job, output, description)
    else:
        _train(job, output, description, resume=resume, processes=(devices, num_nodes))


@dataclass(frozen=True)
class _Source:
    """Folders of images and labels, and the list of those to use."""

    images: Path
    labels: Path
    split: Path | None

    def read(
        self, ignore: int | None, sizes: PixelSizes, names: Sequence[str]
    ) -> tuple[list[LabelledImage], tuple[PhaseClass, ...]]:
        from ..labelled import read_labelled_folder

        return read_labelled_folder(
            self.images,
            self.labels,
            ignore=ignore,
            sizes=sizes,
            stems=stems(self.split),
            names=names,
            notice=terminal.notice,
        )


def _read(
    training: _Source,
    validation: _Source | None,
    *,
    ignore: int | None,
    sizes: PixelSizes,
    names: Sequence[str],
) -> tuple[list[LabelledImage], list[LabelledImage], tuple[PhaseClass, ...]]:
    """Images to train and to validate on, and the classes that the label files name."""
    from ..classes import require_same_classes

    images, classes = training.read(ignore, sizes, names)
    if validation is None:
        return images, [], classes
    held_out, others = validation.read(ignore, sizes, names)
    require_same_classes(
        [phase.name for phase in classes],
        [phase.name for phase in others],
        first_of=f"the labels in {training.labels}",
        second_of=f"the labels to validate on in {validation.labels}",
    )
    return images, held_out, classes or others


def _require_fit(images: Sequence[LabelledImage], classes: Sequence[PhaseClass]) -> None:
    """Refuse labels that do not do for a training; say so when pixel sizes differ much."""
    from ..labelled import check_labels
    from ..training.fine_tuning import pixel_sizes_differ, require_two_classes

    check_labels(images, len(classes))
    require_two_classes(images, classes)
    if pixel_sizes_differ([image.pixel_size_um for image in images]):
        terminal.notice(
            "the images' pixel sizes differ more than 1.5 times; train on images of one size"
        )


def _precision(name: PrecisionName, device: torch.device) -> Precision:
    from ..devices import precisions

    paying = precisions(device)
    if name is PrecisionName.auto:
        return paying[0]
    if name.value not in paying and not (device.type == "cuda" and name is PrecisionName.float16):
        raise InputError(f"--precision {name.value} does not pay on this device; leave it out")
    return cast("Precision", name.value)


@dataclass(frozen=True)
class _NetworkOptions:
    """What is stated of a new network; None where nothing is."""

    classes: str | None
    architecture: Architecture | None
    encoder: str | None
    encoder_weights: str | None
    enlargement: float | None

    def start(
        self,
        parent: str | None,
        images: Sequence[LabelledImage],
        named: tuple[PhaseClass, ...],
    ) -> tuple[tuple[PhaseClass, ...], Start]:
        """Classes, and the network and weights to start from."""
        return self._from_parent(parent, named) if parent else self._anew(named, images)

    def names(self) -> list[str]:
        """Names of the classes; empty where none are stated."""
        names = [name.strip() for name in self.classes.split(",")] if self.classes else []
        if not all(names) or len(set(names)) < len(names):
            raise InputError(f"--classes {self.classes}: give each class a name of its own")
        return names

    def _from_parent(
        self, parent: str, named: tuple[PhaseClass, ...]
    ) -> tuple[tuple[PhaseClass, ...], Start]:
        from ..classes import named_classes
        from ..segmentation.model import load_model
        from ..training.start import from_model

        settled = ("architecture", "encoder", "encoder_weights", "enlargement")
        stated = [name for name in settled if getattr(self, name) is not None]
        if stated:
            option = stated[0].replace("_", "-")
            raise InputError(f"--{option} cannot go with --start-from: the model settles it")
        model = load_model(parent)
        wanted = named_classes(self.names()) or named
        start = from_model(model, [phase.name for phase in wanted])
        if not start.rows:
            return model.card.classes, start
        terminal.notice(f"model {model.card.name}: {_kept(model.card.classes, wanted, start.rows)}")
        return wanted, start

    def _anew(
        self, named: tuple[PhaseClass, ...], images: Sequence[LabelledImage]
    ) -> tuple[tuple[PhaseClass, ...], Start]:
        from ..labelled import check_labels, classes_or_default
        from ..models.card import Network
        from ..training.start import new_network

        network = {
            "architecture": self.architecture.value if self.architecture else "unet",
            "encoder": self.encoder or "efficientnet-lite0",
            "enlargement": 1.0 if self.enlargement is None else self.enlargement,
        }
        classes = classes_or_default(self.names(), named, images)
        # Before weights are fetched: that may take a while, or fail offline.
        check_labels(images, len(classes))
        start = new_network(validated(Network, network), self.encoder_weights or "imagenet")
        return classes, start


def _kept(
    known: Sequence[PhaseClass], wanted: Sequence[PhaseClass], rows: Sequence[int | None]
) -> str:
    """Which classes start from what a parent has learnt of them."""
    by_row = list(zip(wanted, rows, strict=True))
    parts = {
        "kept": [phase.name for phase, row in by_row if row is not None],
        "learnt anew": [phase.name for phase, row in by_row if row is None],
        "left out": [phase.name for row, phase in enumerate(known) if row not in rows],
    }
    return "; ".join(f"{what}: {', '.join(names)}" for what, names in parts.items() if names)


def _train(
    job: TrainingJob,
    output: Path,
    description: SegmentationDescription,
    *,
    resume: bool,
    processes: tuple[int, int],
) -> None:
    from ..events import drain
    from ..training.results import finished, write_results
    from ..training.segmentation import several_devices, train

    fabric = several_devices(job, *processes)
    if not fabric.is_global_zero:
        drain(train(job, resume=resume, fabric=fabric))
        return
    trained = training.follow(train(job, resume=resume, fabric=fabric), output, resume=resume)
    card, _ = terminal.follow(finished(output.stem, job, trained, description), "validating")
    write_results(output, job, trained, card, description)
    training.tell_written(output, card)


def _search(job: TrainingJob, output: Path, description: SegmentationDescription) -> None:
    """Trainings in a folder beside the output, the table of gains, and the best as the output."""
    from ..training.fine_tuning import Tuned, save_tuned
    from ..training.search import kept_in, paper_search, read_kept

    folder = output.with_name(f"{output.stem}_search")
    events = paper_search(_held_out(job), kept_in(folder, description))
    found, best = terminal.follow(events, "searching")
    trained = read_kept(folder, found.best.name)
    tuned = Tuned(best, trained, description, search=found)
    terminal.follow(save_tuned(output, tuned), "validating")
    for row in found.table():
        print(f"{row['training']}: mIoU {row['miou_percent']:.2f} % ({row['gain_points']:+.2f})")
    terminal.done(f"the best, '{found.best.name}', written to {output}; trainings in {folder}")


def _with_strokes_held_out(job: TrainingJob) -> TrainingJob:
    """The job, of whose paint a part is held out as the window does it; whole truths all learn."""
    from ..training.fine_tuning import held_out_words, with_all_labels_last
    from ..training.split import are_strokes, split

    if not are_strokes(job.images):
        terminal.notice(
            "nothing is held out: no score tells how good the model is, and its weights are the "
            "last; name images for validation with --val-images and --val-labels, or --val-split"
        )
        return job
    parts = split(job.images)
    terminal.notice(held_out_words(parts, job.recipe))
    held_out = replace(job, images=parts.training, validation=parts.validation)
    return with_all_labels_last(held_out, parts)


def _held_out(job: TrainingJob) -> TrainingJob:
    """The job with validation images: those given, else some held out."""
    from ..training.split import split

    if job.validation:
        return job
    parts = split(job.images)
    if not parts.validation:
        raise InputError("too few labels to hold some out; give --val-images and --val-labels")
    names = ", ".join(image.name for image in parts.validation)
    terminal.notice(f"held out for validation: {parts.held_out} of {names}")
    return replace(job, images=parts.training, validation=parts.validation)
