"""The room that a benchmark's features take: what the cache then really holds."""

import pytest

from discrepancy.benchmark.feature_sizes import feature_bytes
from discrepancy.benchmark.plan import Trial
from discrepancy.data.layouts import read_samples
from discrepancy.data.parameters import IngestionParameters
from discrepancy.data.photographs import Photographs
from discrepancy.methods.registry import METHODS
from discrepancy.pipelines.ingestion.nodes import decode_images, split_samples
from discrepancy.pipelines.training.nodes import plan_features
from tests.conftest import write_part

SIZE = {"dataset": "folder", "image_size": 96}


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("photographs")
    write_part(root / "disc", train=7, good=1, bad=1)
    write_part(root / "ring", train=4, good=1, bad=1)
    return root


def settings(**changes):
    return {"dataset": "folder", "ingestion": SIZE} | {name: {} for name in METHODS} | changes


def trials(category, *methods, seeds=(0,)):
    return [Trial("folder", category, method, seed) for method in methods for seed in seeds]


def planned_bytes(root, category, method):
    ingestion = IngestionParameters.model_validate({**SIZE, "category": category})
    photographs = Photographs(root, read_samples("folder", root, category))
    samples = split_samples(photographs, ingestion)
    images = decode_images(photographs, samples, ingestion).to_numpy()
    parameters = METHODS[method].Parameters(device="cpu")
    return plan_features(METHODS[method], images, samples, parameters, ingestion).nbytes


@pytest.mark.parametrize("method", ["dfr", "fod", "padim"])
def test_it_is_that_of_the_features_of_a_run(root, method):
    expected = planned_bytes(root, "disc", method)
    assert feature_bytes(trials("disc", method, seeds=(0, 1)), settings(), root) == expected


def test_methods_with_the_same_layers_share_and_categories_do_not(root):
    one = planned_bytes(root, "disc", "padim")
    methods = ["dfc", "padim", "patchcore", "committee"]
    assert feature_bytes(trials("disc", *methods), settings(), root) == one
    both = [*trials("disc", *methods), *trials("ring", *methods)]
    assert feature_bytes(both, settings(), root) == one + planned_bytes(root, "ring", "padim")
    halved = settings(padim={"cache_dtype": "float16"})
    assert feature_bytes(trials("disc", "padim", "patchcore"), halved, root) == one + one // 2


def test_it_is_unknown_without_photographs(root):
    assert feature_bytes(trials("nut", "padim"), settings(), root) is None
