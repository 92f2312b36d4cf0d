"""A home's connection to Flower's fleet API: the non-public names of Flower that an agent needs.

Flower's own client classes do the talking; what is ours is that nothing of it ends the process:
its retrying code raises SIGINT at an answer 401 and gives up at a torn TLS connection.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple, TypeVar

import httpx
from flwr.app import Message, Metadata
from flwr.app.message.message import remove_content_from_message
from flwr.common.serde import message_from_proto, message_to_proto, run_from_proto
from flwr.proto.fleet_pb2 import (
    ActivateNodeRequest,
    DeactivateNodeRequest,
    PullMessagesRequest,
    PullMessagesResponse,
    PushMessagesRequest,
)
from flwr.proto.heartbeat_pb2 import SendNodeHeartbeatRequest
from flwr.proto.message_pb2 import Message as MessageProto
from flwr.proto.message_pb2 import ObjectTree
from flwr.proto.node_pb2 import Node
from flwr.proto.run_pb2 import GetRunRequest, GetRunResponse
from flwr.supercore.date import now
from flwr.supercore.inflatable.inflatable_object import (
    get_all_nested_objects,
    get_object_tree,
    iterate_object_tree,
    no_object_id_recompute,
)
from flwr.supercore.inflatable.inflatable_protobuf_utils import (
    make_pull_object_fn_protobuf,
    make_push_object_fn_protobuf,
)
from flwr.supercore.inflatable.inflatable_utils import (
    ObjectPullError,
    ObjectPushError,
    pull_objects,
    push_object_contents_from_iterable,
)

from fedhome.denied import system_words
from fedhome.errors import LinkError
from fedhome.fleet.certificate_times import clock_or_certificate
from fedhome.flower.fleet_client import MOST_MESSAGE, FleetClient, bounded_pull
from fedhome.flower.messages import identify
from fedhome.flower.node_key import NodeKey, RequestSigner
from fedhome.flower.unfolded import unfold
from fedhome.printable import shown
from fedhome.wire.delivery_window import PackingWindow
from fedhome.wire.exchange import (
    ANSWER,
    HEARTBEAT_S,
    HOLD_S,
    LOOK,
    MOST_ANSWER,
    ExchangeAnswer,
    MessageDelivery,
    MessageRequest,
    PackedDelivery,
    ReplyReceipt,
    room_for,
)

PATIENCE: Mapping[str, Any] = {
    "initial_backoff": 0.02,
    "backoff_cap": 0.5,
    "max_tries_per_object": 60,
}
"""How long an announced object is waited for (10 s), and how often: Flower begins with 1 s."""

Result = TypeVar("Result")


class AppName(NamedTuple):
    """The app that a run wants to be executed: its name and version."""

    name: str
    version: str


@dataclass(frozen=True)
class Arrival:
    """A message that arrived, not yet assembled.

    Args:
        message: The message, without its content.
        tree: Names of the objects that its content consists of.
        objects: Those of them that came with it.
    """

    message: Message
    tree: ObjectTree
    objects: Mapping[str, bytes] = field(default_factory=dict)

    @property
    def stub(self) -> bytes:
        """What can be stored on disk, so that a crash is answered with an error at least."""
        return message_bytes(self.message)


class PendingReply(NamedTuple):
    """A reply on its way: its run, Flower's session, and the objects that are not there yet."""

    run: int
    session: str
    missing: dict[str, bytes]


def message_bytes(message: Message) -> bytes:
    """Return a message, with its content if it has it, in one piece."""
    data: bytes = message_to_proto(message).SerializeToString()
    return data


def message_of(data: bytes) -> Message:
    """Return the message that :func:`message_bytes` wrote."""
    return message_from_proto(MessageProto.FromString(data))


