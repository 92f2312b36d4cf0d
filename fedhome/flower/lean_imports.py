"""Imports without what a home's process never uses: its device's memory is scarce.

Flower's package imports gRPC for servers and clients of old, though homes speak HTTP, and httpx
a command line of its own. Together they take 16 MB, a fifth of an agent.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from importlib import import_module
from types import ModuleType
from typing import Any

_ABSENT = ("httpx._main",)  # httpx does without it where it cannot be imported
_STAND_INS: Mapping[str, Mapping[str, Any]] = {
    "grpc": {"Server": object},
    "flwr.supercore.grpc": {"GRPC_MAX_MESSAGE_LENGTH": (1 << 31) - 1},
    "flwr.compat.server.app": {"start_server": None},
}


def spared(name: str) -> ModuleType:
    """Import a module while some others are not there, or hold only the names asked of them.

    What was imported before stays as it is. Afterwards the others can be imported as usual.

    Args:
        name: The module.
    """
    placed: dict[str, ModuleType | None] = dict.fromkeys(_ABSENT)  # None: not to be found
    for other, names in _STAND_INS.items():
        placed[other] = ModuleType(other)
        vars(placed[other]).update(names)
    placed = {other: module for other, module in placed.items() if other not in sys.modules}
    sys.modules.update(placed)  # type: ignore[arg-type]
    try:
        return import_module(name)
    finally:
        for other in placed:
            sys.modules.pop(other, None)
