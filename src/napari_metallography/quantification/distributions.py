"""Size distributions of particles: by number and by area, and the log-normal fitted to them."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import log_ndtr, logsumexp, ndtr, ndtri
from scipy.stats import norm

from .columns import column
from .statistics import weighted_mean_and_s, weights_of

TEST = "Anderson–Darling, p from samples drawn of the fit and fitted themselves"
FEWEST_FOR_TEST = 8

_MOST_BINS = 40
_EQUAL = 1e-9
_DIGITS = 9
_SIGNIFICANCE = 0.05
_DRAWN_SAMPLES = 99
_MOST_TESTED = 2000
_FEWEST_SAMPLES = 50
_MOST_STEPS = 60
_FLATTEST = 0.02
"""Of the s that shows over a fitted one: below it the sizes fall off like an exponential's."""
_MOST_BELOW_PERCENT = 90.0
"""Share of a distribution below its limit, beyond which the rest is a guess."""
_TOO_STEEP = (
    "above the smallest area sizes fall off so steeply that the rest of a log-normal distribution "
    "cannot be told; lower the smallest area, at a higher magnification"
)

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
    pixels
        Shape (n,): the equivalent radius of one pixel, as areas are whole pixels; None where it is
        unknown.
    """

    radii: Floats
    weights: Floats
    unit: str
    smallest: Floats | None = None
    pixels: Floats | None = None

    @classmethod
    def of(cls, particles: pd.DataFrame, smallest_area_px: int = 1) -> Sizes:
        """Those of a table of particles, of which smaller ones were left out.

        A particle of k pixels stands for areas from k − ½ to k + ½ pixels, so the limit lies half
        a pixel below the smallest area.
        """
        name = column(particles, "equivalent_radius")
        radii = particles[name].to_numpy(float)
        pixels = smallest = None
        if "area_px" in particles:
            # Rounded, so that those of one pixel size are one.
            logs = np.log(radii / np.sqrt(particles["area_px"].to_numpy(float)))
            pixels = np.exp(np.round(logs, _DIGITS))
            if smallest_area_px > 1:
                smallest = pixels * math.sqrt(smallest_area_px - 0.5)
        return cls(radii, weights_of(particles), name.rpartition("_")[2], smallest, pixels)

    def fit(self) -> LognormalFit:
        """The log-normal distribution of these sizes, see `fit_lognormal`."""
        return fit_lognormal(self.radii, self.weights, self.smallest, self.pixels)

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
    median_ci95
        Its 95 % confidence interval, from samples drawn of the fit; from 0 on where some of them
        fall off too steeply to be fitted; None without a test.
    test
        The test of goodness of fit.
    statistic, p_value
        Its statistic A², and the probability of one at least as large if the radii are log-normal;
        None when it could not be made.
    n_tested
        How many particles were tested, of more by chance; None without a test.
    reason
        Why there is no fit or no test.
    smallest_radii
        Where the distribution is cut off, as smaller particles were left out, in the unit of the
        radii; several where pixel sizes differ, none where it is whole.
    limit_shares
        Share of the particles that count to which each of these applies.
    share_below_percent
        The fitted share of all particles that lies below.
    """

    n_particles: int
    ln_mean: float | None = None
    ln_s: float | None = None
    median: float | None = None
    median_ci95: tuple[float, float] | None = None
    test: str = TEST
    statistic: float | None = None
    p_value: float | None = None
    n_tested: int | None = None
    reason: str | None = None
    smallest_radii: tuple[float, ...] = ()
    limit_shares: tuple[float, ...] = ()
    share_below_percent: float | None = None

    def density(self, radii: Floats) -> Floats:
        """Probability density by number at radii of the particles that count; needs a fit."""
        assert self.ln_mean is not None
        assert self.ln_s
        logs = np.log(radii)
        whole = norm.logpdf(logs, self.ln_mean, self.ln_s) - logs
        if not self.smallest_radii:
            return np.asarray(np.exp(whole), float)
        limits = np.log(self.smallest_radii)[:, None]
        above = log_ndtr((self.ln_mean - limits) / self.ln_s)
        kept = np.exp(np.where(logs >= limits, whole - above, -np.inf))
        return np.asarray(np.array(self.limit_shares) @ kept, float)

    @property
    def sentence(self) -> str:
        """The fit and its test for a reader."""
        if self.ln_mean is None or self.ln_s is None or self.median is None:
            return f"No log-normal distribution was fitted: {self.reason}."
        fitted = (
            f"Log-normal fit by number: ln-mean {self.ln_mean:.4g}, ln-s {self.ln_s:.4g}, "
            f"median {self.median:.4g}{self._interval}{self._cut_off}"
        )
        if self.p_value is None:
            return f"{fitted}; not tested: {self.reason}."
        verdict = "rejected" if self.p_value < _SIGNIFICANCE else "not rejected"
        return (
            f"{fitted}. {self.test}: A² = {self.statistic:.4g}, p = {self.p_value:.3g}, "
            f"{self._tested}: a log-normal distribution is {verdict} at the 5 % level."
        )

    @property
    def _interval(self) -> str:
        if self.median_ci95 is None:
            return ""
        low, high = self.median_ci95
        return f" (95 % confidence: {low:.4g} to {high:.4g})"

    @property
    def _cut_off(self) -> str:
        if not self.smallest_radii:
            return ""
        least, most = (f"{limit(self.smallest_radii):.4g}" for limit in (min, max))
        at = least if least == most else f"{least} to {most}"
        return (
            f" of all sizes, cut off at {at} by the smallest area; "
            f"{self.share_below_percent:.3g} % of the particles are reckoned to lie below"
        )

    @property
    def _tested(self) -> str:
        if self.n_tested == self.n_particles:
            return f"{self.n_particles} particles"
        return f"{self.n_tested} of {self.n_particles} particles by chance"