class FleetConnection:
    """One connection to a fleet's server.

    Every method raises `LinkError`, and never anything else because of the network.

    Args:
        address: ``host:port`` of the front.
        authorities: Certificates that the server's is checked against, PEM.
        key: The node's key.
        heartbeat_s: How often this node will ask, send or :meth:`beat`, 10 to 1800 s. A node that
            was not heard of for twice as long counts as away, and Flower drops even the answer that
            it has sent, if the run asks for it only then.
    """

    def __init__(
        self, address: str, authorities: bytes, key: NodeKey, *, heartbeat_s: float = HEARTBEAT_S
    ) -> None:
        self._key = key
        self._heartbeat_s = heartbeat_s
        self._node = Node(node_id=0)
        self._apps: dict[int, AppName] = {}
        self._last_run = 0
        self._looking, self._told_at = False, time.monotonic()
        self._window = PackingWindow()
        self._client = FleetClient.from_server_address(
            address,
            insecure=False,
            root_certificates=authorities,
            interceptors=[RequestSigner(key)],
        )

    def activate(self, node: int) -> None:
        """Tell the server that this node is here.

        Flower refuses a node that crashed until its heartbeats are overdue; a heartbeat of the
        same key is as good, so the refusal does not matter.

        Args:
            node: Its number.
        """
        self._node = Node(node_id=node)
        request = ActivateNodeRequest(
            public_key=self._key.public, heartbeat_interval=self._heartbeat_s
        )
        try:
            _request(lambda: self._client.ActivateNode(request))
        except LinkError as error:
            if error.reason != "answer":
                raise
            self.beat()
        self._told_at = time.monotonic()

    @property
    def quiet_s(self) -> float:
        """For how long this node has asked and sent nothing; 0 while its question waits."""
        return 0.0 if self._looking else time.monotonic() - self._told_at

    def beat(self) -> None:
        """Tell the server that this node is still here."""
        request = SendNodeHeartbeatRequest(node=self._node, heartbeat_interval=self._heartbeat_s)
        if not _request(lambda: self._client.SendNodeHeartbeat(request)).success:
            raise LinkError("the server does not know this node", reason="node")
        self._told_at = time.monotonic()

    def leave(self) -> None:
        """Tell the server that this node goes away."""
        request = DeactivateNodeRequest(node_id=self._node.node_id)
        _request(lambda: self._client.DeactivateNode(request))

    def look(self, wait_s: float = HOLD_S) -> Arrival | None:
        """Return the next message for this node; None if there was none.

        Args:
            wait_s: How long the server is to wait for one, at most `HOLD_S`.
        """
        pull = PullMessagesRequest(node=self._node).SerializeToString()
        look = MessageRequest(
            pull=pull,
            run=self._last_run,
            wait_ms=round(1000 * wait_s),
            window=self._window.digest,
        )
        self._looking = True
        try:
            data = _request(lambda: self._client.exchange(LOOK, look.to_bytes()))
        finally:
            self._looking, self._told_at = False, time.monotonic()
        with _readable():
            delivery = self._unpacked(PackedDelivery.from_bytes(data))
            pulled = PullMessagesResponse.FromString(delivery.pulled)
            if not pulled.messages_list:
                return None
            if delivery.run:
                run = run_from_proto(GetRunResponse.FromString(delivery.run).run)
                self._apps[run.run_id] = AppName(run.fab_id, run.fab_version)
                self._last_run = run.run_id
            objects = dict(zip(delivery.names, delivery.objects, strict=True))
            message = message_from_proto(pulled.messages_list[0])
            return Arrival(message, pulled.message_object_trees[0], objects)

    def _unpacked(self, packed: PackedDelivery) -> MessageDelivery:
        """Return what was sent, and remember it for what is sent next.

        Raises:
            WireError: It cannot be read.
        """
        window = self._window if packed.window else PackingWindow()
        data = window.unpack(packed.packed, most=MOST_ANSWER)
        delivery = MessageDelivery.from_bytes(data)
        if delivery.pulled:  # the server remembers no other
            self._window = window.after(data)
        return replace(
            delivery,
            names=delivery.names + packed.names,
            objects=delivery.objects + packed.objects,
        )

    def app_of(self, run: int) -> AppName:
        """Return the app of a run."""
        if run not in self._apps:
            request = GetRunRequest(node=self._node, run_id=run)
            run_info = run_from_proto(_request(lambda: self._client.GetRun(request)).run)
            self._apps[run] = AppName(run_info.fab_id, run_info.fab_version)
        return self._apps[run]

    def fetch(self, arrival: Arrival) -> Message:
        """Return a message with its content; it can be fetched again until it is answered."""
        run, name = arrival.message.metadata.run_id, arrival.message.metadata.message_id
        pull = make_pull_object_fn_protobuf(self._client.PullObject, self._node, run)
        contents = dict(arrival.objects)
        names = (tree.object_id for tree in iterate_object_tree(arrival.tree))
        missing = [name for name in names if name not in contents]
        if missing:
            bounded = bounded_pull(_found(pull), missing, have=contents)
            contents |= _request(lambda: pull_objects(missing, bounded, **PATIENCE))
        with _readable():
            message = unfold(name, contents, most=MOST_MESSAGE)
            if not message.has_content():
                raise TypeError  # nor is an error a question
        identify(message, name)
        return message

    def announce(self, reply: Message) -> PendingReply:
        """Announce a reply, and send what fits; repeat it after an error: it counts once.

        Flower's clients say besides how many seconds it took. Nobody needs that, and it tells how
        many examples a home has.
        """
        with no_object_id_recompute():
            identify(reply, reply.object_id)
            push = PushMessagesRequest(
                node=self._node,
                messages_list=[message_to_proto(remove_content_from_message(reply))],
                message_object_trees=[get_object_tree(reply)],
            )
            objects = {
                name: nested.deflate() for name, nested in get_all_nested_objects(reply).items()
            }
        first = room_for(objects)
        announcement = ExchangeAnswer(
            push=push.SerializeToString(),
            names=tuple(first),
            objects=tuple(first.values()),
        )
        data = _request(lambda: self._client.exchange(ANSWER, announcement.to_bytes()))
        self._told_at = time.monotonic()
        with _readable():
            receipt = ReplyReceipt.from_bytes(data)
        if receipt.refused:
            raise LinkError("the server no longer waits for this reply", reason="session")
        needed = set(receipt.missing)
        missing = {name: content for name, content in objects.items() if name in needed}
        return PendingReply(reply.metadata.run_id, receipt.session, missing)

    def push(self, sending: PendingReply) -> None:
        """Send the missing objects of an announced reply; repeat it after an error.

        A reply must not be announced anew for every error: once the ServerApp has seen it,
        Flower no longer knows a message that a second announcement could answer.
        """
        push = make_push_object_fn_protobuf(
            self._client.PushObject, self._node, sending.run, sending.session
        )

        def push_one(name: str, content: bytes) -> None:
            push(name, content)
            del sending.missing[name]

        missing = list(sending.missing.items())
        _request(lambda: push_object_contents_from_iterable(missing, push_one))

    def close(self) -> None:
        """Close the connection."""
        self._client.close()


