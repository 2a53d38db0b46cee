"""The report of a run as one page that opens from disk: sections of tables, figures and facts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from discrepancy.figures.html import html_file, render
from discrepancy.figures.jpeg import smaller

_WHOLE = 900
"""Width of a figure, px, from which it takes a row for itself."""


@dataclass(frozen=True)
class Fact:
    """A line of a list of facts.

    Attributes:
        name: what it is about.
        words: what is said.
        address: where the words lead to; empty: nowhere.
        more: words after these.
    """

    name: str
    words: str
    address: str = ""
    more: str = ""


@dataclass(frozen=True)
class Section:
    """A section of the page.

    Attributes:
        heading: its heading.
        content: HTML, in order.
        short: the heading in the list of contents; empty: the heading itself.
    """

    heading: str
    content: Sequence[Markup] = field(default_factory=tuple)
    short: str = ""


def report_page(title: str, lead: str, facts: Sequence[Fact], sections: Sequence[Section]) -> Markup:
    """Return the page as HTML; nothing is fetched.

    Args:
        title: heading of the page.
        lead: the sentence that matters most.
        facts: lines below it.
        sections: of the page; those without content are left out.
    """
    shown = [section for section in sections if section.content]
    return render("report_page.html", title=title, intro=lead, facts=html_facts(facts), sections=shown)


def html_facts(facts: Sequence[Fact]) -> Markup:
    """Return a list of facts, each with its name."""
    return render("facts.html", facts=facts)


def html_lines(lines: Sequence[str]) -> Markup:
    """Return sentences, a paragraph each."""
    return Markup("\n").join(Markup("<p>{}</p>").format(line) for line in lines)


def html_closed(heading: str, content: Markup) -> Markup:
    """Return content that a click on its heading opens."""
    return render("closed.html", heading=heading, content=content)


def html_figures(figures: Sequence[tuple[str, NDArray[np.uint8]]], *, most: int = 400_000) -> Markup:
    """Return figures, small ones side by side where there is room.

    Args:
        figures: each with its name, uint8 [H, W, 3].
        most: bytes of a figure that holds photographs.
    """
    shown = [(html_file(smaller(picture, most=most), name), picture.shape[1] >= _WHOLE) for name, picture in figures]
    return render("figures.html", figures=shown)
