from __future__ import annotations

import tracemalloc
from dataclasses import dataclass
from typing import Annotated

import msgpack
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedhome.errors import WireError
from fedhome.secagg.manifest import Manifest
from fedhome.secagg.state import HomeState, Opening
from fedhome.secagg.sum_messages import Answer, Request, Upload, Vote, from_bits, to_bits
from fedhome.wire.codec import Digest, Flag, Id, Message, number, octets, several, text
from helpers.secagg_world import MODEL, World, form_of


@dataclass(frozen=True, kw_only=True)
class Inner(Message, label="inner", most=100):
    flag: Flag


@dataclass(frozen=True, kw_only=True)
class Sample(Message, label="sample", most=300):
    name: Id
    count: Annotated[int, number(1000, least=1)]
    digest: Digest
    parts: Annotated[tuple[Inner, ...], several(Inner.kind(), most=3)]
    blob: Annotated[bytes, octets(most=8)]


SAMPLE = Sample(name="h1", count=5, digest=b"d" * 32, parts=(Inner(flag=True),), blob=b"x")
PLAIN = ["fedhome/sample", 1, "h1", 5, b"d" * 32, [["fedhome/inner", 1, True]], b"x"]


def test_a_message_is_a_plain_array() -> None:
    assert msgpack.unpackb(SAMPLE.to_bytes()) == PLAIN
    assert Sample.from_bytes(SAMPLE.to_bytes()) == SAMPLE


@pytest.mark.parametrize(
    ("place", "value", "reason"),
    [
        (0, "fedhome/other", "label"),
        (1, 2, "label"),
        (1, True, "label"),
        (2, "", "size"),
        (2, "x" * 256, "size"),
        (2, "a\nb", "size"),
        (2, b"h1", "type"),
        (3, 0, "range"),
        (3, 1001, "range"),
        (3, -1, "range"),
        (3, 5.0, "type"),
        (3, True, "type"),
        (3, None, "type"),
        (4, b"d" * 31, "size"),
        (4, "d" * 32, "type"),
        (5, [["fedhome/inner", 1, 1]], "type"),
        (5, [["fedhome/inner", 1, True]] * 4, "size"),
        (5, [["fedhome/inner", 1]], "fields"),
        (5, {}, "type"),
        (6, b"x" * 9, "size"),
    ],
)
def test_a_field_that_is_not_of_its_kind_is_refused(place: int, value: object, reason: str) -> None:
    plain = list(PLAIN)
    plain[place] = value
    with pytest.raises(WireError) as caught:
        Sample.from_bytes(msgpack.packb(plain))
    assert caught.value.reason == reason


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "format"),
        (b"\xc1", "format"),
        (b"\x91" * 200, "format"),  # nested deeper than any message
        (b"\xdd\xff\xff\xff\xff", "format"),  # claims four billion entries
        (b"\xc7\x0c\xff" + b"\xff" * 12, "format"),  # a timestamp out of range
        (b"\x81\xa1x\x02", "fields"),
        (b"\x90", "fields"),
        (SAMPLE.to_bytes() + b"\x00", "format"),
        (b"\x00" * 301, "size"),
        (msgpack.packb(PLAIN).replace(b"\x05", b"\xcc\x05", 1), "canonical"),
        (bytearray(SAMPLE.to_bytes()), "size"),
    ],
)
def test_bytes_that_are_no_message_are_refused(data: bytes, reason: str) -> None:
    with pytest.raises(WireError) as caught:
        Sample.from_bytes(data)
    assert caught.value.reason == reason


def _messages() -> list[Message]:
    world = World.of(5)
    sum_ = world.draw_up()
    opening = Opening(home="h00", serial=1, manifest=MODEL, arrived=True)
    return [
        SAMPLE,
        world.directory,
        sum_.bundles["h00"],
        sum_.manifest,
        Upload(home="h00", manifest=MODEL, vector=b"v" * 10, signature=b"s" * 64),
        Vote(manifest=MODEL, present=MODEL, signature=b"s" * 64),
        Answer(manifest=MODEL, present=MODEL, shares=b"s" * 36, signature=b"s" * 64),
        Request(manifest=b"m", present=b"\x01", arrivals=b"a" * 96, votes=b"", sealed=b""),
        opening,
    ]


MESSAGES = _messages()


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: message.LABEL)
def test_every_message_comes_back_as_it_was(message: Message) -> None:
    assert type(message).from_bytes(message.to_bytes()) == message


@given(st.sampled_from(MESSAGES), st.data())
def test_a_changed_byte_gives_another_message_or_none(
    message: Message, data: st.DataObject
) -> None:
    raw = bytearray(message.to_bytes())
    place = data.draw(st.integers(0, len(raw) - 1))
    raw[place] ^= data.draw(st.integers(1, 255))
    try:
        read = type(message).from_bytes(bytes(raw))
    except WireError:
        return
    assert read != message
    assert read.to_bytes() == bytes(raw)


@given(st.binary(max_size=200))
def test_no_bytes_raise_anything_but_a_wire_error(data: bytes) -> None:
    for message in MESSAGES:
        with pytest.raises(WireError):
            type(message).from_bytes(data)


