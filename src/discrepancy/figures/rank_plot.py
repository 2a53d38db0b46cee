"""Mean ranks with their critical difference, as a small picture (SVG) in a page's own colours."""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup

from discrepancy.figures.html import render

LEFT, RIGHT = 22.0, 96.0  # percent of the width between which the ranks lie; names stand on the left
ROW = 26  # px
_HEAD = 8


def rank_plot(names: Sequence[str], ranks: Sequence[float], critical_difference: float, *, words: str) -> Markup:
    """Draw each method's mean rank as a dot with a bar of half the critical difference to either side.

    Two mean ranks differ by more than the critical difference exactly if their bars do not overlap.

    Args:
        names: of the methods, as readers know them.
        ranks: mean ranks [K], 1 (best) to K.
        critical_difference: above 0.
        words: for those who do not see it.
    """
    last = len(names)
    bars = []
    for i, (name, rank) in enumerate(zip(names, ranks, strict=True)):
        low, high = (min(max(rank + side * critical_difference / 2, 0.8), last + 0.2) for side in (-1, 1))
        x = {"low": _place(low, last), "at": _place(rank, last), "high": _place(high, last)}
        bars.append({"name": name, "rank": f"{rank:.2f}", "y": _HEAD + ROW * i + ROW // 2 - 4, **x})
    ticks = [(tick, _place(tick, last)) for tick in range(1, last + 1)]
    return render("rank_plot.html", words=words, height=_HEAD + ROW * last, ticks=ticks, bars=bars)


def _place(rank: float, last: int) -> str:
    """Return where a rank lies across, in percent; a fifth of a rank has room beyond the first and the last."""
    share = (rank - 0.8) / (last - 0.6)
    return f"{LEFT + share * (RIGHT - LEFT):.2f}%"
