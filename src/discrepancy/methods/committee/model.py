"""A committee: members of several methods look at the same features, and their anomaly maps are averaged.

What a method remembers of good parts and what another one predicts have different blind spots. Each member's maps are
scaled by their spread on held-out good images, and weighed by how well they show defects painted on these. No real
defect is needed. `docs/methods.md` says what the choices rest on.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor, nn

from discrepancy.checkpoint_files import part_of
from discrepancy.device_memory import images_at_once
from discrepancy.devices import resolve_device
from discrepancy.errors import InputError
from discrepancy.features.backbones import Backbone
from discrepancy.features.derived import reduced, with_layers
from discrepancy.methods.base import Method, TrainingData, new_card
from discrepancy.methods.card import Card as BaseCard
from discrepancy.methods.committee.painted_defects import SMALLEST
from discrepancy.methods.committee.parameters import CommitteeParameters
from discrepancy.methods.committee.weights import Examples, learnt_weights, painted_copies, spread
from discrepancy.methods.registry import METHODS
from discrepancy.methods.smoothing import gaussian_blur
from discrepancy.rows import Rows

logger = logging.getLogger(__name__)

MOST_MEMBERS = 100
"""Members that a card may name."""
LEAST_IMAGES = 4
"""Training images and held-out images, at least."""
MOST_IMAGES = 64
"""Held-out images that set the weights, at most: more tell little more."""
NOT_DECIDING = frozenset({"backbone", "weights", "pooling", "padding", "device", "processes", "checkpoint_every"})
"""Parameters of a member that do not change what it learns, or that its card's entry of the frozen network has."""
READ_AT_ONCE = 16
"""Images of 256x256 px that the members look at at a time."""


class CommitteeCard(BaseCard):
    """A committee's card.

    Attributes:
        members: cards of the members by name; none before `fit`.
        weights: share of each member in the maps; they add up to 1.
    """

    members: dict[str, dict[str, Any]] = Field({}, max_length=MOST_MEMBERS)
    weights: dict[str, float] = Field({}, max_length=MOST_MEMBERS)


