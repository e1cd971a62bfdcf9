"""Surface defects of images: a class and its probabilities, or "unsure"."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from .. import __version__
from ..calibration import Calibration
from ..classes import UNLABELLED
from ..devices import device_errors
from ..events import Events, Notice, Progress
from ..models.card import ModelCard
from ..plane import Plane
from ..regions import Box
from ..segmentation.model import is_far_from_training
from ..segmentation.tiling import Window, overlapping
from .defect_parameters import UNSURE_NAME, DefectParameters
from .images import are_alike, as_it_was, prepared
from .inference import deployed, pooled_and_evidence
from .model import DefectModel, normalised
from .pdmsnet import FIRST_CENTRE, STRIDE
from .probabilities import least_probability

UNSURE = -1

_BATCH = 32
_SHORTEST = 64
_MOST_SIDES = 4
_CELLS = 16

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Answers:
    """What a network says of n images.

    Attributes
    ----------
    probabilities
        (n, m) of the classes.
    strangeness
        (n,) as of `Familiarity.strangeness`; infinite where an image is of one grey value.
    least_probability, most_strange
        From which probability and up to which strangeness an answer is given.
    """

    probabilities: Floats
    strangeness: Floats
    least_probability: float
    most_strange: float

    @property
    def probable(self) -> NDArray[np.int64]:
        """The most probable class (n,), sure or not."""
        classes: NDArray[np.int64] = self.probabilities.argmax(1).astype(np.int64)
        return classes

    @property
    def sure(self) -> NDArray[np.bool_]:
        """Whether an answer is given (n,)."""
        familiar = np.isfinite(self.strangeness) & (self.strangeness <= self.most_strange)
        enough = self.probabilities.max(1) >= self.least_probability
        return np.asarray(familiar & enough)

    def where(self, chosen: NDArray[np.bool_]) -> Answers:
        """Those of a choice among the n."""
        return replace(
            self, probabilities=self.probabilities[chosen], strangeness=self.strangeness[chosen]
        )

    def row(self, place: int, names: Sequence[str]) -> dict[str, Any]:
        """One of them for a table, in words and with its strangeness."""
        doubt = self.doubt(place)
        probable = names[int(self.probabilities[place].argmax())]
        return {
            "answer": UNSURE_NAME if doubt else probable,
            "unsure_because": doubt,
            "most_probable": probable,
            "strangeness": float(self.strangeness[place]),
        }

    def doubt(self, place: int) -> str:
        """Why one of them is unsure; "" where it is not."""
        strangeness = float(self.strangeness[place])
        if math.isinf(strangeness):
            return "one grey value"
        if strangeness > self.most_strange:
            return f"unlike the training images: strangeness {strangeness:.2f}"
        probability = float(self.probabilities[place].max())
        if probability < self.least_probability:
            return f"probability {probability:.3f} is too low"
        return ""

    @property
    def given(self) -> NDArray[np.int64]:
        """The class (n,), or `UNSURE`."""
        answers = self.probable
        answers[~self.sure] = UNSURE
        return answers

    def mean(self) -> Answers:
        """What they say together: one answer."""
        return Answers(
            self.probabilities.mean(0, keepdims=True),
            np.median(self.strangeness, keepdims=True),
            self.least_probability,
            self.most_strange,
        )


@dataclass(frozen=True)
class PlaneAnswer:
    """The answer for one plane, and for its windows where it was scanned.

    Attributes
    ----------
    answer
        Of one image: of the plane, or the mean of its windows.
    windows
        What was looked at, in rows and columns of the plane; one box for a whole plane.
    by_window
        The answer for each.
    """

    answer: Answers
    windows: tuple[Box, ...]
    by_window: Answers


class Classifier:
    """A model on a device, with the risk of wrong answers that it takes."""

    def __init__(self, model: DefectModel, device: torch.device, risk: float) -> None:
        self.model = model
        self.shown = model.input
        self._device = device
        self._network = deployed(model.network.core).to(device)
        self._familiarity = model.network.familiarity.cpu()
        self.least_probability = least_probability(self.shown.risks, risk)
        limit = self.shown.most_strange
        self.most_strange = math.inf if limit is None else limit

    def answers(self, pixels: Sequence[NDArray[np.uint8]] | NDArray[np.uint8]) -> Events[Answers]:
        """Name images (H, W, 3) of one shape, as `prepared` makes them.

        Yields
        ------
        Progress
            Of the images.

        Raises
        ------
        DeviceError
            When the device fails.
        """
        pooled, logits, flat = [], [], []
        for start in range(0, len(pixels), _BATCH):
            yield Progress(start, len(pixels), "images")
            batch = np.stack([*pixels[start : start + _BATCH]])
            features, evidence = self._seen(batch)
            flat.append((batch == batch[:, :1, :1]).all((1, 2, 3)))
            pooled.append(features)
            logits.append(evidence.mean((2, 3)))
        yield Progress(len(pixels), len(pixels), "images")
        scaled = torch.cat(logits).double() / self.shown.temperature
        strangeness = self._familiarity.strangeness(torch.cat(pooled))
        return Answers(
            scaled.softmax(1).numpy(),
            np.where(np.concatenate(flat), math.inf, strangeness.double().numpy()),
            self.least_probability,
            self.most_strange,
        )

    def activation(
        self, pixels: NDArray[np.uint8], number: int, shape: tuple[int, int]
    ) -> NDArray[np.float32]:
        """What speaks for a class at each place of an image: (rows, columns) of `shape`, from 0 on.

        Its mean, before it is enlarged, is the class's logit: no gradients are needed (Zhou et al.,
        CVPR 2016; Lin et al., Network in network, 2014).

        Parameters
        ----------
        pixels
            (H, W, 3), as `prepared` makes them.
        number
            Index of the class.
        """
        _, evidence = self._seen(pixels[None])
        rows, columns = (
            [(seen / size) / STRIDE, (0.5 * seen / size - 0.5 - FIRST_CENTRE) / STRIDE]
            for seen, size in zip(pixels.shape[:2], shape, strict=True)
        )
        places = np.array([[columns[0], 0, columns[1]], [0, rows[0], rows[1]]])
        # Beyond the outermost places their evidence goes on.
        enlarged = cv2.warpAffine(
            evidence[0, number].numpy(),
            places,
            shape[::-1],
            flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_REPLICATE,
        )
        return enlarged.astype(np.float32)

    def _seen(self, pixels: NDArray[np.uint8]) -> tuple[torch.Tensor, torch.Tensor]:
        with device_errors():
            images = normalised(pixels, self.model.card.normalisation, self._device)
            return pooled_and_evidence(self._network, images)


def name_plane(
    plane: Plane, classifier: Classifier, calibration: Calibration | None, *, scan: bool
) -> Events[PlaneAnswer]:
    """Name a plane as a whole, or window by window.

    Where both the model's pixel size and the plane's are known, a defect is shown to the network
    as large as those of the training.
    """
    yield from _view_notices(plane, classifier.model.card, calibration, scan=scan)
    if scan:
        return (yield from _scanned(plane, classifier, calibration))
    pixels = whole(plane, classifier.model, calibration)
    answers = yield from classifier.answers([pixels])
    return PlaneAnswer(answers, (Box(0, 0, *plane.shape),), answers)


def heat_map(
    plane: Plane,
    classifier: Classifier,
    calibration: Calibration | None,
    number: int,
    *,
    scan: bool,
) -> Events[NDArray[np.float32]]:
    """What speaks for a class at each pixel of a plane (Y, X), as it was named: whole or scanned.

    Yields
    ------
    Progress
        Of the windows.
    """
    heat = np.zeros(plane.shape, np.float32)
    if not scan:
        yield Progress(0, 1, "windows")
        pixels = whole(plane, classifier.model, calibration)
        return classifier.activation(pixels, number, plane.shape)
    windows = windows_of(plane, classifier.model, calibration, overlap=False)
    for place, window in enumerate(windows.windows):
        yield Progress(place, len(windows), "windows")
        box = window.seen
        heat[box.slices] = classifier.activation(windows[place], number, box.shape)
    return heat


def whole(
    plane: Plane,
    model: DefectModel,
    calibration: Calibration | None,
    change: Callable[[NDArray[np.uint8]], NDArray[np.uint8]] | None = None,
) -> NDArray[np.uint8]:
    """A plane as the network is shown it: of the trained side, or at the trained pixel size.

    Parameters
    ----------
    change
        Done to the plane (Y, X, 3) before it is compressed.
    """
    rgb = as_it_was(plane)
    rgb = change(rgb) if change else rgb
    return prepared(rgb, shown_shape(plane.shape, model, calibration), model.input.jpeg_quality)


def shown_shape(
    shape: tuple[int, int], model: DefectModel, calibration: Calibration | None
) -> tuple[int, int]:
    """Rows and columns that an image is brought to before the network sees it.

    A square of the trained side, as all images of the training were; but at the trained scale,
    where that and the image's are known, and the image shows more or less than those.
    """
    side = model.input.side
    window = _trained_px(model.card, calibration)
    if window is None or are_alike(shape, window):
        return side, side
    factor = min(side / window, _MOST_SIDES * side / max(shape))
    rows, columns = (max(_shortest(side), round(n * factor)) for n in shape)
    return rows, columns


def _shortest(side: int) -> int:
    """The fewest rows or columns that a network trained at a side is shown."""
    return min(side, _SHORTEST)


def _view_notices(
    plane: Plane, card: ModelCard, calibration: Calibration | None, *, scan: bool
) -> Iterator[Notice]:
    """What to say where an image is not shown to the network as those of the training were."""
    if scan and card.defects is not None and not card.defects.square:
        yield Notice(
            f"{card.name} was trained on images of several shapes, squashed to squares: windows "
            "are not what it knows, and answers may be poor"
        )
    longest = max(plane.shape)
    window = _trained_px(card, calibration)
    if not scan and window is not None and longest > _MOST_SIDES * window:
        yield Notice(
            f"the image is {longest / window:.0f} times as long as those {card.name} was trained "
            "on, and is shown to it reduced: scan it by windows"
        )


def pixel_size_notices(card: ModelCard, calibration: Calibration | None) -> Iterator[Notice]:
    """What to say where the pixel size is not that of the training, or unknown."""
    if card.pixel_size_um is None or card.defects is None:
        return
    trained = "{:.3g} to {:.3g} µm".format(*card.pixel_size_um)
    if calibration is None:
        yield Notice(f"no pixel size is known; {card.name} was trained on {trained} a pixel")
    elif is_far_from_training(card, calibration.mean_um):
        yield Notice(
            f"a pixel is {calibration.mean_um:.3g} µm, but {card.name} was trained on {trained}: "
            "images are resampled to that, and answers may be poor"
        )


def provenance(model: DefectModel, parameters: DefectParameters, least: float) -> dict[str, Any]:
    """How answers came about: JSON."""
    return {
        "model": model.card.name,
        "model_digest": model.digest,
        "model_scores": model.card.metrics,
        "parameters": parameters.model_dump(mode="json"),
        "least_probability": least,
        "most_strange": model.input.most_strange,
        "version": __version__,
    }


def defect_map(found: PlaneAnswer, shape: tuple[int, int]) -> NDArray[np.uint8]:
    """Class indices (Y, X) of a scanned plane; 255 where the windows around are unsure.

    Windows overlap: each place has the mean of those that hold it.
    """
    by_window = found.by_window
    step = max(1, min(found.windows[0].shape) // _CELLS)
    cells = tuple(-(-length // step) for length in shape)
    total = np.zeros((*cells, by_window.probabilities.shape[1] + 2))
    values = np.column_stack(
        [by_window.probabilities, by_window.strangeness, np.ones(len(found.windows))]
    )
    for box, value in zip(found.windows, values, strict=True):
        rows = slice(box.top // step, -(-box.bottom // step))
        total[rows, box.left // step : -(-box.right // step)] += value
    means = (total[..., :-1] / total[..., -1:]).reshape(-1, total.shape[-1] - 1)
    there = Answers(
        means[:, :-1], means[:, -1], by_window.least_probability, by_window.most_strange
    )
    indices = np.where(there.sure, there.probable, UNLABELLED).astype(np.uint8).reshape(cells)
    return indices.repeat(step, 0).repeat(step, 1)[: shape[0], : shape[1]]


def _scanned(
    plane: Plane, classifier: Classifier, calibration: Calibration | None
) -> Events[PlaneAnswer]:
    pixels = windows_of(plane, classifier.model, calibration, overlap=True)
    answers = yield from classifier.answers(pixels)
    return PlaneAnswer(answers.mean(), tuple(window.seen for window in pixels.windows), answers)


def windows_of(
    plane: Plane, model: DefectModel, calibration: Calibration | None, *, overlap: bool
) -> Windows:
    """Windows of the trained size that cover a plane, half overlapping or side by side."""
    length = max(1, round(_trained_px(model.card, calibration) or model.input.window_px))
    step = max(1, length // 2) if overlap else length
    grid = overlapping(Box(0, 0, *plane.shape), length, step)
    windows = [window for row in grid for window in row]
    side = model.input.side
    rows, columns = (max(_shortest(side), round(n * side / length)) for n in windows[0].seen.shape)
    return Windows(plane.unstretched(), windows, (rows, columns), model.input.jpeg_quality)


@dataclass(frozen=True)
class Windows(Sequence[NDArray[np.uint8]]):
    """Windows of a plane as the network is shown them, made when their batch comes."""

    plane: Plane
    windows: Sequence[Window]
    shape: tuple[int, int]
    quality: int

    def __len__(self) -> int:
        return len(self.windows)

    def __getitem__(self, key: Any) -> Any:
        if isinstance(key, slice):
            return [self[number] for number in range(*key.indices(len(self)))]
        return prepared(self.plane.rgb8(*self.windows[key].seen.slices), self.shape, self.quality)


def _trained_px(card: ModelCard, calibration: Calibration | None) -> float | None:
    """Side in the image's pixels of what the training images showed; None without both scales.

    Pixels of a size that occurred in training need no change.
    """
    trained, shown = card.pixel_size_um, card.defects
    if trained is None or calibration is None or shown is None or not shown.square:
        return None
    size = calibration.mean_um
    return shown.window_px * min(max(size, trained[0]), trained[1]) / size
