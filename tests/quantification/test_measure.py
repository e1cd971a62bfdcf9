from __future__ import annotations

import json
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import ndimage

from napari_metallography.calibration import Calibration
from napari_metallography.classes import UNLABELLED, named_classes
from napari_metallography.errors import InputError
from napari_metallography.events import Notice, Progress, drain
from napari_metallography.quantification.measure import quantify
from napari_metallography.quantification.parameters import QuantifyParameters
from napari_metallography.regions import Box, Field

CLASSES = named_classes(["matrix", "carbide", "network"])
PIXEL = Calibration.square(0.1, "test")


def run(indices, *, classes=CLASSES, calibration=PIXEL, measured=None, on_event=None, **more):
    parameters = more.pop("parameters", QuantifyParameters())
    measured = measured or Field(indices.shape[-2:])
    events = quantify(indices, classes, calibration, measured, parameters, **more)
    return drain(events, on_event or (lambda event: None))


def micrograph():
    indices = np.zeros((20, 30), np.uint8)
    indices[2:6, 3:7] = 1
    indices[10:13, 20:22] = 2
    indices[19, 0:2] = 1
    return indices


def test_tables_ids_and_statistics_tell_the_same():
    result = run(micrograph())
    assert result.particles["phase"].tolist() == ["carbide", "network", "carbide"]
    assert result.particles["class_index"].tolist() == [1, 2, 1]
    assert result.ids.dtype == np.int32
    assert np.bincount(result.ids.ravel())[1:].tolist() == result.particles["area_px"].tolist()
    carbide = result.phases.set_index("phase").loc["carbide"]
    assert carbide["n_particles"] == 2
    assert carbide["area_fraction"] == 18 / 600
    statistics = result.statistics["phases"]["carbide"]
    assert statistics["area_fraction"]["mean"] == 18 / 600
    assert statistics["area_fraction"]["ci95"] is None
    assert "one field" in statistics["area_fraction"]["reason"]
    assert statistics["n_particles"] == 2
    assert result.statistics["phases"]["matrix"]["n_particles"] is None


def test_tables_tell_the_values_that_stand_in_the_file():
    result = run(micrograph(), label_values=(0, 77, 200))
    assert result.phases["label_value"].tolist() == [0, 77, 200]
    assert result.particles["label_value"].tolist() == [77, 200, 77]
    assert run(micrograph()).phases["label_value"].tolist() == [0, 1, 2]


def test_the_rules_stand_in_the_result():
    parameters = QuantifyParameters(smallest_area_px=3, edge_rule="exclude-border")
    result = run(micrograph(), parameters=parameters, labels_provenance={"model": "m"}, name="a")
    assert result.statistics["edge_rule"] == "exclude-border"
    assert result.statistics["smallest_area_px"] == 3
    provenance = result.statistics["provenance"]
    assert (provenance["image"], provenance["labels"]) == ("a", {"model": "m"})
    assert provenance["calibration"]["source"] == "test"
    json.dumps(result.statistics, allow_nan=False)
    assert result.particles["area_px"].tolist() == [16, 6]


def test_the_edge_rule_leaves_areas_of_phases_alone():
    by_rule = [
        run(micrograph(), parameters=QuantifyParameters(edge_rule=rule)).phases
        for rule in ("all", "exclude-border")
    ]
    assert by_rule[0]["area_um2"].tolist() == by_rule[1]["area_um2"].tolist()
    assert by_rule[0]["n_particles"].tolist()[1:] == [2, 1]
    assert by_rule[1]["n_particles"].tolist()[1:] == [1, 1]


def test_each_plane_is_a_field_and_numbers_run_through():
    stack = np.stack([micrograph(), np.zeros((20, 30), np.uint8), micrograph()])
    events: list[object] = []
    fields = QuantifyParameters(planes_are_fields=True)
    result = run(stack, on_event=events.append, parameters=fields)
    assert [e.done for e in events if isinstance(e, Progress)] == [1, 2, 3]
    assert result.particles["particle"].tolist() == [1, 2, 3, 4, 5, 6]
    assert result.particles["plane"].tolist() == [0, 0, 0, 2, 2, 2]
    assert result.ids.shape == stack.shape
    assert set(np.unique(result.ids[2])) == {0, 4, 5, 6}
    fraction = result.statistics["phases"]["carbide"]["area_fraction"]
    assert (result.statistics["n_fields"], fraction["n_fields"]) == (3, 3)
    assert fraction["mean"] == pytest.approx(0.02)
    assert fraction["ci95"][0] < 0.02 < fraction["ci95"][1]
    radius = result.statistics["phases"]["carbide"]["mean_radius_um"]
    assert radius["n_fields"] == 2


