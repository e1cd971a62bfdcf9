"""Images with their truth: what trains a model and what it is scored against."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Sequence, Set
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from .classes import (
    UNLABELLED,
    PhaseClass,
    class_count,
    named_classes,
    numbered_classes,
    require_same_classes,
)
from .errors import InputError
from .inputs import (
    PixelSizes,
    image_files,
    image_of_labels,
    label_files,
    measured_field,
    read_image,
    require_distinct_stems,
)
from .io.labels import LabelImage, read_labels
from .plane import as_plane
from .regions import Field

_AS_INDICES = "taken as class indices:"


@dataclass(frozen=True)
class LabelledImage:
    """An image with its truth.

    Attributes
    ----------
    name
        For messages and the model card.
    pixels
        (Y, X, 3) uint8.
    labels
        (Y, X) uint8 class indices, 255 where unlabelled (the data bar included).
    pixel_size_um
        None when unknown.
    specimen
        Images of one specimen belong on one side of a split; empty when unknown.
    measured
        The image less its data bar; None means all of it.
    group
        Planes of one stack belong on one side of a split; empty for an image by itself.
    """

    name: str
    pixels: NDArray[np.uint8]
    labels: NDArray[np.uint8]
    pixel_size_um: float | None = None
    specimen: str = ""
    measured: Field | None = None
    group: str = ""

    @property
    def field(self) -> Field:
        """The image less its data bar."""
        return self.measured or Field(self.labels.shape)


def joined(images: Sequence[LabelledImage]) -> list[LabelledImage]:
    """The images, those of one name and size taken as one with the labels of all.

    The later one's label stands where two have one.
    """
    found: dict[tuple[str, tuple[int, ...]], LabelledImage] = {}
    for image in images:
        key = image.name, image.labels.shape
        before = found.get(key)
        if before is not None:
            labels = np.where(image.labels != UNLABELLED, image.labels, before.labels)
            image = replace(image, labels=labels)
        found[key] = image
    return list(found.values())


def check_labels(images: Sequence[LabelledImage], classes: int) -> None:
    """Refuse labels that do not fit their image or name a class that does not exist."""
    if not images:
        raise InputError("there is no labelled image")
    for image in images:
        if image.labels.shape != image.pixels.shape[:2]:
            raise InputError(
                f"{image.name}: image {image.pixels.shape[:2]} and labels {image.labels.shape} "
                "differ in size"
            )
        known = image.labels[image.labels != UNLABELLED]
        if known.size and int(known.max()) >= classes:
            raise InputError(
                f"{image.name}: label {int(known.max())}, but the {classes} classes are "
                f"0 to {classes - 1}"
            )
    if all((image.labels == UNLABELLED).all() for image in images):
        raise InputError("no pixel is labelled")


def digest(images: Sequence[LabelledImage]) -> str:
    """SHA-256 over the sizes, pixels and labels of the images, in their order."""
    whole = hashlib.sha256()
    for image in images:
        whole.update(repr(image.labels.shape).encode())
        whole.update(image.pixels.tobytes())
        whole.update(image.labels.tobytes())
    return whole.hexdigest()


def read_labelled_folder(
    images: Path,
    labels: Path,
    *,
    ignore: int | None = None,
    sizes: PixelSizes,
    stems: Sequence[str] | None = None,
    names: Sequence[str] = (),
    notice: Callable[[str], None] = lambda _: None,
) -> tuple[list[LabelledImage], tuple[PhaseClass, ...]]:
    """Read every image that has labels of the same stem (`<stem>_labels` also serves).

    Parameters
    ----------
    ignore
        Label value that means unlabelled, beside 255.
    stems
        Only these images; all when None.
    names
        Of the classes, where they are known without the files; for the notices.
    notice
        Told how many images and labels are left out for want of a partner, and how labels are
        understood that do not say it themselves.

    Returns
    -------
    list of LabelledImage
        The data bar, where there is one, is unlabelled.
    tuple of PhaseClass
        As the first label file with names has them; empty when none has.

    Raises
    ------
    InputError
        When a folder or a pair is missing, a stem is listed twice, an image has two label files,
        a file cannot be used, or two label files name different classes.
    """
    for folder in (images, labels):
        if not folder.is_dir():
            raise InputError(f"{folder}: no such folder")
    label_paths = {image_of_labels(path).stem: path for path in label_files([labels])}
    image_list = image_files([images], notice)
    require_distinct_stems(image_list)
    image_paths = {path.stem: path for path in image_list}
    if stems is None:
        wanted = sorted(set(image_paths) & set(label_paths))
        _tell_left_out(image_paths.keys() - label_paths, label_paths.keys() - image_paths, notice)
    else:
        wanted = list(stems)
        _require_listed_once(wanted)
    if not wanted:
        raise InputError(f"no image in {images} has labels of the same name in {labels}")
    for stem in wanted:
        if stem not in image_paths or stem not in label_paths:
            raise InputError(f"'{stem}' has no image in {images} or no labels in {labels}")
    pairs = [_read_pair(image_paths[s], label_paths[s], ignore, sizes) for s in wanted]
    _tell_assumed(labels, [read for _, read in pairs], ignore, names, notice)
    return [image for image, _ in pairs], _common_classes(
        [(label_paths[stem].name, read) for stem, (_, read) in zip(wanted, pairs, strict=True)]
    )


def classes_or_default(
    names: Sequence[str], found: Sequence[PhaseClass], images: Sequence[LabelledImage]
) -> tuple[PhaseClass, ...]:
    """Classes as named by the user, else by the label files, else numbered."""
    if names:
        return named_classes(names)
    return tuple(found) or numbered_classes(class_count(image.labels for image in images))


def _tell_left_out(images: Set[str], labels: Set[str], notice: Callable[[str], None]) -> None:
    if images:
        notice(f"{len(images)} images without labels are left out, such as {min(images)}")
    if labels:
        notice(f"{len(labels)} labels without an image are left out, such as {min(labels)}")


def _tell_assumed(
    folder: Path,
    labels: Sequence[LabelImage],
    ignore: int | None,
    names: Sequence[str],
    notice: Callable[[str], None],
) -> None:
    ignored = "" if ignore is None else f"; of these {ignore} = unlabelled"
    told = Counter(_with_names(one.assumed, names) for one in labels if one.assumed)
    for assumed, count in told.items():
        notice(f"{folder}: {count} without class names {assumed}{ignored}")


def _with_names(assumed: str, names: Sequence[str]) -> str:
    """How values are understood, with the names that the classes are known by."""
    if not (names and assumed.startswith(_AS_INDICES)):
        return assumed
    _, warned, warning = assumed.partition("; ")
    listed = ", ".join(f"{index} = {name}" for index, name in enumerate(names))
    return f"{_AS_INDICES} {listed}, {UNLABELLED} = unlabelled{warned}{warning}"


def _require_listed_once(stems: Sequence[str]) -> None:
    twice = [stem for stem, times in Counter(stems).items() if times > 1]
    if twice:
        raise InputError(f"'{twice[0]}' is listed twice; list each image once")


def _common_classes(files: Sequence[tuple[str, LabelImage]]) -> tuple[PhaseClass, ...]:
    named = [(name, labels.classes) for name, labels in files if labels.classes]
    if not named:
        return ()
    first_name, first = named[0]
    for name, classes in named[1:]:
        require_same_classes(
            [phase.name for phase in first],
            [phase.name for phase in classes],
            first_of=first_name,
            second_of=name,
        )
    return first


def _read_pair(
    image: Path, labels: Path, ignore: int | None, sizes: PixelSizes
) -> tuple[LabelledImage, LabelImage]:
    micrograph = read_image(image, sizes)
    measured = measured_field(micrograph)
    plane = as_plane(micrograph.pixels, str(image), measured)
    read = read_labels(labels, ignore=ignore)
    if read.indices.shape != plane.shape:
        raise InputError(f"{labels}: {read.indices.shape} pixels, but its image has {plane.shape}")
    pixels = plane.rgb8(slice(None), slice(None))
    calibration = micrograph.calibration
    return (
        LabelledImage(
            name=image.stem,
            pixels=pixels,
            labels=_with_unlabelled(np.asarray(read.indices), ignore, measured),
            pixel_size_um=calibration.mean_um if calibration else None,
            specimen=str(micrograph.metadata.get("specimen", "")),
            measured=measured,
        ),
        read,
    )


def _with_unlabelled(
    indices: NDArray[np.uint8], ignore: int | None, measured: Field
) -> NDArray[np.uint8]:
    known = measured.mask()
    if ignore is not None:
        known &= indices != ignore
    return np.where(known, indices, UNLABELLED).astype(np.uint8)
