"""A page that opens from disk: tables and figures in one HTML file, on a phone and in a dark theme too."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from html import escape

import pandas as pd
from PIL import Image

from discrepancy.figures.overlays import Picture
from discrepancy.figures.tables import table_cells

_STYLE = """
:root { color-scheme: light dark; --ink: #222; --quiet: #666; --line: #d9d9d9; --page: #fff; --stripe: #f6f6f6;
  --error: #b0421f; --warning: #8a5a00; --note: #00527f }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e6e6; --quiet: #a6a6a6; --line: #444; --page: #1a1a1a;
  --stripe: #232323; --error: #ff9a76; --warning: #f0c060; --note: #7cc7f2 } }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--page); margin: 0 auto; padding: 1rem;
  max-width: 1120px; overflow-wrap: anywhere }
h1 { font-size: 1.5rem; margin: .5rem 0 } h2 { font-size: 1.15rem; margin: 2rem 0 .5rem }
p { margin: .3rem 0 } .quiet { color: var(--quiet) }
.wide { overflow-x: auto } table { border-collapse: collapse; font-size: .9rem }
th, td { padding: .25rem .75rem .25rem 0; text-align: left; vertical-align: top; border-bottom: 1px solid var(--line) }
th, td.number, td.error, td.warning, td.note { white-space: nowrap; overflow-wrap: normal }
td { min-width: 3rem } td.number, th.number { text-align: right; font-variant-numeric: tabular-nums }
tbody tr:nth-child(even) { background: var(--stripe) }
td.error { color: var(--error); font-weight: 600 } td.warning { color: var(--warning); font-weight: 600 }
td.note { color: var(--note) } img { max-width: 100%; height: auto; border-radius: 4px }
"""
_KINDS = ("error", "warning", "note")


def html_page(
    title: str, parts: Sequence[tuple[str, str]], *, intro: str = "", style: str = "", script: str = ""
) -> str:
    """Return a whole page: a title, a few words, and parts of a heading and HTML each.

    `style` (CSS, after the page's own) and `script` (JavaScript, at the end) go into the page as they are.
    """
    body = "\n".join(f"<section>\n<h2>{escape(heading)}</h2>\n{content}\n</section>" for heading, content in parts)
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{_STYLE}{style}</style>\n</head>\n<body>\n<h1>{escape(title)}</h1>\n"
        f"<p>{escape(intro)}</p>\n{body}\n{_script(script)}</body>\n</html>\n"
    )


def html_table(frame: pd.DataFrame, *, most: int = 500, empty: str = "none") -> str:
    """Return a table, numbers as `text_table` writes them; of more than `most` rows the first, and how many follow.

    A cell that says error, warning or note has its colour.
    """
    if frame.empty:
        return f'<p class="quiet">{escape(empty)}</p>'
    columns = table_cells(frame.head(most))
    head = "".join(f"<th{_number(numeric)}>{escape(name)}</th>" for name, _, numeric in columns)
    rows = zip(*([_cell(words, numeric) for words in cells] for _, cells, numeric in columns), strict=True)
    body = "\n".join(f"<tr>{''.join(cells)}</tr>" for cells in rows)
    table = f'<div class="wide"><table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody>\n</table></div>'
    more = f'\n<p class="quiet">and {len(frame) - most} more</p>' if len(frame) > most else ""
    return table + more


def html_picture(picture: Picture, words: str) -> str:
    """Return a picture uint8 [H, W, 3] as a PNG inside the page, with words for those who do not see it."""
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "PNG")
    return f'<img alt="{escape(words)}" src="data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}">'


def _script(code: str) -> str:
    return f"<script>\n{code}</script>\n" if code else ""


def _number(numeric: bool) -> str:
    return ' class="number"' if numeric else ""


def _cell(words: str, numeric: bool) -> str:
    kind = f' class="{words}"' if words in _KINDS else _number(numeric)
    return f"<td{kind}>{escape(words)}</td>"
