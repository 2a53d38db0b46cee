"""The form of a detector's card: what a file must say before anything is built from it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from discrepancy.errors import InputError
from discrepancy.parameters import shortened

FORMAT = 1
"""Raised when cards begin to say something that earlier programs would take wrongly; cards without one are of 1."""

LARGEST = 1 << 14
"""Longest side of the images, px."""

LARGEST_SIGMA = 1e4
"""Widest smoothing, px: wider than any image."""

_Side = Annotated[int, Field(ge=1, le=LARGEST)]
_Name = Annotated[str, Field(min_length=1, max_length=200)]
_Digest = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


class _Form(BaseModel):
    """Values are of exactly these types, finite where they are numbers; further entries are free."""

    model_config = ConfigDict(strict=True, extra="allow", allow_inf_nan=False, protected_namespaces=())


class _Network(_Form):
    backbone: _Name
    layers: list[_Name] = Field(min_length=1, max_length=200)
    weights: _Digest
    source: str = "an unnamed source"
    pooling: _Name = "max"
    padding: _Name = "reflect"


class _ImageScore(_Form):
    rule: str = ""
    sigma: float = Field(ge=0, le=LARGEST_SIGMA)


class _Threshold(_Form):
    value: float
    note: str = ""


class _Thresholds(_Form):
    pixel: _Threshold
    image: _Threshold


class CardForm(_Form):
    """What every card says; methods that need more extend it."""

    format: int = Field(FORMAT, ge=1, le=FORMAT)
    method: _Name
    parameters: dict[str, Any]
    backbone: _Network
    image_size: list[_Side] = Field(min_length=2, max_length=2)
    image_score: _ImageScore
    thresholds: _Thresholds | None = None
    data_digest: str = ""
    dataset: str = ""
    category: str = ""
    preprocessing: dict[str, Any] = {}
    images: dict[str, int] = {}
    versions: dict[str, str] = {}
    files: dict[str, _Digest] = {}


def check_form(card: Mapping[str, Any], form: type[CardForm]) -> None:
    """Compare a card with a form.

    Raises:
        InputError: the first entry that does not fit, what it is and what was expected; the caller names the file.
    """
    try:
        form.model_validate(dict(card))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(map(str, first["loc"]))[:80]
        given = "" if first["type"] == "missing" else f", found {shortened(first['input'], 80)}"
        raise InputError(f"{place}: {first['msg'][0].lower()}{first['msg'][1:]}{given}") from None
