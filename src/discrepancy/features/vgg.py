"""VGG19 with two changes: reflection padding, and a choice of pooling.

Source: Simonyan and Zisserman 2015, configuration E, without batch normalisation. Yang, Shi and Qi (2020) pad by
reflection because zeros at the border look like anomalies; Yang et al. (2022) also replace max by average pooling. The
returned maps are those of the ReLUs themselves, never padded.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal, cast

import torch
from torch import nn

from discrepancy.errors import InputError
from discrepancy.features.chain import Chain
from discrepancy.features.reflection import ReflectedConv2d

# Convolutions and channels per block; each block ends with a 2x2 pooling of stride 2.
BLOCKS = ((2, 64), (2, 128), (4, 256), (4, 512), (4, 512))
POOLINGS = {"max": nn.MaxPool2d, "avg": nn.AvgPool2d}
PADDINGS = ("reflect", "zeros")


def vgg19_steps(*, pooling: str, padding: str) -> Iterator[tuple[str, nn.Module]]:
    """Return the steps `conv1_1`, `relu1_1`, ..., `pool1`, ..., `relu5_4` with their names, in order."""
    mode = cast(Literal["reflect", "zeros"], padding)
    channels = 3
    for block, (convolutions, width) in enumerate(BLOCKS, start=1):
        for index in range(1, convolutions + 1):
            yield f"conv{block}_{index}", ReflectedConv2d(channels, width, kernel_size=3, padding=1, padding_mode=mode)
            yield f"relu{block}_{index}", nn.ReLU(inplace=True)
            channels = width
        if block < len(BLOCKS):
            yield f"pool{block}", POOLINGS[pooling](kernel_size=2, stride=2)


def torchvision_names() -> dict[str, str]:
    """Return, for each convolution (`conv3_2`), its name in torchvision's `vgg19` (`features.12`)."""
    names, place = {}, 0
    for block, (convolutions, _) in enumerate(BLOCKS, start=1):
        for index in range(1, convolutions + 1):
            names[f"conv{block}_{index}"] = f"features.{place}"
            place += 2  # the convolution and its ReLU
        place += 1  # the pooling
    return names


def fed_to_convolution() -> tuple[str, ...]:
    """Return the ReLUs followed by another convolution of their block: not those before a pooling, nor the last.

    In the program of Yang, Shi and Qi (2020) their maps still have that convolution's padding around them.
    """
    return tuple(
        f"relu{block}_{index}" for block, (count, _) in enumerate(BLOCKS, start=1) for index in range(1, count)
    )


class VGG19(Chain):
    """The convolutional part of VGG19, up to the last selected ReLU; randomly initialised and trainable.

    `forward(images)` takes normalised images [N, 3, H, W] and returns the maps [N, C, h, w] of the ReLUs by name.
    There h = floor(H / stride), with stride = 1, 2, 4, 8, 16 in the blocks 1 to 5. A method may insert a module of its
    own: `network.insert_after("pool3", name, module)`.

    Args:
        layers: `reluX_Y` names, X = 1..5, Y = 1..2 in the first two blocks and 1..4 in the others.
        pooling: `max` or `avg`.
        padding: `reflect`, or `zeros` as in torchvision; one pixel, before each convolution.

    Raises:
        InputError: `pooling` or `padding` is none of these.
        KeyError: a layer is no ReLU of this network.
    """

    def __init__(self, layers: Sequence[str], *, pooling: str = "max", padding: str = "reflect") -> None:
        for parameter, value, known in (("pooling", pooling, tuple(POOLINGS)), ("padding", padding, PADDINGS)):
            if value not in known:
                raise InputError(f"{parameter}={value!r} is not known to VGG19; expected {' or '.join(known)}")
        if others := [name for name in layers if not name.startswith("relu")]:
            raise KeyError(f"{others[0]} cannot be given out, its memory is used again; expected reluX_Y")
        super().__init__(vgg19_steps(pooling=pooling, padding=padding), layers)
        self.initialise()

    def initialise(self, generator: torch.Generator | None = None) -> None:
        """Initialise with Kaiming normal weights (fan out, ReLU) and zero biases; not inserted modules."""
        for name in torchvision_names():
            if name in self.steps:
                convolution = self.get_submodule(name)
                assert isinstance(convolution, nn.Conv2d)
                nn.init.kaiming_normal_(convolution.weight, mode="fan_out", nonlinearity="relu", generator=generator)
                if convolution.bias is not None:
                    nn.init.zeros_(convolution.bias)
