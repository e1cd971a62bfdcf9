"""What a user names as input: files, folders, pixel sizes."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from .calibration import Calibration
from .databar import find_data_bar
from .errors import InputError
from .io.images import IMAGE_SUFFIXES, Micrograph, is_image_file, read_micrograph
from .io.index import ImageIndex, IndexRow, find_index
from .io.labels import (
    LabelImage,
    is_label_image,
    looks_like_labels,
    looks_like_mask,
)
from .io.mark import is_own_picture, own_pictures
from .io.ome_zarr import is_zarr
from .regions import Box, Field

_LABELS_ENDING = "_labels"
_STATED = "stated by the user"
_SAME_SIZE = 1e-3


@dataclass(frozen=True)
class PixelSizes:
    """Where pixel sizes come from, beside the files themselves.

    Attributes
    ----------
    stated_um
        One size for all inputs; it overrides everything.
    index
        A table of sizes; it overrides the files. None: the `index.csv` beside each file, if any.
    """

    stated_um: float | None = None
    index: ImageIndex | None = None

    def override(self, calibration: Calibration | None) -> Calibration | None:
        """The stated size, or else what is known already."""
        if self.stated_um is None:
            return calibration
        return Calibration.square(self.stated_um, _STATED)

    def of_labels(self, path: Path, labels: LabelImage) -> Calibration | None:
        """Calibration of a label file: stated, else from the index, else from the file."""
        entry = self._entry_of_labels(path)
        known = entry.calibration if entry else None
        return self.override(known or labels.calibration)

    def specimen_of_labels(self, path: Path) -> str:
        """What the index calls the specimen of a label file; empty when it does not."""
        entry = self._entry_of_labels(path)
        return (entry.specimen or "") if entry else ""

    def _entry_of_labels(self, path: Path) -> IndexRow | None:
        index = self.index or find_index(path)
        return index.lookup(image_of_labels(path)) if index else None


def is_stated(calibration: Calibration | None) -> bool:
    """Whether the user stated the pixel size, whatever files say."""
    return calibration is not None and calibration.source == _STATED


def same_pixel_size(one: Calibration | None, other: Calibration | None) -> bool:
    """Whether two pixel sizes agree to a thousandth; an unknown one agrees with any."""
    if one is None or other is None:
        return True
    return math.isclose(one.x_um, other.x_um, rel_tol=_SAME_SIZE) and math.isclose(
        one.y_um, other.y_um, rel_tol=_SAME_SIZE
    )


def image_files(
    paths: Iterable[Path], notice: Callable[[str], None] = lambda _: None
) -> list[Path]:
    """Files as given, and the image files in folders, in the order of their names.

    The folder of a Zarr image counts as a file.
    Pictures that the program made of results are left out of folders, as they are no micrographs.

    Parameters
    ----------
    notice
        Is told how many those are.

    Raises
    ------
    InputError
        When a folder holds no image or cannot be listed.
    """
    found = [_files_in(path) if _is_folder(path) else _Listed([path]) for path in paths]
    left_out = sum(len(one.pictures) for one in found)
    if left_out:
        notice(f"{_of_ours(left_out)} left out: results are no micrographs")
    return [file for one in found for file in one.images]


def distinct_files(files: Iterable[Path]) -> list[Path]:
    """Each file once, as it was named first."""
    first: dict[Path, Path] = {}
    for file in files:
        first.setdefault(file.resolve(), file)
    return [*first.values()]


def table_names(files: Sequence[Path]) -> list[str]:
    """What tables call files: plain names, or where folders differ paths below the common one.

    With forward slashes. Files without a common folder, as on two drives, or with none but the
    root, go by their whole paths.
    """
    whole = [Path(os.path.normpath(file.absolute())) for file in files]
    folders = {file.parent for file in whole}
    try:
        common = Path(os.path.commonpath(folders)) if folders else Path()
    except ValueError:
        common = Path()
    if len(folders) > 1 and common == common.parent:
        return [file.as_posix() for file in whole]
    return [file.relative_to(common).as_posix() for file in whole]


def _of_ours(pictures: int) -> str:
    if pictures == 1:
        return "1 picture made by this program is"
    return f"{pictures} pictures made by this program are"


def require_distinct_stems(files: Iterable[Path]) -> None:
    """Refuse two files whose results would have one name.

    Raises
    ------
    InputError
        When two names differ in folder or ending only, or a file is given twice.
    """
    first: dict[str, Path] = {}
    for file in files:
        if file.stem in first:
            raise InputError(
                f"{first[file.stem]} and {file} would write the same result; use separate folders"
            )
        first[file.stem] = file


def require_new_labels(targets: Iterable[Path]) -> None:
    """Refuse to replace labels, which may have been corrected by hand.

    Raises
    ------
    InputError
        When one of the label files is there.
    """
    for target in targets:
        if target.exists():
            raise InputError(
                f"{target}: exists already and may hold corrections; choose another folder, or "
                "replace it with --overwrite"
            )


def image_of_labels(path: Path) -> Path:
    """The image a label file belongs to by its name, without an ending of its own."""
    return path.with_name(path.stem.removesuffix(_LABELS_ENDING) + path.suffix)


def read_image(path: Path, sizes: PixelSizes) -> Micrograph:
    """Read a micrograph and know its pixel size.

    Raises
    ------
    InputError
        When the file cannot be used, is a picture that the program made, or holds class indices
        instead of grey values.
    """
    if is_own_picture(path):
        raise InputError(
            f"{path}: a picture that this program made of a result, no micrograph; name the image "
            "it was made of"
        )
    micrograph = read_micrograph(path, sizes.index)
    if not micrograph.rgb and looks_like_labels(micrograph.planes[0]):
        raise InputError(
            f"{path}: class indices, not grey values, so a label image and no micrograph; "
            "name the image it was made of"
        )
    return replace(micrograph, calibration=sizes.override(micrograph.calibration))


def require_grey_values(micrograph: Micrograph) -> None:
    """Refuse a black and white mask, of which a network can make nothing.

    Raises
    ------
    InputError
        When the values are 0 and 255 only.
    """
    if not micrograph.rgb and looks_like_mask(micrograph.planes[0]):
        raise InputError(
            f"{micrograph.source}: black and white only, a mask and no micrograph; "
            "--method threshold turns a mask into labels"
        )


def measured_field(
    micrograph: Micrograph, *, keep_data_bar: bool = False, region: Box | None = None
) -> Field:
    """The image less its data bar, restricted to a box.

    Raises
    ------
    InputError
        When the box reaches beyond the image.
    """
    if region is not None:
        _require_inside(region, micrograph.shape, micrograph.source)
    bar = None if keep_data_bar else find_data_bar(micrograph.planes[0])
    return Field(micrograph.shape, bar, (region.corners,) if region else ())


def field_of_labels(
    path: Path,
    labels: LabelImage,
    micrograph: Micrograph | None,
    *,
    keep_data_bar: bool = False,
    region: Box | None = None,
) -> Field:
    """The field that a label file states, else that of its image; a box takes a region's place.

    Raises
    ------
    InputError
        When the box reaches beyond the labels.
    """
    stated = labels.measured
    if micrograph is not None and not is_label_image(path):
        return measured_field(micrograph, keep_data_bar=keep_data_bar, region=region)
    if region is not None:
        _require_inside(region, stated.shape, path)
    bar = None if keep_data_bar else stated.data_bar
    return Field(stated.shape, bar, (region.corners,) if region else stated.region)


def label_files(paths: Iterable[Path]) -> list[Path]:
    """Label files as given, and those in folders: `*_labels.*` where there are any.

    Raises
    ------
    InputError
        When a folder holds no image, cannot be listed, or holds `*_labels.*` beside labels without
        that ending; when two files are labels of one image.
    """
    files = [file for path in paths for file in (_labels_in(path) if _is_folder(path) else [path])]
    first: dict[str, Path] = {}
    for file in files:
        stem = image_of_labels(file).stem
        if stem in first:
            raise InputError(f"{first[stem]} and {file} are both labels of '{stem}'; keep one")
        first[stem] = file
    return files


def _is_folder(path: Path) -> bool:
    return path.is_dir() and not is_zarr(path)


def _labels_in(folder: Path) -> list[Path]:
    inside = _images_in(folder).images
    named = [path for path in inside if _is_named_labels(path)]
    others = [path for path in inside if path not in named] if named else []
    stray = next((path for path in others if _looks_labelled(path)), None)
    if stray is not None:
        raise InputError(
            f"{folder}: holds {named[0].name}, and {stray.name} which looks like labels too; let "
            f"all label files end in {_LABELS_ENDING}, or none"
        )
    return named or inside


def _is_named_labels(path: Path) -> bool:
    return path.stem.endswith(_LABELS_ENDING)


def _looks_labelled(path: Path) -> bool:
    if is_label_image(path):
        return True
    try:
        plane = read_micrograph(path).planes[0]
    except InputError:
        return False
    return len(plane.shape) == 2 and looks_like_labels(plane)


def _require_inside(region: Box, shape: tuple[int, int], source: Path) -> None:
    rows, columns = shape
    if region.top < 0 or region.left < 0 or region.bottom > rows or region.right > columns:
        raise InputError(
            f"{source}: the region {','.join(map(str, region.to_list()))} reaches "
            f"beyond the image of {rows} rows and {columns} columns"
        )


@dataclass(frozen=True)
class _Listed:
    """Image files, and the pictures of ours beside them."""

    images: list[Path]
    pictures: frozenset[Path] = frozenset()


def _files_in(folder: Path) -> _Listed:
    inside = _images_in(folder)
    # A folder may hold both: then its labels are no images.
    unlabelled = [p for p in inside.images if not (_is_named_labels(p) or is_label_image(p))]
    return replace(inside, images=unlabelled or inside.images)


def _images_in(folder: Path) -> _Listed:
    try:
        entries = sorted(folder.iterdir())
        inside = [p for p in entries if is_image_file(p)]
        folders = [p for p in entries if _is_folder(p)]
    except OSError as error:
        raise InputError(f"{folder}: cannot be listed ({error.strerror or error})") from error
    if not inside:
        raise InputError(f"{folder}: holds no image{_instead(folders)}")
    pictures = own_pictures(inside)
    if len(pictures) == len(inside):
        raise InputError(
            f"{folder}: holds results and no image; {_of_ours(len(pictures))} in it; name the "
            "folder of the micrographs"
        )
    return _Listed([path for path in inside if path not in pictures], pictures)


def _instead(folders: Sequence[Path]) -> str:
    if folders:
        return f", and the folders in it are not searched; name one, such as {folders[0]}"
    return f" ({', '.join(IMAGE_SUFFIXES)})"
