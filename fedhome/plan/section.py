"""What every table of a plan is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel, ConfigDict, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError


class Settings(BaseModel):
    """Frozen settings: unknown names are refused, and so is a switch where a number belongs.

    A text that says a number still is one, since a command line brings texts; true is not 1.
    """

    model_config = ConfigDict(
        frozen=True, extra="forbid", validate_default=True, allow_inf_nan=False
    )

    @field_validator("*", mode="before")
    @classmethod
    def _no_switch_for_a_number(cls, value: Any, info: ValidationInfo) -> Any:
        """Refuse true and false where a number is meant, and a number where these are."""
        field = cls.model_fields[info.field_name or ""]
        for at, kinds, given in _single(field.annotation, value):
            where = f"entry {at} is {_written(given)}: " if at else ""
            if isinstance(given, bool) and bool not in kinds and kinds & {int, float}:
                raise PydanticCustomError(
                    "switch", "{where}a number is needed, not true or false", {"where": where}
                )
            if type(given) in {int, float} and bool in kinds and not kinds & {int, float}:
                raise PydanticCustomError(
                    "switch", "{where}true or false is needed, not a number", {"where": where}
                )
        return value


class Section(Settings):
    """A frozen table of the plan; unknown names are refused."""


def _single(annotation: Any, value: object) -> Iterator[tuple[int, set[object], object]]:
    """Yield single values of a setting: their places in a list from 1 on, and what they may be.

    What a table of any values holds is looked at by whoever it is for.
    """
    kinds = list(_alternatives(annotation))
    if isinstance(value, list | tuple):
        inside = [get_args(kind) for kind in kinds if get_origin(kind) is tuple]
        for of in inside[:1]:
            for at, one in enumerate(value):
                own = of[0] if of[-1] is Ellipsis else of[min(at, len(of) - 1)]
                yield at + 1, set(_alternatives(own)), one
    elif not isinstance(value, Mapping):
        yield 0, {kind for kind in kinds if isinstance(kind, type)}, value


def _alternatives(annotation: Any) -> Iterator[Any]:
    origin = get_origin(annotation)
    if origin is Annotated:
        yield from _alternatives(get_args(annotation)[0])
    elif origin in {Union, UnionType}:
        for part in get_args(annotation):
            yield from _alternatives(part)
    else:
        yield annotation


def _written(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else repr(value)
