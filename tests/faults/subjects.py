"""Files that the project reads, what can go wrong with each, and the step that has to notice it."""

from __future__ import annotations

import io
import json
import math
import shutil
import tarfile
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from discrepancy.benchmark.store import TrialStore
from discrepancy.benchmark.tables import read_table
from discrepancy.data.images import image_array, mask_array
from discrepancy.data.layouts import read_samples
from discrepancy.data.sample_file import parse_sample_table
from discrepancy.detection import ScoredMaps, load_method, save_method
from discrepancy.detection.thresholds import calibrated
from discrepancy.download.archives import unpack
from discrepancy.download.checksums import Records
from discrepancy.download.fetch import MANIFEST, read_manifest
from discrepancy.features.backbones import build_backbone
from discrepancy.features.cache import FeatureCache
from discrepancy.features.recipe import LazyFeatures
from discrepancy.methods.base import new_card
from discrepancy.methods.registry import METHODS
from discrepancy.training.checkpoint import Checkpoint
from discrepancy.training.loop import TrainingSettings, fit
from tests.faults import damaged_pictures as pictures
from tests.faults import damaged_values as values
from tests.faults.damage import ANY_FILE, PLACES, whole

Change = Callable[[Path], None]
CPU = torch.device("cpu")


@dataclass(frozen=True)
class Subject:
    """A file that is read.

    Attributes:
        make: writes it, sound, into an empty folder, and all it needs; gives its path.
        use: reads it from that folder; fails unless the result is right.
        damages: by name.
        names: whether errors name it; else whoever calls the step does.
        checked: whether damage anywhere is told; else only that of the kinds that are named.
    """

    make: Callable[[Path], Path]
    use: Callable[[Path], Any]
    damages: Mapping[str, Change] = field(default_factory=lambda: ANY_FILE)
    names: bool = True
    checked: bool = True


def _bytes(changes):
    return {name: whole(change) for name, change in changes.items()}


# Photographs and masks


def _part(folder, suffix):
    for index, place in enumerate(("train/good/0", "train/good/1", "test/good/2", "test/bad/3")):
        path = folder / "part" / f"{place}{suffix if index == 1 else '.png'}"
        path.parent.mkdir(parents=True, exist_ok=True)
        pictures.picture(index).save(path)
    mask = np.zeros((40, 48), np.uint8)
    mask[3:9, 4:20] = 255
    (folder / "part/ground_truth/bad").mkdir(parents=True)
    Image.fromarray(mask).save(folder / "part/ground_truth/bad/3_mask.png")


def _photograph(suffix):
    def make(folder):
        _part(folder, suffix)
        return folder / f"part/train/good/1{suffix}"

    return make


def _mask(folder):
    _part(folder, ".png")
    return folder / "part/ground_truth/bad/3_mask.png"


def _read_part(folder):
    samples = read_samples("folder", folder, "part")
    images = image_array(samples, folder, (32, 32)).to_numpy()
    masks = mask_array(samples, folder, (32, 32)).to_numpy()
    assert images.shape == (len(samples), 3, 32, 32) and images.dtype == np.uint8
    assert masks.shape == (len(samples), 32, 32) and masks.dtype == bool
    others = [index for index, name in enumerate(samples["image"]) if "train/good/1" not in name]
    for row, index in zip(others, (3, 2, 0), strict=True):  # sorted by path: test/bad, test/good, train/good
        expected = np.asarray(pictures.picture(index).resize((32, 32), Image.Resampling.BILINEAR))
        assert np.abs(images[row].astype(int) - expected.transpose(2, 0, 1)).max() <= 1


# Detectors


