"""The download pipeline as a user runs it, against a web server on loopback."""

import sqlite3
import tarfile
from contextlib import chdir
from hashlib import sha256

import pandas as pd
import pytest
from click.testing import CliRunner
from kedro.framework.startup import bootstrap_project

from discrepancy.cli import run
from discrepancy.download import ELSEWHERE, SOURCES
from discrepancy.errors import InputError
from discrepancy.pipelines.download.nodes import request_download, summarise
from discrepancy.pipelines.download.parameters import DownloadParameters
from tests.conftest import kedro, make_project, write_part
from tests.loopback import Served, serving


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    folder = tmp_path_factory.mktemp("published")
    write_part(folder / "disc", train=4, good=1, bad=2)
    write_part(folder / "01", train=3, good=1, bad=1)
    with tarfile.open(folder / "a.tar.xz", "w:xz", preset=0) as tar:
        for name in ("disc", "01"):
            tar.add(folder / name, name)
    return (folder / "a.tar.xz").read_bytes()


@pytest.fixture(scope="module")
def shared_project(tmp_path_factory):
    return make_project(tmp_path_factory.mktemp("download") / "project")


def invoke(project, params, *, pipeline="download"):
    bootstrap_project(project)
    with chdir(project):
        return CliRunner().invoke(run, [f"--pipelines={pipeline}", f"--params={params}"])


def refused(result, *said):
    assert result.exit_code == 1, result.output
    assert result.output.count("Error:") == 1 and "Traceback" not in result.output
    for words in said:
        assert words in result.output


def from_server(url, archive):
    checksum = f"sha256:{sha256(archive).hexdigest()}"
    return f"accept_license=true,download.url={url('a__tar__xz')},download.checksum={checksum}"


def test_a_download_then_ingestion(shared_project, archive, zygote):
    project = shared_project
    with serving(a__tar__xz=Served(archive)) as url:
        params = f"--params=dataset=mvtec_ad,{from_server(url, archive)}"
        result = kedro(project, "run", "--pipeline=download", params, start=zygote.popen)
    assert result.returncode == 0, result.stderr
    output = result.stdout + result.stderr
    assert "MVTec AD lies in data/01_raw/mvtec_ad, under CC BY-NC-SA 4.0" in output
    assert "  disc  4 train, 3 test\n" in output and "Bergmann" in output
    assert "kedro run --pipelines=dfc --params=dataset=mvtec_ad,category=01\n" in output
    for words in ("mlflow ui", "viz", "gallery", "Warning", "WARNING", "deprecated"):
        assert words not in output
    with sqlite3.connect(project / "mlflow.db") as database:
        assert database.execute("select count(*) from runs").fetchone() == (0,)
    result = invoke(project, "dataset=mvtec_ad,category=disc,image_size=96", pipeline="ingestion")
    assert result.exit_code == 0, result.output
    samples = pd.read_csv(project / "data/02_intermediate/mvtec_ad/disc/samples.csv")
    assert len(samples) == 7


def test_after_a_tracked_run_in_the_same_process_a_download_leaves_it_alone(shared_project, part):
    tracked = invoke(
        shared_project, f"dataset=folder,data_root={part},category=disc,image_size=96", pipeline="ingestion"
    )
    assert tracked.exit_code == 0, tracked.output
    with sqlite3.connect(shared_project / "mlflow.db") as database:
        before = database.execute("select count(*) from params").fetchone()
    refused(invoke(shared_project, "dataset=btad"), "licence")
    with sqlite3.connect(shared_project / "mlflow.db") as database:
        assert database.execute("select count(*) from params").fetchone() == before
        assert database.execute("select distinct status from runs").fetchall() == [("FINISHED",)]


def test_a_data_root_is_kept_to_and_a_second_run_does_nothing(shared_project, archive, tmp_path, caplog):
    root = tmp_path / "elsewhere/mvtec"
    served = Served(archive)
    with serving(a__tar__xz=served) as url:
        params = f"dataset=mvtec_ad,data_root={root},{from_server(url, archive)}"
        for _ in range(2):
            result = invoke(shared_project, params)
            assert result.exit_code == 0, result.output
    assert f"--params=dataset=mvtec_ad,data_root={root},category=01" in result.output
    assert f"MVTec AD lies in {root}, under" in result.output
    assert "already there" in caplog.text and len(served.sent) == 1
    assert (root / "disc/train/good/000.png").is_file() and (root.parent / ".downloads").is_dir()


@pytest.mark.parametrize("name", SOURCES)
def test_without_the_licence_accepted_it_is_printed(shared_project, name):
    licence = SOURCES[name].licence
    said = (
        licence.name,
        licence.url,
        licence.allows,
        SOURCES[name].title,
        SOURCES[name].citation,
        "accept_license=true",
    )
    refused(invoke(shared_project, f"dataset={name}"), *said)
    assert not list(shared_project.glob(f"data/01_raw/.downloads/{SOURCES[name].archive}*"))


@pytest.mark.parametrize(
    ("params", "said"),
    [
        ("dataset=mvtec", ["'mvtec'", "btad, mvtec_3d, mvtec_ad, visa"]),
        ("seed=1", ["dataset=demo", "rendered", "btad"]),
        ("dataset=btad,accept_license=perhaps", ["accept_license", "perhaps"]),
        ("dataset=btad,accept_licence=true", ["did you mean 'accept_license'"]),
        ("dataset=btad,download.url=ftp://a/b.zip", ["url", "http://", "ftp://a/b.zip"]),
        ("dataset=btad,download.url=b.zip", ["url", "http://"]),
        ("dataset=btad,download.checksum=sha256:12", ["checksum", "sha256:12"]),
        ("dataset=btad,download.timeout=0", ["timeout", "0"]),
        ("dataset=btad,download.retries=-1", ["retries", "-1"]),
        ("dataset=btad,download.dataset=visa", ["download.dataset", "expected dataset="]),
        ("dataset=btad,download.data_root=/x", ["download.data_root", "expected data_root="]),
    ],
)
def test_wrong_parameters_are_refused(shared_project, params, said):
    refused(invoke(shared_project, params), *said)


def test_without_a_network_there_is_one_message_with_the_steps(shared_project):
    params = "dataset=btad,accept_license=true,download.url=http://127.0.0.1:9/btad.zip"
    place = str(shared_project / "data/01_raw/.downloads/btad.zip")
    refused(invoke(shared_project, params), "refused", "1. open", SOURCES["btad"].home, place, "same command")


@pytest.mark.parametrize("name", ELSEWHERE)
def test_other_data_sets_say_where_they_are(name):
    with pytest.raises(InputError, match=f"dataset={name} cannot be downloaded"):
        request_download(DownloadParameters(dataset=name, accept_license=True))


def test_a_request_takes_over_what_was_given():
    request = request_download(
        DownloadParameters(dataset="visa", accept_license=True, url="http://a/b.zip", checksum="none", retries=1)
    )
    assert request.source.url == "http://a/b.zip" and request.source.checksum is None and request.retries == 1
    assert request_download(DownloadParameters(dataset="visa", accept_license=True)).source == SOURCES["visa"]


def test_the_summary_lists_categories_in_line():
    manifest = {"title": "T", "folder": "f", "licence": {"name": "L"}, "citation": "c"}
    manifest["categories"] = {"a": {"train": 3, "validation": 1, "test": 2}, "long": {"test": 1}}
    lines = summarise(manifest, DownloadParameters(dataset="btad")).splitlines()
    assert lines[1:3] == ["  a     3 train, 1 validation, 2 test", "  long  1 test"]
