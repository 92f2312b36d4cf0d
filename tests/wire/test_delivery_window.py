"""Messages packed against those before them: what comes out is what went in, and in one piece."""

from __future__ import annotations

import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedhome.errors import WireError
from fedhome.wire.delivery_window import DIGEST_BYTES, PackingWindow


@given(st.lists(st.binary(max_size=50_000), max_size=5))
def test_both_ends_hold_the_same(messages: list[bytes]) -> None:
    here = there = PackingWindow()
    for message in messages:
        packed = here.pack(message)
        assert there.unpack(packed, most=len(message)) == message
        here, there = here.after(message), there.after(message)
        assert here == there
        assert len(here.data) <= 1 << 15


def test_what_was_sent_before_costs_next_to_nothing() -> None:
    terms = bytes(range(256)) * 3 + zlib.compress(b"terms" * 50)
    noise = b"".join(zlib.compress(bytes([number]) * 40) for number in range(200))
    first = PackingWindow()
    assert len(first.after(noise + terms).pack(noise + terms)) < len(first.pack(noise + terms)) / 8


def test_windows_are_told_apart() -> None:
    assert PackingWindow().digest == b""
    one, other = PackingWindow(b"one"), PackingWindow(b"other")
    assert one.digest != other.digest
    assert len(one.digest) == DIGEST_BYTES


@given(st.binary(max_size=200))
def test_foreign_bytes_are_refused_or_read(data: bytes) -> None:
    try:
        message = PackingWindow(b"known").unpack(data, most=1000)
    except WireError:
        return
    assert len(message) <= 1000


def test_a_message_without_end_is_refused() -> None:
    packed = PackingWindow().pack(bytes(1 << 20))
    assert len(packed) < 10_000
    with pytest.raises(WireError, match="unpacked"):
        PackingWindow().unpack(packed, most=(1 << 20) - 1)
    with pytest.raises(WireError):
        PackingWindow().unpack(packed + b"x", most=1 << 20)
    with pytest.raises(WireError):
        PackingWindow().unpack(packed[:-1], most=1 << 20)