def fit_lognormal(
    radii: Floats,
    weights: Floats | None = None,
    smallest: Floats | None = None,
    pixels: Floats | None = None,
) -> LognormalFit:
    """Fit a log-normal distribution to radii and test it.

    Mean and s of ln r are the weighted ones (s with n − 1). Where small particles were left out,
    the distribution fitted is that of all sizes: by maximum likelihood of what is left of it above
    the limits. There is none where that would put more than nine tenths of all below the limits,
    or for fewer than eight particles.

    The test is Anderson and Darling's. Its p-value is the share of samples drawn from the fit,
    cut off and rounded to whole pixels as what was measured, and each fitted in its turn, that lie
    as far from their fits (parametric bootstrap, the same samples each time); their medians give
    the confidence interval. With weights the distribution function is the weighted one, and n is
    the effective number (Σw)²/Σw², which makes the p-value an approximation. Of more than 2000
    particles as many are tested.

    Parameters
    ----------
    radii
        Shape (n,), larger than 0.
    weights
        Shape (n,); None: each counts once.
    smallest
        Shape (n,): the radius below which each would have been left out; None: none was.
    pixels
        Shape (n,): the equivalent radius of one pixel; None: sizes are not of whole pixels.

    Source: D'Agostino and Stephens, Goodness-of-Fit Techniques (1986), chapter 4; Cohen, Truncated
    and Censored Samples (1991), chapter 2; Stute et al., Metrika 40 (1993) 243-256 (bootstrap).
    """
    n = len(radii)
    sample = _Sample(
        np.log(radii),
        np.ones(n) if weights is None else weights,
        np.full(n, -np.inf) if smallest is None else np.log(smallest),
        np.zeros(n) if pixels is None else pixels,
    )
    fit = _fitted(sample)
    if fit.reason is not None or fit.ln_mean is None or fit.ln_s is None:
        return fit
    return _tested(fit, sample)


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
    """Logarithms of radii and of the limits below which they would not be there, −∞ for none.

    `pixels` are radii of one pixel, 0 where sizes are not of whole pixels.
    """

    logs: Floats
    weights: Floats
    limits: Floats
    pixels: Floats

    @property
    def n(self) -> float:
        """The effective number."""
        return float(self.weights.sum() ** 2 / (self.weights**2).sum())

    @property
    def is_cut_off(self) -> bool:
        return bool(np.isfinite(self.limits).any())

    def fitted(self) -> tuple[float, float] | None:
        """Mean and s of the normal distribution; None where it cannot be told."""
        if self.is_cut_off:
            return _likeliest(self)
        mean, s = weighted_mean_and_s(self.logs, self.weights)
        return None if mean is None or s is None else (mean, s)

    def reached(self, mean: float, s: float) -> _Reached:
        """Where the values lie in the part of a distribution above their limits."""
        above = log_ndtr((mean - self.logs) / s) - log_ndtr((mean - self.limits) / s)
        share = -np.expm1(above)
        return _Reached(np.log(np.maximum(share, np.finfo(float).tiny)), above, share)

    def by_chance(self, most: int, random: np.random.Generator) -> _Sample:
        """Some of the values, or all of few."""
        if len(self.logs) <= most:
            return self
        some = random.choice(len(self.logs), most, replace=False)
        return _Sample(self.logs[some], self.weights[some], self.limits[some], self.pixels[some])

    def drawn(self, mean: float, s: float, random: np.random.Generator) -> _Sample:
        """As many values from that part of a distribution, as they would be measured."""
        n = max(2, round(self.n))
        which = random.choice(len(self.logs), n, p=self.weights / self.weights.sum())
        limits, pixels = self.limits[which], self.pixels[which]
        beyond = random.random(n) * ndtr((mean - limits) / s)
        logs = np.maximum(mean - s * ndtri(beyond), limits)
        return _Sample(_as_measured(logs, pixels), np.ones(n), limits, pixels)


