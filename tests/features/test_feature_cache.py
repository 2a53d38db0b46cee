"""The cache: what is a hit, what is a miss, and what is left when something goes wrong."""

from __future__ import annotations

import errno
import json
import logging
import os
import shutil
import stat
import threading
import time
import warnings
from collections import namedtuple
from contextlib import nullcontext

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from discrepancy.errors import InputError
from discrepancy.features import cache as module
from discrepancy.features.backbones import build_backbone
from discrepancy.features.cache import FeatureCache
from discrepancy.features.derived import with_layers
from discrepancy.features.entry import check_bytes
from discrepancy.features.recipe import LazyFeatures, lazy_features
from discrepancy.locks import file_lock

DIGESTS = ["aa", "bb", "cc", "dd", "ee"]


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    path = tmp_path_factory.mktemp("images") / "images.npy"
    np.save(path, np.random.default_rng(0).integers(0, 256, (5, 3, 32, 40), dtype=np.uint8))
    return np.load(path, mmap_mode="r")


def lite0(weights: str = "random", layers: tuple[str, ...] = ("blocks.0", "blocks.1")):
    return build_backbone("tf_efficientnet_lite0", layers=layers, weights=weights, padding="zeros")


@pytest.fixture(scope="module")
def backbone():
    return lite0()


@pytest.fixture
def runs(backbone):
    """A list that grows by the batch size with each run of the backbone's network."""
    seen: list[int] = []
    handle = backbone.network.register_forward_hook(lambda _module, inputs, _output: seen.append(len(inputs[0])))
    yield seen
    handle.remove()


def made(rng_seed: int = 0, count: int = 5, fail: BaseException | None = None, **ingredients) -> LazyFeatures:
    """A recipe without a network: random numbers in batches of two."""
    shapes = {"a": (count, 3, 4, 5), "b": (count, 2, 2, 2)}

    def batches():
        rng = np.random.default_rng(rng_seed)
        for start in range(0, count, 2):
            if start == 2 and fail is not None:
                raise fail
            size = min(2, count - start)
            yield {layer: rng.random((size, *shape[1:]), dtype=np.float32) for layer, shape in shapes.items()}

    return LazyFeatures(ingredients={"seed": rng_seed, **ingredients}, shapes=shapes, dtype="float32", batches=batches)


def values(recipe: LazyFeatures) -> dict[str, np.ndarray]:
    parts = list(recipe.batches())
    return {layer: np.concatenate([part[layer] for part in parts]) for layer in recipe.shapes}


def names(root):
    """What lies in the cache's folder besides the lock file."""
    return [path.name for path in root.iterdir() if path.name != ".lock"]


# What is cached


