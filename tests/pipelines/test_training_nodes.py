"""The training node: every method learns in its precision, and is told what to lower where memory is too small."""

import logging

import pandas as pd
import pytest
import torch

from discrepancy.data.parameters import IngestionParameters
from discrepancy.errors import InputError
from discrepancy.features.cache import FeatureCache
from discrepancy.methods.padim.model import PaDiM
from discrepancy.methods.padim.parameters import PaDiMParameters
from discrepancy.pipelines.training.nodes import load_backbone, plan_features, train, training_data
from tests.tiny import good_images  # noqa: F401

INGESTION = IngestionParameters(dataset="demo", category="cable", image_size=96)


def six_samples(order=range(6)):
    """Return the table of six good images, of which the last two are held out."""
    return pd.DataFrame(
        {
            "image": [f"{number:02}.png" for number in order],
            "mask": "",
            "split": ["train"] * 4 + ["validation"] * 2,
            "label": 0,
            "defect": "good",
            "width": 96,
            "height": 96,
            "sha256": [f"{number * 5 % 7:064x}" for number in order],
            "bit_depth": 0,
        }
    )


@pytest.fixture
def learn(good_images, monkeypatch, tmp_path):  # noqa: F811
    """Return a call of the node, whose method does this instead of learning."""
    samples = six_samples()

    def learn(fit, **changes):
        parameters = PaDiMParameters(device="cpu", **changes)
        monkeypatch.setattr(PaDiM, "fit", lambda self, data, checkpoint: fit())
        planned = plan_features(PaDiM, good_images[:6], samples, parameters, INGESTION)
        detector, _ = train(PaDiM, good_images[:6], samples, None, tmp_path / "c", parameters, INGESTION)
        return detector, planned

    return learn


@pytest.mark.parametrize("precision", ["fp32", "tf32"])
def test_methods_learn_in_their_precision(learn, precision, caplog):
    caplog.set_level(logging.INFO)
    seen = []
    detector, planned = learn(
        lambda: seen.append((torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32)),
        precision=precision,
    )
    assert seen == [(precision == "tf32",) * 2]
    assert planned.ingredients.get("precision") == (None if precision == "fp32" else "tf32")
    assert "padim: training on cpu in fp32" in caplog.text and detector.card.precision == "fp32"


@pytest.mark.parametrize("asked", [True, False])
def test_methods_learn_reproducibly_where_that_is_asked_for(learn, asked, caplog):
    caplog.set_level(logging.INFO)
    seen = []
    learn(lambda: seen.append(torch.are_deterministic_algorithms_enabled()), deterministic=asked)
    assert seen == [asked] and not torch.are_deterministic_algorithms_enabled()
    assert ("in fp32, deterministically" in caplog.text) == asked


def test_too_little_memory_is_told_with_what_to_lower(learn):
    def fit():
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    with pytest.raises(InputError, match=r"^padim: training: .*2.00 GiB.*image_size.*padim.cache_dtype=float16"):
        learn(fit)


def test_all_splits_share_features_and_each_image_has_its_own(good_images, tmp_path):  # noqa: F811
    """Two seeds hold out other images: one entry of the cache serves both, row by row."""
    parameters = PaDiMParameters(device="cpu")
    backbone = load_backbone(parameters, INGESTION)
    for order in ([0, 1, 2, 3, 4, 5], [5, 2, 0, 3, 1, 4]):
        samples, images = six_samples(order), good_images[order]
        features = FeatureCache(tmp_path).get(plan_features(PaDiM, images, samples, parameters, INGESTION))
        data = training_data(PaDiM, backbone, images, samples, features, parameters, INGESTION, {})
        kept = data.cached.tensors(range(6))
        for layer, maps in backbone(torch.from_numpy(images)).items():
            torch.testing.assert_close(kept[layer], maps)
        assert data.examples == 4
    assert len(list(tmp_path.glob("*/card.json"))) == 1


@pytest.mark.parametrize("other", ["bits", "decoder"])
def test_features_of_pixels_that_the_files_no_longer_give_are_not_used(good_images, tmp_path, monkeypatch, other):  # noqa: F811
    """Another version of Pillow, or another white, gives other pixels of the same bytes."""
    parameters, samples = PaDiMParameters(device="cpu"), six_samples()
    planned = plan_features(PaDiM, good_images[:6], samples, parameters, INGESTION)
    if other == "bits":
        samples["bit_depth"] = 12
    else:
        monkeypatch.setattr("discrepancy.pipelines.training.nodes.DECODER", (3, "1.0"))
    again = plan_features(PaDiM, good_images[:6], samples, parameters, INGESTION)
    assert again.fingerprint != planned.fingerprint
    backbone, features = load_backbone(parameters, INGESTION), FeatureCache(tmp_path).get(planned)
    with pytest.raises(InputError, match="features on disk were made with other preprocessing"):
        training_data(PaDiM, backbone, good_images[:6], samples, features, parameters, INGESTION, {})
