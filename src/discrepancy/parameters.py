"""Typed parameter groups: unknown and mistyped keys are refused with the names that exist."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import Any, ClassVar, NamedTuple, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from discrepancy.errors import InputError


class Parameters(BaseModel):
    """Base of every parameter group. Values are converted where that is safe (`"5"` to 5) and cannot be changed.

    Raises:
        InputError: from `model_validate`, one line per wrong key: given and expected value.
    """

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        validate_default=True,
        coerce_numbers_to_str=True,
        allow_inf_nan=False,
        protected_namespaces=(),
    )

    RUNTIME_FIELDS: ClassVar[frozenset[str]] = frozenset()
    """Names of fields that decide the way of computing, and change nothing but the rounding of results."""

    FINAL_FIELDS: ClassVar[frozenset[str]] = frozenset()
    """Names of fields that decide no input of another step, as of a figure."""

    def deciding(self, *, final: bool) -> dict[str, Any]:
        """Return the values that decide a result, as JSON values.

        Args:
            final: no other step goes on with the result.
        """
        return self.model_dump(mode="json", exclude={*self.RUNTIME_FIELDS, *(() if final else self.FINAL_FIELDS)})

    def __str__(self) -> str:
        """Return a short text, for listings that have the single values too."""
        return f"{type(self).__name__} of {len(type(self).model_fields)} values"

    @classmethod
    def model_validate(cls, obj: Any, **options: Any) -> Self:
        """Build the group from a mapping, as Kedro does when a run starts."""
        if not isinstance(obj, cls):
            if not isinstance(obj, dict):
                raise InputError(f"a group of parameters expected, got {obj!r}; {known(list(cls.model_fields))}")
            cls._refuse_unknown(obj)
        try:
            return super().model_validate(obj, **options)
        except ValidationError as error:
            lines = [_line(entry) for entry in error.errors(include_url=False)]
            raise InputError("; ".join(lines)) from None

    @classmethod
    def _refuse_unknown(cls, given: dict[str, Any]) -> None:
        names = list(cls.model_fields)
        if unknown := [str(key) for key in given if key not in names]:
            raise InputError(f"unknown {', '.join(map(repr, unknown))}{suggestion(unknown[0], names)}; {known(names)}")


class Setting(NamedTuple):
    """A parameter as reports list it.

    Attributes:
        name: of the field.
        value: JSON value.
        default: JSON value; None if the field has none.
        changed: the value differs from the default.
        meaning: what it means, may be empty.
    """

    name: str
    value: Any
    default: Any
    changed: bool
    meaning: str


def settings(group: type[Parameters], values: Mapping[str, Any]) -> list[Setting]:
    """List the values of a group beside their defaults.

    Args:
        group: the model.
        values: JSON values by name; those that are no fields of the model are left out.
    """
    required = {name: values[name] for name, field in group.model_fields.items() if field.is_required()}
    defaults = group.model_validate(required).model_dump(mode="json", exclude=set(required))
    return [
        Setting(
            name,
            values[name],
            defaults.get(name),
            name in defaults and values[name] != defaults[name],
            field.description or "",
        )
        for name, field in group.model_fields.items()
        if name in values
    ]


def suggestion(name: str, names: list[str]) -> str:
    """Return ` (did you mean 'epochs'?)` if a similar name exists, else nothing."""
    close = get_close_matches(name, names, n=1)
    return f" (did you mean {close[0]!r}?)" if close else ""


def known(names: Iterable[str]) -> str:
    """Return the existing names, for an error message."""
    return f"known are {', '.join(sorted(names))}"


def _line(entry: Any) -> str:
    place = ".".join(str(part) for part in entry["loc"])
    said = str(entry["msg"]).removeprefix("Value error, ")
    if not place or said.startswith(f"{entry['loc'][-1]} is "):  # the message names its subject
        return said
    return f"'{place}': {entry['msg'][0].lower()}{entry['msg'][1:]}, got {shortened(entry['input'])}"


def shortened(value: object, most: int = 200) -> str:
    """Return a value as written in Python, its end left out if it is long."""
    text = repr(value)
    return text if len(text) <= most else f"{text[: most - 3]}..."
