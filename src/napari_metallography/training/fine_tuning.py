"""Fine-tuning on painted micrographs: the whole round from paint to a look at what came of it."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from ..calibration import Calibration
from ..classes import UNLABELLED, PhaseClass
from ..devices import Precision
from ..errors import InputError
from ..events import Event, Events, Notice, Progress, relayed
from ..io.files import together
from ..labelled import LabelledImage
from ..models.card import ModelCard, Network
from ..plane import ArrayLike, as_plane
from ..regions import Field
from ..segmentation.model import TOLERATED_RATIO, SegmentationModel, load_model
from ..segmentation.networks import SegmentationNetwork
from ..segmentation.prediction import QUICK
from ..segmentation.segment import Segmentation, SegmentParameters, segment
from .checkpoint import fingerprint, stopped_at
from .job import TrainingJob
from .recipe import SegmentationRecipe
from .results import (
    SegmentationDescription,
    finished,
    gains_path,
    model_card,
    past_round,
    require_free,
    rounds_of,
    write_results,
)
from .search import Search, write_gains
from .segmentation import TrainedNetwork, train
from .split import HeldOut, Split, split
from .start import PastRound, Start, from_model, new_network

_CHECKPOINT = ".checkpoint.safetensors"
_KEPT = 3
_ALL_LABELS_FOR = 3
"""The last of so many parts of a training learns the held-out strokes too."""


@dataclass(frozen=True)
class Painted:
    """One plane of a micrograph with what is painted on it, as a viewer has it.

    Attributes
    ----------
    array
        (Y, X), or (Y, X, 3 or 4).
    labels
        (Y, X) uint8 class indices, 255 = unlabelled.
    measured
        Labels outside of it are ignored.
    group
        The same for planes of one stack, which are held out together; empty for an image by
        itself.
    """

    name: str
    array: ArrayLike
    labels: NDArray[np.uint8]
    measured: Field
    pixel_size_um: float | None = None
    group: str = ""


@dataclass(frozen=True)
class Origin:
    """Where a training starts; `model` is the parent, None for a new network."""

    start: Start
    model: SegmentationModel | None = None


OriginOf = Callable[[Sequence[str]], Origin]
"""The origin for classes of these names; it may take a while and raise `InputError`."""


@dataclass(frozen=True)
class Plan:
    """What the user asks for.

    Attributes
    ----------
    checkpoints
        Folder where stopped trainings are kept.
    resample
        Bring all images to the median of their pixel sizes.
    """

    painted: Sequence[Painted]
    classes: tuple[PhaseClass, ...]
    origin: OriginOf
    recipe: SegmentationRecipe
    device: torch.device
    precision: Precision
    checkpoints: Path
    resample: bool = False


@dataclass
class Session:
    """What is known of a training while it runs: written by it, read by those who show it.

    Attributes
    ----------
    images
        As the network sees them, in the order of the plan.
    watch
        As `TrainingJob.watch`; may read `images`.
    kept
        What a stop leaves behind for another run to go on from, once something is there; None
        after the end.
    """

    watch: Callable[[], NDArray[np.uint8] | None] | None = None
    images: Sequence[LabelledImage] = ()
    split: Split | None = None
    job: TrainingJob | None = None
    kept: Path | None = None


@dataclass(frozen=True)
class Tuned:
    """A finished training.

    Attributes
    ----------
    before, after
        By name of the image: phases by the parent, empty without one, and by the new network,
        with its uncertainty.
    search
        The trainings that this one is the best of; None where it is the only one.
    """

    job: TrainingJob
    trained: TrainedNetwork
    description: SegmentationDescription
    before: dict[str, Segmentation] = field(default_factory=dict)
    after: dict[str, Segmentation] = field(default_factory=dict)
    search: Search | None = None

    def origin(self, names: Sequence[str]) -> Origin:
        """The origin of a training that goes on from this one; its parent stays the file's."""
        card = model_card("the last training", self.job, self.description)
        done = rounds_of(self.job, self.trained)
        return _going_on(self.job, SegmentationModel(card, self.trained.network, ""), names, done)


def origin_of_model(name_or_file: str, names: Sequence[str]) -> Origin:
    """A model that is trained further."""
    model = load_model(name_or_file)
    return Origin(from_model(model, names), model)


def origin_of_network(network: Network, weights: str, names: Sequence[str]) -> Origin:
    """A new network; weights as for `start.new_network`."""
    return Origin(new_network(network, weights))


def kept_and_new(parent: Sequence[str], names: Sequence[str]) -> tuple[list[str], list[str]]:
    """Which classes keep what the parent has learnt of them, and which are learnt anew."""
    return [n for n in names if n in parent], [n for n in names if n not in parent]


