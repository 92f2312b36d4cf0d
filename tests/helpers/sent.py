"""Everything that leaves this process by HTTP, taken apart into names of fields.

::

    with listening() as sent:
        ...                       # a home does what it does
    assert unlisted(sent, [*requests(), *answers(plan)]) == set()
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields
from fnmatch import fnmatchcase
from typing import Any, NamedTuple

import httpx
import pytest
from flwr.app import ArrayRecord, ConfigRecord, MetricRecord, RecordDict
from flwr.proto.fleet_pb2 import (
    ActivateNodeRequest,
    DeactivateNodeRequest,
    PullMessagesRequest,
    PushMessagesRequest,
)
from flwr.proto.heartbeat_pb2 import SendNodeHeartbeatRequest
from flwr.proto.message_pb2 import PullObjectRequest, PushObjectRequest
from flwr.proto.run_pb2 import GetRunRequest
from flwr.supercore.inflatable.inflatable_utils import inflate_object_from_contents
from google.protobuf.wrappers_pb2 import BytesValue

from fedhome.clients.outgoing.records import HEADERS, Record
from fedhome.errors import WireError
from fedhome.fleet.claims import Claim
from fedhome.fleet.front_requests import ENROL, JOIN, LEAVE, RELEASE
from fedhome.fleet.invites import EnrolmentBody, Ticket
from fedhome.fleet.leave_notice import Leave
from fedhome.fleet.release_request import Fetch
from fedhome.questions.question_table import SUMMED
from fedhome.secagg.bundle import Bundle
from fedhome.secagg.directory import Signed
from fedhome.secagg.home_entry import HomeEntry
from fedhome.secagg.share_checks import CheckAnswer, ShownKey
from fedhome.secagg.share_keys import ShareKey
from fedhome.secagg.sum_messages import Answer, Upload, Vote
from fedhome.wire.codec import Message
from fedhome.wire.exchange import ANSWER, LOOK, ExchangeAnswer, MessageRequest

_PROTOS: Mapping[str, Any] = {
    "/v1/fleet/activate-node": ActivateNodeRequest,
    "/v1/fleet/send-node-heartbeat": SendNodeHeartbeatRequest,
    "/v1/fleet/deactivate-node": DeactivateNodeRequest,
    "/v1/fleet/get-run": GetRunRequest,
    "/v1/fleet/pull-object": PullObjectRequest,
    "/v1/fleet/push-object": PushObjectRequest,
}
_SIGNED: Mapping[str, type[Message]] = {JOIN: Claim, RELEASE: Fetch, LEAVE: Leave}
_BLOBS: Mapping[str, tuple[type[Message], ...]] = {
    "upload": (Upload,),
    "bundle": (Bundle,),
    "answer": (Vote, Answer),
    "share-key": (ShareKey,),
    "checked": (CheckAnswer,),
    "shown-key": (ShownKey,),
}


class Sent(NamedTuple):
    """One request.

    Args:
        path: Its path.
        headers: Names in its head.
        body: Its body.
    """

    path: str
    headers: frozenset[str]
    body: bytes


@contextmanager
def listening() -> Iterator[list[Sent]]:
    """Yield the list that every request of this process goes into."""
    sent: list[Sent] = []
    real = httpx.HTTPTransport.handle_request

    def heard(self: httpx.HTTPTransport, request: httpx.Request) -> httpx.Response:
        names = frozenset(name.lower() for name in request.headers)
        sent.append(Sent(request.url.path, names, request.read()))
        return real(self, request)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(httpx.HTTPTransport, "handle_request", heard)
        yield sent


def unlisted(sent: Iterable[Sent], records: Iterable[Record]) -> set[tuple[str, str]]:
    """Return what was sent and is in no list: under which name, and which field."""
    listed = {record.name: record.fields for record in records}
    return {
        (name, field)
        for request in sent
        for name, field in _named(request)
        if not any(fnmatchcase(field, pattern) for pattern in listed.get(name, ()))
    }


def kinds_answered(sent: Iterable[Sent]) -> set[str]:
    """Return the types of the questions that were answered."""
    return {_kind(request) for request in sent if request.path == ANSWER}


def _named(request: Sent) -> Iterator[tuple[str, str]]:
    for header in request.headers:
        yield HEADERS, header
    for field in _fields(request):
        yield request.path, field
    if request.path == ANSWER:
        kind = _kind(request)
        for field in _content(request):
            summed = kind in SUMMED and field.partition(".")[0] in _BLOBS
            yield "a sum" if summed else kind, field


def _fields(request: Sent) -> Iterator[str]:
    path, body = request.path, request.body
    if path in _SIGNED:
        yield from _own(_SIGNED[path].from_bytes(Signed.from_bytes(body).body))
        yield "signature"
    elif path == ENROL:
        posted = EnrolmentBody.from_bytes(Signed.from_bytes(body).body)
        yield "signature"
        yield from (name for name in _own(posted) if name not in {"ticket", "entry"})
        for name, kind in (("ticket", Ticket), ("entry", HomeEntry)):
            yield f"{name}.signature"
            yield from _own(kind.from_bytes(getattr(posted, name).body), f"{name}.")
    elif path == LOOK:
        look = MessageRequest.from_bytes(_value(body))
        yield from (name for name in _own(look) if name != "pull")
        yield from _proto(PullMessagesRequest.FromString(look.pull), "pull.")
    elif path == ANSWER:
        answer = ExchangeAnswer.from_bytes(_value(body))
        yield from (name for name in _own(answer) if name != "push")
        yield from _proto(PushMessagesRequest.FromString(answer.push), "push.")
    elif path in _PROTOS:
        yield from _proto(_PROTOS[path].FromString(body))
    else:
        yield "a path that is not listed"


def _own(message: Message, prefix: str = "") -> Iterator[str]:
    yield from (f"{prefix}{field.name}" for field in fields(message))  # type: ignore[arg-type]


def _proto(message: Any, prefix: str = "") -> Iterator[str]:
    for field, value in message.ListFields():
        name = f"{prefix}{field.name}"
        if field.message_type is None:
            yield name
            continue
        for part in value if field.is_repeated else (value,):
            yield from _proto(part, f"{name}.")


def _value(body: bytes) -> bytes:
    value: bytes = BytesValue.FromString(body).value
    return value


def _kind(request: Sent) -> str:
    return str(_pushed(request).metadata.message_type)


def _pushed(request: Sent) -> Any:
    push = PushMessagesRequest.FromString(ExchangeAnswer.from_bytes(_value(request.body)).push)
    return push.messages_list[0]


def _content(request: Sent) -> Iterator[str]:
    """Yield what the content of an answer holds; nothing of one that is an error."""
    pushed, answer = _pushed(request), ExchangeAnswer.from_bytes(_value(request.body))
    if pushed.HasField("error"):
        return
    objects = dict(zip(answer.names, answer.objects, strict=True))
    message: Any = inflate_object_from_contents(pushed.metadata.message_id, objects)
    yield from content_fields(message.content)


def content_fields(content: RecordDict) -> Iterator[str]:
    """Yield the fields of an answer's content."""
    for name, record in content.items():
        if isinstance(record, ArrayRecord):
            yield name
        elif isinstance(record, MetricRecord):
            yield from record
        elif isinstance(record, ConfigRecord):
            for key, value in record.items():
                yield from _blob(key, value)


def _blob(key: str, value: object) -> Iterator[str]:
    for kind in _BLOBS.get(key, ()):
        try:
            message = kind.from_bytes(value) if isinstance(value, bytes) else None
        except WireError:
            continue
        if message is not None:
            yield from _own(message, f"{key}.")
            return
    yield key
