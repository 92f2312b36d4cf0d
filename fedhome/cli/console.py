"""The terminal of all commands: whatever names files, models and servers bring, it shows them.

Rich writes control characters as they are, and makes pictures of words between colons.
"""

from __future__ import annotations

from typing import Any

from rich import console
from rich.markup import escape
from rich.text import Text

from fedhome.printable import visible


class Console(console.Console):
    """Rich's console, but that text from elsewhere moves no cursor and hides nothing.

    Args:
        options: As of `rich.console.Console`.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**{"emoji": False, **options})

    def render_str(self, text: str, **options: Any) -> Text:
        """Return a text to be printed, control characters written as their escapes."""
        return super().render_str(visible(text), **options)


def say(console: Console, text: str, *, wrapped: bool = False) -> None:
    """Print a text as it is: what looks like a style in it, or like a number, is left alone.

    Args:
        console: Where it goes.
        text: The text.
        wrapped: Whether to break it between words. Without, a path or a command in it stays in one
            piece, so that it can be copied.
    """
    console.print(escape(text), highlight=False, soft_wrap=not wrapped)