def test_holds_what_the_backbone_gives(backbone, images, tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        features = FeatureCache(tmp_path).get(lazy_features(backbone, images, DIGESTS, batch_size=2))
        some = features.tensors([4, 0])
    expected = backbone(torch.from_numpy(np.array(images)))
    assert features.layers == tuple(features) == ("blocks.0", "blocks.1")
    assert features.count == 5
    for layer, maps in expected.items():
        assert isinstance(features[layer], np.memmap)
        assert not features[layer].flags.writeable
        assert features[layer].shape == tuple(maps.shape)
        np.testing.assert_allclose(features[layer], maps.numpy(), rtol=1e-4, atol=1e-5)
        assert torch.equal(some[layer], torch.from_numpy(np.array(features[layer][[4, 0]])))


def test_the_network_runs_in_the_precision_and_others_are_left_alone(backbone, images):
    seen = []

    def tf32():
        return torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32

    handle = backbone.network.register_forward_hook(lambda *_: seen.append(tf32()))
    try:
        for precision in ("fp32", "tf32", "bf16"):
            for _ in lazy_features(backbone, images, DIGESTS, batch_size=3, precision=precision).pieces():
                assert tf32() == (False, True)  # PyTorch's own
    finally:
        handle.remove()
    assert seen == [(False, False)] * 2 + [(True, True)] * 4


def test_features_of_lower_precision_are_others(backbone, images):
    exact, *rounded = (lazy_features(backbone, images, DIGESTS, precision=name) for name in ("fp32", "tf32", "bf16"))
    assert exact.fingerprint == lazy_features(backbone, images, DIGESTS).fingerprint
    assert "precision" not in exact.ingredients  # so that features of earlier versions are still found
    assert rounded[0].fingerprint == rounded[1].fingerprint != exact.fingerprint


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_statistics_are_numpys(backbone, images, tmp_path, dtype):
    features = FeatureCache(tmp_path).get(lazy_features(backbone, images, DIGESTS, batch_size=2, dtype=dtype))
    for layer, (mean, std) in features.channel_statistics().items():
        assert features[layer].dtype == dtype
        exact = np.asarray(features[layer], dtype=np.float64)
        np.testing.assert_allclose(mean, exact.mean(axis=(0, 2, 3)), rtol=1e-10, atol=1e-12)
        np.testing.assert_allclose(std, exact.std(axis=(0, 2, 3)), rtol=1e-10, atol=1e-12)


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 99), count=st.integers(1, 6))
def test_what_goes_in_comes_out(tmp_path_factory, seed, count):
    recipe = made(seed, count)
    features = FeatureCache(tmp_path_factory.mktemp("cache")).get(recipe, progress=False)
    assert features.fingerprint == recipe.fingerprint
    for layer, expected in values(recipe).items():
        np.testing.assert_array_equal(features[layer], expected)
        stored = np.load(features.path / f"{layer}.npy")
        np.testing.assert_array_equal(stored, expected.transpose(0, 2, 3, 1))  # channels last on disk
        some = features.tensors([0])[layer]
        assert some.is_contiguous(memory_format=torch.channels_last)


def test_the_card_says_what_the_features_are_of(backbone, images, tmp_path):
    recipe = lazy_features(backbone, images, DIGESTS, preprocessing={"interpolation": "box"})
    card = json.loads((FeatureCache(tmp_path).get(recipe).path / "card.json").read_text())
    assert card["fingerprint"] == recipe.fingerprint
    assert card["ingredients"]["images"] == DIGESTS
    assert card["ingredients"]["weights"] == backbone.digest
    assert card["ingredients"]["preprocessing"] == {"interpolation": "box"}
    assert card["ingredients"]["image_size"] == [32, 40]


# Rows in an order of their own


ORDER = [4, 0, 3, 0]


def test_a_view_gives_the_features_of_its_images(tmp_path):
    whole = FeatureCache(tmp_path).get(made(), progress=False)
    view = whole.rows(ORDER)
    assert (view.count, view.layers, view.path) == (4, whole.layers, whole.path)
    for layer in whole:
        assert view[layer].shape == (4, *whole[layer].shape[1:])
        np.testing.assert_array_equal(np.asarray(view[layer]), whole[layer][ORDER])
    for rows in ([2, 0], np.array([3]), range(4)):
        expected = whole.tensors([ORDER[row] for row in rows])
        for layer, values in view.tensors(rows).items():
            assert torch.equal(values, expected[layer])
            assert values.stride() == expected[layer].stride()
    pieces = list(view.batches(range(4), torch.device("cpu"), size=3))
    assert [len(piece["a"]) for piece in pieces] == [3, 1]
    assert torch.equal(torch.cat([piece["b"] for piece in pieces]), whole.tensors(ORDER)["b"])
    for found, known in zip(view.channel_statistics().values(), whole.channel_statistics().values(), strict=True):
        np.testing.assert_array_equal(found, known)


