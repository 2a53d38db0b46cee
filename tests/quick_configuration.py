"""Configuration files that are parsed once for each process: tests open hundreds of Kedro sessions on the same ones."""

import io
import sys
from functools import cache
from types import SimpleNamespace

import yaml
from omegaconf import _utils, grammar_parser

_whole_loader = cache(_utils.get_yaml_loader)


def parse_once():
    """Keep what OmegaConf has parsed: YAML by its text, and each `${...}` by its own. Errors are not kept.

    Nobody changes either: containers are made anew from a file's values, and a syntax tree is only walked through.
    """
    _replace(grammar_parser.parse, cache(grammar_parser.parse))
    _replace(_utils.get_yaml_loader, lambda: _keeping_loader)


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
