"""The upper tail of few scores: a distribution fitted to them, with what so few leave unknown.

Scores of good parts, or their logarithms, are described by location and scale. Both are estimated, so a quantile of the
fitted distribution would be exceeded more often than it says. How much more does not depend on the true location and
scale, only on the family and the number of scores: it is simulated once. For the normal family without outliers this is
the classical prediction limit with Student's t (Hahn and Meeker, Statistical Intervals, 1991).

Outliers are found by Rosner's generalised extreme studentised deviate (Technometrics 1983) and take no part in the
estimate. Its critical value is simulated, too: that of the first outlier, which is slightly larger than the later ones.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

Floats = NDArray[np.float64]

CONFIDENCE: Final = 0.95
SIGNIFICANCE: Final = 0.01
"""Share of samples without outliers in which one is found."""

MOST_OUTLIERS: Final = 0.1
"""Largest share of the scores that may be outliers; one may always be, two of eight."""

_FOR_TWO: Final = 8
_ROUNDING: Final = 1e-13
"""Sums of squares below this share of that of all values are differences of rounded numbers."""

_DRAWS: Final = 20_000
_FEWEST_DRAWS: Final = 4_000
_NUMBERS: Final = 4_000_000
"""Simulated samples, as many as fit into so many numbers."""

_LARGEST: Final = 1000
"""Scores of a simulated sample: beyond, errors shrink as the square root of the number."""


class Family(NamedTuple):
    """Distribution of scores or log scores, standardised to mean 0 and deviation 1.

    Attributes:
        draw: gives numbers of the shape.
        survival: gives the probability of a larger value.
        logarithms: it describes logarithms of scores, which must be positive.
    """

    draw: Callable[[np.random.Generator, tuple[int, int]], Floats]
    survival: Callable[[Floats], Floats]
    logarithms: bool


_GUMBEL_MEAN: Final = float(np.euler_gamma)
_GUMBEL_DEVIATION: Final = float(np.pi / np.sqrt(6))
_LOGISTIC_DEVIATION: Final = float(np.pi / np.sqrt(3))


def _normal(rng: np.random.Generator, shape: tuple[int, int]) -> Floats:
    return rng.standard_normal(shape)


def _above_normal(z: Floats) -> Floats:
    return np.asarray(special.ndtr(-z))


def _gumbel(rng: np.random.Generator, shape: tuple[int, int]) -> Floats:
    return (rng.gumbel(size=shape) - _GUMBEL_MEAN) / _GUMBEL_DEVIATION


def _above_gumbel(z: Floats) -> Floats:
    return -np.expm1(-np.exp(-(_GUMBEL_MEAN + _GUMBEL_DEVIATION * z)))


def _above_gumbel_of_minima(z: Floats) -> Floats:
    return np.exp(-np.exp(np.minimum(_GUMBEL_DEVIATION * z - _GUMBEL_MEAN, 700.0)))


def _logistic(rng: np.random.Generator, shape: tuple[int, int]) -> Floats:
    return rng.logistic(size=shape) / _LOGISTIC_DEVIATION


def _above_logistic(z: Floats) -> Floats:
    return np.asarray(special.expit(-_LOGISTIC_DEVIATION * z))


FAMILIES: Final[Mapping[str, Family]] = {
    "normal": Family(_normal, _above_normal, logarithms=False),
    "lognormal": Family(_normal, _above_normal, logarithms=True),
    # The law of maxima, as image scores are: over many positions of a map.
    "gumbel": Family(_gumbel, _above_gumbel, logarithms=False),
    "frechet": Family(_gumbel, _above_gumbel, logarithms=True),
    "weibull": Family(lambda rng, shape: -_gumbel(rng, shape), _above_gumbel_of_minima, logarithms=True),
    "loglogistic": Family(_logistic, _above_logistic, logarithms=True),
}


class Estimates(NamedTuple):
    """Mean and deviation [S] of S samples without their outliers, and which values [S, n] these are."""

    location: Floats
    scale: Floats
    outliers: NDArray[np.bool_]


@dataclass(frozen=True)
class Uncertainty:
    """Errors of estimates from n scores of a family: those of simulated samples with mean 0 and deviation 1.

    Attributes:
        family: name of the family.
        count: scores in each sample, n.
        critical: largest distance from the mean, in deviations, of values that are no outliers.
        location: estimated from each sample, [S].
        scale: estimated from each sample, [S].
    """

    family: str
    count: int
    critical: float
    location: Floats
    scale: Floats

    def rates(self, places: ArrayLike) -> Floats:
        """Return the true rate of larger values, for each place [k] in estimated scales, and each sample: [k, S]."""
        places = np.atleast_1d(np.asarray(places, dtype=float))
        return FAMILIES[self.family].survival(self.location + self.scale * places[:, None])

    @cached_property
    def _table(self) -> tuple[Floats, Floats]:
        """Places, ascending, and the logarithm of the rate that is expected of larger values there."""
        places = np.concatenate([np.linspace(-6, 6, 241), np.geomspace(6.05, 1e3, 120)])
        rates = np.array([self.rates(place).mean() for place in places])
        return places, np.log(np.maximum(rates, 1e-300))

    def expected(self, places: ArrayLike) -> Floats:
        """Return the rate [k] that is expected of larger values than the places [k]."""
        return np.exp(np.interp(np.asarray(places, dtype=float), *self._table))

    def place(self, rate: float) -> float:
        """Return the place at which the rate is expected, in estimated scales above the estimated location."""
        places, logs = self._table
        return float(np.interp(-np.log(rate), -logs, places))

    def interval(self, place: float) -> tuple[float, float]:
        """Return the range in which the true rate of larger values than a place lies, with 95 % confidence."""
        low, high = np.quantile(self.rates(place), [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
        return float(low), float(high)


@lru_cache(maxsize=64)
def uncertainty(family: str, count: int, *, robust: bool = True) -> Uncertainty:
    """Simulate what `count` scores leave unknown about a family; always the same for the same arguments.

    Args:
        family: name of the family.
        count: number of scores, 2 or more.
        robust: outliers are left out.
    """
    simulated = min(count, _LARGEST)
    samples = min(_DRAWS, max(_FEWEST_DRAWS, _NUMBERS // simulated))
    drawn = FAMILIES[family].draw(np.random.default_rng(count), (samples, simulated))
    drawn.sort(axis=1)
    critical = float("inf")
    if robust and count > 3:
        share = (1 - SIGNIFICANCE) ** (simulated / count)  # in all parts of a larger sample none is found
        critical = float(np.quantile(_Trimming(drawn, 1).statistics[0], share))
    found = estimate(drawn, critical)
    errors = float(np.sqrt(simulated / count))
    return Uncertainty(family, count, critical, errors * found.location, 1 + errors * (found.scale - 1))


def estimate(values: Floats, critical: float) -> Estimates:
    """Estimate mean and deviation of samples [S, n], each sorted, without their outliers.

    Args:
        values: ascending in each sample.
        critical: largest distance from the mean, in deviations, of values that are no outliers; may be infinite.
    """
    count = values.shape[1]
    most = max(1 if count < _FOR_TWO else 2, int(MOST_OUTLIERS * count))
    most = most if np.isfinite(critical) else 0
    trimming = _Trimming(values, most)
    # As many are outliers as the last step says that exceeds the critical value: one may hide another.
    steps = ((trimming.statistics > critical) * np.arange(1, most + 1)[:, None]).max(0, initial=0)
    return trimming.after(steps)


class _Trimming:
    """Samples [S, n], sorted, from which the value farthest from the mean is taken away, again and again."""

    def __init__(self, values: Floats, steps: int) -> None:
        self._values = values
        centred = values - values.mean(1, keepdims=True)
        zeros = np.zeros((len(values), 1))
        self._sums = np.concatenate([zeros, centred.cumsum(1)], axis=1)
        self._squares = np.concatenate([zeros, (centred**2).cumsum(1)], axis=1)
        self._centre = values.mean(1)
        self._rows = np.arange(len(values))
        first, last = np.zeros(len(values), np.intp), np.full(len(values), values.shape[1], np.intp)
        self._ends = [(first, last)]
        statistics = []
        for _ in range(steps):
            location, scale = self._moments(first, last)
            below, above = location - values[self._rows, first], values[self._rows, last - 1] - location
            # Where the scale is 0 all values are the same: none is far from the others.
            statistics.append(np.divide(np.maximum(below, above), scale, out=np.zeros_like(scale), where=scale > 0))
            first, last = first + (below > above), last - (below <= above)
            self._ends.append((first, last))
        self.statistics = np.array(statistics).reshape(steps, len(values))

    def _moments(self, first: NDArray[np.intp], last: NDArray[np.intp]) -> tuple[Floats, Floats]:
        """Mean and deviation of the values from first to before last."""
        count = last - first
        mean = (self._sums[self._rows, last] - self._sums[self._rows, first]) / count
        squares = self._squares[self._rows, last] - self._squares[self._rows, first]
        around = squares - count * mean**2
        around = np.where(around > _ROUNDING * self._squares[:, -1], around, 0.0)
        return self._centre + mean, np.sqrt(around / (count - 1))

    def after(self, steps: NDArray[np.intp]) -> Estimates:
        """Estimates after so many steps [S]."""
        ends = np.array(self._ends)
        first, last = ends[steps, 0, self._rows], ends[steps, 1, self._rows]
        places = np.arange(self._values.shape[1])
        outliers = (places < first[:, None]) | (places >= last[:, None])
        return Estimates(*self._moments(first, last), outliers)


@dataclass(frozen=True)
class Tail:
    """A family fitted to scores.

    Attributes:
        family: name of the family.
        scores: finite, [n], n at least 2; positive if the family describes logarithms.
        robust: outliers are left out.
    """

    family: str
    scores: Floats
    robust: bool = True

    @cached_property
    def unknown(self) -> Uncertainty:
        """Errors of estimates from so many scores."""
        return uncertainty(self.family, len(self.scores), robust=self.robust)

    @cached_property
    def _fit(self) -> tuple[float, float, NDArray[np.intp]]:
        order = np.argsort(self.scores, kind="stable")
        found = estimate(self._described(self.scores[order])[None], self.unknown.critical)
        return float(found.location[0]), float(found.scale[0]), order[found.outliers[0]]

    @property
    def outliers(self) -> NDArray[np.intp]:
        """Indices of the scores that are too far from the others, ascending."""
        return np.sort(self._fit[2])

    @property
    def scale(self) -> float:
        """Deviation of the scores, or of their logarithms; 0 if they are all the same."""
        return self._fit[1]

    def threshold(self, rate: float) -> float:
        """Return the score that good parts are expected to exceed at this rate, between 0 and 1."""
        location, scale, _ = self._fit
        place = location + scale * self.unknown.place(rate)
        return float(np.exp(place) if FAMILIES[self.family].logarithms else place)

    def expected(self, scores: ArrayLike) -> Floats:
        """Return the share of good parts [k] that is expected to score at least as high as the scores [k]."""
        return self.unknown.expected(self._places(scores))

    def interval(self, score: float) -> tuple[float, float]:
        """Return the range, with 95 % confidence, of the true share of good parts that score higher."""
        return self.unknown.interval(float(self._places(score)))

    def _described(self, scores: ArrayLike) -> Floats:
        values = np.asarray(scores, dtype=float)
        with np.errstate(divide="ignore"):
            return np.log(np.maximum(values, 0.0)) if FAMILIES[self.family].logarithms else values

    def _places(self, scores: ArrayLike) -> Floats:
        location, scale, _ = self._fit
        return (self._described(scores) - location) / scale
