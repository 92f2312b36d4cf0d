"""From an object file to machine code that runs wherever it is put: the few relocations of ours.

The compiler is far larger than what it makes. So that a home's process need not hold it, another
one compiles, links the object here, and hands over plain bytes (:mod:`.apart`). All references of
our programs are relative to where the code lies, so the bytes need nothing but to begin at a page.

Sources: System V ABI, ELF-64 object files; its AMD64 supplement, table 4.9; ELF for the Arm 64-bit
Architecture, section 5.7.
"""

from __future__ import annotations

import platform
import struct
import sys
from collections.abc import Callable, Mapping
from typing import NamedTuple

from fedhome.errors import EngineError

_ALLOCATED, _SYMBOLS, _RELOCATIONS = 0x2, 2, 4
_UNWINDING = ".eh_frame"  # for exceptions, of which our programs have none
_PAGE_BITS = 12


class LinkedCode(NamedTuple):
    """Machine code, and where in it the function begins."""

    code: bytes
    entry: int


class _Section(NamedTuple):
    name: int
    kind: int
    flags: int
    address: int
    offset: int
    size: int
    link: int
    info: int
    alignment: int
    entry_size: int


class _Symbol(NamedTuple):
    name: int
    info: int
    other: int
    section: int
    value: int
    size: int


def can_link() -> bool:
    """Whether code for this machine can be linked here and put into memory."""
    return sys.platform == "linux" and platform.machine() in {
        _MACHINES[one].name for one in _MACHINES
    }


def link(data: bytes, entry: str) -> LinkedCode:
    """Link one object file.

    Args:
        data: The object file, ELF of 64 bits, little-endian.
        entry: Name of its function.

    Raises:
        EngineError: It is of another machine, or refers to what is not in it.
    """
    if data[:6] != b"\x7fELF\x02\x01":
        raise EngineError("the compiler gave no object file of 64 bits")
    machine = _MACHINES.get(struct.unpack_from("<H", data, 18)[0])
    if machine is None:
        raise EngineError("the compiler gave an object file of a machine that is not known here")
    (table,) = struct.unpack_from("<Q", data, 40)
    size, count, names_at = struct.unpack_from("<HHH", data, 58)
    sections = [
        _Section(*struct.unpack_from("<IIQQQQIIQQ", data, table + size * number))
        for number in range(count)
    ]
    names = sections[names_at].offset
    code, places = bytearray(), {}
    for number, section in enumerate(sections):
        if section.flags & _ALLOCATED and _text(data, names + section.name) != _UNWINDING:
            code += bytes(-len(code) % max(section.alignment, 1))
            places[number] = len(code)
            code += data[section.offset : section.offset + section.size]
    symbols, names = _symbols(data, sections)

    def place_of(symbol: _Symbol) -> int:
        if symbol.section not in places:
            raise EngineError(
                f"compiled code refers to {_text(data, names + symbol.name)!r}, which is not in it"
            )
        return places[symbol.section] + symbol.value

    for section in sections:
        if section.kind != _RELOCATIONS or section.info not in places:
            continue
        for at in range(section.offset, section.offset + section.size, section.entry_size):
            offset, info, addend = struct.unpack_from("<QQq", data, at)
            patch = machine.patches.get(info & 0xFFFFFFFF)
            if patch is None:
                raise EngineError(f"compiled code has a relocation {info & 0xFFFFFFFF}, not known")
            here = places[section.info] + offset
            patch(code, here, place_of(symbols[info >> 32]) + addend)
    found = [one for one in symbols if _text(data, names + one.name) == entry]
    return LinkedCode(bytes(code), place_of(found[0]))


def _symbols(data: bytes, sections: list[_Section]) -> tuple[list[_Symbol], int]:
    (table,) = [section for section in sections if section.kind == _SYMBOLS]
    found = [
        _Symbol(*struct.unpack_from("<IBBHQQ", data, at))
        for at in range(table.offset, table.offset + table.size, table.entry_size)
    ]
    return found, sections[table.link].offset


def _text(data: bytes, at: int) -> str:
    return data[at : data.index(b"\0", at)].decode("ascii")


def _relative(code: bytearray, here: int, target: int) -> None:
    """Put the way to the target into 32 bits."""
    struct.pack_into("<i", code, here, target - here)


def _page(code: bytearray, here: int, target: int) -> None:
    """Put the way between pages into an ``adrp``, whose number lies in two parts."""
    pages = (target >> _PAGE_BITS) - (here >> _PAGE_BITS)
    _put(code, here, ((pages & 0x3) << 29) | (((pages >> 2) & 0x7FFFF) << 5))


def _within_page(scale: int) -> Callable[[bytearray, int, int], None]:
    def patch(code: bytearray, here: int, target: int) -> None:
        _put(code, here, ((target & 0xFFF) >> scale) << 10)

    return patch


def _branch(code: bytearray, here: int, target: int) -> None:
    _put(code, here, ((target - here) >> 2) & 0x3FFFFFF)


def _put(code: bytearray, here: int, bits: int) -> None:
    """Put bits into an instruction that has zeros there."""
    (instruction,) = struct.unpack_from("<I", code, here)
    struct.pack_into("<I", code, here, instruction | bits)


class _Machine(NamedTuple):
    name: str
    patches: Mapping[int, Callable[[bytearray, int, int], None]]


_MACHINES: Mapping[int, _Machine] = {
    62: _Machine("x86_64", {2: _relative, 4: _relative}),  # R_X86_64_PC32, _PLT32
    183: _Machine(
        "aarch64",
        {
            275: _page,  # R_AARCH64_ADR_PREL_PG_HI21
            277: _within_page(0),  # _ADD_ABS_LO12_NC, and of loads by their size
            278: _within_page(0),
            284: _within_page(1),
            285: _within_page(2),
            286: _within_page(3),
            299: _within_page(4),
            282: _branch,  # _JUMP26
            283: _branch,  # _CALL26
        },
    ),
}
"""By the number of a machine in an object file: its name in Linux, and its relocations."""