class Committee(Method):
    """Average the anomaly maps of several methods.

    Attributes:
        members: the members by name; none before `fit`.
        factors: by which each member's maps are multiplied: its weight over the spread of its maps, [members].

    Example:
        >>> detector = load_method(folder)  # doctest: +SKIP
        >>> maps = detector(images)  # uint8 [N, 3, H, W] -> float32 [N, H, W]  # doctest: +SKIP
    """

    name = "committee"
    title = "Committee"
    Parameters = CommitteeParameters
    Card = CommitteeCard
    parameters_used: CommitteeParameters
    card: CommitteeCard
    factors: Tensor

    def __init__(self, backbone: Backbone, parameters: CommitteeParameters, card: CommitteeCard) -> None:
        super().__init__(backbone, parameters, card)
        self.members = nn.ModuleDict()
        self._offered: dict[str, Method] = {}
        self.register_buffer("factors", torch.ones(len(parameters.members)))
        if card.members and set(card.members) != set(parameters.members):
            raise InputError(f"members: {', '.join(card.members)} given; expected {', '.join(parameters.members)}")
        for name in parameters.members if card.members else ():
            self.members[name] = _member_from_card(name, card.members[name], backbone)

    @classmethod
    def from_card(cls, card: BaseCard, backbone: Backbone) -> Self:
        """Build a committee of this card's shape; its weights are still to be loaded.

        Raises:
            InputError: the card has no members.
        """
        committee = super().from_card(card, backbone)
        if not committee.members:
            raise InputError("members: none given; expected the card of each member")
        return committee

    @classmethod
    def reduction(cls, backbone: Backbone, parameters: CommitteeParameters, image_size: tuple[int, int]) -> None:
        """Keep the layers' maps as they are; refuse what a member would refuse."""
        if parameters.weighing == "learnt" and min(image_size) < SMALLEST:
            given = f"{image_size[0]}x{image_size[1]}"
            raise InputError(
                f"image_size: {given} given; to learn its weights, the committee expects at least {SMALLEST} px on "
                "each side, or weighing=equal"
            )
        there = {layer.name for layer in backbone.layers}
        for name in parameters.members:
            used = parameters.parameters_of(name)
            layers = parameters.layers_of_member(name, "")
            if there.issuperset(layers):  # a category may have layers of its own: then `fit` refuses what is to be
                METHODS[name].reduction(backbone.only(layers), used, image_size)

    @property
    def reusable(self) -> list[str]:
        """The members, unless the parameters say otherwise."""
        return self.parameters_used.members if self.parameters_used.reuse else []

    def offer(self, trained: Method) -> None:
        """Offer a trained detector: `fit` takes it as a member if it is what would be trained anew."""
        self._offered[trained.name] = trained

    def fit(self, data: TrainingData, checkpoint: Path | None = None) -> None:
        """Fit the members one after the other, then learn their weights from the held-out images.

        Where no images are held out, a fifth of the training images serves for that and trains no member.

        Args:
            data: the good images.
            checkpoint: file of the state; each member has its own beside it.
        """
        used = self.parameters_used
        data = _with_held_out(data, seed=used.seed)
        for name in used.members:
            self.members[name] = self._fitted(name, data, None if checkpoint is None else part_of(checkpoint, name))
        self._offered.clear()
        self.to(resolve_device(used.device)).eval()
        weights = self._learn_factors(_some_held_out(data))
        self.card = self.card.with_entries(
            members={name: _of(self.members[name]).card.to_json() for name in used.members}, weights=weights
        )

    def _fitted(self, name: str, data: TrainingData, checkpoint: Path | None) -> Method:
        """Return a member that has learnt from the cached maps, or that was offered."""
        method, parameters = METHODS[name], self.parameters_used.parameters_of(name)
        backbone = self.backbone.only(self.parameters_used.layers_of_member(name, self.card.category))
        reduction = method.reduction(backbone, parameters, self.image_size)
        if not method.uses_cache:
            features = None
        elif reduction is None:
            features = with_layers(data.cached, [layer.name for layer in backbone.layers])
        else:
            features = reduced(data.cached, reduction, resolve_device(parameters.device))
        own = TrainingData(data.images, features, data.examples)
        prepared = method.prepare(backbone, own, parameters)
        card = new_card(
            method,
            parameters,
            backbone,
            image_size=self.image_size,
            data_digest=self.card.data_digest,
            dataset=self.card.dataset,
            category=self.card.category,
            preprocessing=self.card.preprocessing,
            images={"train": data.examples, "validation": len(data.images) - data.examples},
            **method.card_entries(parameters, prepared),
        )
        offered = self._offered.get(name)
        if offered is not None and same_training(offered.card, card):
            logger.info("committee: %s is trained already", name)
            return _taken(offered, backbone)
        logger.info("committee: fitting %s", name)
        member = method(backbone, parameters, card)
        member.fit(replace(own, prepared=prepared), checkpoint)
        return member

    @torch.inference_mode()
    def _learn_factors(self, held_out: NDArray[np.uint8]) -> dict[str, float]:
        """Set the factors from good images that no member has seen; return the weights by name."""
        used = self.parameters_used
        good = self._member_maps(held_out)
        scales = spread(good)
        weights = torch.full_like(scales, 1 / len(scales))
        if used.weighing == "learnt":
            painted, masks = painted_copies(held_out, copies=used.paintings, seed=used.seed)
            examples = Examples(good, self._member_maps(painted), masks)
            rule = self.card.image_score
            weights = learnt_weights(examples, sigma=rule.sigma, share=rule.share)
        self.factors.copy_(weights / scales)
        found = {name: round(float(weight), 4) for name, weight in zip(used.members, weights, strict=True)}
        logger.info("committee: weights %s", ", ".join(f"{name} {weight:.2f}" for name, weight in found.items()))
        return found

    def _member_maps(self, images: NDArray[np.uint8]) -> Tensor:
        """Return the members' maps [members, N, H, W] of images, on the CPU."""
        members = self.parameters_used.members
        found = torch.empty(len(members), len(images), *self.image_size)
        size = images_at_once(READ_AT_ONCE, *self.image_size)
        for start in range(0, len(images), size):
            rows = slice(start, start + size)
            part = torch.from_numpy(images[rows]).to(self.device)
            features = self.backbone(part)
            for index, name in enumerate(members):
                found[index, rows] = self._maps_of(name, features, part)
        return found

    def _maps_of(self, name: str, features: Mapping[str, Tensor], images: Tensor) -> Tensor:
        """Return a member's maps [N, H, W], smoothed as its parameters say."""
        member = _of(self.members[name])
        return gaussian_blur(member.anomaly_maps(features, images), member.parameters_used.smoothing)

    def anomaly_maps(self, features: Mapping[str, Tensor], images: Tensor) -> Tensor:
        """Return the weighed mean of the members' maps, each in units of its spread on good images: [N, H, W]."""
        maps = [
            factor * self._maps_of(name, features, images)
            for name, factor in zip(self.parameters_used.members, self.factors, strict=True)
        ]
        return torch.stack(maps).sum(0)


