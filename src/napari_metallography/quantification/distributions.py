"""Size distributions of particles: by number and by area, and the log-normal fitted to them."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import log_ndtr
from scipy.stats import norm

from .columns import column
from .statistics import weighted_mean_and_s, weights_of

TEST = "Anderson–Darling, mean and s estimated (Stephens)"
TRUNCATED_TEST = (
    "Anderson–Darling against the truncated distribution, p from samples drawn of the fit"
)
FEWEST_FOR_TEST = 8

_MOST_BINS = 40
_EQUAL = 1e-9
_SIGNIFICANCE = 0.05
_SMALLEST_P = 0.001
_DRAWN_SAMPLES = 99
_LARGEST_SAMPLE = 500
"""The distribution of A² hardly depends on n from a few hundred on."""
_FEWEST_SAMPLES = 50
_MOST_STEPS = 60
_FLATTEST = 0.02
"""Of the s that shows over a fitted one: below it the sizes fall off like an exponential's."""

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
    smallest
        Shape (n,): the radius below which each would have been left out; None where no smallest
        area was applied.
    """

    radii: Floats
    weights: Floats
    unit: str
    smallest: Floats | None = None

    @classmethod
    def of(cls, particles: pd.DataFrame, smallest_area_px: int = 1) -> Sizes:
        """Those of a table of particles, of which smaller ones were left out.

        A particle of k pixels stands for areas from k − ½ to k + ½ pixels, so the limit lies half
        a pixel below the smallest area.
        """
        name = column(particles, "equivalent_radius")
        radii = particles[name].to_numpy(float)
        smallest = None
        if smallest_area_px > 1:
            share = (smallest_area_px - 0.5) / particles["area_px"].to_numpy(float)
            smallest = radii * np.sqrt(share)
        return cls(radii, weights_of(particles), name.rpartition("_")[2], smallest)

    def fit(self) -> LognormalFit:
        """The log-normal distribution of these sizes, see `fit_lognormal`."""
        return fit_lognormal(self.radii, self.weights, self.smallest)

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
        Its statistic, the modified A*² or of a truncated distribution A², and the probability of
        one at least as large if the radii are log-normal; None when it could not be made.
    reason
        Why there is no fit or no test.
    smallest_radius
        Where the distribution is cut off, as smaller particles were left out, in the unit of the
        radii (the least of several); None where it is whole.
    share_below_percent
        The fitted share of all particles that lies below it.
    """

    n_particles: int
    ln_mean: float | None
    ln_s: float | None
    median: float | None
    test: str = TEST
    statistic: float | None = None
    p_value: float | None = None
    reason: str | None = None
    smallest_radius: float | None = None
    share_below_percent: float | None = None

    def density(self, radii: Floats) -> Floats:
        """Probability density by number at radii of the particles that count; needs a fit."""
        assert self.ln_mean is not None
        assert self.ln_s
        whole = norm.pdf((np.log(radii) - self.ln_mean) / self.ln_s) / (radii * self.ln_s)
        if self.smallest_radius is None or self.share_below_percent is None:
            return np.asarray(whole, float)
        kept = whole / (1 - self.share_below_percent / 100)
        return np.where(radii >= self.smallest_radius, kept, 0.0)

    @property
    def sentence(self) -> str:
        """The fit and its test for a reader."""
        if self.ln_mean is None or self.ln_s is None or self.median is None:
            return f"No log-normal distribution was fitted: {self.reason}."
        fitted = (
            f"Log-normal fit by number: ln-mean {self.ln_mean:.4g}, ln-s {self.ln_s:.4g}, "
            f"median {self.median:.4g}{self._cut_off}"
        )
        if self.p_value is None:
            return f"{fitted}; not tested: {self.reason}."
        verdict = "rejected" if self.p_value < _SIGNIFICANCE else "not rejected"
        p = f"= {self.p_value:.3g}" if self.p_value >= _SMALLEST_P else f"< {_SMALLEST_P}"
        return (
            f"{fitted}. {self.test}: {'A*²' if self.smallest_radius is None else 'A²'} = "
            f"{self.statistic:.4g}, p {p}, {self.n_particles} particles: a "
            f"log-normal distribution is {verdict} at the 5 % level."
        )

    @property
    def _cut_off(self) -> str:
        if self.smallest_radius is None:
            return ""
        return (
            f" of all sizes, cut off at {self.smallest_radius:.4g} by the smallest area; "
            f"{self.share_below_percent:.3g} % of the particles are reckoned to lie below"
        )


