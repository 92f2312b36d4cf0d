"""Compiles in a process of its own, so that the compiler's memory is never this process's.

LLVM takes some 100 MB, and what it makes 40 kB. ``python -m fedhome.learning.fused.apart REQUEST``
is that process: it prints the linked code and ends.
"""

from __future__ import annotations

import json
import mmap
import os
import struct
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cache

import numpy as np

from fedhome.errors import EngineError
from fedhome.learning.fused.linked import link
from fedhome.learning.fused.native_call import Native
from fedhome.learning.fused.nesting import Nesting
from fedhome.learning.fused.rule import LossName, Rule

_HEAD = struct.Struct("<QQ")  # floats of the workspace, where the function begins
_PATIENCE_S = 300.0  # a slow device in need of memory takes its time


@dataclass(frozen=True, kw_only=True)
class CompileRequest:
    """What to compile.

    Args:
        sizes: Widths from the input to the output.
        loss: Name of the loss.
        rule: How parameters follow their gradients.
        rows: Rows of a batch at most.
        slices: As of :class:`fedhome.learning.fused.nesting.Nesting`.
    """

    sizes: tuple[int, ...]
    loss: LossName
    rule: Rule
    rows: int
    slices: tuple[tuple[int, ...], ...] = ()

    def to_text(self) -> str:
        """Return it as JSON."""
        return json.dumps(asdict(self))

    @classmethod
    def from_text(cls, text: str) -> CompileRequest:
        """Return one from JSON."""
        told = json.loads(text)
        return cls(
            sizes=tuple(told["sizes"]),
            loss=told["loss"],
            rule=Rule(**told["rule"]),
            rows=told["rows"],
            slices=tuple(map(tuple, told["slices"])),
        )


@cache
def compiled_apart(request: CompileRequest) -> Native:
    """Return code that another process compiles, once in the life of this one.

    Args:
        request: What to compile.

    Raises:
        EngineError: It cannot be compiled, or this system lets no process take it.
    """
    # -P: nothing of the current folder shadows what is imported.
    command = [sys.executable, "-P", "-m", "fedhome.learning.fused.apart", request.to_text()]
    try:
        done = subprocess.run(  # noqa: S603 - our own module
            command, capture_output=True, timeout=_PATIENCE_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise EngineError(f"the kernel's compiler does not run ({type(error).__name__})") from None
    if done.returncode != 0 or len(done.stdout) <= _HEAD.size:
        last = done.stderr.decode("utf-8", "replace").strip().splitlines()[-1:]
        raise EngineError(f"the kernel's compiler ended with {done.returncode}: {' '.join(last)}")
    workspace, entry = _HEAD.unpack_from(done.stdout)
    return loaded(done.stdout[_HEAD.size :], entry, workspace)


def loaded(code: bytes, entry: int, workspace: int) -> Native:
    """Put code into memory that can be executed and not written.

    Args:
        code: Linked machine code.
        entry: Where in it the function begins.
        workspace: Floats that one call needs.

    Raises:
        EngineError: This system lets no process do that.
    """
    try:
        number = os.memfd_create("fedhome-kernel")
        with open(number, "w+b", buffering=0) as file:  # noqa: PTH123 - it has no path
            file.write(code)
            # Mapped from a file, the kernel itself sees to it that a processor reads it anew.
            flags, protection = mmap.MAP_PRIVATE, mmap.PROT_READ | mmap.PROT_EXEC
            memory = mmap.mmap(number, len(code), flags=flags, prot=protection)
    except OSError as error:
        raise EngineError("this system lets no process take new machine code") from error
    address = int(np.frombuffer(memory, np.uint8).ctypes.data)
    return Native.at(address + entry, workspace, memory)


def main(arguments: Sequence[str]) -> int:
    """Compile a request, and print the code.

    Args:
        arguments: The request.
    """
    from fedhome.learning.fused.compiler import (  # noqa: PLC0415 - it loads LLVM
        host_tile,
        object_file,
        shape_of,
    )
    from fedhome.learning.fused.native_program import ENTRY, write_program  # noqa: PLC0415

    request = CompileRequest.from_text(arguments[0])
    nesting = Nesting(request.sizes, request.slices)
    shape = shape_of(nesting, request.loss, request.rule, request.rows, host_tile())
    program = write_program(shape)
    code, entry = link(object_file(program.source), ENTRY)
    sys.stdout.buffer.write(_HEAD.pack(program.workspace, entry) + code)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
