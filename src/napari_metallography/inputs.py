"""What a user names as input: files, folders, pixel sizes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from .calibration import Calibration
from .databar import find_data_bar
from .errors import InputError
from .io.images import IMAGE_SUFFIXES, Micrograph, is_image_file, read_micrograph
from .io.index import ImageIndex, find_index
from .io.labels import LabelImage, looks_like_labels, looks_like_mask
from .regions import Box, Field

_LABELS_ENDING = "_labels"


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
        return Calibration.square(self.stated_um, "stated by the user")

    def of_labels(self, path: Path, labels: LabelImage) -> Calibration | None:
        """Calibration of a label file: stated, else from the index, else from the file."""
        index = self.index or find_index(path)
        entry = index.lookup(image_of_labels(path)) if index else None
        known = entry.calibration if entry else None
        return self.override(known or labels.calibration)


def image_files(paths: Iterable[Path]) -> list[Path]:
    """Files as given, and the image files in folders, in the order of their names.

    Raises
    ------
    InputError
        When a folder holds no image or cannot be listed.
    """
    return [file for path in paths for file in _files_in(path)]


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


def image_of_labels(path: Path) -> Path:
    """The image a label file belongs to by its name, without an ending of its own."""
    return path.with_name(path.stem.removesuffix(_LABELS_ENDING) + path.suffix)


def read_image(path: Path, sizes: PixelSizes) -> Micrograph:
    """Read a micrograph and know its pixel size.

    Raises
    ------
    InputError
        When the file cannot be used, or holds class indices instead of grey values.
    """
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
        _require_inside(region, micrograph)
    bar = None if keep_data_bar else find_data_bar(micrograph.planes[0])
    return Field(micrograph.shape, bar, (region.corners,) if region else ())


def label_files(paths: Iterable[Path]) -> list[Path]:
    """Label files as given, and those in folders: `*_labels.tif` where there are any.

    Raises
    ------
    InputError
        When a folder holds no image or cannot be listed, or two files have one stem.
    """
    files: list[Path] = []
    for path in paths:
        inside = sorted(path.glob(f"*{_LABELS_ENDING}.tif")) if path.is_dir() else []
        files.extend(inside or image_files([path]))
    require_distinct_stems(files)
    return files


def _require_inside(region: Box, micrograph: Micrograph) -> None:
    rows, columns = micrograph.shape
    if region.top < 0 or region.left < 0 or region.bottom > rows or region.right > columns:
        raise InputError(
            f"{micrograph.source}: the region {','.join(map(str, region.to_list()))} reaches "
            f"beyond the image of {rows} rows and {columns} columns"
        )


def _files_in(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    try:
        entries = sorted(path.iterdir())
        inside = [p for p in entries if is_image_file(p)]
        folders = [p for p in entries if p.is_dir()]
    except OSError as error:
        raise InputError(f"{path}: cannot be listed ({error.strerror or error})") from error
    # A folder may hold both: then its labels are no images.
    inside = [p for p in inside if not p.stem.endswith(_LABELS_ENDING)] or inside
    if not inside:
        raise InputError(f"{path}: holds no image{_instead(folders)}")
    return inside


def _instead(folders: Sequence[Path]) -> str:
    if folders:
        return f", and the folders in it are not searched; name one, such as {folders[0]}"
    return f" ({', '.join(IMAGE_SUFFIXES)})"
