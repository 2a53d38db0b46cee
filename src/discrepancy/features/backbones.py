"""Pretrained networks with one interface: images in, named feature maps out, frozen.

A backbone is a library's network (or our VGG19) cut after the last selected layer. Normalisation is inside. The weights
are named by a digest, so that everything computed from them can refer to them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from discrepancy.errors import InputError
from discrepancy.features.architectures import ARCHITECTURES, Architecture, Layer
from discrepancy.features.chain import Chain
from discrepancy.features.vgg import PADDINGS
from discrepancy.features.weights import fit_tensors, read_weights, tensors_digest

__all__ = ["Backbone", "Layer", "build_backbone", "weights_file"]


class Backbone(nn.Module):
    """A frozen, pretrained network that turns images into feature maps; see `build_backbone`.

    It never leaves evaluation mode, its parameters take no gradient, and none flows through it to the images.

    Attributes:
        name: the network's name.
        layers: the selected layers, in network order.
        digest: sha256 over the tensors that the network uses (up to the cut; names, types, shapes, bytes). It is the
            same for a `.pth` and a `.safetensors` file, with or without the classifier.
        weights_source: source of the weights, one line.
        architecture: its layers, builder and names.
        options: pooling and padding, as far as the network has them.
        identity: all that decides the numbers, as JSON values: name, layers, digest, normalisation, options.
    """

    scale: Tensor
    shift: Tensor

    def __init__(
        self, name: str, architecture: Architecture, network: Chain, *, weights_source: str, options: Mapping[str, str]
    ) -> None:
        super().__init__()
        self.name = name
        self.architecture = architecture
        self.options = dict(options)
        self.layers = tuple(layer for layer in architecture.layers if layer.name in network.keep)
        self.network = network
        self.digest = tensors_digest(_used_tensors(network))
        self.weights_source = weights_source
        self.rounds_up = architecture.rounds_up
        self.frame = architecture.frame if options.get("padding") == "reflect" else 0
        mean, std = torch.tensor(architecture.mean), torch.tensor(architecture.std)
        self.register_buffer("scale", (1 / std).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("shift", (-mean / std).view(1, 3, 1, 1), persistent=False)
        self.identity: dict[str, Any] = {
            "backbone": name,
            "weights": self.digest,
            "layers": [layer.name for layer in self.layers],
            "mean": list(architecture.mean),
            "std": list(architecture.std),
            **options,
        }
        self.to(memory_format=torch.channels_last)  # faster for CPU convolutions
        self.requires_grad_(False)
        self.train(False)

    def only(self, layers: Sequence[str]) -> Backbone:
        """Return this network cut after the last of some of its layers; the weights are shared, not copied.

        It is the network that `build_backbone` gives for these layers, with the same digest.

        Raises:
            InputError: a layer is not among those of this network.
        """
        names = [layer.name for layer in self.layers]
        if unknown := [layer for layer in layers if layer not in names]:
            raise InputError(f"layer {unknown[0]!r} is not among those of this {self.name}: {', '.join(names)}")
        steps = ((step, self.network.get_submodule(step)) for step in self.network.steps)
        return Backbone(
            self.name,
            self.architecture,
            Chain(steps, layers),
            weights_source=self.weights_source,
            options=self.options,
        )

    def train(self, mode: bool = True) -> Backbone:
        """Stay in evaluation mode, also when a module around it is set to training."""
        del mode
        return super().train(False)

    def map_shapes(self, height: int, width: int) -> dict[str, tuple[int, int, int]]:
        """Return the shape (C, h, w) of each layer's map for images of `height` x `width`, without running the network.

        h = H / stride, rounded down for `vgg19`, up for the others; w likewise.

        Raises:
            InputError: a map would be less than 2x2.
        """
        shapes = {}
        if min(height, width) <= self.frame:
            raise InputError(
                f"images of {height}x{width} are too small for {self.name} with padding=reflect: expected more than "
                f"{self.frame} pixels on each side, or padding=zeros"
            )
        for layer in self.layers:
            up = layer.stride - 1 if self.rounds_up else 0
            h, w = (height + up) // layer.stride, (width + up) // layer.stride
            if min(h, w) < 2:
                raise InputError(
                    f"images of {height}x{width} are too small for layer {layer.name} of {self.name} (stride "
                    f"{layer.stride}): expected at least {2 * layer.stride} pixels on each side"
                )
            shapes[layer.name] = (layer.channels, h, w)
        return shapes

    @torch.no_grad()
    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Compute feature maps of `images`.

        Args:
            images: [N, 3, H, W] in RGB, uint8 in 0..255 or floating point in 0..1; sizes as in `map_shapes`.

        Returns:
            float32 maps [N, C, h, w] by layer name, in network order; channels last in memory.

        Raises:
            InputError: the images are too small, or have another shape, type or range.
        """
        _check_images(images)
        shapes = self.map_shapes(*images.shape[-2:])
        scale = self.scale / 255 if images.dtype == torch.uint8 else self.scale
        normalised = torch.addcmul(self.shift, images.to(scale.dtype), scale)
        if not self.frame:
            return self.network(normalised)
        maps = self.network(F.pad(normalised, (self.frame,) * 4, mode="reflect"))
        return {layer.name: self._unframed(maps[layer.name], layer, shapes[layer.name]) for layer in self.layers}

    def _unframed(self, framed: Tensor, layer: Layer, shape: tuple[int, int, int]) -> Tensor:
        """Return the part [N, C, h, w] of a framed image's map that lies over the image itself."""
        first, (_, height, width) = self.frame // layer.stride, shape
        return framed[..., first : first + height, first : first + width]


