"""Parser of `--params`: names and values, commas between them, in any number of options."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from discrepancy.errors import InputError

TEXTS: Final = (
    "category", "dataset", "data_root", "data_folder", "weights", "backbone", "benchmark", "blend_folder", "pictured",
    "preset", "url", "method", "input", "output", "detector", "scheduler", "good", "defects",
)  # fmt: skip
"""Parameters that stay text, at the top or in a group: read as a value, `category=01` would be the number 1."""

HELP: Final = (
    "Parameters, name=value, commas between them; of a group: group.name=value. Given several times, all count, the "
    "last for each name. A comma in a value: \\, or the value in quotes, --params='data_root=\"/a,b\",category=x'. "
    "Names and paths stay text (category=01); quotes make text of any value."
)

_VALUE: Final = re.compile(
    r"""\s*(?:
      (?P<quote>["'])(?P<quoted>.*?)(?P=quote)  # text as it stands, up to a quote that ends the value
    | (?P<listed>\[[^\[\]]*\])                  # a list keeps its commas
    | (?P<plain>(?:\\,|[^,])*)                  # up to the next comma that is not escaped
    )\s*(?:,|\Z)""",
    re.VERBOSE | re.DOTALL,
)
_NAME: Final = re.compile(r"[\s,]*(?P<name>[^=,]*)(?P<equals>=?)")


def parse_params(given: Iterable[str | Mapping[str, Any]], *, option: str = "--params") -> dict[str, Any]:
    """Return the parameters that an option gave, nested; of a repeated name, the later value.

    Args:
        given: for each time that the option was given `name=value,group.name=value`, or a mapping from a file.
        option: its name, for messages.

    Raises:
        InputError: something is no `name=value`, or a value is unreadable.
    """
    merged: DictConfig | ListConfig = OmegaConf.create({})
    for part in given:
        if isinstance(part, Mapping):
            merged = OmegaConf.unsafe_merge(merged, dict(part))
            continue
        for name, value in _pairs(part, option):
            _refuse_two_kinds(name, OmegaConf.to_container(merged, resolve=False), option)
            OmegaConf.update(merged, name, value, force_add=True)
    return OmegaConf.to_container(merged, resolve=False)  # type: ignore[return-value]  # of a mapping it is one


def split_names(text: str) -> list[str]:
    """Return the names in a comma-separated list; `\\,` is a comma in a name."""
    parts = re.split(r"(?<!\\),", text)
    return [name.replace("\\,", ",").strip() for name in parts if name.strip()]


def _pairs(text: str, option: str) -> Iterator[tuple[str, Any]]:
    position = 0
    while text[position:].strip(", \t\r\n"):
        found = _NAME.match(text, position)
        assert found is not None  # it takes anything
        name = found["name"].strip()
        if not found["equals"] or not name:
            rest = text[found.start() :].strip(", ")
            raise InputError(
                f"{option}: {rest!r} is no name=value; expected them with commas between, a comma in a value as \\, or "
                'the value in quotes: data_root="/a,b"'
            )
        value = _VALUE.match(text, found.end())
        assert value is not None  # `plain` takes anything up to a comma
        yield name, _read(name, value, option)
        position = value.end()


def _read(name: str, found: re.Match[str], option: str) -> Any:
    if found["quote"]:
        return found["quoted"]
    if found["listed"] and name.rpartition(".")[2] not in TEXTS:
        return _as_value(name, found["listed"], option)
    text = (found["listed"] or found["plain"]).replace("\\,", ",").strip()
    return text if name.rpartition(".")[2] in TEXTS else _as_value(name, text, option)


def _as_value(name: str, text: str, option: str) -> Any:
    """Parse a number, boolean, null, list or text, as in a configuration file."""
    try:
        return OmegaConf.to_container(OmegaConf.from_dotlist([f"value={text}"]))["value"]  # type: ignore[index,call-overload]
    except (YAMLError, OmegaConfBaseException) as error:
        raise InputError(f"{option}: {name}={text} cannot be read as a value; quotes make text of it") from error


def _refuse_two_kinds(name: str, given: Any, option: str) -> None:
    """Refuse `group=5,group.epochs=3`: a group, or a value, but not both."""
    *groups, _ = name.split(".")
    for depth, group in enumerate(groups, start=1):
        given = given.get(group) if isinstance(given, dict) else None
        if given is not None and not isinstance(given, dict):
            shown = ".".join(groups[:depth])
            raise InputError(f"{option}: {shown} is given as {given!r} and as a group, {name}; expected one of the two")
