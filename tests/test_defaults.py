"""A default stands in the model of its group; where conf/base shows it as well, both say the same."""

import pytest
from kedro.framework.startup import bootstrap_project
from omegaconf import OmegaConf

from discrepancy.benchmark.configuration import resolved
from discrepancy.data.parameters import IngestionParameters
from discrepancy.features.architectures import ARCHITECTURES
from discrepancy.methods.registry import METHODS
from discrepancy.pipelines.download.parameters import DownloadParameters
from discrepancy.pipelines.reporting.parameters import ReportingParameters
from discrepancy.pipelines.scoring.parameters import ScoringParameters
from tests.conftest import PROJECT

GROUPS = {
    "ingestion": IngestionParameters,
    "scoring": ScoringParameters,
    "reporting": ReportingParameters,
    "download": DownloadParameters,
    **{name: METHODS[name].Parameters for name in METHODS},
}


@pytest.mark.parametrize("name", GROUPS)
def test_the_file_shows_the_defaults_of_the_model(name):
    model = GROUPS[name]
    group = OmegaConf.load(PROJECT / f"conf/base/parameters_{name}.yml")[name]
    shown = {key for key, value in OmegaConf.to_container(group).items() if "${" not in str(value)}
    assert set(group) <= set(model.model_fields)
    required = {key: "part" for key, field in model.model_fields.items() if field.is_required()}
    given = {key: OmegaConf.to_container(group)[key] for key in shown - set(required)}
    values, defaults = (model(**required, **options).model_dump() for options in (given, {}))
    assert values == defaults


@pytest.mark.parametrize("env", ["base", "paper"])
def test_every_method_takes_device_precision_and_reproducibility_from_the_top(env):
    bootstrap_project(PROJECT)
    given = {"precision": "bf16", "deterministic": True, "device": "cpu"}
    usual, changed = resolved(PROJECT, env, {}), resolved(PROJECT, env, given)
    for name in METHODS:
        assert {key: changed[name][key] for key in given} == given
        assert usual[name]["precision"] == "fp32" and usual[name]["deterministic"] is False


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("env", ["base", "paper"])
def test_every_method_names_layers_of_its_own_network(env, name):
    bootstrap_project(PROJECT)
    given = resolved(PROJECT, env, {})[name]
    used = METHODS[name].Parameters.model_validate(given)
    layers = used.layers_of("carpet") or []
    assert set(layers) <= {layer.name for layer in ARCHITECTURES[used.backbone].layers}
    assert layers or env == "base"
