"""What Kedro-Viz draws: all layers are left out, with a mere warning, when a step leads from one back to another."""

import pytest
from kedro.framework.project import pipelines
from kedro.framework.session import KedroSession
from kedro.framework.startup import bootstrap_project

LAYERS = ["raw", "intermediate", "primary", "feature", "models", "model_output", "reporting"]


@pytest.mark.parametrize("name", ["dfc", "dfr", "fod", "padim", "patchcore", "ingestion", "download"])
def test_every_dataset_lies_in_a_layer_and_no_step_leads_back(project, name):
    bootstrap_project(project)
    with KedroSession.create(project_path=project) as session:
        catalog = session.load_context().catalog
    datasets = [dataset for dataset in pipelines[name].datasets() if not dataset.startswith("params:")]
    layer = {dataset: LAYERS.index(catalog.get(dataset).metadata["kedro-viz"]["layer"]) for dataset in datasets}
    back = [
        f"{node.short_name}: {given} -> {made}"
        for node in pipelines[name].nodes
        for given in node.inputs
        for made in node.outputs
        if given in layer and layer[given] > layer[made]
    ]
    assert back == []
