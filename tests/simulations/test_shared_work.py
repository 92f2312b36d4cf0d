"""What the homes of one process work out once is what each would alone; what is altered is seen."""

from __future__ import annotations

import os
from collections.abc import Callable

import numpy as np
import pytest

from fedhome.keys import keystream
from fedhome.keys.keystream import PIECE_BYTES, ROOM_BYTES, aes_keystream
from fedhome.keys.signing import Signer
from fedhome.secagg import Policy
from fedhome.secagg.masks import Stream, add_masks
from fedhome.simulations.engines import shared_reads
from fedhome.simulations.engines.shared_reads import (
    KnownKeys,
    KnownSignatures,
    Reading,
    SharedStreams,
)

KEY = bytes(range(32))


def _piece(stream: Stream, number: int, count: int) -> bytes:
    room = memoryview(bytearray(count + ROOM_BYTES))
    stream(KEY).write(number, memoryview(bytes(count)), room)
    return bytes(room[:count])


def _counted(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    made: list[bytes] = []

    def counted(key: bytes) -> keystream.Keystream:
        made.append(key)
        return aes_keystream(key)

    monkeypatch.setattr(shared_reads, "aes_keystream", counted)
    return made


def test_both_ends_of_a_pair_have_the_stream_that_was_made_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made, streams = _counted(monkeypatch), SharedStreams()
    for number in (0, 3):
        alone = _piece(aes_keystream, number, 1000)
        assert _piece(streams, number, 1000) == alone
        assert _piece(streams, number, 1000) == alone
    assert len(made) == 2
    assert streams._waiting == {}
    assert streams._held == 0


def test_a_stream_of_another_length_is_made_anew() -> None:
    streams = SharedStreams()
    assert _piece(streams, 0, 64) == _piece(aes_keystream, 0, 64)
    assert _piece(streams, 0, 640) == _piece(aes_keystream, 0, 640)
    assert _piece(streams, 0, 640) == _piece(aes_keystream, 0, 640)


def test_streams_that_wait_have_a_bound_and_end_with_their_sum(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(shared_reads, "_MOST_STREAM_BYTES", 1500)
    streams = SharedStreams()
    for number in range(3):
        assert _piece(streams, number, 1000) == _piece(aes_keystream, number, 1000)
    assert streams._held == 1000
    streams.begin()
    assert (streams._held, streams._waiting) == (0, {})


@pytest.mark.parametrize("words", [10, PIECE_BYTES // 2 + 5])
def test_masks_are_the_same_and_cancel(words: int) -> None:
    streams, seeds = SharedStreams(), [os.urandom(32) for _ in range(3)]
    drawn = np.random.default_rng(1).integers(0, 1 << 16, words).astype(np.uint16)
    alone, shared, other = drawn.copy(), drawn.copy(), np.zeros_like(drawn)
    add_masks(alone, seeds[:2], seeds[2:])
    add_masks(shared, seeds[:2], seeds[2:], stream=streams)
    np.testing.assert_array_equal(shared, alone)
    add_masks(other, seeds[2:], seeds[:2], stream=streams)
    np.testing.assert_array_equal(shared + other, drawn)


@pytest.mark.parametrize("altered", ["key", "signature", "message"])
def test_a_signature_that_was_made_here_is_known_and_an_altered_one_is_not(altered: str) -> None:
    keys, known = KnownKeys.create("home"), KnownSignatures()
    keys.known = known
    one = {
        "key": keys.entry().identity,
        "signature": keys.sign(b"what it says"),
        "message": b"what it says",
    }
    assert known(**one)
    assert known._newer == {tuple(one.values())}
    other = bytearray(one[altered])
    other[0] ^= 1
    for _ in range(2):  # a refusal is not remembered, and no acceptance either
        assert not known(**{**one, altered: bytes(other)})
    assert known(**one)


def test_a_signature_from_elsewhere_is_checked_and_then_known(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    known, signer, checked = KnownSignatures(), Signer.create(), list[bytes]()
    holds = shared_reads.signature_holds

    def counted(key: bytes, signature: bytes, message: bytes) -> bool:
        checked.append(message)
        return holds(key, signature, message)

    monkeypatch.setattr(shared_reads, "signature_holds", counted)
    signature = signer.sign(b"said")
    assert [known(signer.public, signature, b"said") for _ in range(3)] == [True] * 3
    assert len(checked) == 1
    # Of two generations the older one is forgotten, and what is asked again stays.
    monkeypatch.setattr(shared_reads, "_MOST_SIGNATURES", 1)
    for number in range(4):
        known.made(b"", bytes([number]), b"")
        assert known(signer.public, signature, b"said")
    assert len(checked) == 1
    for number in range(2):
        known.made(b"", bytes([number]), b"")
    assert known(signer.public, signature, b"said")
    assert len(checked) == 2


def test_what_follows_from_the_same_bytes_is_worked_out_once_and_an_error_each_time() -> None:
    reading, done = Reading(Policy()), list[str]()

    def work(name: str) -> Callable[[], str]:
        def worked() -> str:
            done.append(name)
            if name == "fault":
                raise ValueError(name)
            return name

        return worked

    assert reading.once("a", b"1", work("first")) == "first"
    assert reading.once("a", b"1", work("second")) == "first"
    assert reading.once("b", b"1", work("third")) == "third"
    for _ in range(2):
        with pytest.raises(ValueError, match="fault"):
            reading.once("a", b"2", work("fault"))
    assert reading.once("a", b"1", work("fourth")) == "first"
    assert reading.once("a", b"3", work("fifth")) == "fifth"
    assert done == ["first", "third", "fault", "fault", "fifth"]
