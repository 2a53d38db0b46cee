"""The demo on disk: layout, determinism, all-or-nothing writing, wrong input."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from discrepancy.atomic import UNFINISHED, claimed
from discrepancy.demo import CATEGORIES, dataset, render_category
from discrepancy.demo.cable_defects import CABLE
from discrepancy.demo.picture import take
from discrepancy.errors import InputError

SMALL: dict[str, int] = {"size": 64, "train": 2, "test_good": 1}
TINY: dict[str, int] = {"size": 32, "train": 1, "test_good": 1, "test_defective": 2}


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


# Layout


@pytest.mark.parametrize("category", CATEGORIES)
def test_layout_is_mvtec_ads(tmp_path: Path, category: str) -> None:
    kinds = list(dataset.PARTS[category].defects)
    folder = render_category(tmp_path / "deep" / "root", category, **SMALL, test_defective=len(kinds) + 2)

    assert folder == tmp_path / "deep" / "root" / category
    numbers = {kind: 1 + (place < 2) for place, kind in enumerate(kinds)}
    expected = {dataset.STAMP, "train/good/000.png", "train/good/001.png", "test/good/000.png"}
    expected |= {f"test/{kind}/{i:03d}.png" for kind, n in numbers.items() for i in range(n)}
    expected |= {f"ground_truth/{kind}/{i:03d}_mask.png" for kind, n in numbers.items() for i in range(n)}
    assert set(contents(folder)) == expected
    assert os.listdir(folder.parent) == [category]

    for path in folder.glob("t*/*/*.png"):
        with Image.open(path) as image:
            assert (image.mode, image.size) == ("RGB", (64, 64)), path
    for path in folder.glob("ground_truth/*/*.png"):
        with Image.open(path) as image:
            assert (image.mode, image.size) == ("L", (64, 64)), path
        assert set(np.unique(pixels(path))) == {0, 255}, path


def test_every_category_has_at_least_five_kinds_of_defects() -> None:
    assert "cable" in CATEGORIES
    assert len(CATEGORIES) == 3
    assert all(len(part.defects) >= 5 for part in dataset.PARTS.values())


def test_default_counts() -> None:
    wanted = render_category.__kwdefaults__
    plan = list(dataset._plan(CABLE, wanted))
    assert (wanted["size"], wanted["seed"]) == (256, 0)
    assert len({(place, number) for place, number, _ in plan}) == len(plan) == 120
    assert sum(place == "train/good" for place, _, _ in plan) == 60
    assert sum(place == "test/good" for place, _, _ in plan) == 20
    assert {sum(kind == k for _, _, kind in plan) for k in CABLE.defects} == {5}


def test_files_hold_the_pictures_and_their_masks(tmp_path: Path) -> None:
    folder = render_category(tmp_path, "cable", seed=2, **SMALL, test_defective=9)
    for path, kind in [("train/good/001", None), ("test/bent_strand/001", "bent_strand")]:
        picture = take(CABLE, dataset.seeds_of(2, f"cable/{path}"), 64, kind)
        np.testing.assert_array_equal(pixels(folder / f"{path}.png"), picture.image)
        if kind is not None:
            truth = pixels(folder / f"{path.replace('test', 'ground_truth')}_mask.png")
            np.testing.assert_array_equal(truth > 0, picture.mask)


# Determinism


def test_same_seed_same_bytes_other_seed_other_pictures(tmp_path: Path) -> None:
    first = contents(render_category(tmp_path / "a", "cable", seed=3, **SMALL, test_defective=3))
    again = contents(render_category(tmp_path / "b", "cable", seed=3, **SMALL, test_defective=3))
    other = contents(render_category(tmp_path / "c", "cable", seed=4, **SMALL, test_defective=3))
    assert first == again
    assert first.keys() == other.keys()
    assert all(first[name] != other[name] for name in first)


def test_pictures_are_all_different_and_do_not_depend_on_the_counts(tmp_path: Path) -> None:
    few = contents(render_category(tmp_path / "few", "gear", size=32, train=1, test_good=1, test_defective=7))
    many = contents(render_category(tmp_path / "many", "gear", size=32, train=3, test_good=2, test_defective=8))
    assert len(set(many.values())) == len(many)
    assert all(many[name] == few[name] for name in few if name != dataset.STAMP)


# All or nothing


def test_up_to_date_category_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = render_category(tmp_path, "cable", **TINY)
    monkeypatch.setattr(dataset, "_render", lambda *_: pytest.fail("rendered again"))
    times = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    assert render_category(tmp_path, "cable", **TINY) == folder
    assert times == {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}


@pytest.mark.parametrize("change", [{"seed": 1}, {"size": 40}, {"train": 2}, {"test_good": 2}, {"test_defective": 1}])
def test_other_settings_replace_what_was_rendered(tmp_path: Path, change: dict[str, int]) -> None:
    folder = render_category(tmp_path, "cable", **TINY)
    before = contents(folder)
    render_category(tmp_path, "cable", **{**TINY, **change})
    fresh = render_category(tmp_path / "fresh", "cable", **{**TINY, **change})
    assert contents(folder) == contents(fresh) != before
    assert sorted(os.listdir(tmp_path)) == ["cable", "fresh"]


@pytest.mark.parametrize("stamp", ["other version", "broken"])
def test_another_renderers_pictures_are_rendered_anew(tmp_path: Path, stamp: str) -> None:
    folder = render_category(tmp_path, "cable", **TINY)
    expected = contents(folder)
    text = json.loads((folder / dataset.STAMP).read_text())
    assert text["version"] == dataset.VERSION
    text["version"] = -1
    (folder / dataset.STAMP).write_text(json.dumps(text) if stamp == "other version" else "{")
    (folder / "train/good/000.png").write_bytes(b"old")
    render_category(tmp_path, "cable", **TINY)
    assert contents(folder) == expected


def failing_after(count: int) -> Callable[..., None]:
    save, calls = dataset.save, iter(range(count))

    def broken(*args: Any) -> None:
        if next(calls, None) is None:
            raise OSError("disk full")
        save(*args)

    return broken


def test_a_crash_leaves_nothing_and_the_next_run_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch, pytest.raises(OSError, match="disk full"):
        patch.setattr(dataset, "save", failing_after(3))
        render_category(tmp_path, "cable", **TINY)
    assert os.listdir(tmp_path) == []
    assert len(contents(render_category(tmp_path, "cable", **TINY))) == 7


def test_a_crash_while_replacing_keeps_the_old_category(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = render_category(tmp_path, "cable", **TINY)
    before = contents(folder)
    monkeypatch.setattr(dataset, "save", failing_after(3))
    with pytest.raises(OSError, match="disk full"):
        render_category(tmp_path, "cable", **{**TINY, "seed": 9})
    assert contents(folder) == before
    assert os.listdir(tmp_path) == ["cable"]


def test_two_processes_may_render_the_same_category(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    render = dataset._render

    def overtaken(folder: Path, category: str, wanted: dict[str, Any]) -> None:
        render(folder, category, wanted)
        monkeypatch.setattr(dataset, "_render", render)
        render_category(tmp_path, "cable", **TINY)

    monkeypatch.setattr(dataset, "_render", overtaken)
    folder = render_category(tmp_path, "cable", **TINY)
    assert os.listdir(tmp_path) == ["cable"]
    assert len(contents(folder)) == 7


def test_what_a_killed_process_left_is_swept_but_not_what_may_be_in_use(tmp_path: Path) -> None:
    dead = tmp_path / f"{UNFINISHED}dead"
    (dead / "new").mkdir(parents=True)
    with claimed(tmp_path / UNFINISHED) as living:
        render_category(tmp_path, "cable", **TINY)
        assert sorted(os.listdir(tmp_path)) == [living.name, "cable"]


# Wrong input


def test_unknown_category_names_those_that_exist(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"'cabel'.*cable, gear, weave"):
        render_category(tmp_path, "cabel")


@pytest.mark.parametrize(
    "wrong",
    [
        {"size": 8},
        {"train": 0},
        {"test_good": -1},
        {"test_defective": -1},
        {"seed": -1},
        {"train": 2.5},
        {"seed": True},
    ],
)
def test_numbers_out_of_range_are_refused(tmp_path: Path, wrong: dict[str, Any]) -> None:
    ((name, value),) = wrong.items()
    with pytest.raises(InputError, match=f"^{name} is {value}; expected"):
        render_category(tmp_path, "cable", **{**TINY, **wrong})
    assert os.listdir(tmp_path) == []


def test_photographs_of_the_user_are_never_replaced(tmp_path: Path) -> None:
    mine = tmp_path / "cable" / "train" / "good" / "mine.png"
    mine.parent.mkdir(parents=True)
    mine.write_bytes(b"photograph")
    with pytest.raises(InputError, match="was not rendered"):
        render_category(tmp_path, "cable", **TINY)
    assert contents(tmp_path) == {"cable/train/good/mine.png": b"photograph"}