BACKBONE = {"name": "tf_efficientnet_lite0", "weights": "random", "padding": "zeros"}
_DETECTORS = {
    "dfc": (80, {"width": 8, "layers": ["blocks.2"]}, {}),
    "dfr": (32, {"layers": ["blocks.0", "blocks.1"]}, {"latent_dim": 4}),
    "fod": (32, {"layers": ["blocks.0", "blocks.1"], "widths": [8, 8], "heads": 1, "depth": 1}, {}),
    "padim": (32, {"layers": ["blocks.0", "blocks.1"], "channels": 4}, {}),
    "patchcore": (32, {"layers": ["blocks.0", "blocks.1"], "coreset": 0.05, "smallest_memory": 1}, {}),
}


_MAPS = np.random.default_rng(1).random((4, 32, 32), dtype=np.float32)
_EARLIER = {"value": 1.5, "wished_false_positive_rate": 0.01, "images": 2, "note": "of two images"}
"""Threshold on a card of format 1."""


def save_detectors(folder, build=build_backbone):
    """A tiny detector of each method, its scores beside it."""
    for method, (side, changes, more) in _DETECTORS.items():
        kind = METHODS[method]
        options = {"weights": "random", "padding": "zeros"}
        parameters = kind.Parameters(**options, **changes)
        backbone = build("tf_efficientnet_lite0", layers=parameters.layers, **options)
        card = new_card(
            kind,
            parameters,
            backbone,
            image_size=(side, side),
            data_digest="0" * 64,
            **{"dataset": "folder", "category": "part", "images": {"train": 2, "validation": 1}, **more},
        )
        scored = ScoredMaps(_MAPS, _MAPS.max(axis=(1, 2)), 1.0)
        card = calibrated(card, scored, ["a.png", "b.png", "c.png", "d.png"], target=0.01, rule="gumbel")
        detector = kind(backbone, parameters, card).requires_grad_(False).eval()
        save_method(detector, folder / method)
        np.save(folder / f"{method}.npy", _scores(detector))


def _scores(detector):
    images = np.random.default_rng(0).integers(0, 256, (2, 3, *detector.image_size), dtype=np.uint8)
    with torch.inference_mode():
        return detector.image_scores(detector(torch.from_numpy(images))).numpy()


def _detector(workshop, method, file, *, with_digest=True, earlier=False):
    def make(folder):
        shutil.copytree(workshop / method, folder / "detector")
        card = folder / "detector/card.json"
        content = json.loads(card.read_text())
        if earlier:
            content |= {"format": 1, "thresholds": {"pixel": _EARLIER, "image": _EARLIER}}
        if not with_digest:
            del content["files"], content["format"]
        card.write_text(json.dumps(content))
        return folder / "detector" / file

    return make


def _score(workshop, method, *, same):
    def use(folder):
        detector = load_method(folder / "detector")
        found = _scores(detector)
        assert np.isfinite(found).all()
        if detector.card.thresholds:
            _decide(detector.card.thresholds)
        if same:
            np.testing.assert_array_equal(found, np.load(workshop / f"{method}.npy"))

    return use


def _decide(thresholds):
    """What is said of a part by its score and its map."""
    if calibration := thresholds.image.calibration:
        assert 0 < calibration.false_alarm_probability([2.0])[0] <= 1
    rule = thresholds.pixel.segmentation
    assert not (rule.anomalous_only and rule.mask(_MAPS[0], anomalous=False).any())
    assert rule.mask(_MAPS[0], anomalous=True).shape == (32, 32)


def card_values(card):
    """Every entry of a card away, or of some other values: of parameters, which have types of their own, one or two."""
    changes = {}
    for number, place in enumerate(values.places(card)):
        step = 9 if place[0] in {"parameters", "versions"} else 3
        name = ".".join(place)
        changes[f"{name} gone"] = values.with_value(place, values.GONE)
        some = list(values.VALUES.items())[number % step :: step]
        changes |= {f"{name} is {kind}": values.with_value(place, value) for kind, value in some}
    return changes


