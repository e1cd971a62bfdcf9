"""`train defects`: networks that name surface defects, from a folder a class."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import InputError
from . import terminal, training
from .options import Device, DeviceName, PixelSize, pixel_sizes, stems

if TYPE_CHECKING:
    from ..classification.images import ClassifiedImages
    from ..classification.model import DefectModel
    from ..inputs import PixelSizes
    from ..models.card import DefectInput, Network

_LARGEST_KERNEL = 32
_MOST_KERNELS = 8


class Variant(StrEnum):
    """Members of the family of networks."""

    pdmsnet = "pdmsnet"
    squeezenet = "squeezenet"
    squeezenet_bn = "squeezenet-bn"
    squeezenet_separable = "squeezenet-separable"
    squeezenet_dms = "squeezenet-dms"


class BalanceName(StrEnum):
    """How classes of different size count."""

    none = "none"
    weights = "weights"
    sampling = "sampling"


class DefectAugmentation(StrEnum):
    """How images are varied."""

    flips = "flips"
    mild = "mild"
    strong = "strong"


def train_defects(
    data: training.ClassFolders,
    output: training.NewModel,
    val_data: Annotated[
        Path | None, typer.Option(help="Like --data, to validate on; default: a held-out share.")
    ] = None,
    split: Annotated[
        Path | None, typer.Option(help="File that lists the images to learn from; default: all.")
    ] = None,
    val_split: Annotated[
        Path | None, typer.Option(help="File that lists the images to validate on.")
    ] = None,
    held_out: Annotated[
        float, typer.Option(min=0, max=0.9, help="Share to validate on, where none is given.")
    ] = 0.15,
    start_from: Annotated[
        str | None,
        typer.Option(
            help="Model to train further, by name or file; known classes keep their part."
        ),
    ] = None,
    variant: Annotated[
        Variant | None, typer.Option(help="Which network.  [default: pdmsnet]")
    ] = None,
    kernels: Annotated[
        str | None, typer.Option(help="Kernels of mixed expansions, such as 3,5,7.")
    ] = None,
    spliced: Annotated[
        str | None, typer.Option(help="Which of the two blocks are spliced, such as T,F.")
    ] = None,
    iterations: training.Iterations = None,
    batch_size: Annotated[int | None, typer.Option(help="Images a step, two at least.")] = None,
    learning_rate: training.LearningRate = None,
    weight_decay: Annotated[float | None, typer.Option(help="Decay of the weights.")] = None,
    label_smoothing: Annotated[
        float | None, typer.Option(help="Share of a target spread over all classes.")
    ] = None,
    balance: Annotated[
        BalanceName | None, typer.Option(help="How classes of different size count.")
    ] = None,
    augmentation: Annotated[
        DefectAugmentation | None, typer.Option(help="How images are varied.")
    ] = None,
    validate_every: training.ValidateEvery = None,
    keep: training.Keep = None,
    seed: training.Seed = 0,
    side: Annotated[
        int | None,
        typer.Option(min=32, help="Images are brought to this side.  [default: 224]"),
    ] = None,
    jpeg_quality: Annotated[
        int | None,
        typer.Option(
            min=1, max=100, help="Every image is compressed anew at this quality.  [default: 90]"
        ),
    ] = None,
    resume: training.Resume = False,
    storage: training.Storage = training.StorageName.float32,
    data_name: training.DataName = None,
    licence: training.Licence = "unstated",
    attribution: training.Attribution = "",
    pixel_size: PixelSize = None,
    device: Device = DeviceName.auto,
) -> None:
    """Train a network that names surface defects; write it with history.csv and training.json."""
    from ..training.results import Description, checkpoint_path, require_free

    require_free(output, resume=resume)
    if val_data is not None and val_split is not None:
        raise InputError("give --val-data or --val-split, not both")
    from ..devices import choose_device
    from ..training.defect_results import write_defect_results
    from ..training.defect_start import from_defect_model
    from ..training.defects import DefectJob, shown_of
    from ..training.defects import train_defects as train
    from ..training.recipe import DefectRecipe

    changes = {
        "iterations": iterations,
        "batch_size": batch_size,
        "learning_rate": learning_rate,
        "weight_decay": weight_decay,
        "label_smoothing": label_smoothing,
        "balance": balance,
        "augmentation": augmentation,
        "validate_every": validate_every,
        "keep": keep,
        "seed": seed,
    }
    recipe = training.changed(DefectRecipe(), changes)
    given = _Given(variant, kernels, spliced, side, jpeg_quality)
    parent = _parent(start_from, given)
    network, shown = (parent.card.network, parent.input) if parent else given.anew()
    sizes = pixel_sizes(pixel_size, None) if pixel_size is not None else None
    reading = _Reading(data, shown, sizes)
    images, validation = _parts(reading, val_data, split, val_split, (held_out, seed))
    job = DefectJob(
        images,
        validation,
        network,
        shown_of(shown, images),
        recipe,
        choose_device(device.value),
        checkpoint_path(output),
        from_defect_model(parent, images.names) if parent else None,
    )
    description = Description(data_name or data.name, licence, attribution, storage.value)
    trained = training.follow(train(job, resume=resume), output, resume=resume)
    training.tell_written(output, write_defect_results(output, job, trained, description))


@dataclass(frozen=True)
class _Given:
    """What a new network is; a model that is trained further settles all of it."""

    variant: Variant | None
    kernels: str | None
    spliced: str | None
    side: int | None
    jpeg_quality: int | None

    def anew(self) -> tuple[Network, DefectInput]:
        """A new network, and what it is shown."""
        from ..classification.pdmsnet import DESIGNS
        from ..models.card import DefectInput, Network

        variant = (self.variant or Variant.pdmsnet).value
        ready = DESIGNS[variant]
        for name in ("kernels", "spliced"):
            if getattr(self, name) is not None and ready.expansion != "mixed":
                raise InputError(f"--{name} is for pdmsnet and squeezenet-dms, not for {variant}")
        shown = DefectInput(
            side=self.side or 224,
            jpeg_quality=self.jpeg_quality or 90,
            kernels=_kernels(self.kernels) or ready.kernels,
            spliced=_spliced(self.spliced) or ready.spliced,
        )
        return Network(architecture=variant, encoder="none"), shown


def _parent(name_or_file: str | None, given: _Given) -> DefectModel | None:
    if name_or_file is None:
        return None
    from ..classification.model import load_defect_model

    stated = [name for name, value in vars(given).items() if value is not None]
    if stated:
        option = stated[0].replace("_", "-")
        raise InputError(f"--{option} cannot go with --start-from: the model settles it")
    return load_defect_model(name_or_file)


@dataclass(frozen=True)
class _Reading:
    """How images are read."""

    data: Path
    shown: DefectInput
    sizes: PixelSizes | None

    def read(
        self, files: Sequence[str] | None = None, names: Sequence[str] = ()
    ) -> ClassifiedImages:
        """Those listed, or all."""
        from ..classification.images import read_classified

        events = read_classified(
            self.data,
            side=self.shown.side,
            quality=self.shown.jpeg_quality,
            files=files,
            names=names,
            sizes=self.sizes,
        )
        return terminal.follow(events, "reading images")


def _parts(
    reading: _Reading,
    val_data: Path | None,
    split: Path | None,
    val_split: Path | None,
    share_and_seed: tuple[float, int],
) -> tuple[ClassifiedImages, ClassifiedImages | None]:
    """Images to learn from, and to validate on: given, listed, or a share of each class."""
    from ..classification.splitting import split_off

    images = reading.read(stems(split))
    if val_data is not None or val_split is not None:
        other = replace(reading, data=val_data or reading.data)
        return images, _validation(other, val_split, images)
    share, seed = share_and_seed
    learnt, judged = split_off(images, share, seed)
    if judged is None:
        why = "" if share == 0 else "too few images to spare any: "
        terminal.notice(
            f"{why}nothing is held out: no score tells how good the model is, and its "
            "probabilities are not calibrated"
        )
    return learnt, judged


def _validation(
    reading: _Reading, val_split: Path | None, images: ClassifiedImages
) -> ClassifiedImages:
    """Images to validate on, none of which is learnt from."""
    from ..classification.images import without_outsiders
    from ..classification.splitting import shown_in_both

    validation = without_outsiders(reading.read(stems(val_split), images.names))
    if not len(validation):
        raise InputError(f"{val_split or reading.data}: no image of a class to validate on")
    shared = images.contents & validation.contents
    if shared:
        raise InputError(
            f"{len(shared)} of the images to validate on are among those to learn from; list them "
            "once only"
        )
    alike = shown_in_both(validation, images)
    if alike:
        (file, other), *_ = alike
        terminal.notice(
            f"{len({one for one, _ in alike})} of the images to validate on show nearly the same "
            f"as one to learn from, such as {file} and {other}: scores may be too good"
        )
    return validation


def _kernels(text: str | None) -> tuple[int, ...] | None:
    if text is None:
        return None
    parts = [part.strip() for part in text.split(",")]
    kernels = tuple(int(part) for part in parts if part.isdecimal())
    rising = len(kernels) == len(parts) and list(kernels) == sorted(set(kernels))
    if len(kernels) > _MOST_KERNELS:
        raise InputError(f"--kernels {text}: {_MOST_KERNELS} at most, one for each of the channels")
    if not rising or not all(kernel % 2 and kernel < _LARGEST_KERNEL for kernel in kernels):
        raise InputError(f"--kernels {text}: give odd numbers that rise, such as 3,5,7")
    return kernels


def _spliced(text: str | None) -> tuple[bool, bool] | None:
    if text is None:
        return None
    letters = [part.strip().upper() for part in text.split(",")]
    if len(letters) != 2 or not set(letters) <= {"T", "F"}:
        raise InputError(f"--spliced {text}: give T or F for each of the two blocks, such as T,F")
    return letters[0] == "T", letters[1] == "T"
