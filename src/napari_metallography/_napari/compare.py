"""*Compare with truth*: where a segmentation differs from a hand-labelled one, and by how much."""

from __future__ import annotations

from functools import partial
from typing import Any

import napari.viewer
import pandas as pd
from magicgui.widgets import ComboBox, Label, Table, Widget
from napari.layers import Image, Labels

from ..classes import require_same_classes
from ..errors import InputError
from ..evaluation.comparison import Comparison, compare
from ..io.overlays import (
    FALSE_NEGATIVE,
    FALSE_POSITIVE,
    NOT_JUDGED,
    TRUE_NEGATIVE,
    TRUE_POSITIVE,
    WRONG_PHASE,
)
from .form import Form, as_result, chosen, fill, layer_choice, show_all, wrap
from .layers import (
    class_names,
    labels_as_indices,
    layer_calibration,
    plane_placement,
    stated_names,
)
from .results import mark_computed, remove_untouched

ALL_PHASES = -1
"""Choice of the error map of all phases but the matrix."""

_LEGEND = {
    "right": TRUE_POSITIVE,
    "right, other phase": TRUE_NEGATIVE,
    "wrongly found": FALSE_POSITIVE,
    "missed": FALSE_NEGATIVE,
    "found as another phase": WRONG_PHASE,
    "not compared": NOT_JUDGED,
}

_PREDICTED = "a Labels layer of phases, such as a result of Segment"
_TRUTH = (
    "a Labels layer of the same phases, labelled by hand; what it leaves unlabelled is left out"
)


class CompareWidget(Form):
    """The dock *Compare with truth*."""

    def __init__(self, viewer: napari.viewer.Viewer) -> None:
        self.predicted = layer_choice(viewer, Labels, "Prediction", tooltip=_PREDICTED)
        self.truth = layer_choice(viewer, Labels, "Truth", tooltip=_TRUTH)
        self.phase = ComboBox(
            choices=self._phases,
            label="Error map of",
            tooltip="where this phase is right, wrongly found or missed",
        )
        self.scores = Table(value=None, label="", visible=False)
        self.summary = Label(value="", label="", visible=False)
        self.legend = Label(value=legend_html(), label="", visible=False)
        super().__init__(
            viewer,
            "compare",
            [self.predicted, self.truth, self.phase, self.scores, self.summary, self.legend],
            {},
            "Compare",
            "Compare with truth",
        )
        wrap(self.summary)
        wrap(self.legend)
        as_result(self.scores)
        self.predicted.changed.connect(self.phase.reset_choices)
        for choice in (self.predicted, self.truth):
            choice.changed.connect(self._clear)

    def compute(self) -> None:
        """Compare the chosen layers."""
        self._clear()
        predicted: Labels = chosen(self.predicted, "the Labels layer of a segmentation")
        truth: Labels = chosen(self.truth, "the Labels layer of the truth")
        if predicted is truth:
            raise InputError("prediction and truth are the same layer; choose two")
        prediction, classes = labels_as_indices(predicted)
        known, true_classes = labels_as_indices(truth)
        require_same_classes(
            stated_names(predicted),
            stated_names(truth),
            first_of=predicted.name,
            second_of=truth.name,
        )
        calibration = layer_calibration(predicted)
        classes = max(classes, true_classes, key=len)
        index = int(self.phase.value)
        events = compare(
            prediction,
            known,
            classes,
            class_index=None if index == ALL_PHASES else index,
            pixel_size_um=calibration.mean_um if calibration else None,
            name=predicted.name,
        )
        shown = "all phases" if index == ALL_PHASES else classes[index].name
        self.controls.start(
            events, f"Compare {predicted.name}", partial(self._show, predicted, truth, shown)
        )

    def _show(self, predicted: Labels, truth: Labels, shown: str, result: Comparison) -> None:
        name = f"{predicted.name} errors ({shown})"
        remove_untouched(self.viewer, name)
        layer = Image(
            result.errors,
            rgb=True,
            name=name,
            metadata={"scores": result.scores, "truth": truth.name},
            **plane_placement(predicted, predicted.ndim),
        )
        mark_computed(layer)
        self.viewer.add_layer(layer)
        fill(self.scores, score_table(result.scores), "phase")
        self.summary.value = summary_text(result.scores)
        self.controls.say(f"mean IoU {result.scores['miou']:.3f}")
        # Another layer may have been chosen meanwhile: these scores are not its.
        of_chosen = self.predicted.value is predicted and self.truth.value is truth
        show_all(self._results, of_chosen)

    def _clear(self, *_: object) -> None:
        """Show no scores: those there are belong to other layers, or to another run."""
        show_all(self._results, False)

    @property
    def _results(self) -> list[Widget]:
        return [self.scores, self.summary, self.legend]

    def _phases(self, _: object) -> list[tuple[str, int]]:
        names = class_names(self.predicted.value)
        return [("all phases", ALL_PHASES), *((name, index) for index, name in enumerate(names))]


def score_table(scores: dict[str, Any]) -> pd.DataFrame:
    """A row a class: IoU, and precision and recall of its particles."""
    particles = scores["particles"]
    rows = [
        {
            "phase": name,
            "IoU": _shown(iou),
            "precision": _shown(particles.get(name, {}).get("precision")),
            "recall": _shown(particles.get(name, {}).get("recall")),
            "n (true)": _counts(particles.get(name)),
        }
        for name, iou in scores["iou"].items()
    ]
    return pd.DataFrame(rows)


def summary_text(scores: dict[str, Any]) -> str:
    """The scores over all classes, and what precision and recall count."""
    return (
        f"Mean IoU {scores['miou']:.3f}, accuracy {scores['accuracy']:.3f}.\n"
        "Precision and recall count particles, matched at IoU ≥ 0.5. "
        "n: particles found, and in brackets the true ones."
    )


def legend_html() -> str:
    """What the colours of an error map mean."""
    entries = [
        f'<span style="color:rgb{colour};background:#606060">■</span> {meaning}'
        for meaning, colour in _LEGEND.items()
    ]
    return "<br>".join(entries)


def _shown(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _counts(particles: dict[str, Any] | None) -> str:
    if particles is None:
        return "–"
    return f"{particles['n_predicted']:,} ({particles['n_true']:,})"