def test_views_are_told_apart_by_their_rows(tmp_path):
    whole = FeatureCache(tmp_path).get(made(), progress=False)
    other = FeatureCache(tmp_path).get(made(1), progress=False)
    views = [whole.rows(ORDER), whole.rows(ORDER[::-1]), whole.rows(ORDER[:3]), whole.rows(range(5)), other.rows(ORDER)]
    assert len({view.fingerprint for view in [*views, whole]}) == 6
    assert whole.rows(np.array(ORDER)).fingerprint == views[0].fingerprint


def test_a_view_of_a_view_is_one_of_the_whole(tmp_path):
    whole = FeatureCache(tmp_path).get(made(), progress=False)
    view = whole.rows(ORDER).rows([2, 0])
    assert view.whole is whole and view.fingerprint == whole.rows([3, 4]).fingerprint
    assert torch.equal(view.tensors([0, 1])["a"], whole.tensors([3, 4])["a"])


# Hits and misses


def test_the_second_time_nothing_is_extracted(backbone, images, tmp_path, runs, caplog):
    caplog.set_level(logging.INFO)
    first = FeatureCache(tmp_path).get(lazy_features(backbone, images, DIGESTS, batch_size=2))
    assert runs == [2, 2, 1]
    assert "extracting 5 images" in caplog.text
    caplog.clear()
    # Batch size and progress do not change the numbers, and neither does another object with the same weights.
    again = lazy_features(lite0(), np.array(images), list(DIGESTS), batch_size=3)
    second = FeatureCache(tmp_path).get(again, progress=False)
    assert runs == [2, 2, 1]
    assert f"5 images from the cache {first.path}" in caplog.text
    np.testing.assert_array_equal(first["blocks.1"], second["blocks.1"])


def test_a_fingerprint_needs_no_pixels_and_no_run(backbone, images, runs):
    class Unread(namedtuple("Unread", "shape dtype ndim")):
        def __len__(self) -> int:
            return self.shape[0]

        def __getitem__(self, key):
            raise AssertionError("a pixel was read")

    unread = Unread(images.shape, images.dtype, images.ndim)
    assert lazy_features(backbone, unread, DIGESTS).fingerprint == lazy_features(backbone, images, DIGESTS).fingerprint
    assert runs == []


@pytest.fixture(scope="module")
def variants(backbone, images):
    def recipe(backbone=backbone, images=images, digests=DIGESTS, **options):
        return lazy_features(backbone, images, digests, **options)

    vgg = {"layers": ["relu1_1"], "weights": "random"}
    return {
        "as before": recipe(),
        "weights": recipe(lite0("random:1")),
        "fewer layers": recipe(lite0(layers=("blocks.1",))),
        "other layers": recipe(lite0(layers=("blocks.1", "blocks.2"))),
        "network": recipe(build_backbone("vgg19", **vgg)),
        "pooling": recipe(build_backbone("vgg19", **vgg, pooling="avg")),
        "padding": recipe(build_backbone("vgg19", **vgg, padding="zeros")),
        "image size": recipe(images=images[:, :, :, :32]),
        "same map size, other image size": recipe(images=images[:, :, :31]),
        "dtype": recipe(dtype="float16"),
        "an image": recipe(digests=["aa", "bb", "cc", "dd", "ff"]),
        "order": recipe(digests=DIGESTS[::-1]),
        "fewer images": recipe(images=images[:4], digests=DIGESTS[:4]),
        "preprocessing": recipe(preprocessing={"interpolation": "box"}),
    }


def test_every_changed_ingredient_is_another_cache(variants, tmp_path):
    assert len({recipe.fingerprint for recipe in variants.values()}) == len(variants)
    cache = FeatureCache(tmp_path)
    cache.get(variants["as before"])
    assert [name for name, recipe in variants.items() if cache.has(recipe)] == ["as before"]


def test_all_sixtyfour_digits_count(tmp_path, caplog):
    cache, recipe = FeatureCache(tmp_path), made()
    card = cache.get(recipe).path / "card.json"
    card.write_text(card.read_text().replace(recipe.fingerprint, recipe.fingerprint[:16] + "0" * 48))
    assert not cache.has(recipe)
    assert cache.get(recipe).fingerprint == recipe.fingerprint
    assert "another fingerprint" in caplog.text


