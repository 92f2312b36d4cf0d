"""A process of a fleet's that loads a model by its name, and prints it."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from fedhome.plugins import load


def main(arguments: Sequence[str]) -> int:
    """Load it."""
    found = load(arguments[0], "model")
    sys.stdout.write(f"{found} of {arguments[0]}\n")
    return 0