def fit_lognormal(
    radii: Floats, weights: Floats | None = None, smallest: Floats | None = None
) -> LognormalFit:
    """Fit a log-normal distribution to radii and test it.

    Mean and s of ln r are the weighted ones (s with n − 1). The test is Anderson and Darling's
    with both estimated from the sample, its p-value after Stephens; Lilliefors's test is the
    Kolmogorov–Smirnov counterpart and has less power in the tails. With weights the distribution
    function is the weighted one, and n is the effective number (Σw)²/Σw², which makes the p-value
    an approximation.

    Where small particles were left out, the distribution fitted is that of all sizes: by maximum
    likelihood of what is left of it above the limits. The test is of the truncated distribution,
    and its p-value the share of samples drawn from it, each fitted in its turn, that lie as far
    from their fits (parametric bootstrap, the same samples each time).

    Parameters
    ----------
    radii
        Shape (n,), larger than 0.
    weights
        Shape (n,); None: each counts once.
    smallest
        Shape (n,): the radius below which each would have been left out; None: none was.

    Source: D'Agostino and Stephens, Goodness-of-Fit Techniques (1986), table 4.9; Cohen, Truncated
    and Censored Samples (1991), chapter 2; Stute et al., Metrika 40 (1993) 243-256 (bootstrap).
    """
    weights = np.ones(len(radii)) if weights is None else weights
    if smallest is not None and len(radii) > 1:
        return _fit_truncated(_Sample(np.log(radii), np.log(smallest), weights))
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
    statistic = _modified(_anderson_darling(_whole((logs - mean) / s), weights), weights)
    p_value = _p_value(statistic)
    return LognormalFit(fit.n_particles, mean, s, fit.median, statistic=statistic, p_value=p_value)


def size_statistics(particles: pd.DataFrame, smallest_area_px: int = 1) -> dict[str, Any]:
    """JSON form by phase: `lognormal`, the fit to its equivalent radii as `LognormalFit`.

    Parameters
    ----------
    smallest_area_px
        Particles of fewer pixels were left out.
    """
    return {
        str(phase): {"lognormal": asdict(sizes.fit())}
        for phase, sizes in sizes_by_phase(particles, smallest_area_px).items()
    }


def sizes_by_phase(particles: pd.DataFrame, smallest_area_px: int = 1) -> dict[str, Sizes]:
    """Sizes of the particles of each phase that has any; smaller ones were left out."""
    groups = particles.groupby("phase", sort=False)
    return {str(phase): Sizes.of(rows, smallest_area_px) for phase, rows in groups if len(rows)}


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


@dataclass(frozen=True)
class _Sample:
    """Logarithms of radii, of the limits below which they would not be there, and weights."""

    logs: Floats
    limits: Floats
    weights: Floats

    def reached(self, mean: float, s: float) -> _Reached:
        """Where the values lie in the part of a distribution above their limits."""
        above = log_ndtr((mean - self.logs) / s) - log_ndtr((mean - self.limits) / s)
        share = -np.expm1(above)
        return _Reached(np.log(np.maximum(share, np.finfo(float).tiny)), above, share)

    def drawn(self, mean: float, s: float, random: np.random.Generator) -> _Sample:
        """As many values, but no more than it takes, from that part of a distribution."""
        n = min(len(self.logs), _LARGEST_SAMPLE)
        limits = random.choice(self.limits, n, p=self.weights / self.weights.sum())
        beyond = random.random(n) * norm.sf((limits - mean) / s)
        logs = np.maximum(mean + s * norm.isf(beyond), limits)
        return _Sample(logs, limits, np.ones(n))


@dataclass(frozen=True)
class _Reached:
    """Shape (n,): share of a distribution below each value, ln of it and of the share above."""

    below: Floats
    above: Floats
    share: Floats


def _whole(z: Floats) -> _Reached:
    return _Reached(norm.logcdf(z), norm.logsf(z), norm.cdf(z))


def _fit_truncated(sample: _Sample) -> LognormalFit:
    n, limit = len(sample.logs), float(sample.limits.min())
    fit = LognormalFit(n, None, None, None, test=TRUNCATED_TEST, smallest_radius=math.exp(limit))
    found = _likeliest(sample)
    if found is None:
        reason = (
            "above the smallest area sizes fall off so steeply that the rest of a log-normal "
            "distribution cannot be told; lower the smallest area, at a higher magnification"
        )
        return replace(fit, reason=reason)
    mean, s = found
    below = 100 * float(norm.cdf((limit - mean) / s)) if s else 0.0
    fit = replace(fit, ln_mean=mean, ln_s=s, median=math.exp(mean), share_below_percent=below)
    if n < FEWEST_FOR_TEST:
        few = f"{n} particles are too few, it takes {FEWEST_FOR_TEST}"
        return replace(fit, reason=few)
    if s < 1e-9:
        return replace(fit, reason="all particles are of one size")
    statistic = _anderson_darling(sample.reached(mean, s), sample.weights)
    p_value = _drawn_p_value(statistic, sample, mean, s)
    if p_value is None:
        return replace(fit, reason="too few samples drawn of the fit can be fitted themselves")
    return replace(fit, statistic=statistic, p_value=p_value)


