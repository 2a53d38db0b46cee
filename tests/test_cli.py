"""What a user sees when something is wrong: one clear message and an exit code that is not 0."""

import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import chdir
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from kedro.framework.startup import bootstrap_project
from PIL import Image
from safetensors.torch import load_file

from discrepancy.cli import run
from tests.conftest import WITHOUT_REPORT, kedro, make_project, write_part

pytestmark = pytest.mark.sessions

QUICK = "image_size=96,dfc.width=16,dfc.device=cpu,scoring.device=cpu"


@pytest.fixture
def bad_part(tmp_path):
    write_part(tmp_path / "photos/disc", train=5, good=1, bad=2)
    return tmp_path / "photos"


@pytest.fixture(scope="module")
def shared_project(tmp_path_factory):
    return make_project(tmp_path_factory.mktemp("cli") / "project")


def invoke(project, params, *, pipeline="dfc"):
    bootstrap_project(project)
    with chdir(project):
        return CliRunner().invoke(run, [f"--pipelines={pipeline}", f"--params={params}"])


def refused(result, *said):
    assert result.exit_code == 1, result.output
    assert result.output.count("Error:") == 1 and "Traceback" not in result.output
    for words in said:
        assert words in result.output


def of(part, more=QUICK):
    return f"dataset=folder,data_root={part},category=disc,{more}"


