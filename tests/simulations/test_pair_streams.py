"""Streams of pairs that are made by the processor's own AES are those of the library."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pytest
from llvmlite import binding

from fedhome.errors import EngineError
from fedhome.keys.keystream import PIECE_BYTES
from fedhome.secagg.masks import add_masks
from fedhome.simulations.engines import pair_streams
from fedhome.simulations.engines.pair_streams import PairStreams, pair_streams_if_any

FEATURES: Mapping[str, bool] = binding.get_host_cpu_features()
HAS_AES = "x86_64" in binding.get_process_triple() and FEATURES.get("aes")
needs_aes = pytest.mark.skipif(not HAS_AES, reason="this processor has no AES of x86")


@pytest.fixture(autouse=True)
def _anew() -> Iterator[None]:
    pair_streams_if_any.cache_clear()
    yield
    pair_streams_if_any.cache_clear()


@needs_aes
@pytest.mark.parametrize("wide", [False, True])
@pytest.mark.parametrize("dtype", [np.uint16, np.uint32, np.uint64])
@pytest.mark.parametrize("size", [1, 700, PIECE_BYTES // 2 + 5])
def test_rows_are_what_each_home_would_add_alone(wide: bool, dtype: Any, size: int) -> None:
    if wide and not (FEATURES.get("vaes") and FEATURES.get("avx2")):
        pytest.skip("this processor enciphers one block at a time")
    random = np.random.default_rng(7)
    keys = {pair: random.bytes(32) for pair in [(0, 1), (0, 2), (3, 1), (2, 3)]}
    compiled = PairStreams(np.dtype(dtype).itemsize, wide=wide)
    rows = random.integers(0, 1 << 16, (4, compiled.whole(size))).astype(dtype)
    alone = rows.copy()
    adding, subtracting = np.array(list(keys)).T
    compiled.add_all(rows, adding, subtracting, list(keys.values()))
    for row in range(4):
        plus = [key for (by, _), key in keys.items() if by == row]
        minus = [key for (_, to), key in keys.items() if to == row]
        add_masks(alone[row], plus, minus)
    np.testing.assert_array_equal(rows, alone)


@needs_aes
@pytest.mark.parametrize("tile", [1, 1 << 10, 1 << 18])
def test_it_does_not_matter_how_many_columns_are_made_at_a_time(
    monkeypatch: pytest.MonkeyPatch, tile: int
) -> None:
    monkeypatch.setattr(pair_streams, "_TILE_BYTES", tile)
    compiled = pair_streams_if_any(4)
    assert compiled is not None
    rows = np.zeros((3, compiled.whole(1000)), np.uint32)
    compiled.add_all(rows, np.array([0]), np.array([2]), [b"k" * 32])
    alone = np.zeros_like(rows)
    add_masks(alone[0], [b"k" * 32], [])
    add_masks(alone[2], [], [b"k" * 32])
    np.testing.assert_array_equal(rows, alone)


@pytest.mark.parametrize("lacks", ["aes", "x86", "machine code"])
def test_where_a_processor_or_system_has_no_such_code_there_is_none(
    monkeypatch: pytest.MonkeyPatch, lacks: str
) -> None:
    def refused(_: str) -> Any:
        raise EngineError("This system does not let the fused engine create machine code.")

    has = {"aes": lacks != "aes"}
    triple = "aarch64-unknown-linux-gnu" if lacks == "x86" else "x86_64-unknown-linux-gnu"
    monkeypatch.setattr(pair_streams.binding, "get_host_cpu_features", lambda: has)
    monkeypatch.setattr(pair_streams.binding, "get_process_triple", lambda: triple)
    monkeypatch.setattr(pair_streams, "machine_code", refused)
    assert pair_streams_if_any(4) is None