def _likeliest(sample: _Sample) -> tuple[float, float] | None:
    """Mean and s of the normal distribution whose part above the limits is likeliest.

    Newton's method in 1/s and mean/s, in which the likelihood has one maximum at most; None where
    it has none, as the values fall off like an exponential distribution's or more slowly still.

    Source: Olsen, Econometrica 46 (1978) 1211-1215.
    """
    shares = sample.weights / sample.weights.sum()
    origin = float(shares @ sample.logs)
    spread = math.sqrt(float(shares @ (sample.logs - origin) ** 2))
    if spread < 1e-9:
        return origin, 0.0
    limits, place = np.unique((sample.limits - origin) / spread, return_inverse=True)
    of_limits = np.bincount(place, shares)
    # In these units the mean of the values is 0 and the mean of their squares 1.
    a, b = 1.0, 0.0
    for _ in range(_MOST_STEPS):
        z = a * limits - b
        hazard = np.exp(-0.5 * z**2 - 0.5 * math.log(2 * math.pi) - log_ndtr(-z))
        bend = of_limits * hazard * (hazard - z)
        slope = np.array([1 / a - a + of_limits @ (hazard * limits), -b - of_limits @ hazard])
        if np.abs(slope).max() < 1e-10:
            return origin + spread * b / a, spread / a
        cross = -float(bend @ limits)
        curvature = [[-1 / a**2 - 1 + bend @ limits**2, cross], [cross, -1 + bend.sum()]]
        step = -np.linalg.solve(np.array(curvature), slope)
        # Never so far that s would turn negative.
        step *= min(1.0, -a / (2 * step[0])) if step[0] < 0 else 1.0
        a, b = a + float(step[0]), b + float(step[1])
        if a < _FLATTEST:
            return None
    return None


def _drawn_p_value(statistic: float, sample: _Sample, mean: float, s: float) -> float | None:
    """Share of samples drawn from a fit that lie as far from their own fits, themselves included.

    None where too few of them can be fitted.
    """
    random = np.random.default_rng(0)
    drawn: list[float] = []
    for _ in range(_DRAWN_SAMPLES):
        one = sample.drawn(mean, s, random)
        found = _likeliest(one)
        if found is not None and found[1] > 0:
            drawn.append(_anderson_darling(one.reached(*found), one.weights))
    if len(drawn) < _FEWEST_SAMPLES:
        return None
    return float((1 + np.count_nonzero(np.array(drawn) >= statistic)) / (1 + len(drawn)))


def _anderson_darling(reached: _Reached, weights: Floats) -> float:
    """Statistic A² of values by where they lie in a distribution Φ.

    A² = n·∫ (Fw − Φ)² / (Φ(1 − Φ)) dΦ, where Fw is the weighted distribution function of the
    sample; with equal weights it is the usual sum. Between two values Fw is a constant c, and
    c²·ln Φ − (1 − c)²·ln(1 − Φ) − Φ is the integral.
    """
    order = np.argsort(reached.share)
    weights = weights[order]
    below, above, share = (part[order] for part in (reached.below, reached.above, reached.share))
    steps = np.concatenate([[0.0], weights.cumsum() / weights.sum()])
    steps[-1] = 1.0

    def primitive(c: Floats, at: slice) -> Floats:
        return np.asarray(c**2 * below[at] - (1 - c) ** 2 * above[at] - share[at], float)

    inner = steps[1:-1]
    between = (primitive(inner, slice(1, None)) - primitive(inner, slice(-1))).sum()
    tails = -above[0] - share[0] - below[-1] - (1 - share[-1])
    return float(_effective_number(weights) * (between + tails))


def _modified(statistic: float, weights: Floats) -> float:
    """Stephens's A*²."""
    n = _effective_number(weights)
    return statistic * (1 + 0.75 / n + 2.25 / n**2)


def _effective_number(weights: Floats) -> float:
    return float(weights.sum() ** 2 / (weights**2).sum())


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
