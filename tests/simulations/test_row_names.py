"""Rows that are named at once have the names that each has by itself."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

from fedhome.errors import EngineError
from fedhome.secagg import Policy
from fedhome.secagg.bundle import ROW_BYTES
from fedhome.secagg.share_checks import row_hashes
from fedhome.simulations.engines import row_names, shared_reads
from fedhome.simulations.engines.row_names import row_names_if_any
from fedhome.simulations.engines.shared_reads import Reading

needs_code = pytest.mark.skipif(row_names_if_any() is None, reason="no SHA of x86, or no code")


@needs_code
@pytest.mark.parametrize("count", [1, 2, 7, 100])
@pytest.mark.parametrize("size", [0, 5, 6, 70, 160, 300])  # with 5 and 8 bytes a block more
@pytest.mark.parametrize("member", ["a", "home-001", "h" * 255])
def test_names_are_those_of_each_row(count: int, size: int, member: str) -> None:
    compiled, random = row_names_if_any(), np.random.default_rng([count, size])
    assert compiled is not None
    statements = [random.bytes(size) for _ in range(count)]
    for _ in range(3):  # other rows of the same bundles
        rows = random.bytes(count * ROW_BYTES)
        assert compiled.hashes(statements, rows, member) == row_hashes(statements, rows, member)


@needs_code
def test_what_changes_between_calls_changes_the_names() -> None:
    """What is laid out for some bundles and names of a length is for these alone."""
    compiled, random = row_names_if_any(), np.random.default_rng(3)
    assert compiled is not None
    statements, rows = [random.bytes(160) for _ in range(3)], random.bytes(3 * ROW_BYTES)
    calls = [(statements, "ab"), (statements, "cd"), (statements, "abc"), (statements[::-1], "abc")]
    statements_changed = [*statements]
    calls.append((statements_changed, "abc"))
    for some, member in calls:
        assert compiled.hashes(some, rows, member) == row_hashes(some, rows, member)
    statements_changed[1] = bytes(160)  # in place
    found = compiled.hashes(statements_changed, rows, "abc")
    assert found == row_hashes(statements_changed, rows, "abc")


@needs_code
def test_threads_that_name_rows_of_the_same_bundles_have_their_own() -> None:
    compiled, random = row_names_if_any(), np.random.default_rng(4)
    assert compiled is not None
    statements = [random.bytes(160) for _ in range(500)]
    rows = [random.bytes(len(statements) * ROW_BYTES) for _ in range(4)]
    expected = [row_hashes(statements, own, "a") for own in rows]

    def right(number: int) -> bool:
        some = [compiled.hashes(statements, rows[number], "a") for _ in range(300)]
        return all(names == expected[number] for names in some)

    with ThreadPoolExecutor(4) as threads:
        assert all(threads.map(right, range(4)))


@needs_code
def test_what_it_is_not_written_for_is_left_to_the_library() -> None:
    compiled = row_names_if_any()
    assert compiled is not None
    assert compiled.hashes([], b"", "a") is None
    assert compiled.hashes([b"1", b"22"], bytes(2 * ROW_BYTES), "a") is None
    assert compiled.hashes([b"1", b"2"], bytes(ROW_BYTES), "a") is None


@pytest.mark.parametrize("many", [0, 1 << 15])
def test_homes_of_a_process_name_rows_as_a_device_does(
    monkeypatch: pytest.MonkeyPatch, many: int
) -> None:
    monkeypatch.setattr(shared_reads, "_MANY_ROWS", many)
    made = list[str]()
    compiled = row_names_if_any()
    monkeypatch.setattr(row_names, "row_names_if_any", lambda: (made.append("asked"), compiled)[1])
    read, random = Reading(Policy()), np.random.default_rng(5)
    for sizes in ([160, 160], [160, 161]):
        statements, rows = [random.bytes(size) for size in sizes], random.bytes(2 * ROW_BYTES)
        for member in ("home-1", "home-22"):
            names = row_hashes(statements, rows, member)
            assert read.name_rows(statements, rows, member) == names
    assert len(made) == (4 if many == 0 else 0)


def test_where_no_machine_code_may_be_made_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(_: str) -> Any:
        raise EngineError("This system does not let the fused engine create machine code.")

    monkeypatch.setattr(row_names, "machine_code", refused)
    row_names_if_any.cache_clear()
    try:
        assert row_names_if_any() is None
    finally:
        row_names_if_any.cache_clear()