_LATER = {
    "of a later format": values.with_value(("format",), 3),
    "of an interval of three rates": values.with_value(("thresholds", "image", "interval"), [0.0, 0.1, 0.2]),
    "of a target of every good image": values.with_value(("thresholds", "image", "target_fpr"), 1.0),
    "of scores that are not finite": values.with_value(("thresholds", "image", "scores"), [1.0, math.nan, 2.0]),
    "of few scores": values.with_value(("thresholds", "image", "scores"), [1.0]),
    "of equal scores": values.with_value(("thresholds", "image", "scores"), [1.0] * 9),
    "of negative scores": values.with_value(("thresholds", "image", "scores"), [-1.0, -2.0, -3.0]),
    "of an unknown rule": values.with_value(("thresholds", "image", "rule"), "cauchy"),
    "of outlines of texts": values.with_value(("thresholds", "pixel", "of"), "texts"),
    "of a low threshold above the high one": values.with_value(("thresholds", "pixel", "low"), 1e6),
    "of a negative sigma": values.with_value(("thresholds", "pixel", "sigma"), -1.0),
    "of a sigma wider than any image": values.with_value(("thresholds", "pixel", "sigma"), 1e9),
    "of a sigma wider than the map": values.with_value(("thresholds", "pixel", "sigma"), 1e4),
    "of regions of no pixels": values.with_value(("thresholds", "pixel", "smallest"), 0),
    "of regions larger than any map": values.with_value(("thresholds", "pixel", "smallest"), 2**70),
    "of an unknown method": values.with_value(("method",), "unheard_of"),
    "of another method": values.with_value(("method",), "dfc"),
    "of another backbone": values.with_value(("backbone", "backbone"), "vgg19"),
    "of a layer more": values.with_value(("backbone", "layers"), ["blocks.0", "blocks.1", "blocks.2"]),
    "of an unknown layer": values.with_value(("backbone", "layers"), ["blocks.99"]),
    "of an unknown parameter": values.with_value(("parameters", "surplus"), 1),
    "of three sides": values.with_value(("image_size",), [32, 32, 32]),
    "of other images": values.with_value(("image_size",), [48, 32]),
    "of huge images": values.with_value(("image_size",), [10**6, 10**6]),
    "of a wider network": values.with_value(("latent_dim",), 8),
    "of a network too wide for any memory": values.with_value(("latent_dim",), 16384),
    "of other weights of the backbone": values.with_value(("parameters", "weights"), "random:5"),
    "of weights that are gone": values.with_value(("parameters", "weights"), "/nowhere/weights.pth"),
    "of another digest": values.with_value(("files", "weights.safetensors"), "0" * 64),
}


def _detectors(workshop):
    card = json.loads((workshop / "dfr/card.json").read_text())
    cards = _bytes(values.JSON | _LATER | card_values(card))
    tensors = _bytes(values.TENSORS | values.SAFETENSORS)
    subjects = {
        "card of a detector": Subject(
            _detector(workshop, "dfr", "card.json"), _score(workshop, "dfr", same=False), {**ANY_FILE, **cards}
        ),
        "card of an earlier detector": Subject(
            _detector(workshop, "dfr", "card.json", earlier=True), _score(workshop, "dfr", same=True)
        ),
        "weights of a detector": Subject(
            _detector(workshop, "dfr", "weights.safetensors"), _score(workshop, "dfr", same=True)
        ),
    }
    for method in _DETECTORS:
        subjects[f"weights without a digest, {method}"] = Subject(
            _detector(workshop, method, "weights.safetensors", with_digest=False),
            _score(workshop, method, same=False),
            {**tensors, **{name: ANY_FILE[name] for name in ("its last byte gone", "a PyTorch file that executes")}},
            checked=False,
        )
    return subjects


# Weights of a backbone


def _weights(suffix):
    def make(folder):
        torch.manual_seed(0)
        tensors = {"features.0.weight": torch.randn(64, 3, 3, 3), "features.0.bias": torch.randn(64)}
        path = folder / f"weights{suffix}"
        save_file(tensors, path) if suffix == ".safetensors" else torch.save(tensors, path)
        return path

    return make


