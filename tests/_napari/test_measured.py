"""Measuring again after corrections gives what measuring the corrected labels anew does."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from napari_metallography._napari.measured import Measured, measured_again, measured_events
from napari_metallography.calibration import Calibration
from napari_metallography.classes import named_classes
from napari_metallography.errors import InputError
from napari_metallography.events import Events
from napari_metallography.io.labels import LabelImage
from napari_metallography.quantification.correctable import measure_given
from napari_metallography.quantification.corrections import Change, Correction, change_of, plane_at
from napari_metallography.quantification.edges import EdgeRule
from napari_metallography.quantification.parameters import QuantifyParameters
from napari_metallography.regions import Field


def result_of(events: Events[Any]) -> Any:
    while True:
        try:
            next(events)
        except StopIteration as stop:
            return stop.value


def begun(seed: int, rule: EdgeRule) -> Measured:
    """Two planes of blobs of two phases."""
    grown = np.random.default_rng(seed).choice(3, (2, 8, 10), p=(0.7, 0.2, 0.1))
    indices = np.kron(grown, np.ones((1, 4, 4), int)).astype(np.uint8)
    classes = named_classes(["ferrite", "carbide", "inclusion"])
    labels = LabelImage(indices, classes, Calibration(0.5, 0.4, "test"), Field(indices.shape[1:]))
    grey = np.random.default_rng(seed).integers(0, 255, indices.shape, np.uint8)
    parameters = QuantifyParameters(edge_rule=rule, smallest_area_px=1)
    measured: Measured = result_of(measured_events(labels, "steel", parameters, grey, False))
    return measured


def drawn_change(data: st.DataObject, indices: Any, ids: Any, highest: int) -> Change | None:
    there = np.unique(ids)[1:].tolist()
    if not there:
        return None
    action = data.draw(st.sampled_from(["delete", "merge", "split", "reclassify"]))
    chosen = data.draw(st.lists(st.sampled_from(there), min_size=1, max_size=3, unique=True))
    plane = int(np.flatnonzero((ids == chosen[0]).any(axis=(1, 2)))[0])
    to_class = data.draw(st.sampled_from([0, 1, 2, 255] if action == "delete" else [1, 2]))
    asked = Correction(action, tuple(chosen), plane, to_class)
    try:
        return change_of(asked, plane_at(indices, plane), plane_at(ids, plane), highest)
    except InputError:
        return None


@settings(max_examples=8, phases=set(Phase) - {Phase.shrink})
@given(data=st.data(), seed=st.integers(0, 99), rule=st.sampled_from(["all", "exclude-border"]))
def test_any_corrections_and_undos_measure_as_the_labels_shown(data, seed, rule) -> None:
    measured = begun(seed, rule)
    indices, ids = measured.labels.indices.copy(), measured.ids.copy()
    changes: list[Change] = []
    for _ in range(data.draw(st.integers(1, 6))):
        if changes and data.draw(st.booleans()):
            change = changes.pop()
            change.revert(plane_at(indices, p := change.correction.plane), plane_at(ids, p))
        else:
            highest = max([int(measured.ids.max()), *(m for c in changes for m in made(c))])
            found = drawn_change(data, indices, ids, highest)
            if found is None:
                continue
            found.apply(plane_at(indices, p := found.correction.plane), plane_at(ids, p))
            changes.append(found)
        if data.draw(st.booleans()):
            measured = result_of(measured_again(measured, changes))
    measured = result_of(measured_again(measured, changes))
    np.testing.assert_array_equal(measured.ids, ids)
    np.testing.assert_array_equal(measured.labels.indices, indices)
    shown = replace(measured.labels, indices=indices)
    fresh = result_of(measure_given(shown, ids, measured.parameters, measured.grey, "steel"))
    pd.testing.assert_frame_equal(measured.result.particles, fresh.result.particles, rtol=0, atol=0)
    pd.testing.assert_frame_equal(measured.result.phases, fresh.result.phases, rtol=0, atol=0)


def made(change: Change) -> tuple[int, ...]:
    return change.correction.created


def test_the_places_of_a_change_are_found_in_any_type_of_numbers() -> None:
    ids = np.zeros((3000, 900), np.uint16)
    ids[2990:2995, 10:20], ids[5:9, 800:890] = 7, 9
    indices = (ids > 0).astype(np.uint8)
    change = change_of(Correction("delete", (7, 9)), indices, ids)
    assert change.correction.pixels_changed == 50 + 360
    assert change.ids_before.dtype == np.int32
    assert (change.rows.min(), change.rows.max(), change.columns.min()) == (5, 2994, 10)
