"""Mean ranks with their critical difference, as a small picture (SVG) in a page's own colours."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

LEFT, RIGHT = 22.0, 96.0  # percent of the width between which the ranks lie; names stand on the left
ROW = 26  # px
_HEAD = 8


def rank_plot(names: Sequence[str], ranks: Sequence[float], critical_difference: float, *, words: str) -> str:
    """Draw each method's mean rank as a dot with a bar of half the critical difference to either side.

    Two mean ranks differ by more than the critical difference exactly if their bars do not overlap.

    Args:
        names: of the methods, as readers know them.
        ranks: mean ranks [K], 1 (best) to K.
        critical_difference: above 0.
        words: for those who do not see it.
    """
    last = len(names)
    height = _HEAD + ROW * last
    lines = [
        f'<line class="grid" x1="{_place(tick, last)}" x2="{_place(tick, last)}" y1="0" y2="{height}"/>'
        f'<text class="tick" x="{_place(tick, last)}" y="{height + 15}">{tick}</text>'
        for tick in range(1, last + 1)
    ]
    for i, (name, rank) in enumerate(zip(names, ranks, strict=True)):
        y = _HEAD + ROW * i + ROW // 2 - 4
        ends = [min(max(rank + side * critical_difference / 2, 0.8), last + 0.2) for side in (-1, 1)]
        lines.append(
            f'<text x="0" y="{y + 4}">{escape(name)}</text>'
            f'<line class="bar" x1="{_place(ends[0], last)}" x2="{_place(ends[1], last)}" y1="{y}" y2="{y}"/>'
            f'<circle cx="{_place(rank, last)}" cy="{y}" r="5"><title>{escape(name)}: {rank:.2f}</title></circle>'
        )
    return f'<svg class="ranks" role="img" aria-label="{escape(words)}" height="{height + 20}">{"".join(lines)}</svg>'


def _place(rank: float, last: int) -> str:
    """Where a rank lies across, in percent: there is room for a fifth of a rank beyond the first and the last."""
    share = (rank - 0.8) / (last - 0.6)
    return f"{LEFT + share * (RIGHT - LEFT):.2f}%"
