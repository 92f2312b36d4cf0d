"""The text of a consent on a terminal that is narrower than the lines in which it is kept."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator

from fedhome.cli.console import Console

_BULLET, _INSIDE = "  * ", "    "
_ROW = re.compile(r"  \S+ +(?=\S)")  # a name and, from one column on, what it is


def fitting(console: Console, text: str) -> str:
    """Return a text as it is to be printed: as it is kept, unless a terminal is narrower.

    Args:
        console: Where it is printed.
        text: The text.
    """
    return narrowed(text, console.width) if console.is_terminal else text


def narrowed(text: str, width: int) -> str:
    """Return a text with its lines broken anew, where they are longer than a terminal's.

    Words and their order stay; so do paragraphs, bullets, and rows of a name and its value.

    Args:
        text: The text.
        width: Characters that a line may have.
    """
    if max(map(len, text.splitlines()), default=0) <= width:
        return text
    blocks = text.rstrip("\n").split("\n\n")
    return "\n\n".join("\n".join(_block(block.split("\n"), width)) for block in blocks) + "\n"


def _block(lines: list[str], width: int) -> Iterator[str]:
    parts: list[list[str]] = []
    for line in lines:
        if parts and _goes_on(line, parts[-1][0]):
            parts[-1].append(line)
        else:
            parts.append([line])
    for part in parts:
        yield from _part(part, width)


def _goes_on(line: str, first: str) -> bool:
    """Return whether a line belongs to the paragraph, or the bullet, that begins with another."""
    if first.startswith(_BULLET):
        return line.startswith(_INSIDE)
    return not (first.startswith(" ") or line.startswith(" ") or _is_rule(first) or _is_rule(line))


def _part(lines: list[str], width: int) -> list[str]:
    first = lines[0]
    if _is_rule(first):
        return [first[:width]]
    if first.startswith(_BULLET):
        indent, hang = _BULLET, _INSIDE
    elif row := _ROW.match(first):
        indent, hang = row[0], " " * len(row[0])
    else:
        indent = hang = ""
    words = " ".join([first[len(indent) :], *lines[1:]])
    return textwrap.wrap(
        " ".join(words.split()),
        width,
        initial_indent=indent,
        subsequent_indent=hang,
        break_long_words=False,
        break_on_hyphens=False,
    )


def _is_rule(line: str) -> bool:
    return bool(line) and not line.strip("=")
