"""Pages that open from disk: HTML from templates, with tables and pictures inside."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from typing import Any

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from PIL import Image

from discrepancy.figures.jpeg import png
from discrepancy.figures.overlays import Picture
from discrepancy.figures.tables import table_cells

_TEMPLATES = Environment(
    loader=PackageLoader("discrepancy.figures"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    keep_trailing_newline=True,
)
_SEVERITIES = ("error", "warning", "note")


def render(template: str, **values: Any) -> Markup:
    """Fill in a file of `templates/`.

    Text among the values is escaped; only what this function returned goes into another template as it is.

    Args:
        template: the file's name.
        values: all that the template names.

    Raises:
        jinja2.UndefinedError: a value is missing.
    """
    return Markup(_TEMPLATES.get_template(template).render(values))


def html_page(title: str, parts: Sequence[tuple[str, Markup]], *, intro: str = "") -> Markup:
    """Return a whole page: a title, a few words, and sections of a heading and HTML each."""
    return render("page.html", title=title, intro=intro, parts=parts)


def html_table(frame: pd.DataFrame, *, most: int = 500, empty: str = "none") -> Markup:
    """Return a table, numbers as `text_table` writes them.

    A cell that says error, warning or note has its colour.

    Args:
        frame: any table.
        most: rows shown; below them stands how many follow.
        empty: what is said of a table without rows.
    """
    columns = table_cells(frame.head(most))
    cells = (
        [(words, words if words in _SEVERITIES else "number" if numeric else "") for words in column]
        for _, column, numeric in columns
    )
    return render(
        "table.html",
        heads=[(name, numeric) for name, _, numeric in columns],
        rows=list(zip(*cells, strict=True)),
        more=max(0, len(frame) - most),
        empty=empty,
    )


def html_picture(picture: Picture, words: str) -> Markup:
    """Return a picture uint8 [H, W, 3] as a PNG inside the page, with words for those who do not see it."""
    return html_file(png(picture), words)


def html_file(content: bytes, words: str) -> Markup:
    """Return a PNG or JPEG file inside the page, with words for those who do not see it."""
    with Image.open(io.BytesIO(content)) as picture:
        kind, width, height = picture.get_format_mimetype(), picture.width, picture.height
    data = base64.b64encode(content).decode()
    return render("picture.html", words=words, kind=kind, data=data, width=width, height=height)