def test_features_are_found_again_by_their_fingerprint(tmp_path):
    written = FeatureCache(tmp_path).get(made())
    found = FeatureCache(tmp_path).open(made().fingerprint)
    assert found.layers == written.layers == ("a", "b")
    np.testing.assert_array_equal(found["b"], values(made())["b"])
    for other in (made(1).fingerprint, made().fingerprint[:16] + "0" * 48):
        with pytest.raises(InputError, match=other[:16]):
            FeatureCache(tmp_path).open(other)


# What goes wrong


@pytest.mark.parametrize("fault", [KeyboardInterrupt(), RuntimeError("out of memory")])
def test_an_interrupted_extraction_leaves_nothing(tmp_path, fault):
    cache = FeatureCache(tmp_path)
    with pytest.raises(type(fault)):
        cache.get(made(fail=fault))
    assert list(tmp_path.iterdir()) == []
    assert not cache.has(made())
    np.testing.assert_array_equal(cache.get(made())["a"], values(made())["a"])


def test_leftovers_of_a_killed_process_are_cleared(tmp_path):
    def killed():
        yield next(made().batches())
        os._exit(9)

    child = os.fork()
    if child == 0:
        recipe = made()
        object.__setattr__(recipe, "batches", killed)
        FeatureCache(tmp_path).get(recipe, progress=False)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
    assert len(list(tmp_path.iterdir())) == 1
    assert not FeatureCache(tmp_path).has(made())
    FeatureCache(tmp_path).get(made(1))
    assert names(tmp_path) == [made(1).fingerprint[:16]]


def cut(path):
    os.truncate(path / "b.npy", (path / "b.npy").stat().st_size - 4)


def lengthen(path):
    with (path / "b.npy").open("ab") as file:
        file.write(b"\0\0\0\0")


@pytest.mark.parametrize(
    "damage",
    [
        cut,
        lengthen,
        lambda path: (path / "a.npy").unlink(),
        lambda path: (path / "a.npy").write_bytes(b""),
        lambda path: np.save(path / "a.npy", np.zeros((5, 3, 4, 5), dtype=np.float32)),
        lambda path: np.save(path / "a.npy", np.zeros((5, 4, 5, 3), dtype=np.int32)),
        lambda path: (path / "card.json").write_text("{"),
        lambda path: (path / "card.json").write_text("[]"),
        lambda path: (path / "card.json").unlink(),
    ],
)
def test_a_damaged_cache_is_written_anew(tmp_path, caplog, damage):
    caplog.set_level("WARNING", logger="discrepancy")
    cache = FeatureCache(tmp_path)
    damage(cache.get(made()).path)
    assert not cache.has(made())
    assert caplog.text == ""
    np.testing.assert_array_equal(cache.get(made())["b"], values(made())["b"])
    assert caplog.text.count("is damaged") == 1
    assert names(tmp_path) == [made().fingerprint[:16]]


def test_of_two_writers_the_slower_discards(tmp_path):
    cache = FeatureCache(tmp_path)
    recipe, faster, inodes = made(), [], []

    def overtaken():
        for number, batch in enumerate(recipe.batches()):
            if number == 1:  # another writer of the same features starts and finishes
                faster.append(FeatureCache(tmp_path).get(recipe))
                inodes.append(os.stat(faster[0].path).st_ino)
            yield batch

    slow = LazyFeatures(recipe.ingredients, recipe.shapes, recipe.dtype, overtaken)
    features = cache.get(slow)
    assert [os.stat(features.path).st_ino] == inodes
    np.testing.assert_array_equal(features["a"], values(recipe)["a"])
    np.testing.assert_array_equal(faster[0]["a"], values(recipe)["a"])
    assert names(tmp_path) == [recipe.fingerprint[:16]]