def _as_measured(logs: Floats, pixels: Floats) -> Floats:
    """ln of radii whose areas are rounded to whole pixels, where those have a size."""
    known = pixels > 0
    rounded = logs.copy()
    ln_pixel = np.log(pixels[known])
    areas = np.round(np.exp(2 * (logs[known] - ln_pixel)))
    rounded[known] = ln_pixel + 0.5 * np.log(np.maximum(areas, 1))
    return rounded


@dataclass(frozen=True)
class _Reached:
    """Shape (n,): share of a distribution below each value, ln of it and of the share above."""

    below: Floats
    above: Floats
    share: Floats


def _fitted(sample: _Sample) -> LognormalFit:
    """The fit, with a reason where there is none or it cannot be tested."""
    n = len(sample.logs)
    fit = LognormalFit(n)
    few = f"{n} particles are too few, it takes {FEWEST_FOR_TEST}" if n < FEWEST_FOR_TEST else None
    if n < 2:
        return replace(fit, reason="fewer than two particles")
    if sample.is_cut_off:
        fit = _cut_off(fit, sample)
        if few:
            return replace(fit, reason=few)
    found = sample.fitted()
    if found is None:
        return replace(fit, reason=_TOO_STEEP)
    mean, s = found
    below = _share_below_percent(fit, mean, s)
    if below is not None and below > _MOST_BELOW_PERCENT:
        return replace(fit, reason=_TOO_STEEP)
    reason = few or ("all particles are of one size" if s < _EQUAL else None)
    return replace(
        fit, ln_mean=mean, ln_s=s, median=math.exp(mean), reason=reason, share_below_percent=below
    )


def _cut_off(fit: LognormalFit, sample: _Sample) -> LognormalFit:
    limits, which = np.unique(sample.limits, return_inverse=True)
    shares = np.bincount(which, sample.weights) / sample.weights.sum()
    return replace(
        fit,
        smallest_radii=tuple(np.exp(limits).tolist()),
        limit_shares=tuple(shares.tolist()),
    )


def _share_below_percent(fit: LognormalFit, mean: float, s: float) -> float | None:
    """Of all particles: each group of those that count stands for as many as lie below its limit.

    None where nothing is cut off.
    """
    if not fit.smallest_radii:
        return None
    if s < _EQUAL:
        return 0.0
    above = log_ndtr((mean - np.log(fit.smallest_radii)) / s)
    return float(-100 * np.expm1(-logsumexp(-above, b=fit.limit_shares)))


def _tested(fit: LognormalFit, sample: _Sample) -> LognormalFit:
    """A fit with its test and the interval of its median."""
    random = np.random.default_rng(0)
    tested = sample.by_chance(_MOST_TESTED, random)
    found = tested.fitted()
    drawn = [] if found is None else [_refit(tested, found, random) for _ in range(_DRAWN_SAMPLES)]
    known = [statistic for _, statistic in drawn if statistic is not None]
    if found is None or len(known) < _FEWEST_SAMPLES:
        why = "too few samples drawn of the fit can be fitted themselves"
        return replace(fit, reason=why)
    statistic = _anderson_darling(tested.reached(*found), tested.weights)
    beyond = np.count_nonzero(np.array(known) >= statistic)
    shifts = np.array([mean - found[0] for mean, _ in drawn]) * math.sqrt(tested.n / sample.n)
    low, high = np.quantile(shifts, [0.025, 0.975], method="inverted_cdf")
    assert fit.median is not None
    return replace(
        fit,
        median_ci95=(fit.median * math.exp(low), fit.median * math.exp(high)),
        statistic=statistic,
        p_value=float((1 + beyond) / (1 + len(known))),
        n_tested=len(tested.logs),
    )


def _refit(
    sample: _Sample, found: tuple[float, float], random: np.random.Generator
) -> tuple[float, float | None]:
    """Mean of the fit to a sample drawn from a fit, and its statistic; −∞ and None without one."""
    one = sample.drawn(*found, random)
    again = one.fitted()
    if again is None or again[1] < _EQUAL:
        return -math.inf, None
    return again[0], _anderson_darling(one.reached(*again), one.weights)


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
    n = weights.sum() ** 2 / (weights**2).sum()
    return float(n * (between + tails))