def labelled(painted: Painted) -> LabelledImage:
    """The image as training takes it; paint outside the field is left out.

    Raises
    ------
    InputError
        When image and labels differ in size, or the image cannot be used.
    """
    plane = as_plane(painted.array, painted.name, painted.measured)
    if painted.labels.shape != plane.shape:
        raise InputError(
            f"{painted.name}: image {plane.shape} and labels {painted.labels.shape} differ in "
            "size; paint on a labels layer made for this image"
        )
    known = painted.measured.mask()
    return LabelledImage(
        name=painted.name,
        pixels=plane.rgb8(slice(None), slice(None)),
        labels=np.where(known, painted.labels, UNLABELLED).astype(np.uint8),
        pixel_size_um=painted.pixel_size_um,
        measured=painted.measured,
        group=painted.group,
    )


def require_two_classes(images: Sequence[LabelledImage], classes: Sequence[PhaseClass]) -> None:
    """Refuse a training set in which nothing, or one class only, is painted."""
    present = _classes_of(images)
    if not present:
        raise InputError("nothing is painted yet; paint some strokes of every class, matrix too")
    if len(present) == 1:
        raise InputError(
            f"only '{classes[present[0]].name}' is painted; paint some strokes of another class too"
        )


def pixel_sizes_differ(sizes: Sequence[float | None]) -> bool:
    """Whether the known pixel sizes differ by more than a network takes in its stride."""
    known = [size for size in sizes if size is not None]
    return bool(known) and max(known) > TOLERATED_RATIO * min(known)


def at_median_size(images: Sequence[LabelledImage]) -> list[LabelledImage]:
    """The images resampled to the median of their pixel sizes; those without one stay.

    A class whose strokes fall between the pixels of a coarser image stays where it covers most.

    Raises
    ------
    InputError
        When a class is lost nonetheless.
    """
    median = median_size([image.pixel_size_um for image in images])
    if median is None:
        return [*images]
    resampled = [_resampled(image, median) for image in images]
    if _classes_of(resampled) != _classes_of(images):
        raise InputError(
            f"the paint of some class is too fine to be seen at {median:.3g} µm a pixel, the "
            "median; paint larger strokes, or train without the resampling"
        )
    return resampled


def median_size(sizes: Sequence[float | None]) -> float | None:
    """The median of the known pixel sizes in µm; None where none is known."""
    known = [size for size in sizes if size is not None]
    return float(np.median(known)) if known else None


