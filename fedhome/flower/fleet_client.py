"""Flower's client of the fleet API, for homes: it asks one server, and does not read without end.

Flower's follows redirections: a server could so let a home ask whatever is near it, in its own
network, or send its answers elsewhere and in the clear. It also reads an answer without end, and
unpacks it: some kilobytes that came would fill the device's memory.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

import httpx
from flwr.supernode.fleet_http_client import FleetHttpClient
from google.protobuf.wrappers_pb2 import BytesValue

from fedhome.errors import LinkError
from fedhome.wire.exchange import HOLD_S, MOST_ANSWER, MOST_MISSING

MOST_RESPONSE: Final = MOST_ANSWER + (1 << 20)
"""Bytes of one response: of a message with its objects, or of one object (Flower's are smaller)."""
MOST_MESSAGE: Final = 1 << 27
"""Bytes of a message with all of its objects: twice those of the largest model."""
_EXCHANGE_S = HOLD_S + 15.0


class FleetClient(FleetHttpClient):
    """Flower's client, with one more request: our exchange; arguments as of Flower's.

    Whatever it asks raises `LinkError`, with the reason ``answer``, where the response is packed or
    longer than :data:`MOST_RESPONSE`; a redirection is an answer like any other that is no success.
    """

    def __init__(self, base_url: str, **how: Any) -> None:
        super().__init__(base_url, **how)
        self._client.follow_redirects = False
        self._client.headers["accept-encoding"] = "identity"  # a proxy would pack it else
        self._client.event_hooks = {"response": [_bound]}

    def exchange(self, path: str, data: bytes) -> bytes:
        """Post one message of :mod:`fedhome.wire.exchange`, and return the response."""
        response = self._unary_unary(
            path=path,
            rpc_method=path,
            request=BytesValue(value=data),
            response_type=BytesValue,
            timeout=_EXCHANGE_S,
        )
        value: bytes = response.value
        return value


class _BoundedStream(httpx.SyncByteStream):
    """A response's body, which is not read beyond what one may have.

    Args:
        body: The body.
    """

    def __init__(self, body: httpx.SyncByteStream) -> None:
        self._body = body

    def __iter__(self) -> Iterator[bytes]:
        size = 0
        for piece in self._body:
            size += len(piece)
            if size > MOST_RESPONSE:
                raise LinkError(
                    f"the server's answer is longer than {MOST_RESPONSE:,} bytes", reason="answer"
                )
            yield piece

    def close(self) -> None:
        """Read no more of it."""
        self._body.close()


def _bound(response: httpx.Response) -> None:
    """Bound a response whose body was not read yet.

    Raises:
        LinkError: It is packed.
    """
    if response.headers.get("content-encoding", "identity") != "identity":
        raise LinkError(
            "the server's answer is packed, which none of ours is",
            reason="answer",
            hint="a proxy before the server must pass answers on as they are",
        )
    assert isinstance(response.stream, httpx.SyncByteStream), "no client of ours is asynchronous"
    response.stream = _BoundedStream(response.stream)


def bounded_pull(
    pull: Callable[[str], bytes], names: Sequence[str], *, have: Mapping[str, bytes]
) -> Callable[[str], bytes]:
    """Return what pulls an object of a message, while all of them have not too many bytes.

    Args:
        pull: Pulls one by its name; several threads do.
        names: The objects to pull.
        have: Those that are there.

    Raises:
        LinkError: ``answer``: they are too many; so does what is returned, at one too much.
    """
    if len(names) > MOST_MISSING:
        raise _too_large()
    lock, taken = threading.Lock(), [sum(map(len, have.values()))]

    def pull_one(name: str) -> bytes:
        content = pull(name)
        with lock:
            taken[0] += len(content)
            if taken[0] > MOST_MESSAGE:
                raise _too_large()
        return content

    return pull_one


def _too_large() -> LinkError:
    return LinkError(
        f"a message is larger than the {MOST_MESSAGE:,} bytes that one may have", reason="answer"
    )
