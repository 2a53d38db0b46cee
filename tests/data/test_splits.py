"""The validation split: seeded, disjoint from training, independent of the order of rows."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from discrepancy.data.parameters import IngestionParameters
from discrepancy.data.splits import held_out_names, split_validation
from discrepancy.errors import InputError


def table(digests: list[str]) -> pd.DataFrame:
    """A sample table with these good training images, one anomalous training image and two of test."""
    good = [(f"part/train/good/{i:03}.png", "train", 0, digest) for i, digest in enumerate(digests)]
    others = [("part/train/bad/0.png", "train", 1, "bad"), ("part/test/good/0.png", "test", 0, "t0")]
    rows = [*good, *others, ("part/test/crack/0.png", "test", 1, "t1")]
    return pd.DataFrame(rows, columns=["image", "split", "label", "sha256"])


def different(count: int) -> pd.DataFrame:
    return table([f"{i:x}" for i in range(count)])


def held_out(samples: pd.DataFrame) -> set[str]:
    return set(samples.loc[samples["split"] == "validation", "image"])


@pytest.mark.parametrize(
    ("count", "fraction", "minimum", "expected"),
    [
        (49, 0.05, 2, 2),
        (51, 0.05, 2, 3),
        (60, 0.05, 2, 3),
        (263, 0.05, 2, 13),
        (60, 0.2, 10, 12),
        (40, 0.2, 10, 10),
        (20, 0.2, 10, 10),
        (19, 0.2, 10, 9),  # no more than half
        (3, 0.2, 10, 1),
        (2, 0.2, 10, 1),
        (10, 0.96, 1, 5),
    ],
)
def test_how_many_are_held_out(count, fraction, minimum, expected):
    assert len(held_out(split_validation(different(count), fraction=fraction, minimum=minimum))) == expected


def test_the_defaults():
    samples = different(100)
    expected = split_validation(samples, fraction=0.2, minimum=10, seed=0)
    pd.testing.assert_frame_equal(split_validation(samples), expected)
    assert len(held_out(split_validation(different(12), fraction=0.2))) == 6
    assert len(held_out(split_validation(different(40), fraction=0.0))) == 10


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.integers(0, 40), min_size=1, max_size=60),
    st.floats(0, 0.9),
    st.integers(1, 4),
    st.integers(0, 2**32),
    st.randoms(use_true_random=False),
)
def test_split_properties(copies, fraction, minimum, seed, random):
    samples = table([str(digest) for digest in copies])
    before = samples.copy()
    wanted = max(1, min(max(minimum, round(fraction * len(copies))), len(copies) // 2))
    try:
        split = split_validation(samples, fraction=fraction, minimum=minimum, seed=seed)
    except InputError:
        # Refused only when some choice of what to hold out would leave nothing to train on.
        sizes = np.sort(np.unique(copies, return_counts=True)[1])
        assert sizes[:-1].sum() < wanted
        return
    pd.testing.assert_frame_equal(samples, before)
    pd.testing.assert_frame_equal(split.drop(columns="split"), samples.drop(columns="split"))
    moved = split["split"] != samples["split"]
    assert (split.loc[moved, "split"] == "validation").all()
    assert ((samples.loc[moved, "split"] == "train") & (samples.loc[moved, "label"] == 0)).all()
    train = set(split.loc[split["split"] == "train", "sha256"])
    assert train - {"bad"}, "something is left to train on"
    assert not train & set(split.loc[moved, "sha256"]), "no image is both held out and trained on"
    assert moved.sum() >= wanted
    if len(set(copies)) == len(copies):
        assert moved.sum() == wanted
    order = list(range(len(samples)))
    random.shuffle(order)
    shuffled = split_validation(samples.iloc[order], fraction=fraction, minimum=minimum, seed=seed)
    pd.testing.assert_frame_equal(shuffled.sort_index(), split)


def test_rows_are_told_by_position_not_by_index():
    samples = different(40)
    expected = held_out(split_validation(samples))
    samples.index = pd.Index([5] * len(samples))
    assert held_out(split_validation(samples)) == expected


def test_only_good_training_images_move():
    samples = table(["0", "1", "2", "3"])
    samples.loc[samples["label"] == 1, "sha256"] = ["0", "1"]
    moved = split_validation(samples, minimum=2)["split"] == "validation"
    assert moved.tolist()[4:] == [False] * 3
    assert moved.sum() == 2


def test_the_seed_decides():
    found = {frozenset(held_out(split_validation(different(40), seed=seed))) for seed in range(12)}
    assert len(found) > 8
    counts = pd.Series(
        [name for seed in range(150) for name in held_out(split_validation(different(6), seed=seed, minimum=2))]
    )
    shares = counts.value_counts() / 150
    assert len(shares) == 6
    np.testing.assert_allclose(shares, 2 / 6, atol=0.15)


def test_a_validation_split_of_the_data_set_is_kept():
    samples = different(10)
    samples.loc[[1, 2, 3], "split"] = "validation"
    pd.testing.assert_frame_equal(split_validation(samples), samples)


@pytest.mark.parametrize(("count", "options"), [(0, {}), (1, {}), (1, {"fraction": 0.0, "minimum": 1})])
def test_too_few_good_images(count, options):
    with pytest.raises(InputError, match=rf"{count} different good training images.*expected at least 2 in train/good"):
        split_validation(different(count), **options)


def test_copies_do_not_count_as_different_images():
    with pytest.raises(InputError, match="1 different good training images"):
        split_validation(table(["same"] * 30))


@pytest.mark.parametrize("options", [{"fraction": 1.0}, {"fraction": -0.1}, {"fraction": np.nan}, {"minimum": 0}])
def test_parameters_out_of_range(options):
    with pytest.raises(InputError, match=f"validation {next(iter(options))} is"):
        split_validation(different(10), **options)


def test_a_table_without_held_out_images_says_what_to_do():
    samples = pd.DataFrame({"image": ["a", "b"], "split": ["train", "test"], "sha256": ["1", "2"]})
    ingestion = IngestionParameters(category="part")
    with pytest.raises(InputError, match=r"holds out no image.*calibration=cross"):
        held_out_names(samples, ingestion)
