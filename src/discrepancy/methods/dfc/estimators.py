"""DFC's estimation networks: trained to predict the frozen network's features from the image."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from discrepancy.errors import InputError
from discrepancy.features.backbones import Layer
from discrepancy.features.reflection import ReflectedConv2d
from discrepancy.features.vgg import VGG19

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


def reflected_conv(inputs: int, outputs: int, *, stride: int = 1, dilation: int = 1) -> nn.Conv2d:
    """Build a 3x3 convolution with reflection padding: zero padding would make borders look anomalous."""
    return ReflectedConv2d(
        inputs, outputs, 3, stride=stride, padding=dilation, dilation=dilation, padding_mode="reflect"
    )


class ResidualBlock(nn.Module):
    """y = x + conv(ReLU(conv_dilated(x))): the unit of every MCRL branch; nothing follows the addition.

    Args:
        channels: of the map, in and out.
        dilation: of the first convolution.
        groups: normalise in so many groups of channels before the ReLU; the paper's has no normalisation (0). It is
            by image, so that one pass still serves clean and corrupted images.
    """

    def __init__(self, channels: int, dilation: int, *, groups: int = 0) -> None:
        super().__init__()
        self.context = reflected_conv(channels, channels, dilation=dilation)
        self.normalisation = nn.GroupNorm(groups, channels) if groups else nn.Identity()
        self.activation = nn.ReLU(inplace=True)
        self.local = reflected_conv(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        """Transform a map [N, C, h, w] -> [N, C, h, w]."""
        return x + self.local(self.activation(self.normalisation(self.context(x))))


class MultiContextResidualLearning(nn.Module):
    """MCRL: out = x + B2(x) + B4(x) + B8(x), branch B_r being residual blocks of dilation r in sequence.

    Each branch carries its own identity: the module starts with a gain of about one plus the number of branches, as in
    the paper's code.

    Args:
        channels: of the map, in and out.
        dilations: one branch each.
        blocks: residual blocks per branch; the paper has 4.
        groups: normalisation inside the blocks; the paper has none (0).
    """

    def __init__(
        self, channels: int, *, dilations: Sequence[int] = (2, 4, 8), blocks: int = 4, groups: int = 0
    ) -> None:
        super().__init__()
        self.branches = nn.ModuleList(
            nn.Sequential(*(ResidualBlock(channels, dilation, groups=groups) for _ in range(blocks)))
            for dilation in dilations
        )

    def forward(self, x: Tensor) -> Tensor:
        """Transform a map [N, C, h, w] -> [N, C, h, w]."""
        out = x
        for branch in self.branches:
            out = out + branch(x)
        return out


class Normalise(nn.Module):
    """Normalisation of images in 0..1 by ImageNet's mean and standard deviation."""

    mean: Tensor
    std: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(IMAGENET_STD).view(1, 3, 1, 1), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """Normalise images [N, 3, H, W] in 0..1 -> [N, 3, H, W]."""
        return (images - self.mean) / self.std


class VGG19Estimator(nn.Module):
    """The paper's estimation network: VGG19 with average pooling, randomly initialised, MCRL after the third pooling.

    Args:
        targets: `reluX_Y` of blocks 4 and 5.
        blocks: residual blocks per MCRL branch; the paper has 4.

    Raises:
        InputError: all targets lie before the third pooling, where MCRL would have no effect.
    """

    def __init__(self, targets: Sequence[Layer], *, blocks: int = 4) -> None:
        super().__init__()
        if early := [target.name for target in targets if target.stride < 8]:
            raise InputError(
                f"layers: {', '.join(early)} lie before MCRL; the VGG19 estimation network predicts relu4_1 on"
            )
        self.normalise = Normalise()
        self.network = VGG19([target.name for target in targets], pooling="avg", padding="reflect")
        self.network.insert_after("pool3", "mcrl", MultiContextResidualLearning(256, blocks=blocks))

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Predict every target from images in 0..1, [N, 3, H, W] -> {name: [N, C, h, w]}."""
        return self.network(self.normalise(images))


class CompactEstimator(nn.Module):
    """A small estimation network for strides 8 and 16 of any backbone: minutes on two CPU cores.

    Three strided stages bring the image to stride 8, MCRL adds context there, a strided stage leads to stride 16;
    a 1x1 convolution per target predicts its channels.

    Args:
        targets: layers to predict; strides 8 and 16 only.
        width: channels at stride 8, a multiple of 8.
        blocks: residual blocks per MCRL branch.

    Raises:
        InputError: a target of another stride.
    """

    def __init__(self, targets: Sequence[Layer], *, width: int = 64, blocks: int = 1) -> None:
        super().__init__()
        if wrong := [f"{target.name} (stride {target.stride})" for target in targets if target.stride not in (8, 16)]:
            raise InputError(
                f"layers: {', '.join(wrong)} given; the compact estimation network predicts strides 8 and 16"
            )
        self.normalise = Normalise()
        self.stem = nn.Sequential(
            reflected_conv(3, width // 4, stride=2),
            nn.ReLU(inplace=True),
            reflected_conv(width // 4, width // 2, stride=2),
            nn.ReLU(inplace=True),
            reflected_conv(width // 2, width, stride=2),
            nn.ReLU(inplace=True),
        )
        self.context = MultiContextResidualLearning(width, blocks=blocks, groups=8)
        self.strides = {target.name: target.stride for target in targets}
        self.down = (
            nn.Sequential(nn.ReLU(), reflected_conv(width, 2 * width, stride=2), nn.ReLU(inplace=True))
            if 16 in self.strides.values()
            else nn.Identity()
        )
        self.heads = nn.ModuleList(
            nn.Conv2d(width if target.stride == 8 else 2 * width, target.channels, 1) for target in targets
        )

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Predict every target from images in 0..1, [N, 3, H, W] -> {name: [N, C, h, w]}."""
        fine = self.context(self.stem(self.normalise(images)))
        maps = {8: fine, 16: self.down(fine)}
        return {name: head(maps[stride]) for (name, stride), head in zip(self.strides.items(), self.heads, strict=True)}
