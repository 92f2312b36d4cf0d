"""What the fields of a message are, in the words of its own docstring."""

from __future__ import annotations

import inspect
import re
from dataclasses import fields

from fedhome.errors import RunError
from fedhome.wire.codec import Message

_FIELD = re.compile(r"^    (\w+): (.*(?:\n {8}.*)*)", re.MULTILINE)


def fields_of(message: type[Message], prefix: str = "") -> dict[str, str]:
    """Return what each field of a message is, by name.

    Args:
        message: The kind of message.
        prefix: What comes before each name.

    Raises:
        RunError: A field of which the message's docstring says nothing.
    """
    told = {name: " ".join(text.split()) for name, text in _FIELD.findall(_docstring(message))}
    names = [field.name for field in fields(message)]  # type: ignore[arg-type]  # a dataclass
    silent = [name for name in names if name not in told]
    if silent:
        raise RunError(
            f"{message.__qualname__} does not say what {', '.join(silent)} are",
            hint="name each field under Args in its docstring: people are told what leaves a home",
        )
    return {f"{prefix}{name}": told[name].rstrip(".") for name in names}


def signed_fields(message: type[Message], prefix: str = "") -> dict[str, str]:
    """Return what the fields of a signed message are; arguments as of `fields_of`."""
    return {**fields_of(message, prefix), f"{prefix}signature": "the signature of all this"}


def _docstring(message: type[Message]) -> str:
    _, _, arguments = (inspect.getdoc(message) or "").partition("Args:\n")
    return arguments
