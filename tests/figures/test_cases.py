"""Which cases are shown, against a slow choice by sorting, and how decisions are worded."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from discrepancy.figures.cases import choose_cases, found_anomalous, summary, verdict

TESTS = st.lists(st.tuples(st.integers(-5, 5), st.integers(0, 1)), min_size=1, max_size=14)


def in_turn(first, second):
    """One of the first, one of the second, and so on, then what is left."""
    first, second, taken = list(first), list(second), []
    while first or second:
        for queue in (first, second):
            if queue:
                taken.append(queue.pop(0))
    return taken


def naive_choice(scores, labels, worst, best, threshold):
    everything = range(len(scores))
    missed = sorted([i for i in everything if labels[i] == 1 and scores[i] <= threshold], key=lambda i: scores[i])
    alarms = sorted([i for i in everything if labels[i] == 0 and scores[i] > threshold], key=lambda i: -scores[i])
    found = sorted([i for i in everything if labels[i] == 1 and scores[i] > threshold], key=lambda i: scores[i])
    passed = sorted([i for i in everything if labels[i] == 0 and scores[i] <= threshold], key=lambda i: -scores[i])
    hardest = (in_turn(missed, alarms) + in_turn(found, passed))[:worst]
    found = sorted(set(found) - set(hardest), key=lambda i: (-scores[i], i))
    passed = sorted(set(passed) - set(hardest), key=lambda i: (scores[i], i))
    return hardest, in_turn(found, passed)[:best]


@settings(max_examples=300, deadline=None)
@given(TESTS, st.integers(0, 6), st.integers(0, 6), st.integers(-6, 6))
def test_choose_cases_equals_a_naive_choice_with_ties(test, worst, best, threshold):
    scores, labels = [score for score, _ in test], [label for _, label in test]
    sections = choose_cases(scores, labels, worst=worst, best=best, threshold=threshold)
    hardest, clearest = naive_choice(scores, labels, worst, best, threshold)
    assert [section.cases for section in sections] == [part for part in (hardest, clearest) if part]
    assert all(section.heading for section in sections)


def test_the_worst_are_missed_defects_and_false_alarms():
    scores = [9.0, 1.0, 8.0, 2.0, 5.5, 4.0]
    labels = [1, 1, 0, 0, 1, 0]
    hard, clear = choose_cases(scores, labels, worst=2, best=2, threshold=5.0)
    assert hard.cases == [1, 2]  # scored lowest of the defective, highest of the good
    assert clear.cases == [0, 3]
    assert hard.heading == "The hardest cases: the 2 wrong decisions"


@pytest.mark.parametrize(
    ("threshold", "worst", "heading"),
    [
        (5.0, 2, "The closest calls: every decision of this test is right"),
        (7.5, 1, "The hardest cases: the only wrong decision"),
        (7.5, 3, "The hardest cases: the only wrong decision, then the closest calls"),
        (9.5, 1, "The hardest cases: 1 of 2 wrong decisions"),
        (9.5, 2, "The hardest cases: the 2 wrong decisions"),
    ],
)
def test_headings_count_the_wrong_decisions(threshold, worst, heading):
    scores, labels = [7.0, 9.0, 1.0, 2.0], [1, 1, 0, 0]
    assert choose_cases(scores, labels, worst=worst, threshold=threshold)[0].heading == heading


def test_only_good_images_fill_all_places():
    hard, clear = choose_cases([3.0, 1.0, 2.0, 0.0], [0, 0, 0, 0], worst=2, best=4, threshold=2.5)
    assert (hard.cases, clear.cases) == ([0, 2], [3, 1])


@pytest.mark.parametrize("scores", [[1.0, np.nan], [1.0], [[1.0], [2.0]]])
def test_choose_cases_refuses(scores):
    with pytest.raises(ValueError, match="finite scores"):
        choose_cases(scores, [0, 1], threshold=0.0)


def test_a_score_at_the_threshold_is_not_above_it():
    assert found_anomalous([0.9, 1.0, 1.1], 1.0).tolist() == [False, False, True]


def test_words_of_decisions():
    assert [verdict(1, True), verdict(1, False)] == ["defective, found", "defective, missed"]
    assert [verdict(0, True), verdict(0, False)] == ["good, false alarm", "good, passed"]


@pytest.mark.parametrize(
    ("labels", "found", "words"),
    [
        ([1, 1, 0, 0, 0], [1, 0, 1, 0, 0], "1 of 2 defective parts found, 1 false alarm among 3 good parts."),
        ([1], [1], "1 of 1 defective part found."),
        ([0, 0], [0, 0], "0 false alarms among 2 good parts."),
    ],
)
def test_summary_counts(labels, found, words):
    assert summary(labels, found) == words