def with_all_labels_last(job: TrainingJob, parts: Split) -> TrainingJob:
    """The job, of which the last third learns held-out strokes and blocks too.

    A few strokes are too few to keep a quarter of them from the network for good. Its score is
    that from before.
    """
    if not _joins_in_the_end(parts, job.recipe):
        return job
    iterations = job.recipe.iterations
    return replace(job, all_labels_from=iterations - iterations // _ALL_LABELS_FOR)


def _joins_in_the_end(parts: Split, recipe: SegmentationRecipe) -> bool:
    return recipe.keep == "last" and parts.held_out in ("strokes", "blocks")


def held_out_words(parts: Split, recipe: SegmentationRecipe) -> str:
    """What is held out of a training by the recipe, for people."""
    if parts.held_out == "nothing":
        return (
            "held out: nothing, there is too little paint; the last weights are kept, and no "
            "score tells how good they are"
        )
    labels = [image.labels for image in parts.validation]
    pixels = sum(int((one != UNLABELLED).sum()) for one in labels)
    count = len(labels) if parts.held_out in ("specimens", "images") else _pieces(labels)
    what = _HELD_OUT[parts.held_out].format(count) if count > 1 else _HELD_OUT_ONE[parts.held_out]
    learnt = ", learnt too in the last third" if _joins_in_the_end(parts, recipe) else ""
    return f"held out: {what} ({pixels:,} pixels){learnt}"


def fine_tune(plan: Plan, session: Session, *, resume: bool = False) -> Events[Tuned]:
    """Train on painted micrographs and look at them with the new network.

    Parameters
    ----------
    session
        Filled in as the training gets under way.
    resume
        Go on with a training that was stopped, of the same paint and settings; without one,
        start as if False.

    Yields
    ------
    Event
        Those of `training.segmentation.train`; Notice when the pixel sizes differ much.

    Raises
    ------
    InputError
        When the paint does not do for a training.
    """
    images = yield from read_painted(plan)
    forget_old(plan.checkpoints)
    session.images = images
    origin = plan.origin([phase.name for phase in plan.classes])
    session.split = split(images)
    session.job = job = job_of(plan, session.split, origin.start, session.watch)
    if job.checkpoint is not None and not resume:
        # What an earlier run left is not this one's.
        job.checkpoint.unlink(missing_ok=True)
    elif job.checkpoint is not None and not job.checkpoint.exists():
        yield Notice(
            "no training of this paint with these settings was stopped: training starts anew"
        )
    session.kept = job.checkpoint
    before: dict[str, Segmentation] = {}
    if origin.model is not None:
        before = yield from look(origin.model, plan.painted, job.device, _seen_at(plan))
    trained = yield from train(job, resume=resume)
    description = description_of(plan, images)
    after = yield from look_after(plan, job, trained, description)
    if job.checkpoint is not None:
        job.checkpoint.unlink(missing_ok=True)
    session.kept = None
    return Tuned(job, trained, description, before, after)


def read_painted(plan: Plan) -> Events[list[LabelledImage]]:
    """The images of a plan as training takes them; `InputError` when the paint does not do."""
    yield Progress(0, plan.recipe.iterations, "reading the images")
    images = [labelled(one) for one in plan.painted]
    require_two_classes(images, plan.classes)
    if plan.resample:
        return at_median_size(images)
    if pixel_sizes_differ([image.pixel_size_um for image in images]):
        yield Notice(
            "the images' pixel sizes differ more than "
            f"{TOLERATED_RATIO:g} times; tick the resampling, or train on images of one size"
        )
    return images


def description_of(plan: Plan, images: Sequence[LabelledImage]) -> SegmentationDescription:
    """What the card of a plan's model says of its data."""
    names = ", ".join(image.name for image in images)
    return SegmentationDescription(names, classes=plan.classes)


def look_after(
    plan: Plan, job: TrainingJob, trained: TrainedNetwork, description: SegmentationDescription
) -> Events[dict[str, Segmentation]]:
    """The plan's images by the new network."""
    model = SegmentationModel(model_card("fine-tuned", job, description), trained.network, "")
    return (yield from look(model, plan.painted, job.device, _seen_at(plan)))


def origin_words(tuned: Tuned) -> str:
    """What a training started from, for people."""
    start = tuned.job.start
    if start.parent is not None:
        return "a trained model"
    network = start.network
    return f"a new {network.architecture} on {network.encoder}, weights: {start.encoder_weights}"


def job_of(
    plan: Plan, parts: Split, start: Start, watch: Callable[[], NDArray[np.uint8] | None] | None
) -> TrainingJob:
    """The training of a plan, with a checkpoint named after all that determines its result."""
    job = TrainingJob(
        images=parts.training,
        validation=parts.validation,
        start=start,
        classes=len(plan.classes),
        recipe=plan.recipe,
        device=plan.device,
        precision=plan.precision,
        watch=watch,
    )
    job = with_all_labels_last(job, parts)
    name = f"{fingerprint(job.settings())[:16]}{_CHECKPOINT}"
    return replace(job, checkpoint=plan.checkpoints / name)


def stopped_in(folder: Path) -> list[Path]:
    """The checkpoints of stopped trainings in a plan's folder."""
    return [*folder.glob(f"*{_CHECKPOINT}")]


def forget_old(folder: Path, pattern: str = f"*{_CHECKPOINT}") -> None:
    """Keep the few latest: a stopped training nobody went on with must not fill the disk."""
    found = sorted(folder.glob(pattern), key=lambda path: path.stat().st_mtime)
    for path in found[:-_KEPT]:
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def stopped_origin(
    stopped: TrainingJob, classes: tuple[PhaseClass, ...], names: Sequence[str]
) -> Origin:
    """The weights of a stopped training, to start another one from.

    Raises
    ------
    InputError
        When its checkpoint is gone.
    """
    if stopped.checkpoint is None:
        raise InputError("the stopped training kept no checkpoint; press Train to start anew")
    card = model_card("the stopped training", stopped, SegmentationDescription("", classes=classes))
    network = SegmentationNetwork(card.network, len(card.classes))
    weights, history = stopped_at(stopped.checkpoint)
    network.load_state_dict(weights)
    done = *stopped.start.rounds, past_round(stopped, history, len(history))
    return _going_on(stopped, SegmentationModel(card, network.eval(), ""), names, done)


def look(
    model: SegmentationModel,
    painted: Sequence[Painted],
    device: torch.device,
    size_um: float | None = None,
) -> Events[dict[str, Segmentation]]:
    """Phases and uncertainty of each image by a model, quickly.

    Parameters
    ----------
    size_um
        Pixel size at which the model sees those images whose own is known; None shows it all
        images as they are. Results have the image's own size.
    """
    parameters = SegmentParameters(
        device="cuda" if device.type == "cuda" else "cpu",
        uncertainty=True,
        prediction=QUICK,
        resample=size_um is not None,
    )
    if size_um is not None:
        model = replace(
            model, card=model.card.model_copy(update={"pixel_size_um": (size_um, size_um)})
        )
    found: dict[str, Segmentation] = {}
    for one in painted:
        events = segment(
            one.array,
            rgb=len(one.array.shape) == 3,
            calibration=_calibration(one),
            measured=one.measured,
            parameters=parameters,
            name=one.name,
            model=model,
        )
        found[one.name] = yield from relayed(events, _only_progress)
    return found


def look_with(
    name_or_file: str, painted: Sequence[Painted], device: torch.device
) -> Events[dict[str, Segmentation]]:
    """As `look`, with a model by name or file."""
    return (yield from look(load_model(name_or_file), painted, device))


def save_tuned(path: Path, tuned: Tuned) -> Events[ModelCard]:
    """Score the network and write the model, `history.csv`, `training.json`, a search's table.

    Raises
    ------
    InputError
        When a model or another training's history is there, or the disk is full.
    """
    require_free(path, resume=False)
    card, _ = yield from finished(path.stem, tuned.job, tuned.trained, tuned.description)
    with together(gains_path(path)):
        if tuned.search is not None:
            write_gains(path, tuned.search)
        write_results(path, tuned.job, tuned.trained, card, tuned.description)
    return card


_HELD_OUT: dict[HeldOut, str] = {
    "specimens": "{} images of other specimens",
    "images": "{} images",
    "strokes": "{} strokes of the same images",
    "blocks": "{} patches of the same images",
}
_HELD_OUT_ONE: dict[HeldOut, str] = {
    "specimens": "one image of another specimen",
    "images": "one image",
    "strokes": "one stroke of the same image",
    "blocks": "one patch of the same image",
}


def _pieces(labels: Sequence[NDArray[np.uint8]]) -> int:
    """Connected pieces of one class over all images."""
    return sum(
        cv2.connectedComponents((one == index).astype(np.uint8), connectivity=8)[0] - 1
        for one in labels
        for index in np.unique(one[one != UNLABELLED])
    )


def _classes_of(images: Sequence[LabelledImage]) -> list[int]:
    """The classes that are painted, in order."""
    return sorted({int(i) for image in images for i in np.unique(image.labels)} - {UNLABELLED})


def _seen_at(plan: Plan) -> float | None:
    """The pixel size of the training; None where images are taken as they are."""
    return median_size([one.pixel_size_um for one in plan.painted]) if plan.resample else None


def _resampled(image: LabelledImage, size_um: float) -> LabelledImage:
    if image.pixel_size_um is None or image.pixel_size_um == size_um:
        return image
    factor = image.pixel_size_um / size_um
    rows, columns = (max(1, round(length * factor)) for length in image.labels.shape)
    pixels = cv2.resize(
        image.pixels,
        (columns, rows),
        interpolation=cv2.INTER_AREA if factor < 1 else cv2.INTER_LINEAR,
    )
    labels = _labels_resized(image.labels, (columns, rows))
    # What lies outside the field is unlabelled already.
    return replace(
        image,
        pixels=pixels.astype(np.uint8),
        labels=labels,
        pixel_size_um=size_um,
        measured=None,
    )


def _labels_resized(labels: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """Labels of another size (columns, rows); a class between its pixels is put where it was."""
    resized = cv2.resize(labels, size, interpolation=cv2.INTER_NEAREST).astype(np.uint8)
    for index in np.setdiff1d(labels, [*np.unique(resized), UNLABELLED]):
        share = cv2.resize((labels == index).astype(np.float32), size, interpolation=cv2.INTER_AREA)
        resized[share > share.max() / 2] = index
    return resized


def _going_on(
    job: TrainingJob, model: SegmentationModel, names: Sequence[str], done: tuple[PastRound, ...]
) -> Origin:
    """A training that goes on; what it descends from stays what the job says."""
    start = replace(
        from_model(model, names),
        parent=job.start.parent,
        encoder_weights=job.start.encoder_weights,
        rounds=done,
    )
    return Origin(start, model)


def _calibration(painted: Painted) -> Calibration | None:
    size = painted.pixel_size_um
    return None if size is None else Calibration.square(size, "the image's layer")


def _only_progress(event: Event) -> Event | None:
    return event if isinstance(event, Progress) else None