def test_planes_are_not_independent_unless_they_are_said_to_be():
    stack = np.stack([micrograph(), np.zeros((20, 30), np.uint8)])
    result = run(stack)
    fraction = result.statistics["phases"]["carbide"]["area_fraction"]
    assert (fraction["n_fields"], fraction["mean"]) == (2, pytest.approx(0.015))
    assert (fraction["ci95"], fraction["fields_needed"]) == (None, None)
    assert fraction["s"] > 0
    assert fraction["reason"] == "planes of one image are not independent fields"
    notes = result.statistics["provenance"]["notes"]
    assert "2 planes, each measured as a flat field" in notes
    assert any("no confidence interval" in note for note in notes)


def test_a_plane_without_labels_is_no_field():
    stack = np.stack([micrograph(), np.full((20, 30), UNLABELLED, np.uint8)])
    events: list[object] = []
    result = run(stack, on_event=events.append)
    assert result.statistics["n_fields"] == 1
    notices = [e.message for e in events if isinstance(e, Notice)]
    assert "image: plane 1 holds no labelled pixel and is left out" in notices


def test_particles_too_small_to_resolve_are_noted_with_the_result():
    events: list[object] = []
    result = run(micrograph(), on_event=events.append, name="a")
    notes = result.statistics["provenance"]["notes"]
    assert [note[: note.index(";")] for note in notes[:1]] == [
        "network: 1 of 1 particles are below 12 px (a disc 4 px wide)"
    ]
    assert [e.message for e in events if isinstance(e, Notice)] == [f"a: {note}" for note in notes]


def test_what_the_smallest_area_leaves_out_is_noted_only_where_nothing_is_left():
    parameters = QuantifyParameters(smallest_area_px=12, edge_rule="exclude-border")
    notes = run(micrograph(), parameters=parameters).statistics["provenance"]["notes"]
    assert [note for note in notes if "no particle counts" in note] == [
        "network: no particle counts: all are below the smallest area of 12 px"
    ]


def test_an_edge_rule_that_leaves_no_particle_is_noted():
    indices = np.zeros((2, 20, 20), np.uint8)
    indices[:, :4, :4] = 1
    indices[1, 10:14, 10:14] = 1
    parameters = QuantifyParameters(edge_rule="exclude-border")
    notes = run(indices, parameters=parameters).statistics["provenance"]["notes"]
    assert notes[0] == (
        "carbide: no particle counts in plane 0: the edge rule exclude-border leaves out 1"
    )
    every = run(indices).statistics["provenance"]["notes"]
    assert not any("no particle counts" in note for note in every)


def test_the_data_bar_and_what_lies_outside_the_region_are_left_out():
    bar = Box(15, 0, 20, 30)
    region = ((-0.5, -0.5), (-0.5, 14.5), (30.0, 14.5), (30.0, -0.5))
    result = run(micrograph(), measured=Field((20, 30), bar, (region,)))
    assert result.particles["area_px"].tolist() == [16]
    assert result.phases["field_area_um2"].iloc[0] == pytest.approx(15 * 15 * 0.01)


def test_particles_cut_by_unlabelled_pixels_are_not_whole():
    indices = micrograph()
    indices[2:6, 7] = UNLABELLED
    assert run(indices).particles["touches_border"].tolist() == [True, False, True]
    whole = run(indices, parameters=QuantifyParameters(edge_rule="exclude-border"))
    assert whole.particles["phase"].tolist() == ["network"]
    assert whole.phases["field_area_um2"].iloc[0] == pytest.approx(20 * 30 * 0.01)


def test_grey_values_of_a_stack():
    stack = np.stack([micrograph(), micrograph()])
    grey = np.stack([np.full((20, 30), 7.0), np.full((20, 30), 9.0)])
    assert run(stack, intensity=grey).particles["mean_grey"].tolist() == [7, 7, 7, 9, 9, 9]


planes = arrays(np.uint8, (6, 7), elements=st.sampled_from([0, 1, 2, UNLABELLED]))