def same_training(trained: BaseCard, wanted: BaseCard) -> bool:
    """Say whether a detector is what a training would give: same data, parameters, frozen network and versions.

    Args:
        trained: card of the detector.
        wanted: card of the method before its training. Entries that are still empty there do not count.
    """
    one, other = _deciding(trained), _deciding(wanted)
    return all(one.get(name) == value for name, value in other.items() if value not in (None, {}, [], ""))


def _deciding(card: BaseCard) -> dict[str, Any]:
    values = {key: value for key, value in card.to_json().items() if key not in ("format", "files", "thresholds")}
    parameters = {key: value for key, value in values["parameters"].items() if key not in NOT_DECIDING}
    network = {key: value for key, value in values["backbone"].items() if key != "source"}
    return {**values, "parameters": parameters, "backbone": network}


def _taken(offered: Method, backbone: Backbone) -> Method:
    """Return the same detector on another copy of its frozen network."""
    member = type(offered).from_card(offered.card, backbone)
    member.load_state_dict(offered.trained_state(), strict=False)
    return member.requires_grad_(False)


def _of(member: nn.Module) -> Method:
    assert isinstance(member, Method)
    return member


def _member_from_card(name: str, values: Mapping[str, Any], backbone: Backbone) -> Method:
    if name not in METHODS:
        raise InputError(f"members: expected some of {', '.join(METHODS)}, found {name[:80]!r}")
    method = METHODS[name]
    card = method.Card.read(values)
    return method.from_card(card, backbone.only(card.backbone.layers))


def _some_held_out(data: TrainingData) -> NDArray[np.uint8]:
    """Return up to `MOST_IMAGES` held-out images, evenly spread over all of them."""
    count = len(data.images) - data.examples
    chosen = np.linspace(0, count - 1, min(count, MOST_IMAGES)).round().astype(np.intp)
    return np.array(data.images[data.examples + chosen])


def _with_held_out(data: TrainingData, *, seed: int) -> TrainingData:
    """Return the data with images that are held out: a fifth of the training images where there are none.

    They are drawn: images lie in the order of their names, where the last ones may be of another day or lamp.

    Raises:
        InputError: there are too few images.
    """
    if len(data.images) > data.examples:
        return data
    held_out = max(LEAST_IMAGES, data.examples // 5)
    if data.examples < held_out + LEAST_IMAGES:
        raise InputError(
            f"committee: {data.examples} good images; expected at least {2 * LEAST_IMAGES}: half of them set weights"
        )
    examples = data.examples - held_out
    drawn = np.random.default_rng(seed).permutation(data.examples)
    order = np.concatenate([np.sort(drawn[:examples]), np.sort(drawn[examples:])])
    features = None if data.features is None else data.features.rows(order)
    images: Any = Rows(data.images, order)
    return replace(data, images=images, features=features, examples=examples)
