"""Rows that are sealed at once, by the processor's own AES, are those of the library."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from fedhome.errors import EngineError
from fedhome.secagg import KeyRing
from fedhome.secagg.bundle import NONCE_BYTES, BundleHead
from fedhome.secagg.seals import Seals
from fedhome.secagg.sharing import SECRETS, SHARE_BYTES, SHARE_NUMBERS
from fedhome.simulations.engines import row_seals, shared_seals
from fedhome.simulations.engines.row_seals import row_seals_if_any
from fedhome.simulations.engines.shared_seals import KnownSeals, SharedSeals
from helpers.secagg_world import World

SIZE = SECRETS * SHARE_BYTES
needs_code = pytest.mark.skipif(row_seals_if_any(SIZE) is None, reason="no AES of x86, or no code")


@pytest.fixture
def _anew() -> Iterator[None]:
    row_seals_if_any.cache_clear()
    yield
    row_seals_if_any.cache_clear()


def _numbers(random: np.random.Generator, rows: int, size: int) -> Any:
    return np.frombuffer(random.bytes(rows * size), np.uint8).reshape(rows, size)


@needs_code
@pytest.mark.parametrize("rows", [1, 2, 5])
@pytest.mark.parametrize("bound", [0, 1, 12, 13, 131])  # with a name of three: up to whole blocks
def test_rows_are_those_of_the_library(rows: int, bound: int) -> None:
    compiled, random = row_seals_if_any(SIZE), np.random.default_rng([rows, bound])
    assert compiled is not None
    keys = [random.bytes(32) for _ in range(rows)]
    starts, names, plain = (_numbers(random, rows, size) for size in (36, 3, SIZE))
    nonce, common = random.bytes(NONCE_BYTES), random.bytes(bound)
    found = compiled.seal(
        compiled.keys(keys), starts, names, nonce=nonce, bound=common, plain=plain.tobytes()
    )
    alone = [
        start.tobytes() + AESGCM(key).encrypt(nonce, text.tobytes(), common + name.tobytes())
        for key, start, name, text in zip(keys, starts, names, plain, strict=True)
    ]
    assert found == b"".join(alone)


def test_both_factors_of_hashes_are_those_of_the_standard() -> None:
    """RFC 8452, appendix A: the second one is reduced."""
    for given, expected in (
        ("01000000000000000000000000000000", "02000000000000000000000000000000"),
        ("9c98c04df9387ded828175a92ba652d8", "3931819bf271fada0503eb52574ca572"),
    ):
        reversed_bytes = bytes.fromhex(given)[::-1]
        assert row_seals._factor(reversed_bytes).hex() == expected


@needs_code
@pytest.mark.parametrize("absent", [False, True])
def test_a_home_seals_what_it_would_seal_by_the_library(
    monkeypatch: pytest.MonkeyPatch, absent: bool
) -> None:
    monkeypatch.setattr(shared_seals, "_MANY_ROWS", 1)
    world, secret, random = World.of(5, bundles=0), os.urandom(32), np.random.default_rng(3)
    keys, directory = world.keys["h00"], world.directory
    alone, known = Seals(keys, directory), KnownSeals(keys, directory, SharedSeals())
    shape = directory.committee, SECRETS, SHARE_NUMBERS
    ring = world.ring()
    if absent:
        ring = KeyRing(keys=ring.keys[1:])
    head = BundleHead(
        home="h00", serial=1, public=b"p" * 32, commitment=b"c" * 32, sealed=b"", signature=b""
    )
    for serial in (1, 2):
        numbers = random.integers(0, 1 << 31, shape).astype(np.uint32)
        given = secret, ring, replace(head, serial=serial), random.bytes(NONCE_BYTES), numbers
        assert known.seal(*given) == alone.seal(*given)
        assert known._ring is not None
        assert (known._ring.compiled is None) is absent
        secret = os.urandom(32)  # of the next half day
    known.forget()
    assert known._ring is None, "keys go with the secrets that they follow from"


@pytest.mark.usefixtures("_anew")
@pytest.mark.parametrize("lacks", ["aes", "pclmul", "x86", "machine code"])
def test_where_a_processor_or_system_has_no_such_code_there_is_none(
    monkeypatch: pytest.MonkeyPatch, lacks: str
) -> None:
    def refused(_: str) -> Any:
        raise EngineError("This system does not let the fused engine create machine code.")

    has = {name: name != lacks for name in ("aes", "pclmul", "ssse3")}
    triple = "aarch64-unknown-linux-gnu" if lacks == "x86" else "x86_64-unknown-linux-gnu"
    monkeypatch.setattr(row_seals.binding, "get_host_cpu_features", lambda: has)
    monkeypatch.setattr(row_seals.binding, "get_process_triple", lambda: triple)
    monkeypatch.setattr(row_seals, "machine_code", refused)
    assert row_seals_if_any(SIZE) is None
