"""A detector on disk: the trained tensors (safetensors) and its card (JSON). Nothing is executed on loading."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save_file
from torch import Tensor

from discrepancy.atomic import check_replaceable, replacing
from discrepancy.errors import InputError
from discrepancy.features.weights import tensor_faults
from discrepancy.json_files import read_object
from discrepancy.methods.base import Method, backbone_of
from discrepancy.methods.card import FORMAT, Card
from discrepancy.methods.registry import METHODS

CARD = "card.json"
WEIGHTS = "weights.safetensors"


def save_method(detector: Method, folder: Path) -> None:
    """Write weights and card to a folder, complete or not at all. The card there has the digest of the weights.

    Raises:
        InputError: the folder holds something else than a detector.
    """
    check_replaceable(folder, {CARD, WEIGHTS}, what="a detector")
    with replacing(folder) as temporary:
        temporary.mkdir()
        save_file(detector.trained_state(), temporary / WEIGHTS)
        digest = hashlib.sha256((temporary / WEIGHTS).read_bytes()).hexdigest()
        card = {"format": FORMAT, **detector.card.to_json(), "files": {WEIGHTS: digest}}
        (temporary / CARD).write_text(json.dumps(card, indent=2) + "\n", encoding="utf-8")


def load_method(folder: Path | str, *, weights: str | None = None) -> Method:
    """Read a detector, to the CPU, ready to score. Nothing that lies in the folder is executed.

    Args:
        folder: a folder written by `save_method`.
        weights: location of the backbone's weights; by default that of the training.

    Raises:
        InputError: a file is missing or damaged, or the backbone has other weights than at training.
    """
    folder = Path(folder)
    card, kind, digest = _read_card(folder / CARD)
    state = _read_state(folder / WEIGHTS, digest)
    try:
        backbone = backbone_of(card, weights=weights)
    except InputError as error:
        raise InputError(f"{folder}: {error}") from error
    made = card.backbone
    if backbone.digest != made.weights:
        raise InputError(
            f"{folder}: trained on a {made.backbone} with weights {made.weights[:12]} ({made.source}), but "
            f"{backbone.weights_source} holds {backbone.digest[:12]}; name the right file with weights=/path"
        )
    try:
        with torch.device("meta"):  # neither memory nor time for sizes that the weights do not have
            wanted = kind.from_card(card, backbone).trained_tensors()
        if faults := tensor_faults(state, wanted):
            raise InputError(f"the tensors of {WEIGHTS} are not those that it was saved with, as expected: {faults}")
        detector = kind.from_card(card, backbone)
    except InputError as error:
        raise InputError(f"{folder / CARD}: {error}") from error
    detector.load_state_dict(state, strict=False)
    return detector.requires_grad_(False).eval()


def _read_card(path: Path) -> tuple[Card, type[Method], str | None]:
    """Return a card as it was before it was saved, its method, and the digest of the weights if it has one."""
    values = read_object(path)
    try:
        name = Card.read(values).method
        if name not in METHODS:
            raise InputError(f"method: expected one of {', '.join(METHODS)}, found {name[:80]!r}")
        kind = METHODS[name]
        digest = kind.Card.read(values).files.get(WEIGHTS)
        card = kind.Card.read({key: value for key, value in values.items() if key not in ("files", "format")})
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    return card, kind, digest


def _read_state(path: Path, digest: str | None) -> dict[str, Tensor]:
    try:
        if path.exists() and not path.is_file():  # reading a pipe would wait for ever
            raise OSError("no plain file")
        data = path.read_bytes()
        if digest is not None and hashlib.sha256(data).hexdigest() != digest:  # older cards have none
            raise InputError(f"{path}: damaged, or of another detector; expected the file of sha256 {digest[:12]}...")
        return load(data)
    except (OSError, SafetensorError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"{path}: cannot be read ({reason}); expected the weights that belong to {CARD}") from error