def test_finished_features_wait_while_another_publishes(tmp_path):
    cache, recipe = FeatureCache(tmp_path), made()
    writer = threading.Thread(target=cache.get, args=(recipe,))
    with file_lock(tmp_path / ".lock"):
        writer.start()
        while not list(tmp_path.glob(".unfinished-*/*/card.json")):
            time.sleep(0.01)
        writer.join(timeout=0.2)
        assert writer.is_alive()
        assert not cache.path(recipe).exists()
    writer.join(timeout=10)
    assert cache.has(recipe)


def test_many_writers_at_once(tmp_path):
    found, barrier = [], threading.Barrier(6)

    def write(seed: int) -> None:
        barrier.wait()
        found.append((seed, FeatureCache(tmp_path).get(made(seed), progress=False)))

    threads = [threading.Thread(target=write, args=(number % 2,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 6
    for seed, features in found:
        np.testing.assert_array_equal(features["a"], values(made(seed))["a"])
    assert len(names(tmp_path)) == 2


def test_a_full_disk_is_told_before_the_work(tmp_path, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(module.shutil, "disk_usage", lambda _: usage(1, 1, made().nbytes - 1))
    with pytest.raises(InputError, match="GiB"):
        FeatureCache(tmp_path).get(made(fail=AssertionError("work was done")))


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="file/features"):
        FeatureCache(tmp_path / "file" / "features").get(made())


@pytest.mark.parametrize(
    ("dtype", "value", "words"), [("float16", 7e4, "cache_dtype=float32"), ("float32", np.nan, "finite")]
)
def test_features_that_are_not_finite_are_refused(tmp_path, dtype, value, words):
    with np.errstate(over="ignore"):
        maps = np.full((2, 1, 2, 2), value).astype(dtype)
    recipe = LazyFeatures({}, {"a": (2, 1, 2, 2)}, dtype, lambda: iter([{"a": maps}]))
    with pytest.raises(InputError, match=words):
        FeatureCache(tmp_path).get(recipe)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "batches",
    [
        [],
        [np.zeros((1, 1, 2, 2), np.float32)],
        [np.zeros((2, 1, 2, 2), np.float32)] * 2,
        [np.zeros((2, 1, 4, 1), np.float32)],
        [np.zeros((2, 1, 2, 2), np.float64)],
    ],
)
def test_a_recipe_that_gives_something_else_is_refused(tmp_path, batches):
    recipe = LazyFeatures({}, {"a": (2, 1, 2, 2)}, "float32", lambda: iter([{"a": maps} for maps in batches]))
    with pytest.raises(ValueError, match="a: "):
        FeatureCache(tmp_path).get(recipe)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"dtype": "float64"}, InputError, "dtype='float64'"),
        ({"batch_size": 0}, InputError, "batch_size=0"),
        ({"image_digests": DIGESTS[:4]}, ValueError, "5 images but 4 digests"),
        ({"images": np.zeros((5, 3, 32, 40), np.float32)}, ValueError, "float32"),
        ({"images": np.zeros((5, 32, 40, 3), np.uint8)}, ValueError, "expected images"),
        ({"images": np.zeros((0, 3, 32, 40), np.uint8), "image_digests": []}, InputError, "no images"),
        ({"images": np.zeros((5, 3, 32, 4), np.uint8)}, InputError, "32x4 are too small"),
    ],
)
def test_arguments_that_cannot_be(backbone, images, change, error, words):
    with pytest.raises(error, match=words):
        lazy_features(**{"backbone": backbone, "images": images, "image_digests": DIGESTS, **change})


def test_features_are_found_by_the_images_digests_also_those_of_a_view(backbone, images, tmp_path):
    digests = [f"image {number}" for number in range(len(images))]
    features = FeatureCache(tmp_path).get(lazy_features(backbone, images, digests))
    wanted = [digests[2], digests[0]]
    for whole in (features, features.rows([1, 2, 0])):
        for layer, maps in whole.of_images(wanted).tensors([0, 1]).items():
            assert torch.equal(maps, features.tensors([2, 0])[layer])
    with pytest.raises(InputError, match="of other images; expected a run that starts at the beginning"):
        features.of_images(["another"])


