"""Kedro's configuration loader, with one line for every value that cannot be used."""

from __future__ import annotations

import copy
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import yaml
from kedro.config import MissingConfigException, OmegaConfigLoader
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from discrepancy.errors import InputError
from discrepancy.names import GLOB
from discrepancy.parameters import known, suggestion
from discrepancy.params_option import TEXTS

PATHS: Final = ("data_root", "data_folder", "weights", "blend_folder", "input", "output", "detector", "good", "defects")
"""Parameters, at the top or in a group, in which `~` and `$HOME` are expanded as in a shell."""
_SUFFIXES: Final = (".yml", ".yaml", ".json")
_NOTHING: Final = object()
_FAULTS: Final = (
    yaml.YAMLError,
    OmegaConfBaseException,
    ValueError,
    AttributeError,
    OSError,
    AssertionError,  # of OmegaConf, of a file that holds a single value
    RecursionError,
)
"""Errors of reading and resolving malformed files."""


class CarefulConfigLoader(OmegaConfigLoader):
    """Configuration loader that reports every fault of the configuration first, whoever opens the session.

    The default environment's folder may be missing: git keeps no empty folders. In paths, `~` and `$HOME` are the home
    folder. Names have to be text: YAML reads `category: 01` as the number 1.

    Raises:
        InputError: a folder or file is missing, unreadable or malformed, or a value is of the wrong kind.
    """

    def __init__(self, conf_source: str | Path, *args: Any, **options: Any) -> None:
        if found := [character for character in GLOB if character in str(conf_source)]:
            raise InputError(
                f"{conf_source}: Kedro takes {' '.join(found)} for a pattern and finds no files there; expected a "
                "folder without them in its path: rename it"
            )
        self._checked = False
        self._resolved: dict[str, dict[str, Any]] = {}
        super().__init__(conf_source, *args, **options)
        self.runtime_params = _expanded(self.runtime_params)
        _refuse_references(self.runtime_params)

    def __getitem__(self, key: str) -> dict[str, Any]:
        """Return a configuration as Kedro does, with paths expanded.

        A session asks for its parameters four times. They are read and resolved once, and again only for other
        `--params`.
        """
        if not self._checked:
            self._check_folders()
            self._checked = True
        made_of = f"{key} {self.config_patterns.get(key)} {self.runtime_params!r}"
        if made_of not in self._resolved:
            self._resolved[made_of] = self._resolve(key)
        return copy.deepcopy(self._resolved[made_of])

    def __setitem__(self, key: str, value: Any) -> None:
        """Put a configuration in the place of that of the files."""
        self._resolved.clear()
        super().__setitem__(key, value)

    def __delitem__(self, key: str) -> None:
        """Take the files' configuration again."""
        self._resolved.clear()
        super().__delitem__(key)

    def _resolve(self, key: str) -> dict[str, Any]:
        try:
            found = super().__getitem__(key)
        except (MissingConfigException, InputError):
            raise
        except _FAULTS as error:
            raise InputError(_resolvers_own(error) or self._blame(key, error)) from error
        if key not in {"globals", "parameters"}:
            return found  # the catalog's paths are made of these, and a category may well be $HOME
        self._check_texts(key, found)
        return _expanded(found)

    def names(self, key: str) -> list[str]:
        """Return the names at the top of the files of a configuration; not those of `--params`, nor private ones."""
        self[key]  # or the error of a file that cannot be read
        base, environment, *_ = self._read_raw_config(key)
        found = [str(name) for content in (base | environment).values() for name in content]
        return [name for name in dict.fromkeys(found) if not name.startswith("_")]

    def _check_folders(self) -> None:
        """Refuse a missing folder, which kedro-mlflow would take for a project without a configuration of MLflow."""
        if self._protocol not in {"file", "tar", "zip"}:
            return
        root = Path(self._get_conf_env_path(self.base_env)).parent
        if not self._fs.isdir(self._get_conf_env_path(self.base_env)):
            raise InputError(
                f"{self.conf_source} holds no folder {self.base_env!r}; expected the configuration of a project: stand "
                "in the project's folder, or give it, --conf-source=FOLDER (or the conf-....tar.gz of `kedro package`)"
            )
        environment = self.env or self.default_run_env
        if self._fs.isdir(self._get_conf_env_path(environment)):
            return
        if environment == self.default_run_env:
            self.env, self.default_run_env = None, self.base_env
            return
        there = [Path(entry).name for entry in self._fs.ls(str(root), detail=False) if self._fs.isdir(entry)]
        raise InputError(
            f"--env: there is no folder {environment!r} in {root}{suggestion(environment, there)}; {known(there)}"
        )

    def _check_texts(self, key: str, found: Mapping[str, Any]) -> None:
        for name, value in found.items():
            if name in TEXTS and not isinstance(value, str):
                raise InputError(
                    f"{self.origin(name, key)}: {name} is {value!r}, {_kind(value)}; expected text, in quotes as it "
                    "is spelled (without them 01 is the number 1, and no is false)"
                )

    def origin(self, name: str, key: str = "parameters") -> str:
        """Return the file that decides a value, or the option if no file does.

        Args:
            name: of the value; of one in a group with dots, `<method>.epochs`.
            key: kind of files to search; values that these take from `globals.yml` are searched there.
        """
        if key == "parameters" and OmegaConf.select(OmegaConf.create(self.runtime_params), name) is not None:
            return "--params"
        base, environment, *_ = self._read_raw_config(key)
        for path, content in [*environment.items(), *base.items()]:
            values = OmegaConf.to_container(content, resolve=False)
            for part in name.split("."):
                values = values.get(part, _NOTHING) if isinstance(values, dict) else _NOTHING
            if values is not _NOTHING and not (isinstance(values, str) and "${" in values):
                return self._shown(path)
        return self.origin(name.rpartition(".")[2], "globals") if key == "parameters" else "globals.yml"

    def _blame(self, key: str, error: Exception) -> str:
        """Find the malformed file by reading each by itself."""
        named = re.search("'([^']+)'", str(error))
        for path in self._files(key):
            try:
                text = self._fs.cat_file(path).decode()
                content = yaml.safe_load(text)
                OmegaConf.create(text)
            except _FAULTS as fault:
                return f"{self._shown(path)} cannot be read: {_reason(fault)}"
            if not isinstance(content, dict | None):
                return f"{self._shown(path)} holds {_kind(content)}; expected name: value"
            if named and isinstance(error, OmegaConfBaseException) and re.search(rf"\$\{{.*{named[1]}", text):
                return f"{self._shown(path)}: {_reason(error)}; expected the name of another value (home is ~ or $HOME)"
        return f"the configuration of {key} in {self._shown(self.conf_source)} cannot be used: {_reason(error)}"

    def _files(self, key: str) -> Iterator[str]:
        for environment in dict.fromkeys([self.env or self.default_run_env, self.base_env]):
            folder = self._get_conf_env_path(environment)
            paths = {path for pattern in self.config_patterns[key] for path in self._fs.glob(f"{folder}/{pattern}")}
            yield from sorted(path for path in paths if path.endswith(_SUFFIXES) and self._fs.isfile(path))

    def _shown(self, path: str | Path) -> str:
        root = Path(self.conf_source).parent
        return str(Path(path).relative_to(root) if Path(path).is_relative_to(root) else path)


