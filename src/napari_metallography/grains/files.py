"""The grain size of image files: boundaries found in the image, or given in files of their own."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..calibration import Calibration, require
from ..errors import InputError
from ..events import Event, Events, Notice, relayed
from ..inputs import PixelSizes, measured_field, read_image
from ..io.files import digest, write_bytes
from ..io.images import IMAGE_SUFFIXES, Micrograph, read_micrograph
from ..io.labels import looks_like_mask
from ..io.overlays import png_bytes, with_legend, with_scale_bar
from ..io.tables import write_json
from ..plane import LUMA, as_plane
from ..quantification.earlier_files import FILES, digests_of, files_of_run, remove_earlier
from ..regions import Box
from .drawing import drawn, legend
from .finding import MASK, Given, takes_masks
from .grading import FieldGrade, Method
from .plan import GradingPlan, LeftOut, graded, needs_grains
from .report import write_report
from .stages import staged
from .study import GradedField, grain_size_of

_JSON, _REPORT = "grain_size.json", "grain_size.html"
_ENDINGS = ("_boundaries", "_grains", "_labels", "")
_EASY_TO_READ_PX, _MOST_ENLARGED = 1600, 4


@dataclass(frozen=True)
class GradedFile:
    """The fields of an image file, and the first of them drawn by each method, as PNG files."""

    path: Path
    fields: tuple[GradedField, ...]
    pictures: Mapping[Method, bytes]


@dataclass(frozen=True)
class GivenFile:
    """Boundaries or numbered grains in a file, for each plane of an image."""

    micrograph: Micrograph
    smallest_area_px: int
    digest: str

    def of(self, index: int, box: Box) -> Given:
        """Of a plane by its number, in a box."""
        plane = np.asarray(self.micrograph.planes[index])
        grey = (plane[..., :3] @ LUMA).round() if self.micrograph.rgb else plane
        values = np.asarray(grey)[box.slices]
        name = self.micrograph.source.name
        return Given(name, values, smallest_area_px=self.smallest_area_px, digest=self.digest)


def grade_file(
    path: Path,
    plan: GradingPlan,
    *,
    sizes: PixelSizes,
    boundaries: Path | None = None,
    smallest_area_px: int = 1,
    keep_data_bar: bool = False,
    region: Box | None = None,
) -> Events[GradedFile]:
    """Grade an image, or each plane of a stack, as a field.

    Parameters
    ----------
    plan
        The methods, and where grains come from unless they are given.
    boundaries
        A mask of boundaries or an image of numbered grains, or a folder with one for each image by
        its name, with or without "_boundaries", "_grains" or "_labels"; None goes by the plan, or
        takes the image for a mask where it is black and white and the plan asks for no way in
        particular.
    smallest_area_px
        Of grains between given boundaries.

    Yields
    ------
    Progress, Notice
        Of all fields; what the standards, or the line network, would object to in each.

    Raises
    ------
    InputError
        Without a pixel size, when a file cannot be used, or no boundary is found.
    DeviceError
        When the device fails.
    """
    micrograph = read_image(path, sizes)
    known = digest(path)
    count = len(micrograph.planes)
    fields: list[GradedField] = []
    pictures: Mapping[Method, bytes] = {}
    for number in range(count):
        grading = grade_field(
            micrograph,
            number,
            plan,
            known,
            boundaries=boundaries,
            smallest_area_px=smallest_area_px,
            keep_data_bar=keep_data_bar,
            region=region,
            draw=number == 0,
        )
        field, drawn = yield from staged(grading, number, count)
        pictures = pictures or drawn
        fields.append(field)
    return GradedFile(path, tuple(fields), pictures)


def grade_field(
    micrograph: Micrograph,
    number: int,
    plan: GradingPlan,
    sha256: str,
    *,
    boundaries: Path | None = None,
    smallest_area_px: int = 1,
    keep_data_bar: bool = False,
    region: Box | None = None,
    draw: bool = True,
) -> Events[tuple[GradedField, Mapping[Method, bytes]]]:
    """Grade a plane of an image, and draw it by each method; as `grade_file`.

    Parameters
    ----------
    sha256
        Of the image's file, for the provenance.
    draw
        Without it there are no pictures.
    """
    path = micrograph.source
    calibration = require(micrograph.calibration, str(path))
    field = measured_field(micrograph, keep_data_bar=keep_data_bar, region=region)
    box, cut = measured_box(field.frame(), region, str(path))
    given = _given(micrograph, boundaries, plan, smallest_area_px)
    notes = (*cut, *((MASK,) if given is not None and given.micrograph is micrograph else ()))
    if number == 0:
        yield from (Notice(f"{path.name}: {note}") for note in notes)
    own = plan.with_finding(given.of(number, box)) if given else plan
    name = _name(path, number, len(micrograph.planes))
    plane = as_plane(micrograph.plane(number), name, field)
    pixels = plane.rgb8(*box.slices)
    left_out: dict[Method, str] = {}
    by_method = yield from _hearing(graded(own, pixels, calibration, str(path)), left_out)
    yield from _notices(name, by_method)
    made = {
        **own.provenance(),
        "image_sha256": sha256,
        "calibration": calibration.to_dict(),
        "box": box.to_list(),
    }
    specimen = str(micrograph.metadata.get("specimen") or "")
    drawn = {method: picture(pixels, one) for method, one in by_method.items() if draw}
    return GradedField(name, by_method, specimen, made, notes, left_out), drawn


def _hearing(
    running: Events[dict[Method, FieldGrade]], left_out: dict[Method, str]
) -> Events[dict[Method, FieldGrade]]:
    """The same; why methods are left out is kept too."""

    def hear(event: Event) -> Event:
        if isinstance(event, LeftOut):
            left_out[event.method] = event.reason
        return event

    return (yield from relayed(running, hear))


def _notices(name: str, by_method: Mapping[Method, FieldGrade]) -> Iterator[Notice]:
    notes = [f"{method}: {note}" for method, one in by_method.items() for note in one.notes]
    yield from (Notice(f"{name}: {note}") for note in notes)


def write_grain_sizes(
    folder: Path,
    images: Sequence[GradedFile],
    wanted_accuracy_percent: float,
    notice: Callable[[str], None] = lambda _: None,
) -> dict[str, Any]:
    """Write grain_size.json, its report and `<stem>_<method>.png` of each image.

    Files that an earlier run wrote there, and this one did not, are removed unless they were
    changed since.

    Parameters
    ----------
    notice
        Is told of such files that stay.

    Returns
    -------
    What `study.grain_size_of` gives; the JSON has the digests of the other files too, as `files`.

    Raises
    ------
    InputError
        When a file cannot be written.
    """
    fields = [field for image in images for field in image.fields]
    found = grain_size_of(fields, wanted_accuracy_percent)
    earlier = files_of_run(folder / _JSON)
    drawn = [(image, method, png) for image in images for method, png in image.pictures.items()]
    pictures = {f"{image.path.stem}_{method}.png": png for image, method, png in drawn}
    for name, png in pictures.items():
        write_bytes(folder / name, png)
    shown = {f"{image.fields[0].name}, {method}": png for image, method, png in drawn}
    write_report(folder / _REPORT, found, fields, shown, wanted_accuracy_percent)
    files = digests_of(folder, [_REPORT, *pictures])
    write_json(folder / _JSON, {**found, FILES: files})
    for said in remove_earlier(folder, earlier, files):
        notice(said)
    return found


def _name(path: Path, index: int, count: int) -> str:
    return path.name if count == 1 else f"{path.name}, plane {index}"


def picture(pixels: NDArray[np.uint8], found: FieldGrade) -> bytes:
    """A PNG file of an image (Y, X, 3) with what was counted, a scale bar and a legend.

    Small images are enlarged a whole number of times.
    """
    times = min(_MOST_ENLARGED, max(1, _EASY_TO_READ_PX // max(found.shape)))
    size = Calibration.square(found.pixel_um / times, "drawn")
    shown = with_scale_bar(drawn(pixels, found, times), size)
    return png_bytes(with_legend(shown, legend(found)), size)


def measured_box(frame: Box, region: Box | None, name: str) -> tuple[Box, tuple[str, ...]]:
    """The part of a region that lies in the frame of a field, and what is to be said of it.

    Parameters
    ----------
    frame
        The image less its data bar.
    region
        None for the whole frame.
    name
        What a refusal calls the image.

    Raises
    ------
    InputError
        When nothing is left.
    """
    if region is None or region == frame:
        return frame, ()
    top, left = max(region.top, frame.top), max(region.left, frame.left)
    bottom, right = min(region.bottom, frame.bottom), min(region.right, frame.right)
    if bottom <= top or right <= left:
        raise InputError(
            f"{name}: the region holds no pixel of the image less its data bar; choose another"
        )
    box = Box(top, left, bottom, right)
    if box == region:
        return box, ()
    return box, (
        f"the region is cut at the data bar or the edge of the image: rows {top} to {bottom - 1}, "
        f"columns {left} to {right - 1} are measured",
    )


def _given(
    micrograph: Micrograph, boundaries: Path | None, plan: GradingPlan, smallest: int
) -> GivenFile | None:
    """What is given of an image, or the image where it may be a mask itself, and is."""
    if not needs_grains(plan.methods):
        return None
    if boundaries is not None:
        return boundaries_given(micrograph, boundaries, smallest)
    may_be = takes_masks(plan.finding) and not micrograph.rgb
    is_mask = may_be and looks_like_mask(micrograph.planes[0])
    return GivenFile(micrograph, smallest, digest(micrograph.source)) if is_mask else None


def boundaries_given(
    micrograph: Micrograph, boundaries: Path, smallest_area_px: int = 1
) -> GivenFile:
    """What a file, or a folder with one for each image as `grade_file` has it, gives of an image.

    Raises
    ------
    InputError
        When it is missing or of another size.
    """
    path = micrograph.source
    file = _beside(boundaries, path) if boundaries.is_dir() else boundaries
    given = read_micrograph(file)
    if given.shape != micrograph.shape or len(given.planes) != len(micrograph.planes):
        raise InputError(
            f"{file}: {_size(given)} pixels, but {path.name} has {_size(micrograph)}; "
            "boundaries must be drawn on the image they belong to"
        )
    return GivenFile(given, smallest_area_px, digest(file))


def _beside(folder: Path, image: Path) -> Path:
    for ending in _ENDINGS:
        for suffix in IMAGE_SUFFIXES:
            file = folder / f"{image.stem}{ending}{suffix}"
            if file.is_file() and file.resolve() != image.resolve():
                return file
    raise InputError(f"{folder}: holds no boundaries of {image.name}, such as {image.stem}.png")


def _size(micrograph: Micrograph) -> str:
    rows, columns = micrograph.shape
    planes = len(micrograph.planes)
    return f"{rows} x {columns}" + (f" x {planes} planes" if planes > 1 else "")