def _build(suffix):
    def use(folder):
        backbone = build_backbone("vgg19", layers=["relu1_1"], weights=str(folder / f"weights{suffix}"))
        assert backbone(torch.zeros(1, 3, 8, 8))["relu1_1"].isfinite().all()

    return use


def _weights_file(change):
    """A damage of tensors, as one of a PyTorch file."""

    def changed(path):
        table = path.with_suffix(".safetensors")
        save_file(torch.load(path, weights_only=True), table)
        table.write_bytes(change(table.read_bytes()))
        torch.save(load_file(table), path)
        table.unlink()

    return changed


# Checkpoints


class _Line:
    """y = 0 from three numbers: a problem whose order of draws is all that is random."""

    examples = 4

    def __init__(self):
        torch.manual_seed(0)
        self.module = torch.nn.Linear(3, 2)

    def batch(self, epoch, indices):
        rng = np.random.default_rng([epoch, *indices])
        return {"x": torch.from_numpy(rng.random((len(indices), 3), dtype=np.float32))}

    def loss(self, batch):
        return self.module(batch["x"]).square().mean()

    def validation_loss(self):
        return None


def _trained(path, epochs):
    line, settings = _Line(), TrainingSettings(epochs=epochs, batch_size=2)
    history = fit(line.module, line, settings, device=CPU, checkpoint=path and Checkpoint(path, "this"), progress=False)
    return line.module.weight.detach().numpy().copy(), [entry.loss for entry in history]


def _checkpoint(folder):
    _trained(folder / "checkpoint.pt", 1)
    return folder / "checkpoint.pt"


@cache
def _unbroken():
    return _trained(None, 2)


def _train_on(folder):
    weight, losses = _trained(folder / "checkpoint.pt", 2)
    np.testing.assert_array_equal(weight, _unbroken()[0])
    assert losses == _unbroken()[1]
    assert {path.name for path in folder.iterdir()} <= {"checkpoint.pt", "gone"}


# Features


def _recipe():
    shapes = {"a": (5, 3, 4, 5), "b": (5, 2, 2, 2)}

    def batches():
        rng = np.random.default_rng(0)
        for count in (2, 2, 1):
            yield {layer: rng.random((count, *shape[1:]), dtype=np.float32) for layer, shape in shapes.items()}

    return LazyFeatures({"images": ["x"] * 5}, shapes, "float32", batches)


def _features(file):
    def make(folder):
        return FeatureCache(folder).get(_recipe(), progress=False).path / file

    return make


def _check_features(features):
    parts = list(_recipe().batches())
    for layer, (mean, deviation) in features.channel_statistics().items():
        expected = np.concatenate([part[layer] for part in parts])
        np.testing.assert_array_equal(features[layer], expected)
        np.testing.assert_allclose(mean, expected.mean((0, 2, 3)), rtol=1e-5)
        np.testing.assert_allclose(deviation, expected.std((0, 2, 3)), rtol=1e-5)


def _get_features(folder):
    _check_features(FeatureCache(folder).get(_recipe(), progress=False))
    assert {path.name for path in folder.iterdir()} == {_recipe().fingerprint[:16], ".lock"}


def _open_features(folder):
    """What `open` takes without looking at the bytes, `get` has looked at before."""
    features = FeatureCache(folder).open(_recipe().fingerprint)
    assert features.layers == ("a", "b") and features.count == 5
    assert all(np.isfinite(mean).all() for mean, _ in features.channel_statistics().values())


def _instead_of_entry(change):
    def changed(path):
        entry = path.parent
        shutil.rmtree(entry)
        entry.write_text("in the way")
        change(entry)

    return changed


def _card_of_features():
    card = {"fingerprint": 0, "format": 0, "dtype": 0, "shapes": {"a": 0}, "ingredients": {"images": 0}}
    card |= {"statistics": {"a": {"mean": 0}}, "crc32": {"statistics": 0, "arrays": {"a": 0}}}
    return {
        f"{'.'.join(place)} {'gone' if value is values.GONE else f'is {kind}'}": values.with_value(place, value)
        for number, place in enumerate(values.places(card))
        for kind, value in [("gone", values.GONE), *list(values.VALUES.items())[number % 4 :: 4]]
    }


