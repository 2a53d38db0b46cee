"""Networks that can serve as backbones: their layers, builders, and tensor names in weights files."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial

import torch
from torch import Tensor, nn

from discrepancy.features.chain import Chain
from discrepancy.features.vgg import BLOCKS, VGG19, torchvision_names

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class Layer:
    """A layer of a backbone: its name, its channels, and its stride in image pixels."""

    name: str
    channels: int
    stride: int


@dataclass(frozen=True)
class Architecture:
    """Properties of one network.

    Attributes:
        layers: every available layer, in network order.
        default: names of the layers used by default.
        build: makes the network, cut after the last of the layers named; takes their names and the options.
        options: the options that `build` takes, out of `pooling` and `padding`.
        file_names: the names of the whole network's tensors in a weights file, by the names that `build` gives them
            (those after the cut included).
        mean, std: of the normalisation, for images in 0..1.
        rounds_up: a side of H pixels becomes ceil(H / stride) if True, else floor(H / stride).
        frame: where the network's own convolutions pad with zeros, how many pixels of reflected image are put around
            an image for `padding="reflect"`. It is a multiple of the largest stride: the maps' grids stay in place.
    """

    layers: tuple[Layer, ...]
    default: tuple[str, ...]
    build: Callable[..., Chain]
    options: tuple[str, ...]
    file_names: Callable[[Mapping[str, Tensor]], dict[str, str]]
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    rounds_up: bool
    frame: int = 0


# Channels of the seven stages, whose maps have strides 2 to 32.
_EFFICIENTNETS = {
    "tf_efficientnet_lite0": (16, 24, 40, 80, 112, 192, 320),
    "tf_efficientnet_lite2": (16, 24, 48, 88, 120, 208, 352),
    "tf_efficientnet_b6": (32, 40, 72, 144, 200, 344, 576),
}


def _library_network(name: str) -> nn.Module:
    if name in _EFFICIENTNETS:
        import timm

        return timm.create_model(name, pretrained=False)
    import torchvision

    return torchvision.models.get_model(name, weights=None)


@cache
def _whole_names(name: str) -> tuple[str, ...]:
    with torch.device("meta"):
        return tuple(_library_network(name).state_dict())


def _efficientnet_layers(name: str) -> tuple[Layer, ...]:
    stages = zip(_EFFICIENTNETS[name], (2, 4, 8, 16, 16, 32, 32), strict=True)
    return tuple(Layer(f"blocks.{index}", channels, stride) for index, (channels, stride) in enumerate(stages))


def _build_efficientnet(name: str, layers: Sequence[str]) -> Chain:
    network = _library_network(name)
    stages = [(f"blocks.{index}", stage) for index, stage in enumerate(network.get_submodule("blocks").children())]
    stem = [(name, network.get_submodule(name)) for name in ("conv_stem", "bn1")]
    return Chain([*stem, *stages], layers)


def _lite_file_names(name: str, tensors: Mapping[str, Tensor]) -> dict[str, str]:
    names = _whole_names(name)
    if "_conv_stem.weight" in tensors and len(tensors) == len(names):
        # The package's file: the same tensors in the same order under other names. Shapes are checked later.
        return dict(zip(names, tensors, strict=True))
    return {name: name for name in names}


def _b6_file_names(tensors: Mapping[str, Tensor]) -> dict[str, str]:
    del tensors  # timm's file has timm's names
    return {name: name for name in _whole_names("tf_efficientnet_b6")}


def _build_wide_resnet(layers: Sequence[str]) -> Chain:
    names = ("conv1", "bn1", "relu", "maxpool", "layer1", "layer2", "layer3", "layer4")
    network = _library_network("wide_resnet50_2")
    return Chain([(name, network.get_submodule(name)) for name in names], layers)


def _wide_resnet_file_names(tensors: Mapping[str, Tensor]) -> dict[str, str]:
    del tensors  # timm and torchvision use the same names
    return {name: name for name in _whole_names("wide_resnet50_2")}


def _vgg19_file_names(tensors: Mapping[str, Tensor]) -> dict[str, str]:
    del tensors
    ours = {theirs: name for name, theirs in torchvision_names().items()}
    names = {}
    for name in _whole_names("vgg19"):
        module, _, kind = name.rpartition(".")
        names[f"{ours.get(module, module)}.{kind}"] = name
    return names


def _efficientnet_lite(name: str) -> Architecture:
    return Architecture(
        layers=_efficientnet_layers(name),
        default=("blocks.2", "blocks.4"),
        build=partial(_build_efficientnet, name),
        options=(),
        file_names=partial(_lite_file_names, name),
        mean=(0.5, 0.5, 0.5),
        std=(0.5, 0.5, 0.5),
        rounds_up=True,
        frame=32,
    )


# Channels and strides are those of timm's feature_info and of torchvision's stages; the tests compare them.
ARCHITECTURES: dict[str, Architecture] = {
    "tf_efficientnet_lite0": _efficientnet_lite("tf_efficientnet_lite0"),
    "tf_efficientnet_lite2": _efficientnet_lite("tf_efficientnet_lite2"),
    "tf_efficientnet_b6": Architecture(
        layers=_efficientnet_layers("tf_efficientnet_b6"),
        default=("blocks.2", "blocks.4"),
        build=partial(_build_efficientnet, "tf_efficientnet_b6"),
        options=(),
        file_names=_b6_file_names,
        mean=IMAGENET_MEAN,
        std=IMAGENET_STD,
        rounds_up=True,
        frame=32,
    ),
    "vgg19": Architecture(
        layers=tuple(
            Layer(f"relu{block + 1}_{index + 1}", channels, 2**block)
            for block, (convolutions, channels) in enumerate(BLOCKS)
            for index in range(convolutions)
        ),
        default=("relu4_3", "relu4_4", "relu5_1", "relu5_2"),
        build=VGG19,
        options=("pooling", "padding"),
        file_names=_vgg19_file_names,
        mean=IMAGENET_MEAN,
        std=IMAGENET_STD,
        rounds_up=False,
    ),
    "wide_resnet50_2": Architecture(
        layers=tuple(Layer(f"layer{index + 1}", 256 * 2**index, 4 * 2**index) for index in range(4)),
        default=("layer2", "layer3"),
        build=_build_wide_resnet,
        options=(),
        file_names=_wide_resnet_file_names,
        mean=IMAGENET_MEAN,
        std=IMAGENET_STD,
        rounds_up=True,
        frame=32,
    ),
}
