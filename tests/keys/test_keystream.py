"""Keystreams are those of the standards, however they are made and cut."""

from __future__ import annotations

import numpy as np
import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from fedhome.keys import keystream
from fedhome.keys.keystream import (
    PIECE_BYTES,
    ROOM_BYTES,
    Keystream,
    aes_keystream,
    write_first,
)

KEY = np.random.default_rng(4).bytes(32)


def _aes(key: bytes, number: int, size: int) -> bytes:
    """Return what a piece is by its definition: blocks of a counter, enciphered one by one."""
    nonce = number.to_bytes(12, "big")
    blocks = range(2, 2 + -(-size // 16))
    counters = b"".join(nonce + block.to_bytes(4, "big") for block in blocks)
    by_block = modes.ECB()  # noqa: S305 - of numbers that all differ
    return Cipher(algorithms.AES256(key), by_block).encryptor().update(counters)[:size]


def _drawn(stream: Keystream, number: int, size: int) -> bytes:
    room = memoryview(bytearray(size + ROOM_BYTES))
    stream.write(number, memoryview(bytes(size)), room)
    return bytes(room[:size])


@pytest.mark.parametrize("way", ["_ByGcm", "_ByCounter"])
@pytest.mark.parametrize("size", [PIECE_BYTES, 100_000, 100, 17, 1, 0])
@pytest.mark.parametrize("number", [0, 1, 70_000])
def test_a_piece_is_counter_mode_from_block_two_of_its_nonce(
    way: str, size: int, number: int
) -> None:
    assert _drawn(getattr(keystream, way)(KEY), number, size) == _aes(KEY, number, size)


def test_no_two_pieces_or_keys_have_the_same_bytes() -> None:
    drawn = [
        _drawn(aes_keystream(key), number, 64) for key in (KEY, bytes(32)) for number in range(3)
    ]
    assert len(set(drawn)) == 6


def test_which_way_is_faster_is_found_out_once_and_changes_no_byte() -> None:
    keystream._fastest.cache_clear()
    for _ in range(2):
        assert _drawn(aes_keystream(KEY), 0, 1000) == _aes(KEY, 0, 1000)
    assert keystream._fastest.cache_info().misses == 1


def test_which_way_is_faster_goes_by_how_much_is_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[int] = []

    def fastest(size: int) -> type[keystream._ByGcm | keystream._ByCounter]:
        tried.append(size)
        return keystream._ByGcm if size < 1000 else keystream._ByCounter

    monkeypatch.setattr(keystream, "_fastest", fastest)
    ways = [type(aes_keystream(KEY, size)) for size in (0, 1, 257, 1000, 1 << 30)]
    assert tried == [256, 256, 512, 1024, PIECE_BYTES]
    assert ways == [keystream._ByGcm] * 3 + [keystream._ByCounter] * 2


@pytest.mark.parametrize("way", ["_ByGcm", "_ByCounter"])
@pytest.mark.parametrize("size", [PIECE_BYTES, 100, 0])
def test_first_pieces_of_several_streams_are_those_of_each(
    monkeypatch: pytest.MonkeyPatch, way: str, size: int
) -> None:
    monkeypatch.setattr(keystream, "_fastest", lambda _: getattr(keystream, way))
    keys = [KEY, bytes(32)]
    rooms = [memoryview(bytearray(size + ROOM_BYTES)) for _ in range(3)]
    write_first(keys, memoryview(bytes(size)), rooms)
    for key, room in zip(keys, rooms, strict=False):
        assert bytes(room[:size]) == _aes(key, 0, size)
    assert bytes(rooms[2]) == bytes(size + ROOM_BYTES), "there is no third key"
