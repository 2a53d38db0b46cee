"""The methods' parameters as a run has them: the defaults, or those of `conf/paper`, read without Kedro."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from discrepancy.methods.parameters import GradientParameters
from discrepancy.methods.registry import METHODS

NAMES = ("dfc", "dfr", "fod")
FIXED: dict[str, dict[str, Any]] = {"dfr": {"latent_dim": 32}}
"""Values that are not to be chosen from features, whose rounding differs between devices."""

CONF = Path(__file__).parents[2] / "conf"
PAPER = CONF / "paper"


def default_parameters(method: str, **changes: Any) -> GradientParameters:
    """A method's own defaults, some of them changed."""
    return _parameters(method, {**FIXED.get(method, {}), **changes})


def small_parameters(method: str, **changes: Any) -> GradientParameters:
    """A method's own defaults with less to compute, to try the checks on a slow CPU."""
    smaller = {"dfc": {"width": 8}, "dfr": {}, "fod": {"widths": [16, 16]}}
    return default_parameters(method, batch_size=2, **smaller[method], **changes)


def paper_parameters(method: str, **changes: Any) -> GradientParameters:
    """The parameters of `conf/paper`, some of them changed; of DFR and FOD the preset `paper`."""
    shared = {}
    for folder in (CONF / "base", PAPER):
        shared |= yaml.safe_load((folder / "globals.yml").read_text(encoding="utf-8"))
    table = {f"globals:{name}": value for name, value in shared.items()}
    table |= yaml.safe_load((PAPER / f"parameters_{method}.yml").read_text(encoding="utf-8"))
    presets = table.get(f"_{method}_presets")
    given = presets["paper"] if presets else table[method]
    values = {"backbone": shared["backbone"], **_resolved(given, table)}
    return _parameters(method, {**values, **changes})


def _parameters(method: str, values: dict[str, Any]) -> GradientParameters:
    found = METHODS[method].Parameters.model_validate(values)
    assert isinstance(found, GradientParameters)
    return found


def _resolved(value: Any, table: dict[str, Any]) -> Any:
    """A value of the configuration with `${name}` looked up in the table; `${runtime_params:name,x}` becomes x."""
    if isinstance(value, dict):
        return {key: _resolved(part, table) for key, part in value.items()}
    if isinstance(value, str) and (found := re.fullmatch(r"\$\{((globals:)?\w+)\}", value)):
        return table[found[1]]
    if isinstance(value, str) and (found := re.fullmatch(r"\$\{runtime_params:\w+,(.*)\}", value)):
        return _resolved(yaml.safe_load(found[1]) if "${" not in found[1] else found[1], table)
    return value
