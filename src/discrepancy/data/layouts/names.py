"""Meaning of folder names in their common spellings: good parts, masks, a split, or none of these."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from typing import Final

Meaning = Callable[[str], bool]

_GOOD: Final = frozenset(
    {"good", "ok", "okay", "normal", "pass", "passed", "healthy", "faultless", "flawless", "defectfree", "nodefect"}
    | {"nodefects", "nondefective", "良品", "正常", "合格"}
)
_MASKS: Final = frozenset(
    {"mask", "masks", "groundtruth", "gt", "label", "labels", "annotation", "annotations", "segmentation"}
)
_LITTER: Final = frozenset(
    {"thumb", "thumbs", "thumbnail", "thumbnails", "macosx", "eadir", "recyclebin", "systemvolumeinformation"}
    | {"lostfound", "ipynbcheckpoints", "pycache"}
)
_TRAIN: Final = frozenset({"train", "training"})
_TEST: Final = frozenset({"test", "testing", "tests"})
_OTHER_SPLITS: Final = frozenset({"val", "valid", "validation"})
_FILLING: Final = frozenset(
    {
        "part",
        "parts",
        "piece",
        "pieces",
        "sample",
        "samples",
        "image",
        "images",
        "photo",
        "photos",
        "picture",
        "pictures",
    }
)


def _meaning(names: frozenset[str]) -> Meaning:
    """Return whether a name is one of `names`: case, digits, spaces, punctuation and words for images do not count."""

    def means(name: str) -> bool:
        parted = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", unicodedata.normalize("NFKC", name)).casefold()
        words = [word for word in re.findall(r"[^\W\d_]+", parted) if word not in _FILLING]
        return "".join(words) in names or (bool(words) and names.issuperset(words))

    return means


means_good: Final = _meaning(_GOOD)
means_masks: Final = _meaning(_MASKS)
means_litter: Final = _meaning(_LITTER)
means_train: Final = _meaning(_TRAIN)
means_test: Final = _meaning(_TEST)
means_split: Final = _meaning(_TRAIN | _TEST | _OTHER_SPLITS)
