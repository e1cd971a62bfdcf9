from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_metallography.quantification.resolution import RESOLVABLE_AREA_PX, resolution_notes


def particles(**areas):
    rows = [(phase, area) for phase, sizes in areas.items() for area in sizes]
    return pd.DataFrame(rows, columns=["phase", "area_px"])


def test_half_a_pixel_around_the_smallest_resolvable_disc_is_about_half_its_area():
    radius = np.sqrt(RESOLVABLE_AREA_PX / np.pi)
    larger, smaller = ((radius + 0.5) / radius) ** 2, ((radius - 0.5) / radius) ** 2
    assert (larger - smaller) / 2 == pytest.approx(0.5, abs=0.02)


def test_a_phase_of_mostly_small_particles_is_named():
    notes = resolution_notes(particles(fine=[1, 2, 11, 12], coarse=[11, 12, 500]))
    assert len(notes) == 1
    assert notes[0].startswith("fine: 3 of 4 particles are below 12 px")
    assert "\n" not in notes[0]


def test_half_of_the_particles_are_not_most():
    assert resolution_notes(particles(a=[11, 12])) == []


def test_no_particle_gives_no_note():
    assert resolution_notes(particles().astype({"area_px": int})) == []


@given(st.lists(st.integers(1, 30), min_size=1), st.randoms())
def test_the_order_of_particles_does_not_matter(areas, random):
    shuffled = random.sample(areas, len(areas))
    assert resolution_notes(particles(a=areas)) == resolution_notes(particles(a=shuffled))
