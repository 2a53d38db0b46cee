"""Each group's metrics are those of its maps and the shared ones, for one sort of each map and little memory."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from discrepancy.errors import InputError
from discrepancy.metrics import PixelMetrics, aupro, auroc, pixel_metrics_by_group, ranks
from tests.metrics import naive_metrics as naive
from tests.metrics.traced_peak import maps_with_good, traced_peak


def one_by_one(maps, masks, groups, *, fpr_limit=0.30):
    """The slow way: every group's maps are copied together with the shared ones, and sorted for each metric."""
    found = {}
    for group in [group for group in groups if group is not None]:
        rows = [other is None or other == group for other in groups]
        defined = masks[rows].any() and not masks[rows].all()
        found[group] = PixelMetrics(
            auroc(maps[rows], masks[rows]) if defined else None,
            aupro(maps[rows], masks[rows], fpr_limit=fpr_limit) if defined else None,
        )
    return found


@st.composite
def grouped_maps(draw):
    """Small maps with many or no ties, empty and full masks, groups without marked pixels, or nothing shared."""
    shape = draw(hnp.array_shapes(min_dims=3, max_dims=3, min_side=1, max_side=6))
    levels = draw(st.sampled_from([1, 4, 10**6]))
    maps = draw(hnp.arrays(np.int64, shape, elements=st.integers(-levels, levels)))
    groups = draw(st.lists(st.sampled_from([None, "a", "b", "c"]), min_size=shape[0], max_size=shape[0]))
    kept = draw(hnp.arrays(np.bool_, shape[0])) & [group is not None for group in groups]
    masks = draw(hnp.arrays(np.bool_, shape)) & kept[:, None, None]
    return maps.astype(draw(st.sampled_from([np.float32, np.float64, np.int16]))), masks, groups


@settings(max_examples=200, deadline=None)
@given(grouped_maps(), st.sampled_from([0.05, 0.30, 1.0]))
def test_equals_group_by_group_to_the_last_digit(case, fpr_limit):
    assert pixel_metrics_by_group(*case, fpr_limit=fpr_limit) == one_by_one(*case, fpr_limit=fpr_limit)


@pytest.mark.parametrize("chunk", [1, 600, 1700, 10**6])
@pytest.mark.parametrize("levels", [None, 30])
def test_memory_maps_and_chunks_change_nothing(tmp_path, monkeypatch, levels, chunk):
    maps, masks, _ = naive.made_maps(images=12, levels=levels, with_mask=7)
    groups = ["cut", "hole", "cut", "dent", "hole", "cut", "cut", None, None, "vanished", None, "cut"]
    expected = one_by_one(maps, masks, groups)
    assert expected["vanished"] == (None, None) and 0.5 < expected["cut"].auroc < 1
    np.save(tmp_path / "maps.npy", maps)
    np.save(tmp_path / "masks.npy", masks)
    monkeypatch.setattr(ranks, "CHUNK", chunk)
    stored = [np.load(tmp_path / f"{name}.npy", mmap_mode="r") for name in ("maps", "masks")]
    found = pixel_metrics_by_group(*stored, groups)
    assert found == expected and list(found) == ["cut", "hole", "dent", "vanished"]


def test_equals_the_threshold_loop():
    maps, masks, _ = naive.made_maps(images=5, size=16, with_mask=3)
    found = pixel_metrics_by_group(maps, masks, ["a", "b", "a", None, None])
    for group, rows in (("a", [0, 2, 3, 4]), ("b", [1, 3, 4])):
        assert found[group].aupro == pytest.approx(naive.aupro(maps[rows], masks[rows], 0.30), abs=1e-12)


def test_each_map_is_sorted_once(monkeypatch):
    maps, masks, _ = naive.made_maps(images=8, with_mask=5)
    monkeypatch.setattr(ranks, "CHUNK", maps[0].size)
    sizes = []
    original = ranks._count

    def counted(ordered, thresholds):
        sizes.append(len(ordered))
        return original(ordered, thresholds)

    monkeypatch.setattr(ranks, "_count", counted)
    pixel_metrics_by_group(maps, masks, ["a", "b", "c", "a", "d", None, None, None])
    assert sum(sizes) == maps.size


def test_memory_does_not_grow_with_the_good_maps(monkeypatch):
    monkeypatch.setattr(ranks, "CHUNK", 2 * 64 * 64)
    peaks = []
    for good in (4, 60):
        maps, masks = maps_with_good(good)
        peaks.append(traced_peak(pixel_metrics_by_group, maps, masks, ["a", "b", "c", "a"] + [None] * good))
    assert peaks[1] - peaks[0] < maps[0].nbytes


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        (["a", "b", None], "groups has 3 entries; 4 were expected"),
        (["a", None, "b", None], r"masks\[1\] marks pixels of a good image"),
    ],
)
def test_groups_that_do_not_fit_are_refused(groups, message):
    maps, masks, _ = naive.made_maps(images=4, size=8, with_mask=2)
    with pytest.raises(InputError, match=message):
        pixel_metrics_by_group(maps, masks, groups)


@pytest.mark.parametrize("image", [0, 3])
def test_a_nan_names_its_map(image):
    maps, masks, _ = naive.made_maps(images=4, size=8, with_mask=2)
    maps[image, 2, 2] = np.nan
    with pytest.raises(InputError, match=rf"maps\[{image}\] holds a NaN"):
        pixel_metrics_by_group(maps, masks, ["a", "b", None, None])
    with pytest.raises(InputError, match="fpr_limit is 0"):
        pixel_metrics_by_group(maps, masks, ["a", "b", None, None], fpr_limit=0)