# Tables, results, downloads


def _samples(folder):
    rows = [("train/good/0", "", "train", 0, "good"), ("train/good/1", "", "validation", 0, "good")]
    rows += [("test/good/2", "", "test", 0, "good"), ("test/bad/3", "part/ground_truth/bad/3.png", "test", 1, "bad")]
    table = pd.DataFrame(rows, columns=["image", "mask", "split", "label", "defect"])
    table = table.assign(width=48, height=40, sha256=[f"{index:064x}" for index in range(4)])
    table["image"] = "part/" + table["image"] + ".png"
    table = table.assign(bit_depth=0)
    table.to_csv(folder / "samples.csv", index=False)
    return folder / "samples.csv"


def _read_table_of_samples(folder):
    table = parse_sample_table((folder / "samples.csv").read_bytes(), "samples.csv")
    assert list(table) == ["image", "mask", "split", "label", "defect", "width", "height", "sha256", "bit_depth"]
    assert table["label"].dtype.kind == table["width"].dtype.kind == "i"
    assert set(table["split"]) == {"train", "validation", "test"}
    assert not any(name.startswith(("/", "..")) for name in [*table["image"], *table["mask"]])


def _benchmark(file):
    def make(folder):
        store, trials = TrialStore(folder), []
        for method in ("dfc", "dfr"):
            trial = {"dataset": "demo", "category": "gear", "method": method, "seed": 0}
            result = {"state": "done", "reason": "", "fingerprint": "f", "seconds": 3.0, "version": "v", "run_id": "r"}
            store.write(
                f"{method}/demo/gear/seed_0", trial | result | {"metrics": {"image_auroc": 0.9, "best_iou": None}}
            )
            trials.append(trial)
        store.note(run_id="r", settings={"threads": 1}, cells=trials)
        (folder / "table.csv").write_text("dataset,category,method\ndemo,01,dfc\n")
        return folder / file

    return make


def _read_benchmark(folder):
    store = TrialStore(folder)
    table = store.table()
    assert list(table["method"]).count("dfr") == 1 and set(table["state"]) <= {"done", "missing"}
    assert list(table[table["state"] == "done"]["image_auroc"].dropna()) == [0.9] * int(
        (table["state"] == "done").sum()
    )
    assert store.galleries() == {}


_RESULT = {
    "dataset": "",
    "category": "",
    "method": "",
    "seed": 0,
    "state": "",
    "reason": "",
    "seconds": 0,
    "version": "",
}


def _values_of(table, extra=()):
    return {
        f"{name} {'gone' if value is values.GONE else f'is {kind}'}": values.with_value((name,), value)
        for number, name in enumerate(table)
        for kind, value in [("gone", values.GONE), *list(values.VALUES.items())[number % 3 :: 3], *extra]
    }


def _archive(suffix):
    def make(folder):
        data, path = np.random.default_rng(0).bytes(3000), folder / f"archive{suffix}"
        if suffix == ".zip":
            with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed:
                for index in range(3):
                    packed.writestr(f"set/{index}.bin", data)
        else:
            with tarfile.open(path, f"w:{suffix[5:]}") as packed:
                for index in range(3):
                    info = tarfile.TarInfo(f"set/{index}.bin")
                    info.size = len(data)
                    packed.addfile(info, io.BytesIO(data))
        return path

    return make


def _unpack(folder):
    unpack(next(folder.glob("archive.*")), folder / "unpacked", limit=100_000)
    found = [path.read_bytes() for path in sorted((folder / "unpacked").rglob("*.bin"))]
    if (folder / "archive.tar").exists():  # has no checksums of contents: `fetch` has looked at the archive's own
        assert all(len(content) == 3000 for content in found)
    else:
        assert all(content == np.random.default_rng(0).bytes(3000) for content in found)


