"""Keystreams are those of the standards, however they are made and cut."""

from __future__ import annotations

import numpy as np
import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from fedhome.keys import keystream
from fedhome.keys.keystream import aes_keystream, chacha20_keystream

LONG = 300_000
KEY = np.random.default_rng(4).bytes(32)


def _aes(key: bytes, size: int) -> bytes:
    """Return what counter mode is by its definition: blocks of a counter, enciphered one by one."""
    counters = b"".join(number.to_bytes(16, "big") for number in range(-(-size // 16)))
    blocks = modes.ECB()  # noqa: S305 - of numbers that all differ
    return Cipher(algorithms.AES256(key), blocks).encryptor().update(counters)[:size]


def _drawn(offset: int, pieces: list[int]) -> bytes:
    stream, found = aes_keystream(KEY, offset, sum(pieces)), b""
    for piece in pieces:
        room = memoryview(bytearray(piece + 64))
        written = stream.update_into(memoryview(bytes(piece)), room)
        assert written == piece
        found += bytes(room[:piece])
    return found


@pytest.mark.parametrize("by_gcm", [True, False])
@pytest.mark.parametrize(
    "pieces", [[LONG], [1 << 17, 1 << 17, LONG - (1 << 18)], [64, 1 << 16, 7], [100], [16, 1]]
)
def test_a_stream_is_counter_mode_from_zero_on(
    by_gcm: bool, pieces: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keystream, "_gcm_is_faster", lambda: by_gcm)
    assert _drawn(0, pieces) == _aes(KEY, sum(pieces))


@pytest.mark.parametrize("offset", [16, 64, 1 << 17])
def test_a_stream_from_later_on_is_the_end_of_the_whole_one(
    offset: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keystream, "_gcm_is_faster", lambda: True)
    assert _drawn(offset, [LONG - offset]) == _aes(KEY, LONG)[offset:]


def test_which_way_is_faster_is_found_out_once_and_changes_no_byte() -> None:
    keystream._gcm_is_faster.cache_clear()
    assert _drawn(0, [1 << 17]) == _aes(KEY, 1 << 17)
    assert _drawn(0, [1 << 17]) == _aes(KEY, 1 << 17)
    assert keystream._gcm_is_faster.cache_info().misses == 1


def test_chacha20_begins_where_it_is_asked_to() -> None:
    whole = memoryview(bytearray(LONG + 64))
    chacha20_keystream(KEY, 0, LONG).update_into(memoryview(bytes(LONG)), whole)
    later = memoryview(bytearray(LONG))
    chacha20_keystream(KEY, 640, 1000).update_into(memoryview(bytes(1000)), later)
    assert bytes(later[:1000]) == bytes(whole[640:1640])
