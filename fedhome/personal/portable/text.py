"""Numbers, names and comments as C takes them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

_LINE: Final = 96
_AT: Final = "\0"  # in a comment, until names are filled in


def numbers(values: NDArray[Any], kind: str) -> str:
    """Return numbers with commas, in lines; floats so that they are read back as they are.

    Args:
        values: The numbers, finite, ``[count]``.
        kind: Their type in C.
    """
    if kind == "float":
        words = [f"{real(np.float32(value))}f" for value in values]
    elif kind == "double":
        words = [real(float(value)) for value in values]
    else:
        words = [str(int(value)) for value in values]
    lines, line = [], "   "
    for word in words:
        if len(line) + len(word) + 2 > _LINE:
            lines.append(line)
            line = "   "
        line += f" {word},"
    return "\n".join([*lines, line]) + "\n"


def real(value: float | np.float32) -> str:
    """Return the shortest decimal that is read back as this number, with a point or exponent."""
    text = str(value)
    return text if re.search(r"[.en]", text) else f"{text}.0"


def identifier(name: str, taken: Iterable[str] = ()) -> str:
    """Return a name as C allows it, in small letters.

    Args:
        name: The name.
        taken: Names that it may not be.
    """
    plain = re.sub(r"[^0-9a-z]+", "_", name.lower()).strip("_")
    if not plain or plain[0].isdigit():
        plain = f"home_{plain}".strip("_")
    found, number = plain, 2
    while found in taken:
        found, number = f"{plain}_{number}", number + 1
    return found


def comment(text: str) -> str:
    """Return a text that can stand inside a comment of C, and keeps each @ that is in it."""
    plain = "".join(letter if letter.isprintable() else " " for letter in text)
    # No two signs of these side by side: no end, no beginning, no other way to write a backslash.
    plain = re.sub(r"(?<=[*/?])(?=[*/?])", " ", plain.replace("\\", "/"))
    return plain.replace("@", _AT)


def with_names(text: str, prefix: str) -> str:
    """Return a file with its names filled in.

    Args:
        text: The file; ``@`` stands for the prefix, ``@@`` for it in large letters.
        prefix: What the file's names begin with.
    """
    return text.replace("@@", prefix.upper()).replace("@", prefix).replace(_AT, "@")
