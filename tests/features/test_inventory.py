"""What lies in a feature cache: sizes as the file system has them, use, and deletion whole or not at all."""

import json
import os
import time

import numpy as np
import pytest

from discrepancy.errors import InputError
from discrepancy.features.cache import FeatureCache
from discrepancy.features.inventory import chosen_entries, drop_entries, stored_entries
from discrepancy.features.recipe import LazyFeatures, lazy_features
from tests.tiny import backbone, good_images  # noqa: F401


def written(root, number, count=3):
    def batches():
        yield {"a": np.full((count, 2, 4, 4), number, np.float32)}

    ingredients = {"mean_of": "x", "first": number}
    return FeatureCache(root).get(LazyFeatures(ingredients, {"a": (count, 2, 4, 4)}, "float32", batches))


def test_entries_are_listed_with_their_size_and_the_last_used_first(tmp_path, backbone, good_images):  # noqa: F811
    first = FeatureCache(tmp_path).get(lazy_features(backbone, good_images[:2], ["0", "1"]))
    second = written(tmp_path, 7)
    for features, day in ((first, 1), (second, 3)):
        os.utime(features.path, (time.time() - day * 86400,) * 2)
    (tmp_path / ".unfinished-abc").mkdir()
    entries = stored_entries(tmp_path)
    assert [entry.folder for entry in entries] == [first.path, second.path]
    assert [entry.images for entry in entries] == [2, 3]
    assert [round(entry.days) for entry in entries] == [1, 3]
    assert entries[0].nbytes == sum(path.stat().st_size for path in first.path.iterdir())
    assert entries[0].description == "tf_efficientnet_lite0 blocks.2+blocks.4, 96x96 px, float32"
    assert entries[1].description == "mean of 7 images, float32"


def test_taking_an_entry_counts_as_use(tmp_path):
    old, other = written(tmp_path, 1), written(tmp_path, 2)
    for features, day in ((old, 9), (other, 5)):
        os.utime(features.path, (time.time() - day * 86400,) * 2)
    written(tmp_path, 1)
    assert [entry.folder for entry in stored_entries(tmp_path)] == [old.path, other.path]


def test_dropped_entries_are_extracted_again(tmp_path):
    kept, dropped = written(tmp_path, 1), written(tmp_path, 2)
    drop_entries(chosen_entries(stored_entries(tmp_path), [dropped.path.name[:6]]))
    assert [path.name for path in tmp_path.iterdir() if not path.name.startswith(".")] == [kept.path.name]
    assert float(written(tmp_path, 2)["a"][0, 0, 0, 0]) == 2


def test_a_damaged_entry_is_listed_and_can_be_dropped(tmp_path):
    features = written(tmp_path, 1)
    (features.path / "card.json").write_text("{")
    (entry,) = stored_entries(tmp_path)
    assert "damaged" in entry.description
    drop_entries([entry])
    assert stored_entries(tmp_path) == []


def test_names_must_fit_one_entry(tmp_path):
    entries = [written(tmp_path, number) for number in range(20)]
    stored = stored_entries(tmp_path)
    assert len(stored) == len(entries)
    with pytest.raises(InputError, match=r"'zz' is no entry.*expected one of"):
        chosen_entries(stored, ["zz"])
    with pytest.raises(InputError, match="'' fits several"):
        chosen_entries(stored, [""])


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"shapes": [1, 2]}, "damaged"),
        ({"shapes": {}}, "damaged"),
        ({"ingredients": {"backbone": "b", "layers": ["a"], "image_size": 5, "reduction": "none"}}, "damaged"),
        ({"ingredients": {"someone": "else's"}}, "features of another kind, float32"),
    ],
)
def test_odd_cards_stop_nothing(tmp_path, changes, told):
    card = written(tmp_path, 1).path / "card.json"
    card.write_text(json.dumps({**json.loads(card.read_text()), **changes}))
    (entry,) = stored_entries(tmp_path)
    assert entry.description.startswith(told)
    drop_entries([entry])
    assert stored_entries(tmp_path) == []