def other_value(path):
    """Change a number in an entry's layer `b`, whose size stays."""
    array = np.load(path / "b.npy", mmap_mode="r+")
    array.flat[-1] += 1
    array.flush()


def test_a_run_that_starts_in_the_middle_looks_at_every_byte_once(tmp_path, monkeypatch):
    """It names the features that an earlier run has written, perhaps months ago."""
    cache, recipe = FeatureCache(tmp_path), made()
    path = cache.get(recipe).path
    looked = []
    monkeypatch.setattr(module, "check_bytes", lambda features, **how: looked.append(check_bytes(features, **how)))
    cache.open(recipe.fingerprint)
    assert not looked, "this process has written them"
    monkeypatch.setattr(module, "_checked", set())
    for _ in range(3):
        FeatureCache(tmp_path).open(recipe.fingerprint)
    assert len(looked) == 1
    other_value(path)
    monkeypatch.setattr(module, "_checked", set())
    with pytest.raises(InputError, match="holds other bytes than were written"):
        cache.open(recipe.fingerprint)


def test_what_is_handed_out_is_what_was_checked(tmp_path, monkeypatch):
    """Two runs find the same damage; one puts whole features there while the other still looks at the bytes."""
    cache, recipe = FeatureCache(tmp_path / "cache"), made()
    path = cache.get(recipe).path
    shutil.copytree(path, tmp_path / "whole")
    other_value(path)

    def replaced_meanwhile(features, **how):
        if (tmp_path / "whole").exists():
            path.rename(tmp_path / "damaged")
            (tmp_path / "whole").rename(path)
        check_bytes(features, **how)

    monkeypatch.setattr(module, "check_bytes", replaced_meanwhile)
    np.testing.assert_array_equal(cache.get(recipe)["b"], values(recipe)["b"])


def test_features_that_cannot_be_read_any_more_are_written_anew(tmp_path, monkeypatch, caplog):
    """As from a bad sector, or where another run has moved the entry away."""
    cache, recipe = FeatureCache(tmp_path), made()
    cache.get(recipe)
    answers = iter([OSError(errno.EIO, "Input/output error")])

    def failing(features, **how):
        if (error := next(answers, None)) is not None:
            raise error
        check_bytes(features, **how)

    monkeypatch.setattr(module, "check_bytes", failing)
    np.testing.assert_array_equal(cache.get(recipe)["b"], values(recipe)["b"])
    assert "written anew" in caplog.text and "Input/output error" in caplog.text


@pytest.mark.parametrize(("number", "matters"), [(errno.EINVAL, False), (errno.ENOTSUP, False), (errno.EIO, True)])
def test_a_file_system_that_does_not_sync_folders_can_hold_a_cache(tmp_path, monkeypatch, number, matters):
    sync = os.fsync

    def refusing(handle):
        if stat.S_ISDIR(os.fstat(handle).st_mode):
            raise OSError(number, os.strerror(number))
        sync(handle)

    monkeypatch.setattr(os, "fsync", refusing)
    with pytest.raises(InputError, match="cannot be kept") if matters else nullcontext():
        FeatureCache(tmp_path).get(made())


def test_layers_that_are_not_asked_for_are_not_read(tmp_path):
    features = FeatureCache(tmp_path).get(made())
    expected = torch.from_numpy(values(made())["b"][[3, 1]])
    features._arrays["a"] = None
    for found in (
        with_layers(features, ["b"]).tensors([3, 1]),
        with_layers(features.rows([3, 1]), ["b"]).tensors([0, 1]),
    ):
        assert list(found) == ["b"] and torch.equal(found["b"], expected)
