"""FOD, Focus the Discrepancy (Yao, Li, Qian, Luo, Zhang, ICCV 2023).

Transformers reconstruct the tokens of good images, one by one. They learn how each token correlates with the others of
its image (intra-correlations) and with those of a mean normal image (inter-correlations). An image is anomalous where
the reconstruction fails and the correlations are unusual. `docs/methods.md` lists what differs from the paper.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from discrepancy.device_memory import images_at_once
from discrepancy.errors import InputError
from discrepancy.features.backbones import Backbone
from discrepancy.features.cache import Features
from discrepancy.methods.base import ExtraStep, Preparation, TrainingData
from discrepancy.methods.card import Card
from discrepancy.methods.fod.attention_hooks import AttentionMapRecorder, Correlation, DivergenceRecorder
from discrepancy.methods.fod.card import describe
from discrepancy.methods.fod.local_means import LocalMeans
from discrepancy.methods.fod.parameters import FODParameters
from discrepancy.methods.fod.reference import mean_ingredients, plan_reference
from discrepancy.methods.fod.training import FODTask, build_optimiser
from discrepancy.methods.fod.transformer import (
    INTRA,
    AttentionFn,
    CorrelationTransformer,
    Shape,
    plain_attention,
)
from discrepancy.methods.gradient import GradientMethod
from discrepancy.methods.residual_scaler import Compared, ResidualScaler


class FOD(GradientMethod):
    """FOD: transformers, one per layer, trained to reconstruct tokens (local means of the frozen network's maps).

    Buffers per layer: mean and deviation of each channel on good images (0 and 1 if not standardised), and the tokens
    of the mean normal image, [tokens, channels].

    Example:
        >>> detector = load_method(folder)  # doctest: +SKIP
        >>> maps = detector(images)  # uint8 [N, 3, H, W] -> float32 [N, H, W]  # doctest: +SKIP
    """

    name = "fod"
    title = "FOD"
    Parameters = FODParameters
    preparations = (Preparation("reference", "average_features", plan_reference),)
    parameters_used: FODParameters

    def __init__(self, backbone: Backbone, parameters: FODParameters, card: Card) -> None:
        super().__init__(backbone, parameters, card)
        self.tokens = build_tokens(backbone, parameters, self.image_size)
        self.levels = list(self.tokens.shapes)
        self.grids = [(height, width) for _, height, width in self.tokens.shapes.values()]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(parameters.seed)
            self.transformers = build_transformers(self.tokens, parameters)
        for index, (channels, height, width) in enumerate(self.tokens.shapes.values()):
            self.register_buffer(f"mean_{index}", torch.zeros(channels))
            self.register_buffer(f"deviation_{index}", torch.ones(channels))
            self.register_buffer(f"reference_{index}", torch.zeros(height * width, channels))
        self.weighing = ResidualScaler(
            [channels for channels, _, _ in self.tokens.shapes.values()],
            self.image_size,
            kind=parameters.residuals,
            by_content=parameters.by_content,
            by_position=parameters.by_position,
            align_corners=parameters.align_corners,
            cosine=True,
        )

    @classmethod
    def reduction(cls, backbone: Backbone, parameters: FODParameters, image_size: tuple[int, int]) -> LocalMeans:
        """Keep local means of the maps, the tokens."""
        tokens = build_tokens(backbone, parameters, image_size)
        check_parameters(tokens, parameters)
        return tokens

    @classmethod
    def card_entries(cls, parameters: FODParameters, prepared: Mapping[str, Any]) -> dict[str, Any]:
        """Return the interpretation of the parameters in words."""
        del prepared
        return describe(parameters)

    @classmethod
    def extra_steps(cls) -> tuple[ExtraStep, ...]:
        """Return the best epoch on the test set (off by default) and the figure of correlations."""
        from discrepancy.methods.fod.oracle import best_epoch_on_test
        from discrepancy.methods.fod.pictures import draw_correlations

        learnt_from = ("trained", "images", "masks", "samples", "features", "reference", "oracle_checkpoint")
        shown = ("detector", "images", "masks", "maps", "scores", "params:fod")
        return (
            ExtraStep("training", "best_epoch_on_test", best_epoch_on_test, (*learnt_from, "params:fod"), "oracle"),
            ExtraStep("reporting", "draw_correlations", draw_correlations, shown, "correlation_figure"),
        )

    @property
    def feature_names(self) -> list[str]:
        """Names of the cached features, in the order of the buffers."""
        return self.levels

    @property
    def trained_network(self) -> nn.Module:
        """The transformers."""
        return self.transformers

    def set_up(self, data: TrainingData) -> None:
        """Take over the statistics of the features, and the mean normal image.

        Raises:
            InputError: the mean normal image is of other features.
        """
        reference: Features = data.prepared["reference"]
        if reference.card["ingredients"] != mean_ingredients(data.cached, data.examples):
            raise InputError(
                "the mean normal image on disk is of other features; expected that of this run: start it at the "
                "beginning, without --from-nodes"
            )
        super().set_up(data)
        self.set_reference(reference.tensors([0]))

    def training_task(self, data: TrainingData) -> FODTask:
        """Return batches of tokens, and the loss with the adversarial objective of the correlations."""
        return FODTask(self, data)

    def optimiser(self) -> torch.optim.Optimizer:
        """Return Adam, or the variant of the authors' program."""
        return build_optimiser(self.transformers, self.parameters_used)

    def set_reference(self, means: Mapping[str, Tensor]) -> None:
        """Set the mean normal image [1, C, h, w] by layer; call it after `set_statistics`."""
        for index, tokens in enumerate(self.standardised(means)):
            self.get_buffer(f"reference_{index}").copy_(tokens[0])

    def standardised(self, maps: Mapping[str, Tensor]) -> list[Tensor]:
        """Return tokens by level, float32 [N, tokens, C], of cached maps [N, C, h, w] by layer."""
        rows = [maps[level].permute(0, 2, 3, 1).flatten(1, 2).float() for level in self.levels]
        if not self.parameters_used.standardise:
            return rows
        return [
            (values - self.get_buffer(f"mean_{index}")) / self.get_buffer(f"deviation_{index}")
            for index, values in enumerate(rows)
        ]

    def reconstructed(self, level: int, tokens: Tensor, attention: AttentionFn = plain_attention) -> Tensor:
        """Reconstruct a level's tokens by its transformer, [N, tokens, C] -> [N, tokens, C], float32."""
        result: Tensor = self.transformers[level](tokens, self.get_buffer(f"reference_{level}"), attention)
        return result.float()

    def reconstruction_loss(self, maps: Mapping[str, Tensor], attention: AttentionFn = plain_attention) -> Tensor:
        """Return L_rec of cached maps [N, C, h, w], summed over the levels, a scalar.

        L_rec is the mean squared error plus the mean cosine distance.
        """
        losses = []
        for level, tokens in enumerate(self.standardised(maps)):
            reconstruction = self.reconstructed(level, tokens, attention)
            losses.append(F.mse_loss(reconstruction, tokens) + cosine_distances(reconstruction, tokens).mean())
        return torch.stack(losses).sum()

    def error_maps(self, features: Mapping[str, Tensor], images: Tensor) -> Tensor:
        """Return reconstruction x correlation score, upsampled, mean of the levels: [N, H, W]."""
        del images
        scored = self.parameters_used.scored
        recorders = [DivergenceRecorder([scored] if scored else []) for _ in self.levels]
        errors = self.weighing.errors(self._compared(self.tokens.reduced(features), recorders))
        if scored:
            pairs = zip(errors, recorders, strict=True)
            errors = [error * self._unusual(recorder.mean(scored)).view_as(error) for error, recorder in pairs]
        return self.weighing.upsampled(errors) / len(self.levels)

    def _unusual(self, divergences: Tensor) -> Tensor:
        """Return the factor by which an error is multiplied, [N, tokens], of divergences J_i."""
        used = self.parameters_used
        factors = correlation_scores(str(used.scored), divergences)
        return factors * factors.shape[1] if used.balanced else factors

    def _as_map(self, level: int, tokens: Tensor) -> Tensor:
        """Return tokens [N, tokens, C] as a map [N, C, h, w]."""
        return tokens.transpose(1, 2).unflatten(2, self.grids[level])

    def _compared(self, maps: Mapping[str, Tensor], attentions: Sequence[AttentionFn] | None = None) -> Compared:
        """Return the reconstruction, and tokens minus it, [N, C, h, w] per level, of cached maps."""
        residuals, reconstructions = [], []
        for level, tokens in enumerate(self.standardised(maps)):
            reconstruction = self.reconstructed(level, tokens, attentions[level] if attentions else plain_attention)
            residuals.append(self._as_map(level, tokens - reconstruction))
            reconstructions.append(self._as_map(level, reconstruction))
        return Compared(residuals, reconstructions)

    def compared_batches(self, data: TrainingData) -> Iterator[Compared]:
        """Compare the cached tokens of the training images with their reconstruction."""
        size = images_at_once(16, *self.image_size)
        return map(self._compared, data.cached.batches(range(data.examples), self.device, size=size))

    @torch.inference_mode()
    def correlations(self, image: Tensor, places: Sequence[tuple[float, float]]) -> list[dict[str, Correlation]]:
        """Return learnt correlations and targets of some places of an image, means over heads and layers.

        Args:
            image: uint8 [1, 3, H, W], of the size it was trained on.
            places: rows and columns in px.

        Returns:
            By branch, for each level: [places, grid rows, grid columns] each; rows and columns sum to 1.
        """
        self.eval()
        found = []
        for level, tokens in enumerate(self.standardised(self.tokens.reduced(self.backbone(image)))):
            grid = self.grids[level]
            cells = [self.cell(level, place) for place in places]
            recorder = AttentionMapRecorder(
                torch.tensor([row * grid[1] + column for row, column in cells], device=tokens.device)
            )
            self.reconstructed(level, tokens, recorder)
            found.append(recorder.means(grid))
        return found

    def cell(self, level: int, place: tuple[float, float]) -> tuple[int, int]:
        """Return row and column of the token over a place, given by its row and column in px."""
        sides = zip(place, self.grids[level], self.image_size, strict=True)
        row, column = (min(int(at * cells / size), cells - 1) for at, cells, size in sides)
        return row, column


def cosine_distances(one: Tensor, other: Tensor) -> Tensor:
    """Compute 1 - cos of the angle between vectors, [..., C] -> [...], in 0..2."""
    return 1 - F.cosine_similarity(one, other, dim=-1)


def correlation_scores(branch: str, divergences: Tensor) -> Tensor:
    """Compute the abnormality of each token's correlations, relative to the image's other tokens.

    If correlations and targets approached each other in training (inter), an unusual token has them far apart: max_j
    softmax(-J)_j - softmax(-J)_i. If they were kept apart (intra), it has them close: softmax(-J)_i.

    Args:
        branch: `intra` or `inter`.
        divergences: J_i, [N, tokens].

    Returns:
        [N, tokens], 0 to 1; about 1 / tokens.
    """
    closeness = torch.softmax(-divergences, -1)
    return closeness if branch == INTRA else closeness.amax(-1, keepdim=True) - closeness


def build_tokens(backbone: Backbone, parameters: FODParameters, image_size: tuple[int, int]) -> LocalMeans:
    """Build the tokens that the parameters select."""
    return LocalMeans(backbone.map_shapes(*image_size), padding=parameters.padding)


def build_transformers(tokens: LocalMeans, parameters: FODParameters) -> nn.ModuleList:
    """Build one transformer per layer, randomly initialised from PyTorch's global generator.

    Raises:
        InputError: not as many widths as layers, other layers than the tokens', a width that the heads cannot share,
            or a score by a correlation that is not trained.
    """
    if parameters.scored and parameters.scored not in parameters.branches:
        raise InputError(
            f"correlation: {parameters.correlation} given, but with_{parameters.correlation} is false; expected auto, "
            f"{', '.join([*parameters.branches, 'none'])}"
        )
    if len(parameters.widths) != len(tokens.shapes):
        raise InputError(
            f"widths: {len(parameters.widths)} given; expected {len(tokens.shapes)}, one for each of the layers "
            f"{', '.join(tokens.shapes)}"
        )
    named = parameters.layers_of("") or list(tokens.shapes)
    if set(named) != set(tokens.shapes):
        raise InputError(f"layers: {'+'.join(named)} given; expected those of the network, {'+'.join(tokens.shapes)}")
    widths = dict(zip(named, parameters.widths, strict=True))  # in the order in which they were named
    shapes = [
        Shape(channels, (rows, columns), widths[layer], parameters.heads, parameters.depth)
        for layer, (channels, rows, columns) in tokens.shapes.items()
    ]
    return nn.ModuleList(
        CorrelationTransformer(shape, parameters.branches, as_figure=parameters.as_figure) for shape in shapes
    )


def check_parameters(tokens: LocalMeans, parameters: FODParameters) -> None:
    """Refuse, before any work is done, parameters that `build_transformers` would refuse."""
    with torch.device("meta"):
        build_transformers(tokens, parameters)
