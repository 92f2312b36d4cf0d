"""Imports without what a home's process never uses, as memory is scarce on its device.

Flower's package imports gRPC for servers and clients of old, though homes speak HTTP, and httpx
a command line of its own. Together they take 16 MB, a fifth of an agent. pyarrow imports clients of
other people's clouds.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from importlib import import_module
from types import ModuleType
from typing import Any

# Who imports these does without them where they cannot be imported.
_ABSENT = ("httpx._main", "pyarrow._s3fs", "pyarrow._gcsfs", "pyarrow._azurefs", "pyarrow._hdfs")
_STAND_INS: Mapping[str, Mapping[str, Any]] = {
    "grpc": {"Server": object},
    "flwr.supercore.grpc": {"GRPC_MAX_MESSAGE_LENGTH": (1 << 31) - 1},
    "flwr.compat.server.app": {"start_server": None},
}


def import_lean(name: str) -> ModuleType:
    """Import a module while some others are absent, or hold only the names needed of them.

    What was imported before stays as it is. Afterwards the others can be imported as usual.

    Args:
        name: The module.
    """
    stand_ins: dict[str, ModuleType | None] = dict.fromkeys(_ABSENT)  # None: not to be found
    for other, names in _STAND_INS.items():
        stand_ins[other] = ModuleType(other)
        vars(stand_ins[other]).update(names)
    stand_ins = {other: module for other, module in stand_ins.items() if other not in sys.modules}
    sys.modules.update(stand_ins)  # type: ignore[arg-type]
    try:
        return import_module(name)
    finally:
        for other in stand_ins:
            sys.modules.pop(other, None)
