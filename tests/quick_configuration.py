"""Configuration parsed and pipelines wired once for each process: tests open hundreds of Kedro sessions on the same."""

import io
import sys
from functools import cache
from types import SimpleNamespace

import yaml
from kedro.framework.project import _ProjectPipelines
from omegaconf import _utils, grammar_parser

from discrepancy.methods.registry import METHODS

_whole_loader = cache(_utils.get_yaml_loader)


def parse_once():
    """Keep what OmegaConf has parsed: YAML by its text, and each `${...}` by its own. Errors are not kept.

    Nobody changes either: containers are made anew from a file's values, and a syntax tree is only walked through.
    """
    _replace(grammar_parser.parse, cache(grammar_parser.parse))
    _replace(_utils.get_yaml_loader, lambda: _keeping_loader)


def wire_once():
    """Keep the pipelines that `register_pipelines` has wired, as long as the methods are the same."""
    whole = _ProjectPipelines._get_pipelines_registry_callable

    @cache
    def wired(module, methods):
        return whole(module)()

    _ProjectPipelines._get_pipelines_registry_callable = staticmethod(
        lambda module: lambda: dict(wired(module, tuple(METHODS.items())))
    )


def _replace(whole, quick):
    for module in list(sys.modules.values()):
        if getattr(module, "__name__", "").startswith("omegaconf"):
            for name, value in list(vars(module).items()):
                if value is whole:
                    setattr(module, name, quick)


def _keeping_loader(stream):
    """What `yaml.load` needs of a loader."""
    if not isinstance(stream, str | io.StringIO):
        return _whole_loader()(stream)
    text, kind = (stream, str) if isinstance(stream, str) else (stream.read(), io.StringIO)
    return SimpleNamespace(get_single_data=lambda: _values(text, kind), dispose=lambda: None)


@cache
def _values(text, kind):
    return yaml.load(kind(text), Loader=_whole_loader())
