"""Messages of objects that a stranger has made."""

from __future__ import annotations

import contextlib
import json

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, RecordDict
from flwr.supercore.inflatable.inflatable_object import get_all_nested_objects, get_object_id
from flwr.supercore.inflatable.inflatable_utils import inflate_object_from_contents
from hypothesis import given
from hypothesis import strategies as st

from fedhome.errors import UpdateError
from fedhome.flower.messages import take_identity
from fedhome.flower.unfolded import parts_of, unfold

MOST = 1 << 22


def message(content: RecordDict) -> tuple[str, dict[str, bytes]]:
    """Return a message's name, and its objects."""
    take_identity(1)
    made = Message(content, dst_node_id=3, message_type="query")
    objects = {name: one.deflate() for name, one in get_all_nested_objects(made).items()}
    return made.object_id, objects


def rewritten(
    name: str, contents: dict[str, bytes], kind: str, body: bytes
) -> tuple[str, dict[str, bytes]]:
    """Give an object of a kind another body, and all that it is a part of another name."""
    old = next(one for one, data in contents.items() if data.startswith(kind.encode() + b" "))
    head, _, _ = contents[old].partition(b"\x00")
    words = head.split(b" ")
    data = b" ".join([*words[:-1], b"%d" % len(body)]) + b"\x00" + body
    renamed = {old: get_object_id(data)}
    found = {one: content for one, content in contents.items() if one != old}
    found[renamed[old]] = data
    while (before := next(iter(renamed))) != name:
        (above,) = (one for one, content in found.items() if before.encode() in content)
        content = found.pop(above).replace(before.encode(), renamed[before].encode())
        renamed = {above: get_object_id(content)}
        found[renamed[above]] = content
    return renamed[name], found


@pytest.fixture
def array() -> tuple[str, dict[str, bytes]]:
    numbers = np.random.default_rng(1).integers(0, 256, 1 << 20, np.uint8)
    return message(RecordDict({"arrays": ArrayRecord([numbers])}))


def test_an_honest_message_is_put_together(array: tuple[str, dict[str, bytes]]) -> None:
    name, contents = array
    made = unfold(name, contents, most=MOST)
    assert made.content == inflate_object_from_contents(name, dict(contents)).content
    (numbers,) = made.content["arrays"].values()
    assert isinstance(numbers, Array)
    assert numbers.numpy().nbytes == 1 << 20
    with pytest.raises(UpdateError, match=f"may have {1 << 20}"):
        unfold(name, contents, most=1 << 20)


def test_a_piece_that_is_named_again_and_again_counts_each_time(
    array: tuple[str, dict[str, bytes]],
) -> None:
    shape = {"dtype": "uint8", "shape": [1], "stype": "numpy.ndarray"}
    body = json.dumps({**shape, "arraychunk_ids": [0] * 64}).encode()
    name, contents = rewritten(*array, "Array", body)
    assert sum(map(len, contents.values())) < 2 << 20
    made = inflate_object_from_contents(name, dict(contents))  # what Flower makes of it
    assert len(made.content["arrays"]["0"].data) > 64 << 20
    with pytest.raises(UpdateError, match=f"may have {MOST}"):
        unfold(name, contents, most=MOST)


def test_an_array_of_many_names_counts_for_each(array: tuple[str, dict[str, bytes]]) -> None:
    (one,) = (name for name, data in array[1].items() if data.startswith(b"Array "))
    body = json.dumps({f"{number}": one for number in range(100)}).encode()
    name, contents = rewritten(*array, "ArrayRecord", body)
    with pytest.raises(UpdateError, match=f"may have {MOST}"):
        unfold(name, contents, most=MOST)


@pytest.mark.parametrize("kind", ["Message", "RecordDict", "ArrayRecord", "Array"])
@pytest.mark.parametrize(
    "body", [b"", b"nonsense", b"[]", b"{}", b'{"arraychunk_ids": [7]}', b'{"a": "b"}', b"null"]
)
def test_nonsense_is_told_so(array: tuple[str, dict[str, bytes]], kind: str, body: bytes) -> None:
    name, contents = rewritten(*array, kind, body)
    with pytest.raises(UpdateError):
        unfold(name, contents, most=MOST)


def test_another_object_is_no_message() -> None:
    name, contents = message(RecordDict({"a": ConfigRecord({"b": 1})}))
    record = next(one for one, data in contents.items() if data.startswith(b"RecordDict "))
    with pytest.raises(UpdateError, match="RecordDict"):
        unfold(record, contents, most=MOST)
    with pytest.raises(UpdateError, match="KeyError"):
        unfold(name, {name: contents[name]}, most=MOST)
    assert unfold(name, contents, most=MOST).content["a"]["b"] == 1


def test_what_lies_too_deep_is_no_message() -> None:
    contents, name = dict[str, bytes](), "0" * 64
    for _ in range(5000):
        data = b"RecordDict " + name.encode() + b" 2\x00{}"
        name = get_object_id(data)
        contents[name] = data
    with pytest.raises(UpdateError):
        unfold(name, contents, most=MOST)


@given(st.binary(max_size=200))
def test_foreign_bytes_have_parts_or_are_refused(data: bytes) -> None:
    parts: list[str] = []
    with contextlib.suppress(UpdateError):
        parts = parts_of(data)
    assert all(isinstance(part, str) for part in parts)
