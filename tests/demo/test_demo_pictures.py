"""What the demo shows: scenes, defects, masks, and that telling good from bad is not trivial."""

from __future__ import annotations

import math
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from sklearn.metrics import roc_auc_score

from discrepancy.demo import CATEGORIES, dataset, render_category
from discrepancy.demo.cable_defects import CABLE, swapped_core
from discrepancy.demo.picture import take, visible_difference
from discrepancy.demo.surface import Grid, Pose

KINDS = [(category, kind) for category, part in dataset.PARTS.items() for kind in part.defects]


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image)


# Scenes


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