def test_a_manifest_whose_columns_differ_in_length_is_refused() -> None:
    manifest = next(message for message in MESSAGES if isinstance(message, Manifest))
    plain = msgpack.unpackb(manifest.to_bytes())
    heads = plain.index(manifest.heads)
    plain[heads] = plain[heads][:-1]
    with pytest.raises(WireError) as caught:
        Manifest.from_bytes(msgpack.packb(plain))
    assert caught.value.reason == "roster"


def test_a_manifest_with_a_form_that_cannot_be_is_refused() -> None:
    manifest = next(message for message in MESSAGES if isinstance(message, Manifest))
    plain = msgpack.unpackb(manifest.to_bytes())
    assert plain[11][-2] == 128  # the form, and in it the most homes
    plain[11][-2] = 1 << 40
    with pytest.raises(WireError) as caught:
        Manifest.from_bytes(msgpack.packb(plain))
    assert caught.value.reason == "form"
    assert manifest.form == form_of()


@given(st.lists(st.booleans(), min_size=1, max_size=40))
def test_a_set_of_homes_has_one_form_in_bits(present: list[bool]) -> None:
    bits = to_bits(present)  # type: ignore[arg-type]
    assert from_bits(bits, len(present)).tolist() == present  # type: ignore[union-attr]
    assert from_bits(bits + b"\0", len(present)) is None
    assert from_bits(bits[:-1], len(present)) is None
    if len(present) % 8:
        assert from_bits(bits[:-1] + bytes([bits[-1] | 0x80]), len(present)) is None


def test_a_state_comes_back_as_it_was_and_prints_no_secret() -> None:
    world = World.of(5, bundles=2)
    state = world.homes["h00"].state
    assert HomeState.from_bytes(state.to_bytes()) == state
    assert len(state.live) == 2
    secret = state.live[1].key
    for shown in (repr(state), repr(state.live), repr(world.homes["h00"]), repr(world.keys)):
        assert secret.hex() not in shown
        assert repr(secret)[2:-1] not in shown


@dataclass(frozen=True, kw_only=True)
class _Large(Message, label="large", most=1 << 20):
    before: Annotated[int, number()]
    data: Annotated[bytes, octets(most=1 << 20)]
    after: Annotated[tuple[bytes, ...], several(octets(most=1 << 20), most=3)]


@pytest.mark.parametrize("size", [0, 65_535, 65_536, 65_537, 200_000])
def test_a_long_field_is_written_as_msgpack_writes_it_and_read_in_that_form_alone(
    size: int,
) -> None:
    data = np.random.default_rng(size).bytes(size)
    message = _Large(before=300, data=data, after=(data, b"end"))
    written = message.to_bytes()
    assert written == msgpack.packb(["fedhome/large", 1, 300, data, [data, b"end"]])
    assert _Large.from_bytes(written) == message
    longer = written.replace(b"\xcd\x01\x2c", b"\xce\x00\x00\x01\x2c")  # 300 in four bytes
    for other in (longer, written + b"\0", written[:-1]):
        with pytest.raises(WireError):
            _Large.from_bytes(other)


@dataclass(frozen=True, kw_only=True)
class Ended(Message, label="ended", most=1 << 18):
    names: Annotated[tuple[str, ...], several(text(), most=3)]
    end: Annotated[bytes, octets(most=1 << 17)]


@pytest.mark.parametrize("size", [0, 1, 255, 256, 65_535, 65_536, 1 << 17])
def test_what_differs_in_its_end_alone_is_written_and_read_as_each_by_itself(size: int) -> None:
    ends = [bytes([number]) * size for number in range(3)]
    messages = [Ended(names=("one", "two"), end=end) for end in ends]
    written = list(messages[0].with_ends(ends))
    assert written == [message.to_bytes() for message in messages]
    for message, data in zip(messages, written, strict=True):
        assert messages[0].with_end_of(written[0], data) == message


def test_an_end_that_is_none_of_the_field_is_refused() -> None:
    with pytest.raises(WireError):
        list(Ended(names=(), end=b"").with_ends([bytes((1 << 17) + 1)]))


def test_what_differs_before_its_end_or_in_its_size_has_to_be_read() -> None:
    known = Ended(names=("one", "two"), end=b"abc")
    data = known.to_bytes()
    others = [
        Ended(names=("one", "twx"), end=b"abc").to_bytes(),
        Ended(names=("one", "two"), end=b"abcd").to_bytes(),
        Ended(names=("one", "twoo"), end=b"ab").to_bytes(),
        data[:-4] + b"\x04" + data[-3:],  # as long, and its length another
        data[:-1],
    ]
    assert [known.with_end_of(data, other) for other in others] == [None] * len(others)
    bare = Inner(flag=True)  # its last field is no bytes
    assert bare.with_end_of(bare.to_bytes(), bare.to_bytes()) is None


def test_a_small_message_is_written_and_read_in_little_memory() -> None:
    """By itself msgpack sets 256 KB aside for each piece that it writes."""
    vote = Vote(manifest=bytes(32), present=bytes(32), signature=bytes(64))
    assert Vote.from_bytes(vote.to_bytes()) == vote  # kinds of its fields are known from here on
    tracemalloc.start()
    try:
        Vote.from_bytes(vote.to_bytes())
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < 1 << 15
