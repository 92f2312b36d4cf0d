"""What many parts of an engine notice is said once."""

from __future__ import annotations

from collections.abc import Callable


def once(say: Callable[[str], None]) -> Callable[[str], None]:
    """Return what says each sentence the first time that it is given it.

    Args:
        say: What is called with it.
    """
    said = set[str]()

    def say_new(text: str) -> None:
        if text not in said:
            said.add(text)
            say(text)

    return say_new