@settings(max_examples=20)
@given(planes.filter(lambda plane: bool((plane != UNLABELLED).any())), st.permutations([0, 1, 2]))
def test_renaming_the_indices_of_classes_changes_no_number(plane, order):
    table = np.arange(256, dtype=np.uint8)
    table[:3] = order
    classes = [CLASSES[order.index(i)] for i in range(3)]
    everything = QuantifyParameters(classes=(0, 1, 2))
    first = run(plane, parameters=everything)
    second = run(table[plane], classes=classes, parameters=everything)
    np.testing.assert_array_equal(first.ids, second.ids)
    assert first.particles["phase"].tolist() == second.particles["phase"].tolist()
    columns = ["area_fraction", "mean_radius_um", "number_density_per_mm2"]
    np.testing.assert_array_equal(
        first.phases.set_index("phase")[columns],
        second.phases.set_index("phase").loc[first.phases["phase"], columns],
    )
    assert first.phases["area_fraction"].sum() == pytest.approx(1)


@settings(max_examples=10)
@given(st.lists(planes, min_size=2, max_size=4))
def test_the_order_of_planes_changes_no_statistic(stack):
    stack = np.stack([np.zeros((6, 7), np.uint8), *stack])
    forwards, backwards = (
        run(planes).statistics["phases"] for planes in (stack, np.ascontiguousarray(stack[::-1]))
    )
    for phase, values in forwards.items():
        fraction = values["area_fraction"]
        assert backwards[phase]["area_fraction"]["mean"] == pytest.approx(fraction["mean"])
        assert backwards[phase]["n_particles"] == values["n_particles"]


def test_without_a_pixel_size_nothing_is_measured():
    with pytest.raises(InputError, match=r"a\.tif: no pixel size is known; give --pixel-size"):
        run(micrograph(), calibration=None, name="a.tif")


@pytest.mark.parametrize(
    ("indices", "more", "message"),
    [
        (micrograph(), {"measured": Field((5, 5))}, "must belong to the same image"),
        (micrograph(), {"intensity": np.zeros((5, 5))}, "must belong to the same image"),
        (micrograph().astype(float), {}, "labels are whole numbers"),
        (np.zeros((0, 5), np.uint8), {}, "labels are whole numbers"),
        (np.full((5, 5), 7, np.uint8), {}, "label 7 has no class"),
        (np.full((5, 5), -1, np.int16), {}, "label -1 has no class"),
        (np.full((5, 5), UNLABELLED, np.uint8), {}, "no pixel of the field is labelled"),
        (micrograph(), {"classes": named_classes(["a", "b", "b"])}, "share a name"),
        (micrograph(), {"measured": Field((20, 30), Box(0, 0, 20, 30))}, "no pixel"),
        (micrograph(), {"parameters": QuantifyParameters(classes=(3,))}, "class 3"),
    ],
)
def test_what_cannot_be_measured_is_refused_in_one_line(indices, more, message):
    with pytest.raises(InputError, match=message) as caught:
        run(indices, **more)
    assert "\n" not in str(caught.value)


def test_closing_the_computation_ends_it():
    events = quantify(
        np.stack([micrograph()] * 3), CLASSES, PIXEL, Field((20, 30)), QuantifyParameters()
    )
    assert next(events) == Progress(1, 3, "planes measured")
    events.close()
    with pytest.raises(StopIteration):
        next(events)


def test_twenty_thousand_particles_do_not_take_long():
    tile = np.zeros((14, 14), np.uint8)
    tile[2:9, 3:12] = 1
    indices = np.tile(tile, (146, 146))
    start = time.process_time()
    result = run(indices)
    assert len(result.particles) == 146**2
    # About half a second; the bound is wide because test machines are shared.
    assert time.process_time() - start < 10


def cut_and_whole():
    """One carbide above, one to the right, one below, one inside; a network inside."""
    indices = np.zeros((30, 40), np.uint8)
    indices[0:3, 10:14] = indices[5:9, 37:40] = indices[27:30, 20:24] = indices[15:19, 20:26] = 1
    indices[15:19, 5:9] = 2
    return indices


