"""From LLVM source to a function of this process, for exactly this processor."""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

from llvmlite import binding

from fedhome.errors import EngineError
from fedhome.learning.fused.emit import Tile
from fedhome.learning.fused.memory_map import ProgramShape
from fedhome.learning.fused.native_program import ENTRY, write_program

_ADDRESSES = 7
_COUNTS = 3
_SIGNATURE = ctypes.CFUNCTYPE(
    None, *[ctypes.c_void_p] * _ADDRESSES, *[ctypes.c_int64] * _COUNTS, ctypes.c_float
)
_OPTIMISATION = 3
_lock = threading.Lock()  # LLVM's set-up is not safe to run in two threads at once


@dataclass(frozen=True)
class Native:
    """A compiled program.

    Args:
        call: The function; ctypes releases the interpreter lock around it.
        workspace: Floats of zeroed memory that one call needs.
        engine: Owns the machine code, which lives as long as this does.
    """

    call: Callable[..., None]
    workspace: int
    engine: Any


@cache
def host_tile() -> Tile:
    """The register block that suits this processor."""
    features = binding.get_host_cpu_features()
    # The sums, one row of B and one number of A must fit into the vector registers:
    # 32 of 512 bits, 16 of 256 bits, 16 of 128 bits, and 32 of 128 bits elsewhere.
    if features.get("avx512f"):
        return Tile(lanes=16, vectors=2, rows=12)
    if features.get("avx2"):
        return Tile(lanes=8, vectors=2, rows=6)
    if "x86" in binding.get_process_triple():
        return Tile(lanes=4, vectors=2, rows=6)
    return Tile(lanes=8, vectors=2, rows=6)


def native(plan: ProgramShape) -> Native:
    """Compile a plan, once in the life of the process.

    Args:
        plan: What to compile.
    """
    with _lock:
        return _compiled(plan)


@cache
def _compiled(plan: ProgramShape) -> Native:
    program = write_program(plan)
    engine = machine_code(program.source)
    call = _SIGNATURE(engine.get_function_address(ENTRY))
    return Native(call, program.workspace, engine)


def machine_code(source: str) -> Any:
    """Compile LLVM source; what is returned owns the code. Call it from one thread at a time.

    Raises:
        EngineError: The system lets no process create machine code.
    """
    try:
        binding.check_jit_execution()
    except OSError as error:
        message = "This system does not let the fused engine create machine code."
        raise EngineError(message, hint="Choose another engine.") from error
    binding.initialize_native_target()
    binding.initialize_native_asmprinter()
    machine = binding.Target.from_default_triple().create_target_machine(
        cpu=binding.get_host_cpu_name(),
        features=binding.get_host_cpu_features().flatten(),
        opt=_OPTIMISATION,
        jit=True,
    )
    module = binding.parse_assembly(source)
    module.triple = machine.triple
    module.data_layout = str(machine.target_data)
    module.verify()
    engine = binding.create_mcjit_compiler(module, machine)
    engine.finalize_object()
    return engine
