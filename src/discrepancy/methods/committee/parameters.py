"""The committee's parameters: its members, their settings, and how their maps are weighed."""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from discrepancy.errors import InputError
from discrepancy.features.architectures import ARCHITECTURES
from discrepancy.methods.parameters import PEAK_SHARE, MethodParameters, split_names
from discrepancy.methods.registry import METHODS

SHARED = (
    "backbone",
    "weights",
    "pooling",
    "padding",
    "cache_dtype",
    "device",
    "precision",
    "deterministic",
    "align_corners",
)
"""Parameters in which the members follow the committee: they share one frozen network and its cached maps."""


class CommitteeParameters(MethodParameters):
    """Parameters of the committee. Members have the defaults of their methods, unless `settings` say otherwise.

    Settings are checked when they are asked for, before any work is done: those of a run are its groups of parameters,
    which are checked by themselves.
    """

    RUNTIME_FIELDS = MethodParameters.RUNTIME_FIELDS | {"reuse"}

    members: list[str] = Field(["dfc", "padim", "patchcore"], min_length=1, description="methods that take part, a+b")
    settings: dict[str, dict[str, Any]] = Field({}, description="parameters of members, by their name")
    weighing: Literal["learnt", "equal"] = Field(
        "learnt", description="members count by how well they find painted defects, or all alike"
    )
    paintings: int = Field(2, ge=1, le=100, description="painted copies of each held-out image, to learn the weights")

    reuse: bool = Field(True, description="take members that are trained already, if nothing about them differs")
    peak_share: float = Field(0.01, ge=0, le=1, description=PEAK_SHARE)

    @field_validator("members", mode="before")
    @classmethod
    def _split_members(cls, value: Any) -> Any:
        return split_names(value)

    @model_validator(mode="after")
    def _members(self) -> Self:
        if unknown := [name for name in self.members if name not in METHODS or name == "committee"]:
            others = [name for name in METHODS if name != "committee"]
            raise ValueError(f"{unknown[0]!r} cannot be a member; expected some of {', '.join(others)}")
        if len(set(self.members)) < len(self.members):
            raise ValueError("a member is named twice; expected different methods")
        if self.layers is not None:
            raise ValueError(
                "layers: the committee has none of its own; expected those of members, settings.<method>.layers"
            )
        return self

    def parameters_of(self, name: str) -> MethodParameters:
        """Return the parameters of a member.

        Raises:
            InputError: the settings do not fit the method.
        """
        method = METHODS[name]
        known = method.Parameters.model_fields
        shared = {key: getattr(self, key) for key in SHARED if key in known}
        try:
            return method.Parameters.model_validate({"seed": self.seed, **self.settings.get(name, {}), **shared})
        except InputError as error:
            raise InputError(f"settings.{name}: {error}") from error

    def layers_of(self, category: str) -> list[str]:
        """Return the layers that any member uses for a category, in network order."""
        used = {layer for name in self.members for layer in self.layers_of_member(name, category)}
        return [layer.name for layer in ARCHITECTURES[self.backbone].layers if layer.name in used]

    def layers_of_member(self, name: str, category: str) -> list[str]:
        """Return the layers that a member uses for a category.

        Raises:
            InputError: the committee's frozen network lacks one of them.
        """
        network = ARCHITECTURES[self.backbone]
        layers = self.parameters_of(name).layers_of(category) or list(network.default)
        known = [layer.name for layer in network.layers]
        if unknown := [layer for layer in layers if layer not in known]:
            raise InputError(
                f"settings.{name}.layers: {self.backbone}, which all members share, has no {unknown[0]!r}; "
                f"expected some of {', '.join(known)}, or other members"
            )
        return layers

    def lighter(self, name: str) -> list[str]:
        """Return changes that lower the memory needed for training, as text for messages."""
        return [*super().lighter(name), f"fewer {name}.members"]
