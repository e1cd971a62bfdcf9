"""The plane of descriptors: training crops, how likely each place is, the crops of an image.

Larmuseau and others, Race against the machine, Scripta Materialia 193 (2021) 33, figure 2.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from ..classes import PhaseClass
from .structure_model import NONE_NAME, StructureModel

Floats = NDArray[np.float64]

MOST_SHOWN = 200
"""Training crops a class."""

_SIDE = 160
_DEVIATIONS = 3.0
_MARGIN = 0.06
_FARTHEST = 1.0
"""Crops farther from the classes than so many of their box's sides are drawn at the edge."""

_BELOW = (-3.0, -1.0, 0.0, 0.25, 0.5, 0.75, 1.0)
"""Levels of the contours, from the threshold (0) to the top (1)."""


@dataclass(frozen=True)
class DescriptorMap:
    """What the plane of descriptors shows.

    Attributes
    ----------
    classes
        Of the model.
    known, known_classes
        (n, 2) and (n,) of training crops, at most `MOST_SHOWN` a class.
    x, y
        (g,) where likelihoods are known.
    likelihoods
        (g, g) log-likelihood under the best class, by y and x.
    threshold
        Below it a crop is none of them.
    crops, answers
        (k, 2) and (k,) of the image's crops and their most probable classes; m for none of them.
    probabilities
        (m + 1,) means over the crops; None without any.
    """

    classes: tuple[PhaseClass, ...]
    known: Floats
    known_classes: NDArray[np.int64]
    x: Floats
    y: Floats
    likelihoods: Floats
    threshold: float
    crops: Floats
    answers: NDArray[np.int64]
    probabilities: Floats | None


def descriptor_map(
    model: StructureModel, descriptors: NDArray[np.float32] | None = None
) -> DescriptorMap:
    """The map of a model, and on it the descriptors (k, 2) of the crops of an image."""
    gaussians = model.network.gaussians.cpu()
    crops = torch.zeros(0, 2) if descriptors is None else torch.from_numpy(descriptors)
    known, classes = _thinned(gaussians.descriptors.numpy(), gaussians.classes.numpy())
    deviations = gaussians.covariances.diagonal(dim1=1, dim2=2).sqrt().numpy() * _DEVIATIONS
    means = gaussians.means.numpy()
    low, high = _box(np.concatenate([known, means - deviations, means + deviations]), crops.numpy())
    x, y = (np.linspace(a, b, _SIDE) for a, b in zip(low, high, strict=True))
    places = torch.from_numpy(np.stack([v.ravel() for v in np.meshgrid(x, y)], 1))
    probabilities = gaussians.probabilities(crops).numpy()
    return DescriptorMap(
        model.card.classes,
        known,
        classes,
        x,
        y,
        gaussians.log_likelihoods(places).amax(1).view(_SIDE, _SIDE).numpy(),
        float(gaussians.threshold),
        crops.double().numpy().clip(low, high),
        probabilities.argmax(1),
        probabilities.mean(0) if len(crops) else None,
    )


def descriptor_figure(shown: DescriptorMap, title: str = "") -> Figure:
    """Dots are training crops; crosses are crops of the image, stars those of none of the classes.

    The black line is the threshold; the legend has the image's probabilities.

    Parameters
    ----------
    title
        Says what image and model it is of.
    """
    figure = Figure(figsize=(6.4, 4.8), layout="constrained")
    axes = figure.subplots()
    _draw_likelihoods(axes, shown)
    labels = _labels(shown)
    for number, (phase, label) in enumerate(zip(shown.classes, labels, strict=False)):
        x, y = shown.known[shown.known_classes == number].T
        axes.scatter(x, y, s=9, color=phase.colour, linewidths=0, label=label)
    if len(shown.crops):
        is_none = shown.answers == len(shown.classes)
        x, y = shown.crops[~is_none].T
        axes.scatter(x, y, s=16, c="black", marker="x", linewidths=0.7, label="crops")
        x, y = shown.crops[is_none].T
        axes.scatter(x, y, s=28, c="black", marker="*", linewidths=0, label=labels[-1])
    axes.set(xlim=shown.x[[0, -1]], ylim=shown.y[[0, -1]])
    axes.set(xlabel="descriptor 1", ylabel="descriptor 2")
    axes.set_title(title, fontsize="small", loc="left", wrap=True)
    figure.legend(
        title="" if shown.probabilities is None else "mean of this image's crops",
        title_fontsize="small",
        frameon=False,
        fontsize="small",
        loc="outside right upper",
        markerscale=1.5,
    )
    return figure


def _draw_likelihoods(axes: Axes, shown: DescriptorMap) -> None:
    top = float(shown.likelihoods.max())
    bottom = max(shown.threshold, float(shown.likelihoods.min()))
    if bottom >= top:
        return
    levels = [bottom + part * (top - bottom) for part in _BELOW]
    grid = (shown.x, shown.y, shown.likelihoods)
    axes.contourf(*grid, levels=levels, cmap="Greys", alpha=0.35, extend="min")
    if bottom == shown.threshold:
        # Matplotlib dashes negative levels.
        axes.contour(*grid, [shown.threshold], colors="k", linewidths=1.2, linestyles="solid")
        # A contour has no entry of its own in a legend.
        axes.plot([], [], "k-", linewidth=1.2, label=f"limit to {NONE_NAME}")


def _labels(shown: DescriptorMap) -> Sequence[str]:
    names = [*(one.name for one in shown.classes), NONE_NAME]
    if shown.probabilities is None:
        return names
    return [f"{n} {p:.0%}" for n, p in zip(names, shown.probabilities, strict=True)]


def _thinned(
    descriptors: NDArray[np.float32], classes: NDArray[np.int64]
) -> tuple[Floats, NDArray[np.int64]]:
    """At most `MOST_SHOWN` of each class, the same at every call."""
    order = np.random.default_rng(0).permutation(len(classes))
    chosen = [order[classes[order] == number][:MOST_SHOWN] for number in np.unique(classes)]
    some = np.sort(np.concatenate([*chosen, np.zeros(0, np.int64)]))
    return descriptors[some].astype(np.float64), classes[some]


def _box(classes: Floats, crops: NDArray[np.float32]) -> tuple[Floats, Floats]:
    """Corners of what is shown: all of the classes, and the crops that are not too far away."""
    low, high = classes.min(0), classes.max(0)
    apart = high - low
    if len(crops):
        near = crops.clip(low - _FARTHEST * apart, high + _FARTHEST * apart)
        low, high = np.minimum(low, near.min(0)), np.maximum(high, near.max(0))
    margin = _MARGIN * (high - low)
    return low - margin, high + margin
