"""What structure lies where in an image: the answers of many windows, averaged onto pixels.

Larmuseau and others, Race against the machine, Scripta Materialia 193 (2021) 33, figure 4: the
colour says the class, and dark is what belongs to none.

Windows overlap, so all but the last stage of the network runs once over the whole image. The last
stage runs on each window's part of the features, with zeros around it as in training; windows
that lie closer together than `_SHARE` of a side are interpolated between such ones. The earlier
stages see what lies around a window, where they would have seen zeros: what that changes is found
from `_ALONE` windows that go through the whole network by themselves, as a linear function of the
features (ridge regression).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torchvision.models import ResNet

from ..calibration import Calibration
from ..classes import UNLABELLED, PhaseClass
from ..devices import device_errors
from ..errors import InputError
from ..events import Events, Notice, Progress
from .crops import Crops
from .micrographs import require_room
from .structure import outside_words, plane_reader, share_outside
from .structure_model import CropReader, StructureModel
from .structure_parameters import SaliencyParameters
from .triplets import TripletNetwork

Floats = NDArray[np.float64]

_CELL = 16
_CHANNELS = 256
_HALO = 7
"""In cells; the features of a cell depend on 105 px on each side of it."""
_TILE = 64
_SHARE = 1 / 6
_BATCH = 64
_ALONE = 64
_RIDGE = 0.1
_LEAST = 1e-12
_MOST_PX = 2**30
"""Of the image as it is shown; its features then take 4 GiB."""
_ROWS = 256


@dataclass(frozen=True)
class Saliency:
    """Probabilities by window; a pixel has the mean of the windows that hold it.

    Attributes
    ----------
    windows
        (rows, columns, m + 1) of the classes, and of none of them.
    tops, lefts
        (rows,) and (columns,): where windows begin, in pixels of the image; all lie inside it.
    window_px
        Their side.
    shape
        Rows and columns of the image.
    """

    windows: Floats
    tops: Floats
    lefts: Floats
    window_px: float
    shape: tuple[int, int]

    def labels(self) -> NDArray[np.uint8]:
        """The most probable class (Y, X) of each pixel; 255 where that is none of them."""
        none = self.windows.shape[2] - 1
        found = np.concatenate([band.argmax(0).astype(np.uint8) for band in self._bands()])
        return np.where(found == none, np.uint8(UNLABELLED), found)

    def picture(self, classes: Sequence[PhaseClass]) -> NDArray[np.uint8]:
        """(Y, X, 3): the colour of the most probable class, as bright as 1 − P(none)."""
        colours = np.array([one.rgb for one in classes], np.float64)
        bands = [colours[band[:-1].argmax(0)] * (1 - band[-1])[..., None] for band in self._bands()]
        return np.concatenate([np.rint(band).astype(np.uint8) for band in bands])

    def probabilities(self, rows: slice = slice(None)) -> Floats:
        """Of some rows of pixels, (m + 1, rows, X)."""
        down = _means(self.tops, self.window_px, np.arange(self.shape[0])[rows])
        along = _means(self.lefts, self.window_px, np.arange(self.shape[1]))
        found: Floats = down @ np.moveaxis(self.windows, 2, 0) @ along.T
        return found

    def _bands(self) -> Iterator[Floats]:
        """All rows, some at a time: an image of all probabilities may not fit into memory."""
        for start in range(0, self.shape[0], _ROWS):
            yield self.probabilities(slice(start, start + _ROWS))


def saliency_map(
    plane: NDArray[np.uint8],
    calibration: Calibration | None,
    model: StructureModel,
    device: torch.device,
    parameters: SaliencyParameters | None = None,
    *,
    name: str = "image",
) -> Events[Saliency]:
    """Name the structure of every window of grey values (Y, X), uint8.

    The same for the same image and model. The network should lie on the device.

    Parameters
    ----------
    calibration
        Needed by models that take the magnification.
    name
        Of the image, for messages.

    Yields
    ------
    Progress
        Of the parts of the image and the groups of windows.
    Notice
        When the windows' magnification lies outside the trained range.

    Raises
    ------
    InputError
        When the image is smaller than a window, windows do not meet, or the pixel size is needed
        and not known.
    DeviceError
        When the device fails.
    """
    wanted = parameters or SaliencyParameters()
    require_room(plane, model.shown.smallest_px, name)
    reader = plane_reader(plane, calibration, model, device, name)
    window = _window(reader, wanted.window_px, name)
    _require_memory(reader, window, name)
    _require_meeting(window, wanted.stride_px)
    sides = torch.tensor([window], dtype=torch.float32)
    image = torch.zeros(1, dtype=torch.int64)
    share = share_outside(reader.px_per_um(image, sides), model.shown.px_per_um)
    if share:
        size = float(reader.pixel_sizes_um[0])
        words = outside_words(name, size, share, model, "windows")
        yield Notice(f"{words}, or take windows that it knows" if wanted.window_px else words)
    tops, lefts = (window_starts(length, window, wanted.stride_px) for length in plane.shape)
    pooled = yield from _pooled_windows(reader, model.network.core, window, tops, lefts)
    with device_errors():
        magnification = reader.magnifications(image, sides)
        probabilities = _probabilities(model, pooled, magnification)
    return Saliency(
        probabilities.reshape(len(tops), len(lefts), -1).numpy(), tops, lefts, window, plane.shape
    )


def window_starts(length: int, window: float, stride: float) -> Floats:
    """Where windows begin along an axis: evenly from edge to edge, at most `stride` apart."""
    room = max(0.0, length - window)
    return np.linspace(0, room, math.ceil(room / stride) + 1)


def default_window(reader: CropReader) -> float:
    """Twice the smallest crop, or the nearest to it at a magnification the model knows."""
    shown = reader.shown
    smallest, largest = float(shown.smallest_px), float(shown.largest_px)
    shorter = float(reader.atlas.shapes[0].min())
    wanted = 2 * smallest
    if shown.px_per_um is not None:
        coarsest, finest = (
            shown.side / (s * float(reader.pixel_sizes_um[0])) for s in shown.px_per_um
        )
        wanted = min(max(wanted, finest), coarsest)
    return min(max(wanted, smallest), largest, shorter)


def _window(reader: CropReader, stated: float | None, name: str) -> float:
    window = default_window(reader) if stated is None else stated
    rows, columns = (int(n) for n in reader.atlas.shapes[0])
    if window > min(rows, columns):
        raise InputError(
            f"{name}: windows of {window:g} px do not fit into {columns} × {rows} px; "
            "choose smaller ones"
        )
    return window


def _require_meeting(window: float, stride: float) -> None:
    if stride > window:
        raise InputError(
            f"windows of {window:g} px, {stride:g} px apart, leave gaps; choose a smaller stride"
        )


def _require_memory(reader: CropReader, window: float, name: str) -> None:
    """Refuse windows so small that the features of the enlarged image would not fit."""
    rows, columns = (int(n) for n in reader.atlas.shapes[0])
    smallest = reader.shown.side * math.sqrt(rows * columns / _MOST_PX)
    if window < smallest:
        raise InputError(
            f"{name}: windows of {window:g} px enlarge {columns} × {rows} px beyond what fits into "
            f"memory; choose windows of {math.ceil(smallest)} px or more, or cut the image"
        )


def _means(starts: Floats, window: float, pixels: NDArray[np.int64]) -> Floats:
    """Weights (pixels, windows) of the mean over the windows that hold the middle of a pixel."""
    after = pixels[:, None] + 0.5 - starts
    # Rounding must not leave a pixel at an edge without a window.
    holds = ((after > -1e-6) & (after < window + 1e-6)).astype(np.float64)
    return np.asarray(holds / holds.sum(1, keepdims=True))


# --- features that windows share -------------------------------------------------------------


@dataclass(frozen=True)
class _Passes:
    """How a network goes over an image.

    Attributes
    ----------
    scale
        Of the image as it is shown: `side` pixels are a window.
    shape
        Its rows and columns then.
    rows, columns
        Cells at which the windows that are looked at begin.
    """

    reader: CropReader
    encoder: ResNet
    window: float
    scale: float
    shape: tuple[int, int]
    rows: NDArray[np.int64]
    columns: NDArray[np.int64]

    @property
    def places(self) -> list[tuple[int, int]]:
        """First row and column of each window."""
        return [(y, x) for y in self.rows.tolist() for x in self.columns.tolist()]

    @property
    def tiles(self) -> list[tuple[int, int]]:
        """First row and column of each part of the image, in cells."""
        rows, columns = (range(0, math.ceil(n / _CELL), _TILE) for n in self.shape)
        return [(y, x) for y in rows for x in columns]

    def crops(self, places: Sequence[tuple[int, int]]) -> Crops:
        """Windows as crops of the image."""
        starts = torch.tensor(places) * (_CELL / self.scale)
        count = len(places)
        return _upright(starts + self.window / 2, torch.full((count,), self.window))


def _pooled_windows(
    reader: CropReader, network: TripletNetwork, window: float, tops: Floats, lefts: Floats
) -> Events[Tensor]:
    """What the encoder sees in each window, (rows · columns, 512), on the device."""
    side = reader.shown.side
    scale = side / window
    rows, columns = (max(side, math.floor(int(n) * scale + 1e-6)) for n in reader.atlas.shapes[0])
    starts = tops * scale / _CELL, lefts * scale / _CELL
    looked_at = (
        _looked_at(s, (length - side) // _CELL, side)
        for s, length in zip(starts, (rows, columns), strict=True)
    )
    passes = _Passes(reader, network.encoder.core, window, scale, (rows, columns), *looked_at)
    pooled = yield from _pooled(passes)
    with device_errors():
        grid = pooled.view(len(passes.rows), len(passes.columns), -1)
        return _between(grid, (passes.rows, passes.columns), starts)


def _pooled(passes: _Passes) -> Events[Tensor]:
    """What the encoder sees in the windows that are looked at, (places, 512)."""
    tiles, places = passes.tiles, passes.places
    total = len(tiles) + math.ceil(len(places) / _BATCH) + 1
    size = [math.ceil(length / _CELL) for length in passes.shape]
    with device_errors():
        cells = torch.empty((_CHANNELS, *size), device=passes.reader.atlas.device)
    for number, (y, x) in enumerate(tiles):
        yield Progress(number, total, "parts")
        with device_errors(), torch.no_grad():
            part = _features(passes, (y, x))
            cells[:, y : y + part.shape[1], x : x + part.shape[2]] = part
    count = math.ceil(passes.reader.shown.side / _CELL)
    found: list[Tensor] = []
    for begin in range(0, len(places), _BATCH):
        yield Progress(len(tiles) + len(found), total, "parts")
        group = places[begin : begin + _BATCH]
        with device_errors(), torch.no_grad():
            windows = torch.stack([cells[:, y : y + count, x : x + count] for y, x in group])
            found.append(_last_stage(passes.encoder, windows))
    yield Progress(total - 1, total, "parts")
    with device_errors():
        corrected = _corrected(torch.cat(found), passes)
    yield Progress(total, total, "parts")
    return corrected


def _corrected(pooled: Tensor, passes: _Passes) -> Tensor:
    """The same less what the surroundings of windows change, as far as some of them tell."""
    some = np.unique(np.linspace(0, len(pooled) - 1, _ALONE).round().astype(int))
    crops = passes.crops([passes.places[n] for n in some])
    reader = passes.reader
    with torch.no_grad():
        pixels = reader.normalised(reader.atlas.cut(crops, reader.shown.side))
        alone = _last_stage(passes.encoder, _first_stages(passes.encoder, pixels))
        corrected = pooled + _regressed(pooled[some], alone - pooled[some], pooled)
    corrected[some] = alone
    return corrected


def _regressed(known: Tensor, changes: Tensor, features: Tensor) -> Tensor:
    """Changes (n, d) of features (n, d) by ridge regression on those of known ones (k, d)."""
    apart = known - known.mean(0)
    products = apart @ apart.T
    ridge = _RIDGE * products.diagonal().mean().clamp(min=_LEAST) * torch.eye(len(known))
    weights = torch.linalg.solve(products + ridge.to(products), changes - changes.mean(0))
    found: Tensor = changes.mean(0) + (features - known.mean(0)) @ apart.T @ weights
    return found


def _features(passes: _Passes, tile: tuple[int, int]) -> Tensor:
    """What all stages but the last see in a tile, (256, rows, columns) in cells."""
    begins = [max(0, start - _HALO) for start in tile]
    ends = [
        min(length, (start + _TILE + _HALO) * _CELL)
        for start, length in zip(tile, passes.shape, strict=True)
    ]
    pixels = _shown(passes, [begin * _CELL for begin in begins], ends)
    seen = _first_stages(passes.encoder, passes.reader.normalised(pixels))[0]
    top, left = (start - begin for start, begin in zip(tile, begins, strict=True))
    return seen[:, top : top + _TILE, left : left + _TILE]


def _shown(passes: _Passes, begins: Sequence[int], ends: Sequence[int]) -> Tensor:
    """A part (1, 1, rows, columns) of the image at the scale at which windows are shown."""
    rows, columns = (end - begin for begin, end in zip(begins, ends, strict=True))
    size = max(rows, columns)
    centre = torch.tensor([[(begin + size / 2) / passes.scale for begin in begins]])
    square = _upright(centre, torch.tensor([size / passes.scale]))
    return passes.reader.atlas.cut(square, size)[:, :, :rows, :columns]


def _upright(centres: Tensor, sides: Tensor) -> Crops:
    """Crops (B,) of the first image, as they lie."""
    count = len(sides)
    still = torch.zeros(count)
    return Crops(still.long(), centres.float(), sides, still, still.bool())


def _first_stages(encoder: ResNet, pixels: Tensor) -> Tensor:
    seen = encoder.maxpool(encoder.relu(encoder.bn1(encoder.conv1(pixels))))
    features: Tensor = encoder.layer3(encoder.layer2(encoder.layer1(seen)))
    return features


def _last_stage(encoder: ResNet, windows: Tensor) -> Tensor:
    features: Tensor = encoder.layer4(windows.contiguous(memory_format=torch.channels_last))
    return features.mean((2, 3))


def _looked_at(starts: Floats, last: int, side: int) -> NDArray[np.int64]:
    """The cells at which windows are looked at: those wanted, or fewer that lie close enough."""
    wanted = np.unique(np.rint(starts).clip(0, last).astype(np.int64))
    step = max(1, round(side * _SHARE / _CELL))
    regular = np.rint(np.linspace(0, last, math.ceil(last / step) + 1)).astype(np.int64)
    return min(wanted, regular, key=len)


def _between(
    pooled: Tensor, places: tuple[NDArray[np.int64], NDArray[np.int64]], starts: Sequence[Floats]
) -> Tensor:
    """Features (rows · columns, 512) at starts, linearly between those at places."""
    down, along = (
        torch.from_numpy(np.stack([np.interp(s, p, unit) for unit in np.eye(len(p))], 1)).to(pooled)
        for s, p in zip(starts, places, strict=True)
    )
    found = torch.einsum("yp,pqf,xq->yxf", down, pooled, along)
    return found.reshape(-1, pooled.shape[2])


def _probabilities(model: StructureModel, pooled: Tensor, magnification: Tensor) -> Tensor:
    with torch.no_grad():
        magnifications = magnification.to(pooled.device).expand(len(pooled))
        descriptors = model.network.core.place(pooled, magnifications).cpu()
    return model.network.gaussians.cpu().probabilities(descriptors)
