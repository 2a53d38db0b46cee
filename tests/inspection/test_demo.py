"""The rendered demo: layout, determinism, masks, all-or-nothing writing, and that it is not trivial."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from sklearn.metrics import roc_auc_score

from discrepancy.errors import InputError
from discrepancy.inspection.demo import CATEGORIES, dataset, render_category
from discrepancy.inspection.demo.cable_defects import CABLE, swapped_core
from discrepancy.inspection.demo.picture import take, visible_difference
from discrepancy.inspection.demo.surface import Grid, Pose

SMALL: dict[str, int] = {"size": 64, "train": 2, "test_good": 1}
TINY: dict[str, int] = {"size": 32, "train": 1, "test_good": 1, "test_defective": 2}
KINDS = [(category, kind) for category, part in dataset.PARTS.items() for kind in part.defects]


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
        picture = take(CABLE, dataset._seeds(2, f"cable/{path}"), 64, kind)
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


@pytest.mark.parametrize("category", CATEGORIES)
def test_a_scene_looks_the_same_at_every_size(category: str) -> None:
    small, large = (
        take(dataset.PARTS[category], np.random.SeedSequence(5), size).image.astype(np.float32) for size in (96, 192)
    )
    # Blurred by the same length of the scene: what remains is the scene, not the sensor.
    small = cv2.GaussianBlur(small, (0, 0), 1.5)
    large = cv2.resize(cv2.GaussianBlur(large, (0, 0), 3), (96, 96), interpolation=cv2.INTER_AREA)
    assert np.corrcoef(small.ravel(), large.ravel())[0, 1] > 0.97


# Defects and masks


@pytest.mark.parametrize(("category", "kind"), KINDS)
def test_masks_lie_where_the_defect_is(category: str, kind: str) -> None:
    part = dataset.PARTS[category]
    for seed in (1, 2):
        seeds = [np.random.SeedSequence([7, seed]) for _ in range(2)]
        bad, good = take(part, seeds[0], 128, kind), take(part, seeds[1], 128)
        assert good.mask is None
        assert bad.mask is not None
        mask = bad.mask
        assert mask.shape == bad.image.shape[:2] == (128, 128)
        assert mask.dtype == bool
        assert 12 <= mask.sum() <= 0.2 * mask.size

        # The noise is the same in both, so what differs is the defect (and the shadow it casts).
        difference = np.abs(bad.image.astype(float) - good.image).max(2)
        assert difference[mask].mean() > 12
        assert np.mean(difference[mask] > 6) > 0.75
        far = cv2.dilate(mask.astype(np.uint8), np.ones((15, 15), np.uint8)) == 0
        assert np.mean(difference[far] > 12) < 0.002


@given(seed=st.integers(0, 2**32 - 1))
@settings(max_examples=25, deadline=None)
def test_a_swapped_core_is_a_purely_logical_defect(seed: int) -> None:
    rng = np.random.default_rng(seed)
    good = CABLE.draw(rng)
    bad = swapped_core(good, rng)
    before, after = [core.colour for core in good.cores], [core.colour for core in bad.cores]
    assert before != after
    assert set(after) <= set(before)
    changed = {name for core, other in zip(good.cores, bad.cores, strict=True) for name in vars(core)
               if getattr(core, name) is not getattr(other, name)}  # fmt: skip
    assert changed == {"colour"}
    assert {name for name in vars(good) if getattr(good, name) is not getattr(bad, name)} == {"cores"}


def test_visible_difference_is_the_region_that_differs() -> None:
    expected = np.full((128, 128, 3), 100, np.float32)
    seen = expected.copy()
    region = np.zeros((128, 128), bool)
    region[30:50, 40:70] = True
    seen[region, 1] += 13
    seen[80, 80] += 90
    seen[100:120, 100:120] -= 11
    np.testing.assert_array_equal(visible_difference(seen, expected), region)

    seen[35, 45] = 100
    np.testing.assert_array_equal(visible_difference(seen, expected), region)


def test_visible_difference_finds_the_faintest_defect_and_refuses_none() -> None:
    expected = np.full((64, 64, 3), 100, np.float32)
    seen = expected.copy()
    seen[10:20, 10:20] += 5
    mask = visible_difference(seen, expected)
    assert mask[10:20, 10:20].all()
    assert mask.sum() == 100
    with pytest.raises(RuntimeError, match="no pixel"):
        visible_difference(expected, expected)


# Not trivial


def overlap(maps: np.ndarray, masks: np.ndarray, limit: float) -> float:
    """AUPRO up to `limit`, the slow way: mean overlap of the regions at thresholds of evenly spaced FPR."""
    rates = np.linspace(0, limit, 61)[1:]
    thresholds = np.quantile(maps[~masks], 1 - rates)
    regions = []
    for scores, mask in zip(maps, masks, strict=True):
        count, labels = cv2.connectedComponents(mask.astype(np.uint8), connectivity=8)
        regions += [scores[labels == label] for label in range(1, count)]
    return float(np.mean([np.mean([np.mean(region >= t) for region in regions]) for t in thresholds]))


@pytest.mark.parametrize("category", CATEGORIES)
def test_difference_from_the_mean_training_image_fails(tmp_path: Path, category: str) -> None:
    folder = render_category(tmp_path, category, size=96, train=24, test_good=16, test_defective=32)
    mean = np.mean([pixels(p) for p in folder.glob("train/good/*.png")], 0)
    maps, masks = [], []
    for path in sorted(folder.glob("test/*/*.png")):
        maps.append(cv2.GaussianBlur(np.abs(pixels(path) - mean).mean(2), (0, 0), 1.5))
        truth = folder / "ground_truth" / path.parent.name / f"{path.stem}_mask.png"
        masks.append(pixels(truth) > 0 if truth.exists() else np.zeros(mean.shape[:2], bool))
    labels = [mask.any() for mask in masks]
    assert sum(labels) == 32
    assert roc_auc_score(labels, [m.max() for m in maps]) < 0.70
    assert overlap(np.array(maps), np.array(masks), 0.30) < 0.65


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
    save, calls = dataset._save, iter(range(count))

    def broken(*args: Any) -> None:
        if next(calls, None) is None:
            raise OSError("disk full")
        save(*args)

    return broken


def test_a_crash_leaves_nothing_and_the_next_run_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch, pytest.raises(OSError, match="disk full"):
        patch.setattr(dataset, "_save", failing_after(3))
        render_category(tmp_path, "cable", **TINY)
    assert os.listdir(tmp_path) == []
    assert len(contents(render_category(tmp_path, "cable", **TINY))) == 7


def test_a_crash_while_replacing_keeps_the_old_category(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = render_category(tmp_path, "cable", **TINY)
    before = contents(folder)
    monkeypatch.setattr(dataset, "_save", failing_after(3))
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
    old, new = (tmp_path / f".cable.rendering-{name}" for name in ("old", "new"))
    for leftover in (old, new):
        (leftover / "new").mkdir(parents=True)
    os.utime(old, (0, 0))
    render_category(tmp_path, "cable", **TINY)
    assert sorted(os.listdir(tmp_path)) == [new.name, "cable"]


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


# Frames


coordinates = st.floats(-1.5, 1.5)
poses = st.builds(
    Pose, angle=st.floats(-7, 7), scale=st.floats(0.5, 2), shift=st.tuples(st.floats(-0.5, 0.5), st.floats(-0.5, 0.5))
)


@given(pose=poses, x=coordinates, y=coordinates)
@settings(deadline=None)
def test_poses_can_be_undone(pose: Pose, x: float, y: float) -> None:
    there = pose.to_picture((x, y))
    assert pose.to_frame(there) == pytest.approx((x, y), abs=1e-9)
    turned = complex(x, y) * pose.scale * complex(math.cos(pose.angle), math.sin(pose.angle)) + complex(*pose.shift)
    assert there == pytest.approx((turned.real, turned.imag), abs=1e-9)


@given(pose=poses, x=coordinates, y=coordinates, radius=st.floats(0.02, 0.5))
@settings(deadline=None, max_examples=100)
def test_a_window_holds_the_whole_disc(pose: Pose, x: float, y: float, radius: float) -> None:
    grid = Grid.of_picture(48).posed(pose)
    inside = np.hypot(grid.x - x, grid.y - y) <= radius
    window = np.zeros_like(inside)
    window[grid.window((x, y), radius)] = True
    assert not (inside & ~window).any()
    assert window.sum() <= (2 * (radius + 0.03) * pose.scale * 24 + 2) ** 2