def readdress(message: Message, node: int) -> Message:
    """Return a new message to another node that shares the content of this one."""
    copy, metadata = Message.__new__(Message), Metadata.__new__(Metadata)
    vars(metadata).update(
        vars(message.metadata), _dst_node_id=node, _message_id="", _created_at=now().timestamp()
    )
    vars(copy).update(vars(message), _metadata=metadata)
    return copy


def _found(pull: Callable[[str], bytes]) -> Callable[[str], bytes]:
    """Return what pulls an object, and says so if the server has forgotten it."""

    def pull_one(name: str) -> bytes:
        try:
            return pull(name)
        except ObjectPullError:
            raise LinkError("the server no longer waits for an answer", reason="over") from None

    return pull_one


@contextmanager
def _readable() -> Iterator[None]:
    """Turn whatever foreign bytes raise into a `LinkError`."""
    try:
        yield
    except LinkError:
        raise
    except Exception as error:  # noqa: BLE001 - foreign bytes may raise anything
        kind = type(error).__name__
        raise LinkError(f"a message cannot be read: {kind}", reason="answer") from None


def _request(call: Callable[[], Result]) -> Result:
    """Send a request, and turn whatever goes wrong into a `LinkError`."""
    try:
        return call()
    except httpx.HTTPStatusError as error:
        raise _refusal(error.response) from None
    except (httpx.HTTPError, OSError) as error:
        if off := clock_or_certificate(error):
            raise off from None
        told = f"the server cannot be reached: {system_words(error)}"
        raise LinkError(told, reason="unreachable") from None
    except ObjectPushError:
        raise LinkError(
            "the server has this object, or no longer waits for it", reason="session"
        ) from None
    except (ObjectPullError, ValueError) as error:
        why = shown(str(error)[:200])  # it may name what the server has sent
        raise LinkError(f"the transfer broke off: {why}", reason="unreachable") from None


def _refusal(response: httpx.Response) -> LinkError:
    code = response.status_code
    if code == httpx.codes.UNAUTHORIZED:
        return LinkError(
            "the server does not accept this node",
            reason="refused",
            hint="if it should, compare the clocks: 5 s ahead is too much",
        )
    if code == httpx.codes.FORBIDDEN:
        return LinkError("the message's run has ended", reason="over")
    if code == httpx.codes.REQUEST_ENTITY_TOO_LARGE:
        return LinkError(
            "the server takes no answer as large as this one",
            reason="too-large",
            hint="an answer is about as large as its question: what does this home send besides?",
        )
    if code == httpx.codes.INTERNAL_SERVER_ERROR:  # Flower's answer about a run it has forgotten
        return LinkError("the server failed", reason="failed")
    if code > httpx.codes.INTERNAL_SERVER_ERROR or code == httpx.codes.TOO_MANY_REQUESTS:
        return LinkError(f"the server answers {code}", reason="unreachable")
    return LinkError(f"the server answers {code}: {shown(response.text[:200])}", reason="answer")
