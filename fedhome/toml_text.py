"""TOML that may come from anybody: an invite's, that of a file of models, that of a run's folder.

What is no plan is refused before its reader, or whoever looks through it, takes minutes over it.
"""

from __future__ import annotations

import re
import tomllib
from typing import Any, Final

from fedhome.errors import PlanError

AS_WRITTEN: Final = "`fedhome plan show` prints a plan as one is written"
"""What to do about a plan that is no TOML."""
_MOST_DEPTH = 64  # a plan of ours has four; what looks through one calls itself for each
_MOST_WHOLE = 2**63  # TOML's own; Python writes none of thousands of digits in decimals
_PART = r"""(?:[\w-]+|"(?:[^"\\\n]|\\.)*"|'[^'\n]*')[ \t]*\.[ \t]*"""
# TOML's own reader takes time with the square of a name's parts.
_DEEP_NAME = re.compile(rf"(?:^|[\[{{,])[ \t]*(?:{_PART}){{{_MOST_DEPTH}}}", re.MULTILINE)


def parse_toml(text: str, *, where: str, hint: str = AS_WRITTEN) -> dict[str, Any]:
    """Return the tables of a TOML text, which may come from anybody.

    Args:
        text: The text.
        where: What it is called in messages.
        hint: What to do where it is no TOML.

    Raises:
        PlanError: A syntax error with its line; or tables within tables without end, or a whole
            number of more than 64 bits, which are no plan's.
    """
    if _DEEP_NAME.search(text):
        raise _too_deep(where)
    try:
        table = tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # of a number's digits it is a plain one
        raise PlanError([f"it is not TOML: {error}"], where=where, hint=hint) from None
    below: list[Any] = [table]
    for _ in range(_MOST_DEPTH):
        inside = [
            value for one in below for value in (one.values() if isinstance(one, dict) else one)
        ]
        if any(isinstance(one, int) and not -_MOST_WHOLE <= one < _MOST_WHOLE for one in inside):
            fault = "a whole number in it is of more than 64 bits, which is none of TOML's"
            raise PlanError([fault], where=where, hint=hint)
        below = [one for one in inside if isinstance(one, dict | list)]
    if below:
        raise _too_deep(where)
    return table


def _too_deep(where: str) -> PlanError:
    fault = f"it has tables or lists within each other more than {_MOST_DEPTH} deep"
    return PlanError([fault], where=where, hint=AS_WRITTEN)