def _resolvers_own(error: Exception) -> str | None:
    """Extract the message of a resolver such as `${one_of:...}` from OmegaConf's message."""
    _, _, reason = str(error).partition(f"{InputError.__name__} raised while resolving interpolation: ")
    return reason.partition("\n")[0] or None


def _refuse_references(given: Any, name: str = "") -> None:
    """Refuse `${` in the text of `--params`, which would be looked up as the name of another value."""
    if isinstance(given, Mapping):
        for key, value in given.items():
            _refuse_references(value, f"{name}.{key}" if name else str(key))
    elif isinstance(given, str) and "${" in given:
        raise InputError(f"--params: {name} is {given!r}; expected a value without ${{, which is the files' notation")


def _expanded(values: Any, name: str = "") -> Any:
    """Return the same values, nested; in paths, `~` and variables of the environment are replaced."""
    if isinstance(values, Mapping):
        return {key: _expanded(value, str(key)) for key, value in values.items()}
    if name in PATHS and isinstance(values, str):
        return os.path.expanduser(os.path.expandvars(values))
    return values


def _kind(value: Any) -> str:
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return "a truth value"
    return "a number" if isinstance(value, int | float) else f"a {type(value).__name__}"


def _reason(error: Exception) -> str:
    """Return the first line of a message; of YAML's errors problem and position, lines counted from 1."""
    mark = getattr(error, "problem_mark", None)
    if mark is not None:
        return f"line {mark.line + 1}, column {mark.column + 1}: {getattr(error, 'problem', None) or 'no YAML'}"
    return (str(error).strip() or type(error).__name__).partition("\n")[0].removesuffix(".")
