"""A message of Flower's, put together from objects that came from elsewhere.

An object names its parts, and may name one part as often as it likes: of a few megabytes that came,
Flower makes an array of terabytes. So how large a message becomes is looked at before it is made.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

from flwr.app import Array, ArrayRecord, Message, RecordDict
from flwr.supercore.inflatable.inflatable_object import (
    get_object_body,
    get_object_children_ids_from_object_content,
    get_object_head_values_from_object_content,
)
from flwr.supercore.inflatable.inflatable_utils import inflate_object_from_contents

from fedhome.errors import UpdateError

_DEEPEST = 8  # a message, its records, an array of one, its pieces: Flower nests no deeper
_PIECES = "arraychunk_ids"  # of an array: the place of each piece among its parts
_RECORDS: Mapping[str, type[RecordDict | ArrayRecord]] = {
    one.__qualname__: one for one in (RecordDict, ArrayRecord)
}


def parts_of(content: bytes) -> list[str]:
    """Return the names of an object's parts, as its content says.

    Raises:
        UpdateError: It says nothing of the kind.
    """
    try:
        return list(get_object_children_ids_from_object_content(content))
    except ValueError:
        raise UpdateError("an object came that does not say what it consists of") from None


def unfold(name: str, contents: Mapping[str, bytes], *, most: int) -> Message:
    """Put a message together.

    Args:
        name: Its name.
        contents: The content of each of its objects, by name.
        most: Bytes that it may have once each part is where it is named.

    Raises:
        UpdateError: It is larger, or cannot be read.
    """
    try:
        size = _size(name, contents, {}, 0)
        message = inflate_object_from_contents(name, dict(contents)) if size <= most else None
    except Exception as error:  # noqa: BLE001 - foreign bytes may raise anything
        kind = type(error).__name__
        raise UpdateError(f"a message cannot be read: {kind}") from None
    if size > most:
        raise UpdateError(f"a message would have {size} bytes, and may have {most}")
    if not isinstance(message, Message):
        raise UpdateError(f"a message came that is of type {type(message).__name__}")
    return message


def _size(name: str, contents: Mapping[str, bytes], known: dict[str, int], depth: int) -> int:
    if name in known:
        return known[name]
    if depth > _DEEPEST:
        raise ValueError(name)
    content = contents[name]
    kind, parts, _ = get_object_head_values_from_object_content(content)
    if kind == Array.__qualname__:
        parts = [parts[index] for index in json.loads(get_object_body(content, Array))[_PIECES]]
    elif kind in _RECORDS:
        parts = list(json.loads(get_object_body(content, _RECORDS[kind])).values())
    size = len(content) + sum(_size(part, contents, known, depth + 1) for part in parts)
    known[name] = size
    return size