def broken(part, what):  # noqa: PLR0911 (one return per kind of damage)
    """Break one thing in a good part; the words that the message must have."""
    disc = part / "disc"
    scratch, mask = disc / "test/scratch/001.png", disc / "ground_truth/scratch/001_mask.png"
    if what == "no mask":
        mask.unlink()
        return ["test/scratch/001.png", "mask"]
    if what == "mask of another size":
        Image.fromarray(np.zeros((40, 50), np.uint8)).save(mask)
        return ["001_mask.png", "96"]
    if what == "truncated image":
        data = scratch.read_bytes()
        scratch.write_bytes(data[: len(data) // 2])
        return ["test/scratch/001.png"]
    if what == "not an image":
        (disc / "train/good/002.png").write_text("hello")
        return ["train/good/002.png"]
    if what == "in train and test":
        shutil.copy(disc / "train/good/000.png", disc / "test/good/007.png")
        return ["train/good/000.png", "test/good/007.png"]
    if what == "no good image":
        shutil.rmtree(disc / "train/good")
        (disc / "train/good").mkdir()
        return ["train/good"]
    if what == "no train folder":
        shutil.rmtree(disc / "train")
        return ["train/good"]
    assert what == "too few good images"
    for i in range(1, 5):
        (disc / f"train/good/{i:03d}.png").unlink()
    return ["train/good", "validation"]


@pytest.mark.parametrize(
    "what",
    [
        "no mask", "mask of another size", "truncated image", "not an image", "in train and test", "no good image",
        "no train folder", "too few good images",
    ],
)  # fmt: skip
def test_bad_photographs_are_named_before_any_training(shared_project, bad_part, what):
    said = broken(bad_part, what)
    refused(invoke(shared_project, of(bad_part)), *said)
    assert not list(shared_project.glob("data/06_models/**/checkpoint.pt"))


@pytest.mark.parametrize(
    ("params", "said"),
    [
        ("dataset=folder,data_root=/no/such/folder,category=disc", ["/no/such/folder"]),
        ("category=cabel", ["cabel", "cable"]),
        ("dataset=mvtec,category=cable", ["mvtec", "mvtec_ad"]),
        ("categry=cable", ["categry", "did you mean 'category'"]),
        ("dfc.epoch=5", ["epoch", "did you mean 'epochs'", "learning_rate"]),
        ("dfc.epochs=five", ["epochs", "five", "integer"]),
        ("dfc.schedule=linear", ["schedule", "one_cycle", "linear"]),
        ("dfc.stroke_margin=-1", ["stroke_margin", "-1"]),
        ("scoring.false_positive_rat=0.1", ["false_positive_rat", "false_positive_rate"]),
        ("image_size=12x", ["image_size", "12x", "640x256"]),
        ("seed.value=3", ["seed"]),
        ("device=gpu", ["gpu", "cuda"]),
        ("scoring.device=gpu", ["gpu", "cuda"]),
        ("ingestion.category=other", ["ingestion.category", "category="]),
        ("dfc=5", ["5", "epochs"]),
        ("dfc.layers=blocks.2+blocks.9", ["blocks.9", "blocks.4"]),
        ("dfc.layers=blocks.1", ["blocks.1", "stride 4"]),
        ("backbone=vgg19,weights=random,image_size=100", ["100x100", "multiples of 16"]),
        ("image_size=64", ["64x64", "72"]),
        ("dfc.blend_folder=/no/such/folder", ["/no/such/folder"]),
        ("backbone=resnet", ["resnet", "vgg19"]),
        ("weights=/no/such/file.pth", ["/no/such/file.pth"]),
    ],
)
def test_wrong_parameters_are_refused_with_what_exists(shared_project, part, params, said):
    refuse_parameters(shared_project, part, params, said)


@pytest.mark.parametrize(
    ("params", "said"),
    [
        ("dfr.alignment=cubic", ["alignment", "cubic", "nearest"]),
        ("dfr.region=0", ["region", "0"]),
        ("dfr.region=200", ["region", "200", "96"]),
        ("dfr.explained_variance=90", ["explained_variance", "90", "less than 1"]),
        ("dfr.latent_dims=8", ["latent_dims", "did you mean 'latent_dim'"]),
        ("dfr.latent_dim=0", ["latent_dim", "0"]),
        ("dfr.padded_maps=true", ["padded_maps", "tf_efficientnet_lite0"]),
        ("dfr.layers=blocks.2+relu1_1", ["relu1_1", "blocks.0"]),
        ("preset=head", ["preset", "known are"]),
        ("reporting.segmentations=maybe", ["segmentations", "maybe"]),
    ],
)
def test_wrong_parameters_of_dfr(shared_project, part, params, said):
    refuse_parameters(shared_project, part, params, said, pipeline="dfr")


@pytest.mark.parametrize(
    ("params", "said"),
    [
        ("fod.widths=128", ["widths", "1 given", "blocks.2, blocks.4"]),
        ("fod.widths=128+130", ["130", "multiples of 4", "heads, 2"]),
        ("fod.widths=wide", ["widths", "wide", "integer"]),
        ("fod.heads=0", ["heads", "0"]),
        ("fod.correlation=both", ["correlation", "both", "auto", "inter"]),
        ("fod.correlation=inter,fod.with_inter=false", ["inter", "with_inter", "intra, none"]),
        ("fod.with_intra=perhaps", ["with_intra", "perhaps", "boolean"]),
        ("fod.layer=blocks.2", ["layer", "did you mean 'layers'"]),
        ("fod.layers=blocks.9+blocks.2", ["blocks.9", "blocks.4"]),
    ],
)
def test_wrong_parameters_of_fod(shared_project, part, params, said):
    refuse_parameters(shared_project, part, params, said, pipeline="fod")


def test_unknown_presets_are_refused(shared_project):
    bootstrap_project(shared_project)
    with chdir(shared_project):
        result = CliRunner().invoke(run, ["--pipelines=dfr", "--env=paper", "--params=preset=heat"])
    refused(result, "heat", "paper_12", "head")


def refuse_parameters(shared_project, part, params, said, pipeline="dfc"):
    if "category" not in params and "categry" not in params:
        params = f"dataset=folder,data_root={part},category=disc,{params}"
    if "image_size" not in params:
        params += ",image_size=96"
    refused(invoke(shared_project, params, pipeline=pipeline), *said)
    assert not list(shared_project.glob("data/06_models/**/checkpoint.pt"))


def test_unknown_pipelines_and_environments_are_refused(shared_project):
    refused(invoke(shared_project, "seed=1", pipeline="dcf"), "dcf", "dfc")


def test_a_category_of_digits_keeps_its_zeros(shared_project, tmp_path):
    write_part(tmp_path / "01", train=5, good=1, bad=1)
    result = invoke(
        shared_project, f"dataset=folder,data_root={tmp_path},category=01,image_size=96", pipeline="ingestion"
    )
    assert result.exit_code == 0, result.output
    assert (shared_project / "data/02_intermediate/folder/01/samples.csv").is_file()


def test_a_run_from_the_middle_refuses_features_of_other_parameters(shared_project, part):
    bootstrap_project(shared_project)
    with chdir(shared_project):
        first = CliRunner().invoke(
            run, ["--pipelines=dfc", "--to-nodes=training.dfc.extract_features", f"--params={of(part)},weights=random"]
        )
        assert first.exit_code == 0, first.output
        second = CliRunner().invoke(run, ["--pipelines=dfc", "--from-nodes=training.dfc.train", f"--params={of(part)}"])
    refused(second, "weights", "--from-nodes")


def test_training_alone_keeps_its_checkpoint_and_a_later_run_goes_on_from_it(shared_project, part):
    bootstrap_project(shared_project)
    params = f"--params={of(part)},dfc.epochs=2"
    with chdir(shared_project):
        first = CliRunner().invoke(run, ["--pipelines=dfc", "--to-nodes=training.dfc.train", params])
        assert first.exit_code == 0, first.output
        checkpoint = shared_project / "data/06_models/folder/disc/dfc/checkpoint.pt"
        assert checkpoint.is_file()
        second = CliRunner().invoke(run, ["--pipelines=dfc", params])
    assert second.exit_code == 0, second.output
    assert not checkpoint.exists()


def test_the_message_and_the_code_reach_the_shell(project, bad_part):
    (bad_part / "disc/ground_truth/scratch/000_mask.png").unlink()
    result = kedro(project, "run", "--pipeline=dfc", f"--params={of(bad_part)}")
    assert result.returncode == 1
    assert "test/scratch/000.png" in result.stderr and "Traceback" not in result.stderr
    assert "Warning" not in result.stderr and "deprecated" not in result.stderr


def start(popen, project, part, epochs):
    stages = f"--namespaces={','.join(WITHOUT_REPORT)}"
    params = f"--params={of(part)},dfc.epochs={epochs}"
    command = [sys.executable, "-m", "kedro", "run", "--pipelines=dfc", stages, params]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return popen(command, cwd=project, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def weights(project) -> dict:
    (path,) = Path(project).glob("data/06_models/folder/disc/dfc/detector/*/detector/weights.safetensors")
    return load_file(path)


def test_kill_9_in_the_middle_of_training_then_again_gives_the_same_weights(tmp_path, part, zygote):
    whole, killed = make_project(tmp_path / "whole"), make_project(tmp_path / "killed")
    process = start(subprocess.Popen, whole, part, 15)
    output = process.communicate(timeout=300)[0]
    assert process.returncode == 0, output
    process = start(zygote.popen, killed, part, 15)
    checkpoint = killed / "data/06_models/folder/disc/dfc/checkpoint.pt"
    deadline = time.monotonic() + 300
    while not checkpoint.exists():
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert not list(killed.glob("data/06_models/**/weights.safetensors"))
    process = start(zygote.popen, killed, part, 15)
    output = process.communicate(timeout=300)[0]
    assert process.returncode == 0 and "resumed after epoch" in output, output
    expected, found = weights(whole), weights(killed)
    assert expected.keys() == found.keys() and all(bool((expected[key] == found[key]).all()) for key in expected)
    assert not checkpoint.exists()
