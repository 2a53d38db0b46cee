"""Parameters beside their defaults, as reports list them."""

from typing import Any

from pydantic import Field, field_validator

from discrepancy.parameters import Parameters, Setting, settings


class Group(Parameters):
    part: str
    size: tuple[int, int] = Field((4, 4), description="height and width")
    rate: float = 0.5

    @field_validator("size", mode="before")
    @classmethod
    def _pair(cls, value: Any) -> Any:
        return (value, value) if isinstance(value, int) else value


def test_values_stand_beside_their_defaults():
    values = Group(part="gear", size=8).model_dump(mode="json")
    assert settings(Group, values) == [
        Setting("part", "gear", None, False, ""),
        Setting("size", [8, 8], [4, 4], True, "height and width"),
        Setting("rate", 0.5, 0.5, False, ""),
    ]


def test_what_is_no_field_or_was_not_kept_is_left_out():
    assert [setting.name for setting in settings(Group, {"part": "gear", "rate": 1.0, "old": 3})] == ["part", "rate"]
