"""A threshold from the scores of held-out good images, at a target false-alarm rate, with its uncertainty."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import cached_property
from typing import Final, Literal, Protocol, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtri
from scipy.stats import beta

from discrepancy.decisions.tails import CONFIDENCE, FAMILIES, Floats, Tail
from discrepancy.errors import InputError
from discrepancy.metrics.checks import as_numbers, check_no_nan
from discrepancy.metrics.thresholds import percent, threshold_at_fpr

Rule = Literal["gumbel", "normal", "lognormal", "loglogistic", "frechet", "weibull", "quantile"]
RULES: Final[tuple[Rule, ...]] = get_args(Rule)
DEFAULT_RULE: Final[Rule] = "gumbel"
"""Chosen by a study, see docs/decisions.md."""

FEWEST: Final = 3
"""Scores to which a family is fitted; from fewer the highest is taken."""

WITHIN: Final = 2.0
"""A target is called certain if the true rate lies below so many times the target, with 97.5 % confidence."""

MOST_MISSING: Final = 100_000


class Model(Protocol):
    """A description of the scores of good parts."""

    @property
    def outliers(self) -> NDArray[np.intp]:
        """Indices of the scores that are too far from the others."""

    def threshold(self, rate: float) -> float:
        """Return the score that good parts exceed at this rate."""

    def expected(self, scores: ArrayLike) -> Floats:
        """Return the share of good parts that is expected to score at least so high."""

    def interval(self, score: float) -> tuple[float, float]:
        """Return the range, with 95 % confidence, of the true share of good parts that score higher."""


@dataclass(frozen=True)
class Empirical:
    """The scores themselves: no more is assumed than that new ones come from the same source.

    Attributes:
        scores: finite, [n].
        outliers: indices of scores that do not count; of most samples none.
    """

    scores: Floats
    outliers: NDArray[np.intp] = field(default_factory=lambda: np.empty(0, np.intp))

    @cached_property
    def counting(self) -> Floats:
        """The scores without outliers."""
        return np.delete(self.scores, self.outliers)

    def threshold(self, rate: float) -> float:
        """Return the lowest score that at most this share of the scores exceeds."""
        return threshold_at_fpr(self.counting, fpr=rate).value

    def expected(self, scores: ArrayLike) -> Floats:
        """Return (1 + number of scores at least as high) / (n + 1), the p-value of conformal prediction."""
        ordered = np.sort(self.counting)
        higher = len(ordered) - np.searchsorted(ordered, np.asarray(scores, dtype=float), side="left")
        return np.asarray((1 + higher) / (len(ordered) + 1), dtype=np.float64)

    def interval(self, score: float) -> tuple[float, float]:
        """Return the range, with 95 % confidence, of the true share of good parts that score higher."""
        above, count = int((self.counting > score).sum()), len(self.counting)
        # The true rate of the (k + 1)-th highest score follows Beta(k + 1, n - k) (Wilks 1941).
        low, high = beta.ppf([(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2], above + 1, max(count - above, 1))
        return float(low), 1.0 if above == count else float(high)


@dataclass(frozen=True)
class Calibration:
    """Scores of held-out good images, and the rule that says what they mean.

    Attributes:
        scores: finite, [n], higher = more anomalous.
        target: false-alarm rate, in [0, 1).
        rule: a family of distributions, or `quantile`.

    Raises:
        InputError: no scores, one that is not finite, a rate outside [0, 1), or no such rule.
    """

    scores: Floats
    target: float
    rule: Rule = DEFAULT_RULE

    def __post_init__(self) -> None:
        values = as_numbers(self.scores, name="good_scores")
        check_no_nan(values, name="good_scores")
        if self.rule not in RULES:
            raise InputError(f"rule is {self.rule!r}; expected {', '.join(RULES)}")
        if not 0 <= self.target < 1:
            raise InputError(f"the target false-alarm rate is {self.target}; expected a rate in [0, 1)")
        if values.ndim != 1 or not np.isfinite(values).all():
            raise InputError(f"the good scores are {list(values.shape)}; expected finite scores [n]")
        object.__setattr__(self, "scores", values.astype(np.float64))

    @cached_property
    def why_not(self) -> str:
        """Reason why no distribution can be fitted; empty if one can, or none is asked for."""
        if self.rule == "quantile":
            return ""
        if self.target == 0:
            return "a target of 0 has no quantile"
        if len(self.scores) < FEWEST:
            return f"a distribution needs {FEWEST} images or more"
        if not self._describable:
            return "a score is not positive"
        if self._same:
            return "the scores are all the same"
        return ""

    @property
    def _describable(self) -> bool:
        """True if the family describes such scores."""
        return self.rule != "quantile" and not (FAMILIES[self.rule].logarithms and self.scores.min() <= 0)

    @cached_property
    def _same(self) -> bool:
        """True if all scores but outliers are the same."""
        return Tail(self.rule, self.scores).scale <= 1e-12 * abs(float(np.median(self.scores)))

    @cached_property
    def fitted(self) -> bool:
        """True if a distribution is fitted, False if the scores stand for themselves."""
        return self.rule != "quantile" and not self.why_not

    @cached_property
    def model(self) -> Model:
        """The scores of good parts, described."""
        if self.fitted:
            return Tail(self.rule, self.scores)
        if self.why_not and len(self.scores) >= FEWEST and self.target and self._describable and self._same:
            return Empirical(self.scores, Tail(self.rule, self.scores).outliers)
        return Empirical(self.scores)

    @cached_property
    def threshold(self) -> float:
        """Images that score higher are called anomalous."""
        return self.model.threshold(self.target)

    @cached_property
    def expected_rate(self) -> float:
        """Share of new good images that is expected to score higher than the threshold."""
        if self.fitted:
            return self.target
        return float(self.model.expected(np.nextafter(self.threshold, np.inf)))

    @cached_property
    def interval(self) -> tuple[float, float]:
        """Range in which the true false-alarm rate lies with 95 % confidence, if the rule holds."""
        return self.model.interval(self.threshold)

    @property
    def outliers(self) -> NDArray[np.intp]:
        """Indices of the scores that are too far from the others, and do not count."""
        return self.model.outliers

    def false_alarm_probability(self, scores: ArrayLike) -> Floats:
        """Return the share of good parts [k] that is expected to score at least as high as the scores [k]."""
        return self.model.expected(scores)

    @cached_property
    def missing(self) -> int:
        """Number of further good images until the target can be met, 0 if it can.

        A fitted distribution meets it with any number. From the scores alone a rate below 1 / (n + 1) cannot be met.
        """
        if self.fitted or self.expected_rate <= self.target:
            return 0
        if not self.target:
            return 0  # no number of images meets a target of 0
        return max(0, math.ceil(round(1 / self.target, 6)) - 1 - len(self.scores))

    @cached_property
    def until_certain(self) -> int:
        """Number of further good images until the true rate is below twice the target, with 97.5 % confidence.

        For a fitted distribution by the normal approximation to the errors of location and scale.
        """
        if not self.target or self.interval[1] <= WITHIN * self.target:
            return 0
        needed = _needed(self.target) if self.fitted else _needed_in_order(self.target)
        return max(0, needed - len(self.scores))

    def describe(self, how: str = "held-out") -> str:
        """Say in a few sentences where the threshold comes from and how far it can be trusted.

        Args:
            how: the images were kept from the training: `held-out`, or `cross-fitted`.
        """
        n, (low, high) = len(self.scores), self.interval
        images = f"{n} {how} good image{'' if n == 1 else 's'}"
        text = f"threshold {self.threshold:.6g} from {images}, {self._how()}. "
        text += f"Target false-alarm rate {percent(self.target)}, expected {percent(self.expected_rate)}, "
        text += f"with 95 % confidence {percent(low)} to {percent(high)}"
        if self.missing:
            text += f". Too few images: that target needs {self.missing} more"
        elif self.until_certain:
            text += f". With {self.until_certain} more images it would be at most {percent(WITHIN * self.target)}"
        return text + "."

    def _how(self) -> str:
        if self.fitted:
            return f"rule {self.rule}"
        above = int((self.scores > self.threshold).sum())
        return f"{above} above it" + (f" (rule quantile: {self.why_not})" if self.why_not else "")


def _needed_in_order(target: float) -> int:
    """Return how many scores bring the upper end down to twice the target, by their order alone."""
    counts = np.unique(np.geomspace(2, MOST_MISSING, 2000).astype(int))
    allowed = np.floor(np.round(counts * target, 9))
    certain = beta.ppf(0.975, allowed + 1, counts - allowed) <= WITHIN * target
    return int(counts[np.argmax(certain)]) if certain.any() else MOST_MISSING


def _needed(target: float) -> int:
    """Return how many normal scores bring the upper end of the interval down to twice the target."""
    place, reached = -ndtri(target), -ndtri(min(WITHIN * target, 0.999))
    return math.ceil(1.96**2 * (1 + place**2 / 2) / (place - reached) ** 2)
