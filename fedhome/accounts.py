"""Accounts of this machine, by their names."""

from __future__ import annotations

import pwd


def account_name(number: int) -> str:
    """Return an account's name; its number where it has none, as in a container."""
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return str(number)
