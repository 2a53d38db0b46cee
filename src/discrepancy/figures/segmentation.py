"""Three pictures of every test image: score map in colours, binary map, outline over the photograph."""

from __future__ import annotations

import posixpath
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

import numpy as np
from numpy.typing import NDArray

from discrepancy.figures.overlays import Picture, binary_picture, map_scale, outline, score_picture


@dataclass(frozen=True)
class Segmentations:
    """The pictures of a category with their file names, drawn when they are asked for, one at a time.

    Iterating yields three pictures per test image; the stems are those of `picture_stems`:

    - `<stem>_score.png`: uint8 [H, W, 3], one colour scale for the whole category.
    - `<stem>_binary.png`: uint8 [H, W], 255 in detected regions, else 0.
    - `<stem>_outline.png`: uint8 [H, W, 3], the outline of the binary map over the photograph.

    Attributes:
        images: uint8 [N, 3, H, W], the test images last; may be memory-mapped.
        maps: anomaly maps [N_test, H, W], raw, higher = more anomalous; may be memory-mapped.
        names: paths of the test images, relative to the data root, in the order of the maps.
        found: pixels of detected regions, for each test image bool [H, W].
        level: anomaly at which outlines are drawn, for the colour scale.

    Raises:
        ValueError: the shapes do not fit together, or (when drawing) a map that is not finite.
    """

    images: NDArray[np.uint8]
    maps: NDArray[np.floating]
    names: Sequence[str]
    found: Sequence[NDArray[np.bool_]]
    level: float

    def __post_init__(self) -> None:
        images, maps = list(self.images.shape), list(self.maps.shape)
        fit = images[1:] == [3, *maps[1:]] and len(maps) == 3
        fit = fit and len(self.names) == len(self.found) == maps[0] <= images[0]
        if not fit:
            raise ValueError(
                "Expected images [N, 3, H, W], maps [N_test, H, W], N_test names and outlines, "
                f"found {images}, {maps}, {len(self.names)} names and outlines of {len(self.found)} images."
            )

    def __len__(self) -> int:
        """Return the number of pictures: three per test image."""
        return 3 * len(self.maps)

    def __iter__(self) -> Iterator[tuple[str, Picture]]:
        if not len(self):
            return
        scale = map_scale(self.maps, threshold=self.level)
        first = len(self.images) - len(self.maps)
        for row, stem in enumerate(picture_stems(self.names)):
            anomaly_map = self.maps[row]
            found = self.found[row]
            yield f"{stem}_score.png", score_picture(anomaly_map, scale=scale)
            yield f"{stem}_binary.png", binary_picture(found)
            yield f"{stem}_outline.png", outline(self.images[first + row], found, thickness=2)


def picture_stems(names: Sequence[str]) -> list[str]:
    """Return how the pictures of each image begin: its path below the folder that all share, without the suffix.

    Stems differ from each other even where case does not count. Images that differ in nothing but the suffix keep it
    (`a.png`, `a.jpg`); what is still the same then is numbered (`A.png`, `a.png-2`).

    Args:
        names: POSIX paths of the images, all relative to the same folder.

    Returns:
        One relative POSIX path per image, in the same order.
    """
    if not names:
        return []
    shared = posixpath.commonpath([posixpath.dirname(name) for name in names])
    whole = [PurePosixPath(name).relative_to(shared) for name in names]
    uses = Counter(_key(path.with_suffix("")) for path in whole)
    taken: set[str] = set()
    stems = []
    for path in whole:
        wished = path if uses[_key(path.with_suffix(""))] > 1 else path.with_suffix("")
        stem, number = wished, 1
        while _key(stem) in taken:
            number += 1
            stem = wished.with_name(f"{wished.name}-{number}")
        taken.add(_key(stem))
        stems.append(str(stem))
    return stems


def _key(path: PurePosixPath) -> str:
    return str(path).casefold()
