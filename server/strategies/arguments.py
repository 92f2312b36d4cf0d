"""What a class or function that makes a strategy takes, as its signature tells it."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

_NUMBERS: Final = frozenset({"int", "float"})
_SWITCH: Final = frozenset({"bool"})
_OR_NOTHING: Final = frozenset({"None", "NoneType", "Optional", "Union", "typing"})


def signatures_of(make: Callable[..., object]) -> list[inspect.Signature]:
    """Return a callable's signature, and those of the bases that its ``**kwargs`` go on to.

    Args:
        make: A class or function.

    Raises:
        ValueError: It does not tell its arguments.
    """
    signatures = [inspect.signature(make)]
    for base in inspect.getmro(make)[1:] if inspect.isclass(make) else ():
        if not takes_any(signatures[-1]):
            break
        signatures.append(inspect.signature(base))
    return signatures


def takes_any(signature: inspect.Signature) -> bool:
    """Return whether other arguments are taken than those that are named."""
    return any(p.kind is p.VAR_KEYWORD for p in signature.parameters.values())


def switch_faults(what: str, make: Callable[..., object], args: Mapping[str, Any]) -> Iterator[str]:
    """Yield which arguments are true or false and ought to be a number, or the other way round.

    Where neither an annotation nor a default tells what an argument is, anything may be.

    Args:
        what: What is made, for the words.
        make: What makes it.
        args: The arguments of a plan.
    """
    declared: dict[str, inspect.Parameter] = {}
    for signature in signatures_of(make):
        declared = {**signature.parameters, **declared}
    for name, value in args.items():
        kinds = _kinds(declared[name]) if name in declared else frozenset()
        if isinstance(value, bool) and kinds and kinds <= _NUMBERS:
            told = str(value).lower()  # as TOML writes it
            yield f"{what} wants a number as {name!r}, not true or false (it is {told})"
        elif type(value) in {int, float} and kinds and kinds <= _SWITCH:
            yield f"{what} wants true or false as {name!r}, not a number (it is {value})"


def _kinds(parameter: inspect.Parameter) -> frozenset[str]:
    """Return the names of what an argument may be besides None: ``float`` of ``float | None``."""
    told = type(parameter.default).__name__
    if parameter.annotation is not parameter.empty:
        told = inspect.formatannotation(parameter.annotation)
    return frozenset(re.findall(r"\w+", told)) - _OR_NOTHING
