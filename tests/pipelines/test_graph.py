"""What Kedro-Viz draws: all layers are left out, with a mere warning, when a step leads from one back to another."""

import pytest
from kedro.framework.project import pipelines
from kedro.framework.session import KedroSession
from kedro.framework.startup import bootstrap_project

from tests.conftest import make_project

LAYERS = ["raw", "intermediate", "primary", "feature", "models", "model_output", "reporting"]


@pytest.fixture(scope="module")
def catalog(tmp_path_factory):
    project = make_project(tmp_path_factory.mktemp("graph") / "project")
    bootstrap_project(project)
    with KedroSession.create(project_path=project) as session:
        return session.load_context().catalog


def layers_of(catalog, name):
    """The layer of every dataset of a pipeline, by its place in the order."""
    datasets = [dataset for dataset in pipelines[name].datasets() if not dataset.startswith("params:")]
    return {dataset: LAYERS.index(catalog.get(dataset).metadata["kedro-viz"]["layer"]) for dataset in datasets}


@pytest.mark.parametrize(
    "name", ["dfc", "dfr", "fod", "padim", "patchcore", "ingestion", "download", "predict", "calibrate"]
)
def test_every_dataset_lies_in_a_layer_and_no_step_leads_back(catalog, name):
    layer = layers_of(catalog, name)
    back = [
        f"{node.short_name}: {given} -> {made}"
        for node in pipelines[name].nodes
        for given in node.inputs
        for made in node.outputs
        if given in layer and layer[given] > layer[made]
    ]
    assert back == []


@pytest.mark.parametrize("name", ["dfc", "fod"])
def test_no_stage_leads_back_when_it_is_drawn_as_a_box(catalog, name):
    """Drawn are then the datasets that a stage hands on: what other stages read, and the end results."""
    layer = layers_of(catalog, name)
    whole = pipelines[name]
    stages = {stage: whole.only_nodes_with_namespaces([stage]) for stage in ("ingestion", "training", "scoring")}
    back = []
    for stage, part in stages.items():
        others = {dataset for node in whole.nodes if node not in part.nodes for dataset in node.inputs}
        made = {dataset for node in part.nodes for dataset in node.outputs}
        shown = (made & others) | (made & whole.outputs())
        back += [
            f"{stage}: {given} -> {result}"
            for given in part.inputs()
            for result in shown
            if given in layer and layer[given] > layer[result]
        ]
    assert back == []