def build_backbone(
    name: str,
    *,
    layers: Sequence[str] | None = None,
    weights: str = "auto",
    pooling: str = "max",
    padding: str = "reflect",
) -> Backbone:
    """Build a frozen backbone with the given layers.

    Args:
        name: `tf_efficientnet_lite0`, `tf_efficientnet_lite2`, `tf_efficientnet_b6`, `vgg19` or `wide_resnet50_2`.
        layers: `blocks.0` .. `blocks.6` (of the EfficientNets), `relu1_1` .. `relu5_4` or `layer1` .. `layer4`, in
            any order; None takes two layers at strides 8 and 16 (`vgg19`: four in the last two blocks).
        weights: `auto`, `package`, a name of `weights.PUBLISHED` (`racm`, `imagenet1k_v1`, ...), the path of a `.pth`
            or `.safetensors` file, or `random` (`random:7` with a seed). `auto` is the installed package for lite0 and
            lite2, else the library's file from torch hub's folder or the network.
        pooling: `max` or `avg`; `vgg19` only, others ignore it.
        padding: `reflect` or `zeros`. Zeros at the border look like anomalies (Yang, Shi and Qi 2020): `vgg19` pads
            each convolution by reflection, the others see the image in a frame of its own reflection.

    Raises:
        InputError: a name is not known, or the weights cannot be had or do not fit.

    Example:
        >>> backbone = build_backbone("vgg19", layers=["relu4_4"], weights="random", pooling="avg")
        >>> backbone.layers
        (Layer(name='relu4_4', channels=512, stride=8),)
        >>> backbone(torch.zeros(1, 3, 64, 64))["relu4_4"].shape
        torch.Size([1, 512, 8, 8])
    """
    if name not in ARCHITECTURES:
        raise InputError(f"backbone {name!r} is not known; expected one of {', '.join(ARCHITECTURES)}")
    architecture = ARCHITECTURES[name]
    wanted = _checked_layers(name, architecture, layers)
    if padding not in PADDINGS:
        raise InputError(f"padding={padding!r} is not known; expected {' or '.join(PADDINGS)}")
    made = {key: value for key, value in (("pooling", pooling), ("padding", padding)) if key in architecture.options}
    options = {**made, "padding": padding}
    kind, _, seed = weights.partition(":")
    if kind == "random":
        if seed and not seed.isdecimal():
            raise InputError(f"weights={weights}: the seed is not a whole number; expected for example random:7")
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(seed or 0))
            network = architecture.build(wanted, **made)
        source = f"random, seed {int(seed or 0)}"
    else:
        with torch.device("meta"):  # no memory and no initialisation for tensors that are about to be replaced
            network = architecture.build(wanted, **made)
        tensors, source = read_weights(name, weights)
        _load(network, tensors, architecture.file_names(tensors), source)
    return Backbone(name, architecture, network, weights_source=source, options=options)


def weights_file(backbone: Backbone) -> dict[str, Tensor]:
    """Return the tensors that a backbone uses, on the CPU, by the names of a weights file.

    Saved, they make a file from which `build_backbone` builds the same network: its digest is the same.
    """
    names = ARCHITECTURES[backbone.name].file_names({})
    used = _used_tensors(backbone.network)
    return {names[name]: value.detach().cpu().contiguous() for name, value in used.items()}


def _check_images(images: Any) -> None:
    if not isinstance(images, Tensor):
        raise InputError(f"expected images [N, 3, H, W] as a tensor, found a {type(images).__name__}")
    fractions = images.is_floating_point()
    if images.ndim != 4 or images.shape[1] != 3 or not (images.dtype == torch.uint8 or fractions):
        raise InputError(
            f"expected images [N, 3, H, W], uint8 or floating point, found {list(images.shape)} {images.dtype}"
        )
    if fractions and images.numel():
        low, high = (float(value) for value in torch.aminmax(images))
        if not 0 <= low <= high <= 1:
            raise InputError(
                f"expected images as uint8, or floating point in 0 to 1 (divided by 255 and no more), found "
                f"{images.dtype} in {low:.4g} to {high:.4g}"
            )


def _checked_layers(name: str, architecture: Architecture, layers: Sequence[str] | None) -> tuple[str, ...]:
    names = tuple(layer.name for layer in architecture.layers)
    if layers is None:
        return architecture.default
    unknown = [] if isinstance(layers, str) else [layer for layer in layers if layer not in names]
    if isinstance(layers, str) or unknown or not layers or len(set(layers)) < len(layers):
        found = f"layer {unknown[0]!r} is not known to" if unknown else f"layers={layers!r} cannot be used with"
        raise InputError(f"{found} {name}; expected a list without repeats out of {', '.join(names)}")
    return tuple(layers)


def _used_tensors(network: nn.Module) -> dict[str, Tensor]:
    # Batch normalisation counts its training batches; the count has no part in the output, and old files lack it.
    return {name: value for name, value in network.state_dict().items() if not name.endswith("num_batches_tracked")}


def _load(network: nn.Module, tensors: Mapping[str, Tensor], file_names: Mapping[str, str], source: str) -> None:
    used = _used_tensors(network)
    wanted = {file_names[name]: value for name, value in used.items()}
    fitting = fit_tensors(tensors, wanted, known=set(file_names.values()), source=source)
    counts = {name: torch.zeros((), dtype=torch.int64) for name in network.state_dict() if name not in used}
    network.load_state_dict({name: fitting[file_names[name]] for name in used} | counts, assign=True)
