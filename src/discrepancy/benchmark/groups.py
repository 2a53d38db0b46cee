"""Textures and objects among the categories of a data set; means are taken over either, and over all."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

TEXTURES: Final = "textures"
OBJECTS: Final = "objects"
ALL: Final = "all"

KINDS: Final[dict[str, dict[str, tuple[str, ...]]]] = {
    "mvtec_ad": {
        TEXTURES: ("carpet", "grid", "leather", "tile", "wood"),
        OBJECTS: (
            "bottle",
            "cable",
            "capsule",
            "hazelnut",
            "metal_nut",
            "pill",
            "screw",
            "toothbrush",
            "transistor",
            "zipper",
        ),
    },
    "demo": {TEXTURES: ("weave",), OBJECTS: ("cable", "gear")},
}


def groups(dataset: str, categories: Iterable[str]) -> dict[str, list[str]]:
    """Return the groups that means are taken over, each with those of the given categories that belong to it.

    Args:
        dataset: its name; of one that is not known here there is the group `all` only.
        categories: those at hand.

    Returns:
        `textures` and `objects` where there are any, then `all`; the categories of each in `in_order`.
    """
    present = in_order(dataset, categories)
    found = {name: [c for c in present if c in members] for name, members in KINDS.get(dataset, {}).items()}
    return {name: members for name, members in found.items() if members} | {ALL: present}


def in_order(dataset: str, categories: Iterable[str]) -> list[str]:
    """Return the categories, each once: textures, objects, others, and by name among these."""
    kinds = list(KINDS.get(dataset, {}).values())

    def place(category: str) -> tuple[int, str]:
        return next((i for i, members in enumerate(kinds) if category in members), len(kinds)), category

    return sorted(set(categories), key=place)


def is_whole(dataset: str, group: str, categories: Iterable[str]) -> bool:
    """Return whether the categories are all that the data set's group has, as far as known here."""
    kinds = KINDS.get(dataset)
    if kinds is None:
        return True
    members = [c for name, group_members in kinds.items() if group in (ALL, name) for c in group_members]
    return set(members) <= set(categories)