@pytest.mark.parametrize(
    ("rule", "kept", "counted_px", "weight"),
    [
        ("all", 4, 1200, 1),
        ("exclude-border", 1, 1200, 1),
        ("guard-frame", 2, 39 * 29, 1),
        ("miles-lantuejoul", 1, 1200, 1200 / ((40 - 6 - 1) * (30 - 4 - 1))),
    ],
)
def test_edge_rules_weights_and_excluded_particles(rule, kept, counted_px, weight):
    result = run(cut_and_whole(), parameters=QuantifyParameters(edge_rule=rule))
    carbides = result.particles[result.particles["phase"] == "carbide"]
    assert carbides["weight"].tolist() == pytest.approx([weight] * kept)
    assert result.statistics["n_excluded"] == {"carbide": 4 - kept, "network": 0}
    row = result.phases.set_index("phase").loc["carbide"]
    assert (row["n_particles"], row["n_excluded"]) == (kept, 4 - kept)
    density = kept * weight / (counted_px * 0.01 * 1e-6)
    assert row["number_density_per_mm2"] == pytest.approx(density)
    # Of the particles counted, though the area fraction is of all.
    assert row["mean_area_um2"] == pytest.approx(carbides["area_um2"].mean())
    assert sorted(set(result.ids.ravel()) - {0}) == result.particles["particle"].tolist()
    for particle in result.particles.itertuples():
        assert (result.ids == particle.particle).sum() == particle.area_px
    json.dumps(result.statistics, allow_nan=False)


def test_neighbours_that_the_rule_leaves_out_are_neighbours():
    near = np.zeros((30, 40), np.uint8)
    near[0, 10] = near[6, 10] = near[20, 10] = 1
    parameters = QuantifyParameters(edge_rule="exclude-border")
    result = run(near, parameters=parameters).particles
    assert result["nearest_neighbour_um"].tolist() == pytest.approx([0.6, 1.4])


def test_splitting_shows_in_the_particles():
    y, x = np.mgrid[:40, :60]
    discs = [(x - centre) ** 2 + (y - 20) ** 2 <= 100 for centre in (20, 39)]
    indices = (discs[0] | discs[1]).astype(np.uint8)
    whole = run(indices)
    parts = run(indices, parameters=QuantifyParameters(split="distance"))
    assert (len(whole.particles), len(parts.particles)) == (1, 2)
    assert set(np.unique(parts.ids)) == {0, 1, 2}
    contiguity = parts.phases.set_index("phase")["contiguity"]
    assert 0 < contiguity["carbide"] < 0.3
    assert np.isnan(contiguity["matrix"])
    assert whole.phases["contiguity"].isna().all()
    assert parts.statistics["parameters"]["split"] == "distance"
    assert parts.statistics["provenance"]["particles_cut_apart"] == 2
    assert "particles_cut_apart" not in whole.statistics["provenance"]


def test_parts_are_counted_in_every_plane_of_the_field():
    y, x = np.mgrid[:40, :60]
    discs = [(x - centre) ** 2 + (y - 20) ** 2 <= 100 for centre in (20, 39)]
    indices = np.stack([(discs[0] | discs[1]).astype(np.uint8)] * 2)
    split = QuantifyParameters(split="distance")
    parts = run(indices, parameters=split).statistics["provenance"]["particles_cut_apart"]
    assert parts == 4


def test_splitting_by_intensity_takes_the_image():
    indices = np.zeros((30, 50), np.uint8)
    indices[10:20, 10:40] = 1
    grey = np.where(indices, 180.0, 90.0)
    grey[:, 24:26] = 100
    parameters = QuantifyParameters(split="intensity")
    assert len(run(indices, parameters=parameters, intensity=grey).particles) == 2
    with pytest.raises(InputError, match="needs the grey values"):
        run(indices, parameters=parameters)


def test_phases_have_boundaries_and_banding():
    indices = np.zeros((100, 120), np.uint8)
    indices[np.arange(100) % 10 < 4] = 1
    row = run(indices).phases.iloc[1]
    assert row["mean_chord_vertical_um"] == pytest.approx(0.4 / (19 / (2 * 99 * 0.1)))
    assert row["omega12"] == pytest.approx(1)
    turned = QuantifyParameters(rolling_direction="vertical")
    assert run(indices, parameters=turned).phases.iloc[1]["omega12"] == pytest.approx(-1 / 0.571)


@pytest.mark.parametrize("dtype", [np.int64, np.uint16])
def test_labels_of_other_whole_numbers(dtype):
    first, second = run(micrograph()), run(micrograph().astype(dtype))
    assert first.particles.equals(second.particles)
    assert first.phases.equals(second.phases)


