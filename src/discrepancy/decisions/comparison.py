"""A test of whether new photographs of good parts still score as those of the calibration before did."""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import ks_2samp

from discrepancy.errors import InputError
from discrepancy.metrics.checks import as_numbers
from discrepancy.metrics.ranking import auroc

LEVEL = 0.01
FEWEST = 2
FEW = 20  # below this many, scores that are half as high again often go unnoticed
_SMALLEST_P = 1e-12  # a smaller one says no more to anybody


@dataclass(frozen=True)
class Comparison:
    """Scores of new photographs against those of the calibration before; both of good parts.

    Attributes:
        count_before: number of scores of the calibration before.
        count_now: number of scores of new photographs.
        median_before: median score of the calibration before.
        median_now: median score of the new photographs.
        p_value: chance of a difference at least as large if nothing had changed, in [0, 1]; two-sided.
        probability_higher: chance that a new photograph scores higher than an old one, ties counting half, in [0, 1];
            0.5 if nothing changed.
        ratio: new median by the old one; nan unless both are positive.
    """

    count_before: int
    count_now: int
    median_before: float
    median_now: float
    p_value: float
    probability_higher: float
    ratio: float

    @property
    def drifted(self) -> bool:
        """True if chance alone would seldom explain the difference: p below 0.01.

        So one of a hundred comparisons is a false alarm. With thousands of photographs even a difference too small to
        matter is found: look at `probability_higher` and `ratio` as well.
        """
        return self.p_value < LEVEL

    def describe(self) -> str:
        """Say in plain sentences whether the scores changed, how much, and what follows for the threshold."""
        said = "differ" if self.drifted else "do not differ noticeably"
        text = (
            f"The scores of {self.count_now} new photographs {said} from those of the {self.count_before} photographs "
            f"of the calibration before ({_p(self.p_value)}). {self._effect()}."
        )
        if self.drifted:
            text += (
                " The threshold of the calibration before need not keep its false-alarm rate on them. Find what "
                "changed (light, focus, camera, parts), or calibrate anew."
            )
        elif min(self.count_before, self.count_now) < FEW:
            text += " With so few photographs, only a large change would show."
        return text

    def _effect(self) -> str:
        way = "lower" if self.probability_higher < 0.5 else "higher"
        probability = max(self.probability_higher, 1 - self.probability_higher)
        chance = f"{probability:.2f}" if probability <= 0.99 or probability == 1 else "over 0.99"
        text = f"A new photograph scores {way} than an old one with probability {chance}"
        if math.isnan(self.ratio):
            return f"{text}; the median was {self.median_before:.3g} and is {self.median_now:.3g}"
        return f"{text}; the median is {self.ratio:.3g} times as high"


def compare_scores(before: ArrayLike, now: ArrayLike) -> Comparison:
    """Test whether new scores of good parts come from the same distribution as those of the calibration before.

    The test is that of Kolmogorov and Smirnov for two samples. It notices any change of the distribution, not only of
    the median. Its p value is exact for up to 10,000 scores each, however few there are, and never too low for scores
    that tie. The Cramér-von Mises test would notice a change of level somewhat more often. SciPy knows its p value
    only approximately, though, and for scores with many ties finds changes where there are none.

    Args:
        before: image scores of good parts, from which the threshold was taken `[n]`, n >= 2.
        now: image scores of new photographs of good parts, by the same detector `[m]`, m >= 2. Both must come from
            photographs that the detector was not trained on: those it has seen score lower.

    Returns:
        the comparison; `describe()` says it in words.

    Raises:
        InputError: fewer than two scores, another number of axes than one, or a score that is not finite.
    """
    old, new = _scores(before, name="before"), _scores(now, name="now")
    medians = float(np.median(old)), float(np.median(new))
    everything = np.concatenate([old, new])
    return Comparison(
        count_before=old.size,
        count_now=new.size,
        median_before=medians[0],
        median_now=medians[1],
        p_value=_p_value(old, new),
        probability_higher=auroc(everything, np.arange(everything.size) >= old.size),
        ratio=medians[1] / medians[0] if min(medians) > 0 else math.nan,
    )


def _scores(values: ArrayLike, *, name: str) -> NDArray[np.float64]:
    scores = as_numbers(values, name=name).astype(np.float64)
    if scores.ndim != 1 or scores.size < FEWEST:
        raise InputError(f"{name} has shape {scores.shape}; at least {FEWEST} scores [n] were expected.")
    wrong = np.flatnonzero(~np.isfinite(scores))
    if wrong.size:
        raise InputError(f"{name}[{wrong[0]}] is {scores[wrong[0]]}; a finite score was expected.")
    return scores


def _p_value(old: NDArray[np.float64], new: NDArray[np.float64]) -> float:
    with warnings.catch_warnings():
        # A p value of 1 may come out a little higher by rounding; SciPy then approximates it, and warns.
        warnings.filterwarnings("ignore", "ks_2samp: Exact calculation unsuccessful", RuntimeWarning)
        return float(ks_2samp(old, new).pvalue)


def _p(value: float) -> str:
    """Return a p value in words: `p = 0.04`, `p = 2e-9`."""
    if value < _SMALLEST_P:
        return f"p < {_plain(_SMALLEST_P)}"
    return f"p = {_plain(value)}"


def _plain(value: float) -> str:
    if value >= 0.001:
        return f"{value:.2g}"
    digits, exponent = f"{value:.0e}".split("e")
    return f"{digits}e{int(exponent)}"
