"""Whether particles are large enough, in pixels, to be measured."""

from __future__ import annotations

import pandas as pd

RESOLVABLE_AREA_PX = 12
"""A disc 4 px wide: half a pixel more or less all around changes its area by about a half."""

_MANY = 0.5


def resolution_notes(particles: pd.DataFrame) -> list[str]:
    """A sentence for each phase of which most particles are too small to resolve.

    Parameters
    ----------
    particles
        Columns `phase` and `area_px`.
    """
    below = (particles["area_px"] < RESOLVABLE_AREA_PX).groupby(particles["phase"], sort=False)
    counts = below.agg(["sum", "count"])
    many = counts[counts["sum"] > _MANY * counts["count"]]
    return [
        f"{phase}: {small} of {n} particles are below {RESOLVABLE_AREA_PX} px (a disc 4 px wide); "
        "their areas and their number are little more than noise: image at a higher magnification, "
        "or leave them out by a smallest area"
        for phase, small, n in many.itertuples()
    ]
