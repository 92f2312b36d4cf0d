"""Keys that are derived side by side are those that are derived one by one."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import pytest

from fedhome.errors import EngineError
from fedhome.keys.derivation import hkdf
from fedhome.simulations.engines import hash_lanes
from fedhome.simulations.engines.hash_lanes import hash_lanes_if_any

lanes = pytest.mark.skipif(hash_lanes_if_any() is None, reason="no machine code may be made")


@lanes
@pytest.mark.parametrize("count", [0, 1, 7, 8, 33])
@pytest.mark.parametrize("size", [0, 54, 55, 78, 200])  # 54 fills one block, 55 takes two
@pytest.mark.parametrize("salt", [b"", b"s" * 32, b"t" * 64])
def test_keys_are_those_of_hkdf(count: int, size: int, salt: bytes) -> None:
    compiled = hash_lanes_if_any()
    assert compiled is not None
    random = np.random.default_rng([count, size])
    secrets, infos = ([random.bytes(many) for _ in range(count)] for many in (32, size))
    found = compiled.hkdf(secrets, salt, infos)
    assert found == [hkdf(one, salt, info) for one, info in zip(secrets, infos, strict=True)]


@lanes
def test_what_it_is_not_written_for_is_not_derived_wrongly() -> None:
    """Another length would move all words behind it."""
    compiled = hash_lanes_if_any()
    assert compiled is not None
    for secrets, salt, infos in (
        ([b"s" * 31, b"s" * 33], b"", [b"i" * 3] * 2),
        ([b"s" * 32] * 2, b"", [b"i" * 2, b"i" * 4]),
        ([b"s" * 32] * 2, b"t" * 65, [b"i"] * 2),
        ([b"s" * 32] * 2, b"t", [b"i"]),
    ):
        with pytest.raises(AssertionError):
            compiled.hkdf(secrets, salt, infos)


def test_constants_begin_as_the_standard_has_them() -> None:
    assert [f"{one:08x}" for one in hash_lanes.BEGIN[:2]] == ["6a09e667", "bb67ae85"]
    ends = [f"{one:08x}" for one in hash_lanes.CONSTANTS[[0, -1]]]
    assert ends == ["428a2f98", "c67178f2"]
    assert len(hash_lanes.CONSTANTS) == 64
    assert len(hash_lanes.BEGIN) == 8


@pytest.mark.parametrize("size", [0, 55, 56, 64, 1000])
def test_padding_makes_whole_blocks_and_tells_the_length_in_bits(size: int) -> None:
    padding = hash_lanes.padding(size)
    assert (size + len(padding)) % hashlib.sha256().block_size == 0
    assert padding[0] == 0x80
    assert 9 <= len(padding) <= 9 + 63
    assert int.from_bytes(padding[1:], "big") == 8 * size


def test_where_no_machine_code_may_be_made_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(_: str) -> Any:
        raise EngineError("This system does not let the fused engine create machine code.")

    monkeypatch.setattr(hash_lanes, "machine_code", refused)
    hash_lanes_if_any.cache_clear()
    try:
        assert hash_lanes_if_any() is None
    finally:
        hash_lanes_if_any.cache_clear()