def _records(folder):
    Records(folder).add("https://example.org/set.zip", f"md5:{'0' * 32}")
    return folder / "checksums.json"


def _manifest(folder):
    manifest = {
        "dataset": "set",
        "title": "A set",
        "citation": "None",
        "licence": {"name": "x"},
        "categories": {"a": {}},
    }
    (folder / MANIFEST).write_text(json.dumps(manifest))
    return folder / MANIFEST


def _read_manifest(folder):
    manifest = read_manifest(folder)
    if manifest is not None:
        assert isinstance(manifest["licence"], dict) and isinstance(manifest["categories"], dict)


_FILES = {name: change for name, change in ANY_FILE.items() if name not in PLACES}


def subjects(workshop):
    """All subjects, by name.

    Args:
        workshop: where `save_detectors` wrote.
    """
    photographs = {
        ".png": pictures.PNG,
        ".jpg": pictures.JPEG,
        ".tif": pictures.TIFF,
        ".bmp": pictures.BMP,
        ".webp": {},
    }
    no_pipe = {name: change for name, change in ANY_FILE.items() if name != "a pipe"}
    found = {
        f"photograph {suffix}": Subject(_photograph(suffix), _read_part, {**no_pipe, **_bytes(more)})
        for suffix, more in photographs.items()
    }
    found["mask"] = Subject(_mask, _read_part, {**no_pipe, **_bytes(pictures.PNG)})
    found |= _detectors(workshop)
    found["weights .pth"] = Subject(
        _weights(".pth"),
        _build(".pth"),
        {**ANY_FILE, **{name: _weights_file(change) for name, change in values.TENSORS.items()}},
    )
    found["weights .safetensors"] = Subject(
        _weights(".safetensors"), _build(".safetensors"), {**ANY_FILE, **_bytes(values.TENSORS | values.SAFETENSORS)}
    )
    found["checkpoint"] = Subject(_checkpoint, _train_on, {**ANY_FILE, **_bytes(values.CHECKPOINT)})
    cards = _bytes(values.JSON | _card_of_features())
    entries = {
        f"{name} in its place": _instead_of_entry(change) for name, change in PLACES.items() if "folder" not in name
    }
    found["card of features"] = Subject(_features("card.json"), _get_features, {**ANY_FILE, **cards, **entries})
    found["array of features"] = Subject(_features("a.npy"), _get_features, {**ANY_FILE, **_bytes(values.NPY)})
    found["card of features, opened"] = Subject(_features("card.json"), _open_features, {**ANY_FILE, **cards})
    found["array of features, opened"] = Subject(_features("a.npy"), _open_features, {**ANY_FILE, **_bytes(values.NPY)})
    found["sample table"] = Subject(_samples, _read_table_of_samples, {**_FILES, **_bytes(values.TABLE)})
    results = _bytes(values.JSON | _values_of(_RESULT))
    found["result of a trial"] = Subject(
        _benchmark("dfc/demo/gear/seed_0/result.json"), _read_benchmark, {**ANY_FILE, **results}
    )
    found["card of a benchmark"] = Subject(
        _benchmark("benchmark.json"),
        _read_benchmark,
        {**ANY_FILE, **_bytes(values.JSON | _values_of({"cells": 0, "settings": 0, "run_id": 0}))},
    )
    found["table of a benchmark"] = Subject(_benchmark("table.csv"), lambda folder: read_table(folder / "table.csv"))
    for suffix in (".zip", ".tar", ".tar.gz", ".tar.xz"):
        found[f"archive {suffix}"] = Subject(_archive(suffix), _unpack, _FILES, names=False)
    found["checksums"] = Subject(
        _records,
        lambda folder: Records(folder).expected("https://example.org/set.zip", None),
        {**ANY_FILE, **_bytes(values.JSON)},
    )
    found["manifest of a download"] = Subject(_manifest, _read_manifest, {**ANY_FILE, **_bytes(values.JSON)})
    return found
