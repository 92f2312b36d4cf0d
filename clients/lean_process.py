"""How a home's processes begin: without the imports that they never need (their memory is scarce).

A command of :mod:`fedhome.ops.processes` that begins with :data:`LEAN` runs the module after it so.
"""

from __future__ import annotations

from collections.abc import Sequence

from fedhome.flower.lean_imports import import_lean

LEAN = "fedhome.clients.lean_process"
"""This module's name, as a command has it."""


def main(arguments: Sequence[str]) -> int:
    """Run another module's ``main``.

    Args:
        arguments: The module, and what its ``main`` gets.
    """
    module, *rest = arguments
    return int(import_lean(module).main(rest) or 0)
