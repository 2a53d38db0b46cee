"""The images that a report shows, and what was decided about each, in a customer's words."""

from __future__ import annotations

from itertools import chain, zip_longest
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray


class Section(NamedTuple):
    """A part of a gallery: its heading (may be empty) and the positions of its cases in the arrays."""

    heading: str
    cases: list[int]


def found_anomalous(scores: ArrayLike, threshold: float) -> NDArray[np.bool_]:
    """Return which of the scores [N] are called anomalous: those above the threshold, not those equal to it."""
    values: NDArray[np.bool_] = np.asarray(scores) > threshold
    return values


def verdict(label: int, found: bool) -> str:
    """Return what an image is (label 0 good, 1 anomalous) and what was decided about it."""
    if label:
        return "defective, found" if found else "defective, missed"
    return "good, false alarm" if found else "good, passed"


def summary(labels: ArrayLike, found: ArrayLike) -> str:
    """Return one sentence on all decisions: labels [N] are 0 good or 1 anomalous, found [N] is true or false."""
    truth, said = np.asarray(labels) == 1, np.asarray(found, dtype=bool)
    defective, good = int(truth.sum()), int((~truth).sum())
    hits, alarms = int((truth & said).sum()), int((~truth & said).sum())
    parts = []
    if defective:
        parts.append(f"{hits} of {_count(defective, 'defective part')} found")
    if good:
        parts.append(f"{_count(alarms, 'false alarm')} among {_count(good, 'good part')}")
    return ", ".join(parts) + "."


def choose_cases(
    scores: ArrayLike, labels: ArrayLike, *, worst: int = 4, best: int = 4, threshold: float
) -> list[Section]:
    """Choose the cases that tell most about a result, good and bad.

    The worst are the lowest-scored anomalous images and the highest-scored good ones, taken in turn. Wrong decisions
    come before right ones, so no error hides behind a close call of the other kind. The best are the highest-scored
    anomalous and the lowest-scored good images, in turn, of those decided rightly and not among the worst. Where the
    images of a kind run out, the other kind fills up.

    Args:
        scores: image scores [N], finite, higher = more anomalous.
        labels: 0 good, 1 anomalous, [N].
        worst: how many of the worst to take at most.
        best: how many of the best to take at most.
        threshold: an image is called anomalous above it.

    Returns:
        Up to two sections, each with a heading; a section without cases is left out, no case stands in two.

    Raises:
        ValueError: lengths differ, or a score is not finite.
    """
    values, truth = np.asarray(scores, dtype=np.float64), np.asarray(labels) == 1
    if values.ndim != 1 or values.shape != truth.shape or not np.isfinite(values).all():
        raise ValueError(
            f"Expected finite scores [N] and labels [N], found {list(values.shape)} and {list(truth.shape)}."
        )
    ascending, descending = np.argsort(values, kind="stable"), np.argsort(-values, kind="stable")
    right = found_anomalous(values, threshold) == truth

    def among(order: NDArray[np.intp], which: NDArray[np.bool_]) -> list[int]:
        return [int(i) for i in order if which[i]]

    errors = _in_turn(among(ascending, truth & ~right), among(descending, ~truth & ~right))
    close_calls = _in_turn(among(ascending, truth & right), among(descending, ~truth & right))
    hardest = (errors + close_calls)[:worst]
    clear = right.copy()
    clear[hardest] = False
    clearest = _in_turn(among(descending, truth & clear), among(ascending, ~truth & clear))[:best]

    shown = sum(not right[i] for i in hardest)
    sections = [Section(_hardest_heading(len(errors), shown, len(hardest)), hardest)]
    sections.append(Section("The clearest right decisions", clearest))
    return [section for section in sections if section.cases]


def _hardest_heading(errors: int, shown: int, cases: int) -> str:
    if not errors:
        return "The closest calls: every decision of this test is right"
    which = f"{shown} of {errors} wrong decisions"
    if shown == errors:
        which = "the only wrong decision" if errors == 1 else f"the {errors} wrong decisions"
    return f"The hardest cases: {which}" + (", then the closest calls" if cases > shown else "")


def _in_turn(first: list[int], second: list[int]) -> list[int]:
    return [i for i in chain.from_iterable(zip_longest(first, second)) if i is not None]


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
