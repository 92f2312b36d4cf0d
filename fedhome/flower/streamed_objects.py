"""Objects for homes, sent in pieces: who reads slowly, or nothing, lets nobody keep a copy."""

from __future__ import annotations

from collections.abc import AsyncIterator

from fastapi.responses import Response, StreamingResponse
from flwr.proto.message_pb2 import PullObjectResponse
from flwr.supercore.protobuf.constants import PROTOBUF_MEDIA_TYPE

PIECE = 1 << 16
"""Bytes that are on their way at once."""
_CONTENT = PullObjectResponse.DESCRIPTOR.fields_by_name["object_content"].number
_BYTES = 2  # how protobuf marks a field of them
_MORE = 1 << 7  # the bit that says that a number goes on


def stream_object(content: bytes | None) -> Response:
    """Return Flower's response with an object, of which no copy is made.

    Args:
        content: The object; empty: it has yet to come; None: there is none.
    """
    head = PullObjectResponse(object_found=content is not None, object_available=bool(content))
    data: bytes = head.SerializeToString()
    if not content:
        return Response(data, media_type=PROTOBUF_MEDIA_TYPE)
    data += _number(_CONTENT << 3 | _BYTES) + _number(len(content))
    length = {"content-length": str(len(data) + len(content))}
    return StreamingResponse(_pieces(data, content), headers=length, media_type=PROTOBUF_MEDIA_TYPE)


async def _pieces(head: bytes, content: bytes) -> AsyncIterator[bytes]:
    yield head
    for begin in range(0, len(content), PIECE):
        yield content[begin : begin + PIECE]


def _number(value: int) -> bytes:
    """Return a whole number as protobuf writes it: seven bits a byte, the last ones first."""
    rest, digit = divmod(value, _MORE)
    return bytes([_MORE | digit]) + _number(rest) if rest else bytes([digit])
