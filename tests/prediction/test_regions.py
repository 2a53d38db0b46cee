"""Regions of a map, against SciPy's labels."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.ndimage import find_objects, label

from discrepancy.prediction.regions import find_regions

MAPS = arrays(np.float32, st.tuples(st.integers(1, 9), st.integers(1, 9)), elements=st.floats(0, 1, width=16))


def by_scipy(anomaly_map, threshold):
    labels, _ = label(anomaly_map > threshold, structure=np.ones((3, 3)))
    found = []
    for number, (rows, columns) in enumerate(find_objects(labels), start=1):
        inside = labels == number
        box = (columns.start, rows.start, columns.stop - columns.start, rows.stop - rows.start)
        found.append((*box, int(inside.sum()), float(anomaly_map[inside].max())))
    return sorted(found)


@given(MAPS, st.floats(0, 1))
def test_boxes_areas_and_peaks_are_those_of_scipy(anomaly_map, threshold):
    regions = find_regions(anomaly_map, anomaly_map > threshold)
    found = [(one.left, one.top, one.width, one.height, one.area, one.peak) for one in regions]
    assert sorted(found) == by_scipy(anomaly_map, threshold)
    assert all(anomaly_map[one.peak_y, one.peak_x] == one.peak for one in regions)
    assert [one.peak for one in regions] == sorted((one.peak for one in regions), reverse=True)


def test_a_peak_lies_in_its_own_region_where_boxes_overlap():
    anomaly_map = np.zeros((5, 5), np.float32)
    anomaly_map[0, :] = anomaly_map[:, 0] = 2
    anomaly_map[3, 3] = 9
    high, long = find_regions(anomaly_map, anomaly_map > 1)
    assert (high.peak, high.area, long.peak, long.area) == (9, 1, 2, 9)
    assert (long.width, long.height) == (5, 5)


def test_an_empty_mask_has_no_region():
    assert find_regions(np.full((4, 4), 2, np.float32), np.zeros((4, 4), bool)) == ()


def test_the_mask_and_not_the_map_says_where_regions_are():
    mask = np.zeros((4, 6), bool)
    mask[1, 2:4] = True
    anomaly_map = np.arange(24, dtype=np.float32).reshape(4, 6)
    (region,) = find_regions(anomaly_map, mask)
    assert (region.left, region.top, region.width, region.height, region.area) == (2, 1, 2, 1, 2)
    assert (region.peak, region.peak_x, region.peak_y) == (9, 3, 1)