def notes_of(result, word):
    return [note for note in result.statistics["provenance"]["notes"] if word in note]


BOUNDARIES = ["mean_chord_horizontal_um", "mean_free_path_vertical_um", "omega12"]
BOUNDARIES += ["specific_boundary_length_per_mm"]


def test_what_seams_along_boundaries_hide_is_left_out_and_said():
    indices = np.zeros((60, 60), np.uint8)
    indices[20:40, 20:40] = 1
    indices[50:55, 5:15] = 2
    assert not notes_of(run(indices), "without labels")
    indices[20:40, 18:20] = UNLABELLED
    result = run(indices)
    assert [note.split(":")[0] for note in notes_of(result, "without labels")] == [
        "matrix",
        "carbide",
    ]
    table = result.phases.set_index("phase")
    assert table.loc[["matrix", "carbide"], BOUNDARIES].isna().all(axis=None)
    # No seam touches the third phase.
    whole = table.loc["network", BOUNDARIES]
    assert whole.notna().all()
    assert table["area_fraction"].notna().all()


def test_seams_that_lie_anywhere_change_no_chord():
    random = np.random.default_rng(3)
    indices = (ndimage.gaussian_filter(random.random((400, 400)), 6) > 0.5).astype(np.uint8)
    whole = run(indices).phases
    for place in range(10, 400, 25):
        indices[:, place : place + 3] = indices[place + 7 : place + 10] = UNLABELLED
    seamed = run(indices)
    assert not notes_of(seamed, "without labels")
    np.testing.assert_allclose(seamed.phases[BOUNDARIES[:2]], whole[BOUNDARIES[:2]], rtol=0.05)


def test_chords_longer_than_the_field_are_told_with_their_intercepts():
    indices = np.zeros((40, 60), np.uint8)
    indices[10:14, 20:24] = 1
    result = run(indices)
    (note,) = notes_of(result, "too few intercepts")
    assert "carbide 4 horizontal" in note
    row = result.phases.set_index("phase").loc["carbide"]
    assert (row["n_intercepts_horizontal"], row["n_intercepts_vertical"]) == (4, 4)
    assert row["mean_free_path_horizontal_um"] > 60 * PIXEL.x_um
    assert "n_intercepts_horizontal" not in result.statistics["phases"]["carbide"]
    many = np.tile(indices[5:19, 15:29], (6, 8))
    assert not notes_of(run(many), "too few intercepts")


def test_particles_told_apart_by_hand_have_a_contiguity():
    indices = np.zeros((12, 14), np.uint8)
    indices[4:8, 4:12] = 1
    ids = indices.astype(np.int32)
    together = run(indices, ids=ids).phases.set_index("phase")["contiguity"]
    assert together.isna().all()
    ids[4:8, 8:12] *= 2
    apart = run(indices, ids=ids).phases.set_index("phase")["contiguity"]
    # Lines cross the common side 4 times and the sides to the matrix 8 and 16 times.
    own, other = 2 * 4 / (12 * 13), 8 / (12 * 13) + 16 / (11 * 14)
    assert apart["carbide"] == pytest.approx(own / (own + other))
    assert np.isnan(apart["matrix"])


def test_planes_where_no_parts_touch_have_a_contiguity_of_none():
    indices = np.zeros((2, 12, 14), np.uint8)
    indices[:, 4:8, 4:12] = 1
    ids = indices.astype(np.int32)
    ids[0, 4:8, 8:12] = 2
    found = run(indices, ids=ids)
    first, second = found.phases.set_index("phase").loc["carbide", "contiguity"]
    assert first > second == 0
    assert found.statistics["phases"]["carbide"]["contiguity"]["mean"] == pytest.approx(first / 2)


def test_a_speck_without_labels_beside_a_small_particle_hides_nothing():
    indices = np.zeros((40, 40), np.uint8)
    indices[10:14, 10:14] = 1
    indices[11:13, 9] = UNLABELLED
    result = run(indices)
    assert not notes_of(result, "without labels")
    assert result.phases.set_index("phase").loc["carbide", BOUNDARIES].notna().all()
    # A seam all around does.
    indices[9:15, 9:15] = UNLABELLED
    indices[10:14, 10:14] = 1
    assert notes_of(run(indices), "without labels")
