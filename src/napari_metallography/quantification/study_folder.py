"""A study as one folder: fields, regions, corrections, rules and tables, to go on with later."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray

from .. import __version__
from ..calibration import Calibration
from ..errors import InputError, validated
from ..io.files import digest, read_bytes
from ..io.labels import LabelImage, read_labels, write_labels
from ..io.tables import write_json
from ..io.tiff import opened, resolution_tags
from ..plane import ArrayLike
from ..reports import ReportHead
from .corrections import Change, Correction, Ids, originals, replayed, require_known_classes
from .files import MeasuredImage, source_of, with_provenance
from .parameters import QuantifyParameters
from .study_files import StudyParameters, write_study

STUDY_FILE = "study.json"

_FORMAT = 1
_HEAD = ("specimen", "laboratory", "operator", "standard")


@dataclass(frozen=True)
class StudyImage:
    """The image of a field.

    Attributes
    ----------
    path
        Its file; None when it has none and is copied into the study.
    sha256
        Digest of the file's bytes; empty: it is worked out when the study is written.
    pixels
        (Y, X), (N, Y, X), or either with colours last; None when the image is not at hand.
    rgb
        Whether the last axis is colour.
    """

    path: Path | None
    sha256: str = ""
    pixels: ArrayLike | None = None
    rgb: bool = False


@dataclass(frozen=True)
class StudyField:
    """An image of a study with all that its numbers came from.

    Attributes
    ----------
    measured
        Its result; the labels are those as corrected.
    ids
        Shaped like the labels: all particles as corrected, 0 elsewhere.
    parameters
        The rules it was measured by.
    changes
        Corrections with what they did, in their order.
    image
        None when the labels were measured without one.
    """

    measured: MeasuredImage
    ids: Ids
    parameters: QuantifyParameters
    changes: tuple[Change, ...] = ()
    image: StudyImage | None = None

    @property
    def trail(self) -> list[Correction]:
        """The corrections."""
        return [change.correction for change in self.changes]


@dataclass(frozen=True)
class StoredField:
    """A field as read from a study's folder.

    Attributes
    ----------
    labels, ids, changes
        As of `StudyField`: labels and particles as corrected.
    image
        Path and digest as stored; None when the labels were measured without an image.
    problem
        One line when the image is missing or another than it was, so not to be read; else empty.
    """

    name: str
    specimen: str
    labels: LabelImage
    ids: Ids
    changes: tuple[Change, ...]
    image: StudyImage | None
    problem: str


@dataclass(frozen=True)
class StoredStudy:
    """A study as read from its folder."""

    identity: str
    head: ReportHead
    parameters: QuantifyParameters
    fields: tuple[StoredField, ...]


def write_study_folder(
    folder: Path,
    fields: Sequence[StudyField],
    identity: str,
    *,
    head: ReportHead | None = None,
    copy_images: bool = False,
    parameters: StudyParameters | None = None,
) -> None:
    """Write a study to a folder that appears whole or not at all.

    It holds `study.json`, `labels/` (class indices as corrected, and before the corrections where
    there are any; particle numbers), `images/` (copies), and the files of
    `study_files.write_study`. Of a folder that holds the same study already, the files that the
    program wrote are replaced; copies of images and whatever else lies in it stay.

    Parameters
    ----------
    fields
        One at least, measured by the same rules, with names of their own.
    identity
        Tells this study from any other.
    copy_images
        Copy all images; otherwise those only that have no file of their own.

    Raises
    ------
    InputError
        When the folder holds something else, or cannot be written, or the fields do not go
        together (rules, classes, some with a pixel size and some without).
    """
    folder = folder.absolute()
    _require_own(folder, identity)
    with _replacing_folder(folder) as beside:
        write_study(beside, [_with_digest(one) for one in fields], head=head, parameters=parameters)
        (beside / "labels").mkdir()
        entries = [
            _write_field(one, number, beside, folder, copy_images)
            for number, one in enumerate(fields, start=1)
        ]
        written = _files_in(beside)
        _carry(folder, beside)
        write_json(
            beside / STUDY_FILE,
            {
                "napari_metallography": "study",
                "format": _FORMAT,
                "version": __version__,
                "identity": identity,
                "head": {name: getattr(head, name) for name in _HEAD} if head else {},
                "parameters": fields[0].parameters.model_dump(mode="json"),
                "fields": entries,
                "files": [path.as_posix() for path in written],
            },
        )


def read_study_folder(folder: Path) -> StoredStudy:
    """Read a study; its labels and corrections are as they were, bit for bit.

    Raises
    ------
    InputError
        When the folder holds no study, or its labels are missing, damaged or other than stored.
    """
    stored = _read_description(folder)
    try:
        texts: dict[str, Any] = {name: str(text) for name, text in stored["head"].items()}
        head = ReportHead("Phases and particles", **texts)
        parameters = validated(QuantifyParameters, stored["parameters"])
        fields = tuple(_read_field(folder, entry) for entry in stored["fields"])
        return StoredStudy(str(stored["identity"]), head, parameters, fields)
    except (KeyError, TypeError, AttributeError, ValueError, OverflowError) as error:
        raise InputError(f"{folder / STUDY_FILE}: is damaged ({error}); measure anew") from error


def identity_of(folder: Path) -> str | None:
    """The identity of the study in a folder; None when there is none that can be read."""
    with suppress(InputError):
        return str(_read_description(folder).get("identity"))
    return None


# --- writing ---------------------------------------------------------------------------------


def _with_digest(one: StudyField) -> MeasuredImage:
    """The measured image with name and digest of its file in the provenance."""
    path = one.image.path if one.image else None
    if one.image is None or path is None:
        return one.measured
    sources = {"image": source_of(path, one.image.sha256 or digest(path))}
    return replace(one.measured, result=with_provenance(one.measured.result, sources=sources))


def _write_field(
    one: StudyField, number: int, beside: Path, folder: Path, copy_images: bool
) -> dict[str, Any]:
    labels, measured = one.measured.labels, one.measured
    stem = f"labels/{number:02d}_{_file_name(measured.name)}"
    write_labels(beside / f"{stem}_labels.tif", labels)
    _write_ids(beside / f"{stem}_particles.tif", one.ids, labels.calibration)
    if one.changes:
        before, ids = originals(np.asarray(labels.indices), one.ids, one.changes)
        whole = LabelImage(
            before, labels.classes, labels.calibration, labels.measured, labels.provenance
        )
        write_labels(beside / f"{stem}_original_labels.tif", whole)
        _write_ids(beside / f"{stem}_original_particles.tif", ids, labels.calibration)
    return {
        "name": measured.name,
        "specimen": measured.specimen,
        "labels": stem,
        "corrections": [correction.to_dict() for correction in one.trail],
        "image": _write_image(one, number, beside, folder, copy_images),
    }


def _write_image(
    one: StudyField, number: int, beside: Path, folder: Path, copy_images: bool
) -> dict[str, Any] | None:
    image = one.image
    if image is None:
        return None
    if image.path is not None and (
        image.pixels is None or not _is_copied(image, folder, copy_images)
    ):
        return _named(image.path.absolute(), folder, image.sha256 or digest(image.path))
    if image.pixels is None:
        return None
    (beside / "images").mkdir(exist_ok=True)
    copy = beside / "images" / f"{number:02d}_{_file_name(one.measured.name)}.tif"
    tifffile.imwrite(
        copy,
        np.asarray(image.pixels),
        photometric="rgb" if image.rgb else "minisblack",
        compression="zlib",
        metadata=None,
        **resolution_tags(one.measured.labels.calibration),
    )
    sha256 = digest(copy)
    place = _own_place(folder / "images" / copy.name, sha256)
    copy.replace(beside / "images" / place.name)
    return _named(place, folder, sha256)


def _is_copied(image: StudyImage, folder: Path, copy_images: bool) -> bool:
    """Whether an image with a file is copied; one in the folder only where its file is gone."""
    path = image.path
    if path is None or not path.absolute().is_relative_to(folder):
        return copy_images
    return not (path.is_file() and image.sha256 in ("", digest(path)))


def _own_place(path: Path, sha256: str) -> Path:
    """The path, or "name (2)" beside it where another image has it."""
    place, number = path, 1
    while place.exists() and digest(place) != sha256:
        number += 1
        place = _numbered(path, number)
    return place


def _numbered(path: Path, number: int) -> Path:
    return path.with_name(f"{path.stem} ({number}){path.suffix}")


def _files_in(folder: Path) -> list[Path]:
    """Relative to the folder."""
    files = sorted(path for path in folder.rglob("*") if path.is_symlink() or path.is_file())
    return [path.relative_to(folder) for path in files]


def _carry(folder: Path, beside: Path) -> None:
    """Take over the images of the former study, and the files that the program did not write."""
    if not (folder / STUDY_FILE).is_file():
        return
    stated = _read_description(folder).get("files")
    former = {str(name) for name in stated} if isinstance(stated, list) else None
    for path in _files_in(folder):
        name = path.as_posix()
        image = path.parts[0] == "images"
        own = former is not None and name in former and not image
        # Without a list of what was written, what has a new version is taken for the program's.
        # An image of the same name is the same image.
        replaced = (beside / path).exists() and (former is None or image)
        if name != STUDY_FILE and not own and not replaced:
            _link(folder / path, _free(beside / path))


def _free(path: Path) -> Path:
    place, number = path, 1
    while place.exists():
        number += 1
        place = _numbered(path, number)
    return place


def _link(source: Path, target: Path) -> None:
    """The same file under another name, so that a large one takes no time; else a copy."""
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source, target, follow_symlinks=False)
    except (OSError, NotImplementedError):
        shutil.copy2(source, target, follow_symlinks=False)


def _named(path: Path, folder: Path, sha256: str) -> dict[str, Any]:
    relative = None
    # On Windows there is no way from one drive to another.
    with suppress(ValueError):
        relative = Path(os.path.relpath(path, folder)).as_posix()
    return {"path": str(path), "relative": relative, "sha256": sha256}


def _write_ids(path: Path, ids: Ids, calibration: Calibration | None) -> None:
    tifffile.imwrite(
        path,
        ids,
        photometric="minisblack",
        compression="zlib",
        metadata=None,
        **resolution_tags(calibration),
    )


def _file_name(name: str) -> str:
    return re.sub(r"[^\w.-]+", "_", Path(name).stem)[:60] or "field"


def _require_own(folder: Path, identity: str) -> None:
    try:
        occupied = folder.exists() and (not folder.is_dir() or any(folder.iterdir()))
    except OSError as error:
        raise InputError(f"{folder}: cannot be read ({error.strerror or error})") from error
    if occupied and identity_of(folder) != identity:
        raise InputError(f"{folder}: holds something else already; choose a new folder")


@contextmanager
def _replacing_folder(folder: Path) -> Iterator[Path]:
    """Give a folder beside to write to; it takes the place of `folder` when the block succeeds."""
    beside = folder.with_name(f".{folder.name}.{os.getpid()}.part")
    former = folder.with_name(f".{folder.name}.{os.getpid()}.former")
    try:
        beside.mkdir(parents=True)
        yield beside
        if folder.exists():
            folder.replace(former)
        try:
            beside.replace(folder)
        except OSError:
            if former.exists():
                former.replace(folder)
            raise
    except OSError as error:
        raise InputError(f"{folder}: cannot be written ({error.strerror or error})") from error
    finally:
        shutil.rmtree(beside, ignore_errors=True)
        if folder.exists():
            shutil.rmtree(former, ignore_errors=True)


# --- reading ---------------------------------------------------------------------------------


def _read_description(folder: Path) -> dict[str, Any]:
    path = folder / STUDY_FILE
    if not path.is_file():
        raise InputError(f"{folder}: holds no {STUDY_FILE}; choose the folder of a saved study")
    try:
        stored = json.loads(read_bytes(path))
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: is damaged; measure anew") from error
    if not isinstance(stored, dict) or stored.get("napari_metallography") != "study":
        raise InputError(f"{path}: is no study of this program")
    if stored.get("format") != _FORMAT:
        raise InputError(f"{path}: was written by another version; update napari-metallography")
    return stored


def _read_field(folder: Path, entry: Mapping[str, Any]) -> StoredField:
    stem = folder / str(entry["labels"])
    labels, ids = _read_pair(stem, "")
    trail = [Correction.from_dict(one) for one in entry["corrections"]]
    require_known_classes(trail, len(labels.classes))
    changes: list[Change] = []
    if trail:
        before, numbers = _read_pair(stem, "_original")
        again, numbers, changes = replayed(np.asarray(before.indices), numbers, trail)
        if not (np.array_equal(again, np.asarray(labels.indices)) and np.array_equal(numbers, ids)):
            raise InputError(f"{stem}_labels.tif: is not what its corrections lead to; save anew")
    image, problem = _find_image(folder, entry["image"])
    return StoredField(
        str(entry["name"]), str(entry["specimen"]), labels, ids, tuple(changes), image, problem
    )


def _read_pair(stem: Path, which: str) -> tuple[LabelImage, Ids]:
    path = Path(f"{stem}{which}_labels.tif")
    labels = read_labels(path)
    ids = _read_ids(Path(f"{stem}{which}_particles.tif"))
    if ids.shape != labels.indices.shape or not labels.classes:
        raise InputError(f"{path}: is not as it was stored; measure anew")
    return labels, ids


def _read_ids(path: Path) -> Ids:
    with opened(path) as tiff:
        ids: NDArray[Any] = tiff.asarray()
    if ids.dtype != np.int32:
        raise InputError(f"{path}: holds no particle numbers; measure anew")
    return ids


def _find_image(folder: Path, entry: Mapping[str, Any] | None) -> tuple[StudyImage | None, str]:
    if entry is None:
        return None, ""
    stated, sha256 = Path(entry["path"]), str(entry["sha256"])
    # A study moved together with its images finds them beside it.
    relative = entry["relative"]
    beside = [Path(os.path.normpath(folder / relative))] if relative else []
    found = [path for path in (*beside, stated) if path.is_file()]
    for path in found:
        if digest(path) == sha256:
            return StudyImage(path, sha256), ""
    if found:
        problem = "has changed since the study was saved; open the image it was measured on"
        said = f"{found[0]}: {problem}. The stored labels are shown without it"
        return StudyImage(found[0], sha256), said
    copied = [path for path in beside if path.is_relative_to(folder)]
    missing = [*copied, stated][0]
    return (
        StudyImage(missing, sha256),
        f"{missing}: is no longer there; put it back. The stored labels are shown without it",
    )
