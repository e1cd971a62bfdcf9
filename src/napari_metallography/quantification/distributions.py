"""Size distributions of particles: by number and by area, and the log-normal fitted to them."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import norm

from .columns import column
from .statistics import weighted_mean_and_s, weights_of

TEST = "Anderson–Darling, mean and s estimated (Stephens)"
FEWEST_FOR_TEST = 8

_MOST_BINS = 40
_EQUAL = 1e-9
_SIGNIFICANCE = 0.05
_SMALLEST_P = 0.001

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Sizes:
    """Particles of a phase.

    Attributes
    ----------
    radii
        Shape (n,): equivalent-circle radii in `unit`.
    weights
        Shape (n,): for how many particles each stands under the edge rule.
    unit
        "um" or "px".
    """

    radii: Floats
    weights: Floats
    unit: str

    @classmethod
    def of(cls, particles: pd.DataFrame) -> Sizes:
        """Those of a table of particles."""
        name = column(particles, "equivalent_radius")
        radii = particles[name].to_numpy(float)
        return cls(radii, weights_of(particles), name.rpartition("_")[2])

    @property
    def number_shares(self) -> Floats:
        """Share of each particle in their number; they sum to 1."""
        return np.asarray(self.weights / self.weights.sum(), float)

    @property
    def area_shares(self) -> Floats:
        """Share of each particle in the area of all; they sum to 1."""
        areas = self.weights * self.radii**2
        return np.asarray(areas / areas.sum(), float)

    def edges(self) -> Floats:
        """Edges of bins of equal width; the square root of n sets their number.

        Equal sizes, but for rounding, have one bin, a twentieth of the size wide at either side.
        """
        low, high = float(self.radii.min()), float(self.radii.max())
        if high - low <= _EQUAL * high:
            return np.array([0.95 * low, 1.05 * high])
        bins = min(_MOST_BINS, math.ceil(math.sqrt(len(self.radii))))
        return np.linspace(low, high, bins + 1)


@dataclass(frozen=True)
class LognormalFit:
    """Log-normal distribution of radii by number, and whether it fits.

    Attributes
    ----------
    n_particles
        Number of particles.
    ln_mean, ln_s
        Mean and standard deviation of the natural logarithm of the radius; None for fewer than two.
    median
        exp(ln_mean), in the unit of the radii.
    test
        The test of goodness of fit.
    statistic, p_value
        Its modified statistic A*², and the probability of one at least as large if the radii are
        log-normal; None when it could not be made.
    reason
        Why there is no fit or no test.
    """

    n_particles: int
    ln_mean: float | None
    ln_s: float | None
    median: float | None
    test: str = TEST
    statistic: float | None = None
    p_value: float | None = None
    reason: str | None = None

    @property
    def sentence(self) -> str:
        """The fit and its test for a reader."""
        if self.ln_mean is None or self.ln_s is None or self.median is None:
            return f"No log-normal distribution was fitted: {self.reason}."
        fitted = (
            f"Log-normal fit by number: ln-mean {self.ln_mean:.4g}, ln-s {self.ln_s:.4g}, "
            f"median {self.median:.4g}"
        )
        if self.p_value is None:
            return f"{fitted}; not tested: {self.reason}."
        verdict = "rejected" if self.p_value < _SIGNIFICANCE else "not rejected"
        p = f"= {self.p_value:.3g}" if self.p_value >= _SMALLEST_P else f"< {_SMALLEST_P}"
        return (
            f"{fitted}. {self.test}: A*² = {self.statistic:.4g}, p {p}, "
            f"{self.n_particles} particles: a "
            f"log-normal distribution is {verdict} at the 5 % level."
        )


def fit_lognormal(radii: Floats, weights: Floats | None = None) -> LognormalFit:
    """Fit a log-normal distribution to radii and test it.

    Mean and s of ln r are the weighted ones (s with n − 1). The test is Anderson and Darling's
    with both estimated from the sample, its p-value after Stephens; Lilliefors's test is the
    Kolmogorov–Smirnov counterpart and has less power in the tails. With weights the distribution
    function is the weighted one, and n is the effective number (Σw)²/Σw², which makes the p-value
    an approximation.

    Parameters
    ----------
    radii
        Shape (n,), larger than 0.
    weights
        Shape (n,); None: each counts once.

    Source: D'Agostino and Stephens, Goodness-of-Fit Techniques (1986), table 4.9.
    """
    weights = np.ones(len(radii)) if weights is None else weights
    logs = np.log(radii)
    mean, s = weighted_mean_and_s(logs, weights)
    if mean is None or s is None:
        return LognormalFit(len(radii), None, None, None, reason="fewer than two particles")
    fit = LognormalFit(len(radii), mean, s, math.exp(mean))
    if len(radii) < FEWEST_FOR_TEST:
        few = f"{len(radii)} particles are too few, it takes {FEWEST_FOR_TEST}"
        return LognormalFit(fit.n_particles, mean, s, fit.median, reason=few)
    if s < 1e-9:
        return LognormalFit(
            fit.n_particles, mean, s, fit.median, reason="all particles are of one size"
        )
    statistic = _anderson_darling((logs - mean) / s, weights)
    p_value = _p_value(statistic)
    return LognormalFit(fit.n_particles, mean, s, fit.median, statistic=statistic, p_value=p_value)


def size_statistics(particles: pd.DataFrame) -> dict[str, Any]:
    """JSON form by phase: `lognormal`, the fit to its equivalent radii as `LognormalFit`."""
    return {
        str(phase): {"lognormal": asdict(fit_lognormal(sizes.radii, sizes.weights))}
        for phase, sizes in sizes_by_phase(particles).items()
    }


def sizes_by_phase(particles: pd.DataFrame) -> dict[str, Sizes]:
    """Sizes of the particles of each phase that has any."""
    groups = particles.groupby("phase", sort=False)
    return {str(phase): Sizes.of(rows) for phase, rows in groups if len(rows)}


def size_table(particles: pd.DataFrame) -> pd.DataFrame:
    """The distributions of equivalent radii, one row a phase and bin.

    Returns
    -------
    Columns `phase`, `from_um` and `to_um` (in pixels `from_px`, `to_px`), `n_particles`,
    `number_percent`, `area_percent`, `number_cumulative_percent`, `area_cumulative_percent`;
    shares are weighted by the edge rule, `n_particles` counts what was measured.
    """
    tables = [_bins(phase, sizes) for phase, sizes in sizes_by_phase(particles).items()]
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame()


def _bins(phase: str, sizes: Sizes) -> pd.DataFrame:
    edges = sizes.edges()
    counts, _ = np.histogram(sizes.radii, edges)
    number, area = (
        100 * np.histogram(sizes.radii, edges, weights=shares)[0]
        for shares in (sizes.number_shares, sizes.area_shares)
    )
    return pd.DataFrame(
        {
            "phase": pd.Series([phase] * len(counts), dtype=object),
            f"from_{sizes.unit}": edges[:-1],
            f"to_{sizes.unit}": edges[1:],
            "n_particles": counts,
            "number_percent": number,
            "area_percent": area,
            "number_cumulative_percent": number.cumsum(),
            "area_cumulative_percent": area.cumsum(),
        }
    )


def _anderson_darling(z: Floats, weights: Floats) -> float:
    """Modified statistic A*² of standardised values.

    A² = n·∫ (Fw − Φ)² / (Φ(1 − Φ)) dΦ, where Fw is the weighted distribution function of the
    sample; with equal weights it is the usual sum. Between two values Fw is a constant c, and
    c²·ln Φ − (1 − c)²·ln(1 − Φ) − Φ is the integral.
    """
    order = np.argsort(z)
    z, weights = z[order], weights[order]
    reached = np.concatenate([[0.0], weights.cumsum() / weights.sum()])
    reached[-1] = 1.0
    below, above, share = norm.logcdf(z), norm.logsf(z), norm.cdf(z)

    def primitive(c: Floats, at: slice) -> Floats:
        return np.asarray(c**2 * below[at] - (1 - c) ** 2 * above[at] - share[at], float)

    inner = reached[1:-1]
    between = (primitive(inner, slice(1, None)) - primitive(inner, slice(-1))).sum()
    tails = -above[0] - share[0] - below[-1] - (1 - share[-1])
    n = weights.sum() ** 2 / (weights**2).sum()
    return float(n * (between + tails) * (1 + 0.75 / n + 2.25 / n**2))


def _p_value(statistic: float) -> float:
    a = statistic
    if a < 0.2:
        return 1 - math.exp(-13.436 + 101.14 * a - 223.73 * a**2)
    if a < 0.34:
        return 1 - math.exp(-8.318 + 42.796 * a - 59.938 * a**2)
    if a < 0.6:
        return math.exp(0.9177 - 4.279 * a - 1.38 * a**2)
    if a < 13:
        return math.exp(1.2937 - 5.709 * a + 0.0186 * a**2)
    return 0.0
