"""Checks of the input of every metric: numbers, matching shapes, labels that are 0 or 1, no NaN."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from discrepancy.errors import InputError


def as_numbers(values: ArrayLike, *, name: str) -> NDArray:
    """Return `values` `[n, ...]` as an array of real numbers, without a copy where that is possible.

    Raises:
        InputError: `values` is ragged, empty, a single number, or not numeric.
    """
    try:
        array = np.asarray(values)
    except ValueError as error:
        raise InputError(f"{name} has rows of different lengths; one regular array was expected.") from error
    if array.dtype.kind not in "fiub":
        raise InputError(f"{name} has dtype {array.dtype}; real numbers were expected.")
    if array.ndim == 0 or array.size == 0:
        raise InputError(f"{name} has shape {array.shape}; an array with at least one value was expected.")
    return array


def as_labels(labels: ArrayLike, *, name: str = "labels") -> NDArray[np.bool_]:
    """Return `labels` `[n, ...]`, 0 for good and 1 for anomalous, as booleans.

    Raises:
        InputError: a label is neither 0 nor 1.
    """
    array = as_numbers(labels, name=name)
    if array.dtype == np.bool_:
        return array
    odd = array[(array != 0) & (array != 1)]
    if odd.size:
        raise InputError(f"{name} holds {odd[0]}; 0 (good) and 1 (anomalous) were expected.")
    return array.astype(np.bool_)


def check_same_shape(first: NDArray, second: NDArray, *, names: tuple[str, str]) -> None:
    """Raise an `InputError` unless both arrays `[...]` have one shape."""
    if first.shape != second.shape:
        raise InputError(
            f"{names[0]} has shape {first.shape} and {names[1]} has shape {second.shape}; equal shapes were expected."
        )


def as_maps(maps: ArrayLike) -> NDArray:
    """Return anomaly maps `[N, H, W]` as an array; an `InputError` where they have another number of axes."""
    scores = as_numbers(maps, name="maps")
    if scores.ndim != 3:
        raise InputError(f"maps has shape {scores.shape}; [N, H, W] was expected.")
    return scores


def as_masks(masks: ArrayLike, *, maps: NDArray) -> NDArray[np.bool_]:
    """Return the masks of `maps`, both `[N, H, W]`, as an array.

    Raises:
        InputError: the shapes differ, or the masks are not boolean (the caller has to threshold a grey mask,
            as only the caller knows its rule).
    """
    areas = as_numbers(masks, name="masks")
    if areas.dtype != np.bool_:
        raise InputError(f"masks has dtype {areas.dtype}; bool was expected (True where a pixel is anomalous).")
    check_same_shape(maps, areas, names=("maps", "masks"))
    return areas


def check_no_nan(values: NDArray, *, name: str) -> None:
    """Raise an `InputError` that names the first entry of `values` `[n, ...]` along its first axis that holds a NaN.

    Infinite values pass: they have a rank.
    """
    if values.dtype.kind != "f":
        return
    for index, entry in enumerate(values) if values.ndim > 1 else [(None, values)]:
        if np.isnan(np.max(entry)):  # a NaN is its own maximum; no boolean array is needed to find one
            where = int(np.flatnonzero(np.isnan(entry))[0]) if index is None else index
            raise InputError(f"{name}[{where}] holds a NaN; a number was expected (higher = more anomalous).")
