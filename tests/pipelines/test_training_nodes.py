"""The training node: every method learns in its precision, and is told what to lower where memory is too small."""

import logging

import pandas as pd
import pytest
import torch

from discrepancy.data.parameters import IngestionParameters
from discrepancy.errors import InputError
from discrepancy.methods.padim.model import PaDiM
from discrepancy.methods.padim.parameters import PaDiMParameters
from discrepancy.pipelines.training.nodes import plan_features, train
from tests.tiny import good_images  # noqa: F401


@pytest.fixture
def learn(good_images, monkeypatch, tmp_path):  # noqa: F811
    """Return a call of the node, whose method does this instead of learning."""
    samples = pd.DataFrame(
        {
            "image": [f"{number:02}.png" for number in range(6)],
            "mask": "",
            "split": ["train"] * 4 + ["validation"] * 2,
            "label": 0,
            "defect": "good",
            "width": 96,
            "height": 96,
            "sha256": [f"{number:064x}" for number in range(6)],
        }
    )
    ingestion = IngestionParameters(dataset="demo", category="cable", image_size=96)

    def learn(fit, **changes):
        parameters = PaDiMParameters(device="cpu", **changes)
        monkeypatch.setattr(PaDiM, "fit", lambda self, data, checkpoint: fit())
        planned = plan_features(PaDiM, good_images[:6], samples, parameters, ingestion)
        detector, _ = train(PaDiM, good_images[:6], samples, None, tmp_path / "c", parameters, ingestion)
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


def test_too_little_memory_is_told_with_what_to_lower(learn):
    def fit():
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    with pytest.raises(InputError, match=r"^padim: training: .*2.00 GiB.*image_size.*padim.cache_dtype=float16"):
        learn(fit)
