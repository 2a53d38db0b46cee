"""A finished run to start from, and whole runs in this process."""

import shutil
from contextlib import chdir

import pytest
from kedro.framework.session import KedroSession
from kedro.framework.startup import bootstrap_project

from tests.conftest import make_project

TINY = {"epochs": 1, "width": 8, "device": "cpu"}


@pytest.fixture(scope="session")
def once(tmp_path_factory, part):
    """A project in which DFC was run once on the part; not to be changed."""
    project = make_project(tmp_path_factory.mktemp("once") / "project")
    return project, start(project, part)


@pytest.fixture
def finished(once, tmp_path):
    """A copy of that project, and the version of its run."""
    project = tmp_path / "project"
    shutil.copytree(once[0], project)
    return project, once[1]


@pytest.fixture(autouse=True)
def no_tracking_address(monkeypatch):
    """What a session of another test has put into the environment is no user's wish."""
    for name in ("MLFLOW_TRACKING_URI", "DISCREPANCY_TRACKING_URI"):
        monkeypatch.delenv(name, raising=False)


def start(project, part, pipeline="dfc", *, options=None, **changes):
    """A run in this process, as `kedro run` starts one; its version.

    Args:
        project: the project's folder.
        part: the data root.
        pipeline: its name.
        options: of `KedroSession.run`: `tags`, `from_nodes`, `only_missing_outputs`, ...
        changes: parameters, at the top or in groups.
    """
    bootstrap_project(project)
    given = {"dataset": "folder", "data_root": str(part), "category": "disc", "image_size": 96}
    given |= {"reporting": {"segmentations": False}, **changes, "dfc": {**TINY, **changes.get("dfc", {})}}
    with chdir(project), KedroSession.create(project_path=project, runtime_params=given) as session:
        session.run(pipeline_names=[pipeline], **(options or {}))
        return session.session_id


def prepare(project, part, pipeline="dfc", *, options=None, only_missing=False, versions=None, **changes):
    """Do all that a run does before its first step; the catalog, whose datasets know by now what they load."""
    from kedro.framework.context import KedroContext
    from kedro.framework.hooks.manager import _NullPluginManager
    from kedro.framework.project import pipelines, settings

    from discrepancy.lineage_hooks import LineageHooks

    bootstrap_project(project)
    given = {"dataset": "folder", "data_root": str(part), "category": "disc", "image_size": 96}
    given |= {"reporting": {"segmentations": False}, **changes, "dfc": {**TINY, **changes.get("dfc", {})}}
    loader = settings.CONFIG_LOADER_CLASS(str(project / "conf"), runtime_params=given, **settings.CONFIG_LOADER_ARGS)
    context = KedroContext(project, loader, None, "discrepancy", _NullPluginManager(), given)
    context._pipelines_to_validate = [pipeline]
    catalog = context._get_catalog(save_version="now", load_versions=versions)
    run = {
        "pipeline_names": [pipeline],
        "run_id": "now",
        "load_versions": versions,
        "only_missing_outputs": only_missing,
    }
    LineageHooks().before_pipeline_run(run, pipelines[pipeline].filter(**(options or {})), catalog)
    return catalog
