"""Code that another process compiles: the same numbers, without the compiler in this one."""

from __future__ import annotations

import ctypes
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from llvmlite import binding

from fedhome.errors import EngineError
from fedhome.learning.fused import FusedMLP, apart
from fedhome.learning.fused.apart import CompileRequest, compiled_apart, loaded
from fedhome.learning.fused.linked import can_link, link
from fedhome.learning.fused.rule import Rule

pytestmark = pytest.mark.skipif(not can_link(), reason="code is linked on Linux alone")

# Two functions and a table of numbers: calls, and references to what does not change.
_PROGRAM = """
@table = private constant [4 x float] [float 1.5, float 2.5, float 3.5, float 4.5]

define internal float @scaled(float %x) noinline {
  %y = fmul float %x, 0x3FB99999A0000000
  ret float %y
}

define float @at(i64 %place) {
  %address = getelementptr [4 x float], ptr @table, i64 0, i64 %place
  %found = load float, ptr %address
  %result = call float @scaled(float %found)
  ret float %result
}
"""


def object_of(source: str, triple: str = "", cpu: str = "") -> bytes:
    binding.initialize_all_targets()
    binding.initialize_all_asmprinters()
    target = binding.Target.from_triple(triple or binding.get_process_triple())
    machine = target.create_target_machine(cpu=cpu, opt=3, reloc="pic", codemodel="small")
    module = binding.parse_assembly(source)
    module.triple, module.data_layout = machine.triple, str(machine.target_data)
    return bytes(machine.emit_object(module))


def test_linked_code_runs_wherever_it_is_put() -> None:
    linked = link(object_of(_PROGRAM), "at")
    native = [loaded(linked.code, linked.entry, 0) for _ in range(2)]
    addresses = [ctypes.cast(one.call, ctypes.c_void_p).value for one in native]  # type: ignore[arg-type]
    assert addresses[0] != addresses[1]
    for address in addresses:
        assert address is not None
        call = ctypes.CFUNCTYPE(ctypes.c_float, ctypes.c_int64)(address)
        assert [call(place) for place in range(4)] == pytest.approx([0.15, 0.25, 0.35, 0.45])


def test_code_of_a_64_bit_arm_refers_to_its_table_page_by_page() -> None:
    code, entry = link(object_of(_PROGRAM, "aarch64-unknown-linux-gnu", "cortex-a72"), "at")
    words = struct.unpack(f"<{len(code) // 4}I", code[: len(code) // 4 * 4])
    table = code.index(struct.pack("<4f", 1.5, 2.5, 3.5, 4.5))
    found = set()
    for place in range(entry // 4, len(words) - 1):
        if words[place] & 0x9F000000 == 0x90000000:  # adrp
            pages = ((words[place] >> 5) & 0x7FFFF) << 2 | ((words[place] >> 29) & 3)
            pages -= (pages & 0x100000) << 1
            low = (words[place + 1] >> 10) & 0xFFF  # an add of what is within the page
            found.add(((4 * place >> 12) + pages << 12) + low)
    assert table in found


def test_what_refers_to_something_else_is_refused() -> None:
    outside = "declare float @elsewhere()\n define float @at() {\n %x = call float @elsewhere()\n"
    with pytest.raises(EngineError, match="'elsewhere', which is not in it"):
        link(object_of(outside + " ret float %x\n}\n"), "at")
    with pytest.raises(EngineError, match="machine that is not known"):
        link(object_of(_PROGRAM, "riscv64-unknown-linux-gnu"), "at")
    with pytest.raises(EngineError, match="no object file"):
        link(b"MZ" + bytes(100), "at")


@pytest.mark.long
def test_a_process_that_trains_with_it_never_loads_the_compiler() -> None:
    """It gives the very numbers of code that is compiled in the process itself."""
    program = (
        "import sys, numpy as np; from fedhome.learning.fused import FusedMLP\n"
        "told = dict(loss='cross-entropy', optimiser='adam', clip_norm=0.5)\n"
        "draw = np.random.default_rng(1)\n"
        "x, y = draw.normal(size=(40, 5)).astype('f4'), draw.integers(0, 3, 40)\n"
        "found = []\n"
        "for apart in (True, False):\n"
        "    print('llvmlite' in sys.modules)\n"
        "    model = FusedMLP((5, 20, 9, 3), apart=apart, **told)\n"
        "    params = np.full((1, model.parameters), 0.1, 'f4')\n"
        "    params += np.sin(np.arange(model.parameters, dtype='f4'))\n"
        "    losses = model.train(params, x, y, np.arange(40), np.array([40]),\n"
        "                         batch_size=16, epochs=1, learning_rate=0.01)\n"
        "    found.append((params.tobytes(), losses.tobytes()))\n"
        "print(found[0] == found[1])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["False", "False", "True"]


def test_a_compiler_that_fails_is_told_in_its_words(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    request = CompileRequest(sizes=(2, 1), loss="mse", rule=Rule("sgd"), rows=0)
    assert CompileRequest.from_text(request.to_text()) == request
    script = tmp_path / "python"
    script.write_text("#!/bin/sh\necho first >&2\necho out of memory >&2\nexit 3\n")
    script.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(script))
    with pytest.raises(EngineError, match="ended with 3: out of memory"):
        compiled_apart(request)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "nowhere"))
    with pytest.raises(EngineError, match="does not run"):
        compiled_apart(request)


def test_where_code_cannot_be_taken_from_elsewhere_it_is_compiled_here(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(_: object) -> None:
        raise AssertionError

    monkeypatch.setattr("fedhome.learning.fused.fused_mlp.can_link", lambda: False)
    monkeypatch.setattr("fedhome.learning.fused.fused_mlp.compiled_apart", refuse)
    model, params = (
        FusedMLP((1, 1), loss="mse", optimiser="sgd", apart=True),
        np.zeros((1, 2), "f4"),
    )
    one = np.ones((1, 1), "f4")
    train = {"batch_size": 1, "epochs": 1, "learning_rate": 0.25}
    model.train(params, one, one, np.array([0]), np.array([1]), **train)  # type: ignore[arg-type]
    assert params.tolist() == [[0.5, 0.5]]


def test_a_system_that_lets_nobody_execute_memory_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError

    monkeypatch.setattr(apart.mmap, "mmap", refuse)
    with pytest.raises(EngineError, match="lets no process take new machine code"):
        loaded(b"\xc3", 0, 0)
