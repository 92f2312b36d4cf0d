"""From LLVM source to a function of this process, for exactly this processor."""

from __future__ import annotations

import threading
from functools import cache
from typing import Any

from llvmlite import binding

from fedhome.errors import EngineError
from fedhome.learning.fused.emit import Tile
from fedhome.learning.fused.memory_map import ProgramShape
from fedhome.learning.fused.native_call import Native
from fedhome.learning.fused.native_program import ENTRY, write_program
from fedhome.learning.fused.nesting import Nesting
from fedhome.learning.fused.rule import LossName, Rule

_OPTIMISATION = 3
_lock = threading.RLock()  # LLVM's set-up is not safe to run in two threads at once


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
    return Native.at(engine.get_function_address(ENTRY), program.workspace, engine)


def shape_of(nesting: Nesting, loss: LossName, rule: Rule, rows: int, tile: Tile) -> ProgramShape:
    """Return what a program is written for whose batches have this many rows at most.

    Args:
        nesting: The networks.
        loss: Name of the loss.
        rule: How parameters follow their gradients.
        rows: Rows of a batch at most.
        tile: Register block of the processor.
    """
    # Powers of two, so that clients with a few rows more or less share their code.
    capacity = tile.panel << (tile.panels(rows) - 1).bit_length()
    return ProgramShape(nesting.sizes, loss, rule, capacity, tile, nesting.slices)


def machine_code(source: str) -> Any:
    """Compile LLVM source; what is returned owns the code.

    Raises:
        EngineError: The system lets no process create machine code.
    """
    try:
        binding.check_jit_execution()
    except OSError as error:
        message = "This system does not let the fused engine create machine code."
        raise EngineError(message, hint="Choose another engine.") from error
    with _lock:
        machine = _machine(jit=True)
        engine = binding.create_mcjit_compiler(_module(source, machine), machine)
        engine.finalize_object()
    return engine


def object_file(source: str) -> bytes:
    """Compile LLVM source to an object file that refers to nothing by where it lies."""
    with _lock:
        machine = _machine(jit=False)
        return bytes(machine.emit_object(_module(source, machine)))


def _machine(*, jit: bool) -> Any:
    binding.initialize_native_target()
    binding.initialize_native_asmprinter()
    return binding.Target.from_default_triple().create_target_machine(
        cpu=binding.get_host_cpu_name(),
        features=binding.get_host_cpu_features().flatten(),
        opt=_OPTIMISATION,
        jit=jit,
        **({} if jit else {"reloc": "pic", "codemodel": "small"}),
    )


def _module(source: str, machine: Any) -> Any:
    module = binding.parse_assembly(source)
    module.triple = machine.triple
    module.data_layout = str(machine.target_data)
    module.verify()
    return module
