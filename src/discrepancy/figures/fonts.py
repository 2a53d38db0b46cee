"""Fonts of figures: matplotlib's own, and for scripts that it lacks those that are installed."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import Any, Final

from matplotlib.font_manager import FontProperties, findfont, findSystemFonts, fontManager, get_font

FAMILY: Final = "DejaVu Sans"
"""Comes with matplotlib: Latin, Greek, Cyrillic, and signs."""

# In the order in which they are tried; a name stands for all that begin with it.
_OTHERS: Final = (
    *("Noto Sans CJK", "Noto Sans JP", "Noto Sans SC", "Noto Sans TC", "Noto Sans KR", "Source Han Sans"),
    *("IPAexGothic", "IPAGothic", "IPAPGothic", "TakaoPGothic", "TakaoGothic", "VL Gothic", "VL PGothic"),
    *("WenQuanYi Micro Hei", "WenQuanYi Zen Hei", "Droid Sans Fallback", "NanumGothic", "UnDotum", "Baekmuk Dotum"),
    *("Noto Serif CJK", "AR PL UMing", "AR PL UKai", "Yu Gothic", "MS Gothic", "Microsoft YaHei", "SimHei"),
    *("Malgun Gothic", "Hiragino Sans", "PingFang", "Arial Unicode MS"),
    *("Noto Sans Thai", "Loma", "Garuda", "Waree", "Noto Sans Devanagari", "Lohit Devanagari", "Noto Sans Arabic"),
    *("Noto Sans Hebrew", "Noto Sans", "FreeSans", "Unifont", "GNU Unifont"),
)
# Files of these, for fonts that were installed after matplotlib made its list.
_FILES: Final = re.compile(
    r"(noto|source-?han|ipa|takao|vl-|wqy|wenquanyi|droidsansfallback|nanum|undotum|baekmuk|uming|ukai|loma|garuda|waree"
    r"|lohit|freesans|unifont)",
    re.IGNORECASE,
)


@cache
def families() -> tuple[str, ...]:
    """Return the families that figures name, in the order in which a character's glyph is looked for."""
    if not _installed():
        known = {Path(font.fname) for font in fontManager.ttflist}
        for file in map(Path, findSystemFonts()):
            if file not in known and _FILES.match(file.name):
                _add(file)
    return (FAMILY, *_installed())


@cache
def font_of(character: str, *, bold: bool = False) -> Any:
    """Return the first font, a matplotlib `FT2Font`, that has a glyph of the character; None where none has."""
    if not character.isprintable():
        return None
    return next((font for font in _fonts(bold) if font.get_char_index(ord(character)) != 0), None)


@cache
def _fonts(bold: bool) -> tuple[Any, ...]:
    weight = "bold" if bold else "normal"
    return tuple(get_font(findfont(FontProperties(family=family, weight=weight))) for family in families())


def _installed() -> list[str]:
    names = sorted({font.name for font in fontManager.ttflist})
    chosen = [name for start in _OTHERS for name in names if name == start or name.startswith(f"{start} ")]
    return list(dict.fromkeys(chosen))


def _add(file: Path) -> None:
    try:
        fontManager.addfont(file)
    except (OSError, RuntimeError, ValueError):  # a font that FreeType cannot read
        return
