"""A compiled program as a function of this process; free of llvmlite."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

_ADDRESSES = 9
_COUNTS = 3
_SIGNATURE = ctypes.CFUNCTYPE(
    None, *[ctypes.c_void_p] * _ADDRESSES, *[ctypes.c_int64] * _COUNTS, ctypes.c_float
)


@dataclass(frozen=True)
class Native:
    """A compiled program.

    Args:
        call: The function; ctypes releases the interpreter lock around it.
        workspace: Floats of zeroed memory that one call needs.
        owner: Owns the machine code, which lives as long as this does.
    """

    call: Callable[..., None]
    workspace: int
    owner: Any

    @classmethod
    def at(cls, address: int, workspace: int, owner: Any) -> Native:
        """Return the program whose function begins at an address; the others as of the class."""
        return cls(_SIGNATURE(address), workspace, owner)
