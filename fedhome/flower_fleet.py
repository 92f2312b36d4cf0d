"""A home's connection to Flower's fleet API: the non-public names of Flower that an agent needs.

Flower's own client classes do the talking; what is ours is that nothing of it ends the process:
its retrying code raises SIGINT at an answer 401 and gives up at a torn TLS connection.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, Self, TypeVar

import httpx
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from flwr.app import Message
from flwr.app.message.message import remove_content_from_message
from flwr.app.metadata import Metadata
from flwr.common.constant import TIMESTAMP_HEADER
from flwr.common.serde import message_from_proto, message_to_proto, run_from_proto
from flwr.proto.fleet_pb2 import (
    ActivateNodeRequest,
    DeactivateNodeRequest,
    PullMessagesRequest,
    PushMessagesRequest,
)
from flwr.proto.heartbeat_pb2 import SendNodeHeartbeatRequest
from flwr.proto.message_pb2 import Message as MessageProto
from flwr.proto.message_pb2 import ObjectTree
from flwr.proto.node_pb2 import Node
from flwr.proto.run_pb2 import GetRunRequest
from flwr.supercore.constant import FLEET_HTTP_PUBLIC_KEY_HEADER, FLEET_HTTP_SIGNATURE_HEADER
from flwr.supercore.date import now
from flwr.supercore.inflatable.inflatable_object import (
    get_all_nested_objects,
    get_object_tree,
    iterate_object_tree,
    no_object_id_recompute,
)
from flwr.supercore.inflatable.inflatable_protobuf_utils import (
    make_confirm_message_received_fn_protobuf,
    make_pull_object_fn_protobuf,
    make_push_object_fn_protobuf,
)
from flwr.supercore.inflatable.inflatable_utils import (
    ObjectPullError,
    ObjectPushError,
    inflate_object_from_contents,
    pull_objects,
    push_object_contents_from_iterable,
)
from flwr.supercore.primitives.asymmetric import sign_message
from flwr.supercore.protobuf.client import ProtobufCall, ProtobufRequestContext
from flwr.supernode.fleet_http_client import FleetHttpClient

from fedhome.errors import LinkError

HEARTBEAT_S = 10.0
"""The shortest that Flower allows: a home that died is known to be away after twice as long."""

PATIENCE: Mapping[str, Any] = {
    "initial_backoff": 0.02,
    "backoff_cap": 0.5,
    "max_tries_per_object": 60,
}
"""How long an announced object is waited for (10 s), and how often: Flower begins with 1 s."""

Result = TypeVar("Result")


class NodeKey:
    """The key by which Flower knows a home's node; the home's identity is another one.

    Args:
        private: On a NIST curve, as Flower demands.
    """

    def __init__(self, private: ec.EllipticCurvePrivateKey) -> None:
        self.private = private

    @classmethod
    def create(cls) -> Self:
        """Make a key."""
        return cls(ec.generate_private_key(ec.SECP384R1()))

    @classmethod
    def from_bytes(cls, pem: bytes) -> Self:
        """Return the key that :meth:`to_bytes` wrote.

        Raises:
            LinkError: It is none.
        """
        try:
            private = serialization.load_pem_private_key(pem, password=None)
        except ValueError:
            private = None
        if not isinstance(private, ec.EllipticCurvePrivateKey):
            raise LinkError("the node's key cannot be read", reason="refused", hint="join anew")
        return cls(private)

    def to_bytes(self) -> bytes:
        """Return the private key as PEM."""
        return self.private.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )

    @property
    def public(self) -> bytes:
        """The public key as PEM."""
        return self.private.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )


class _Signing:
    """Signs each request, as Flower's own interceptor does, whose imports take 10 MB.

    Those belong to an exchange of releases that ends the process where they differ; ours are
    compared when a home joins.
    """

    def __init__(self, key: NodeKey) -> None:
        self._key = key

    def intercept(self, context: ProtobufRequestContext, call_next: ProtobufCall) -> httpx.Response:
        """Sign the time, and say whose signature it is."""
        stamp = now().isoformat()
        signature = sign_message(self._key.private, stamp.encode("ascii"))
        context.request.headers.update(
            {
                FLEET_HTTP_PUBLIC_KEY_HEADER: b64encode(self._key.public).decode("ascii"),
                TIMESTAMP_HEADER: stamp,
                FLEET_HTTP_SIGNATURE_HEADER: b64encode(signature).decode("ascii"),
            }
        )
        return call_next(context)


class AppName(NamedTuple):
    """The app that a run wants to be executed: its name and version."""

    name: str
    version: str


@dataclass(frozen=True)
class Arrival:
    """A message that came, without its content.

    Args:
        message: The message.
        tree: Names of the objects that its content consists of.
    """

    message: Message
    tree: ObjectTree

    @property
    def kept(self) -> bytes:
        """What can be kept on disk, to answer at least with an error after a crash."""
        return message_bytes(self.message)


class Sending(NamedTuple):
    """A reply on its way: its run, Flower's session, and the objects that are not there yet."""

    run: int
    session: str
    left: dict[str, bytes]


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
    """

    def __init__(self, address: str, authorities: bytes, key: NodeKey) -> None:
        self._key = key
        self._node = Node(node_id=0)
        self._apps: dict[int, AppName] = {}
        self._client = FleetHttpClient.from_server_address(
            address,
            insecure=False,
            root_certificates=authorities,
            interceptors=[_Signing(key)],
        )

    def activate(self, node: int) -> None:
        """Tell the server that this node is here.

        Flower refuses a node that crashed until its heartbeats are overdue; a heartbeat of the
        same key is as good, so the refusal does not matter.

        Args:
            node: Its number.
        """
        self._node = Node(node_id=node)
        request = ActivateNodeRequest(public_key=self._key.public, heartbeat_interval=HEARTBEAT_S)
        try:
            _asked(lambda: self._client.ActivateNode(request))
        except LinkError as error:
            if error.reason != "answer":
                raise
            self.beat()

    def beat(self) -> None:
        """Tell the server that this node is still here."""
        request = SendNodeHeartbeatRequest(node=self._node, heartbeat_interval=HEARTBEAT_S)
        if not _asked(lambda: self._client.SendNodeHeartbeat(request)).success:
            raise LinkError("the server does not know this node", reason="node")

    def leave(self) -> None:
        """Tell the server that this node goes away."""
        request = DeactivateNodeRequest(node_id=self._node.node_id)
        _asked(lambda: self._client.DeactivateNode(request))

    def pull(self) -> Arrival | None:
        """Return the next message for this node; None if there is none."""
        answer = _asked(lambda: self._client.PullMessages(PullMessagesRequest(node=self._node)))
        if not answer.messages_list:
            return None
        return Arrival(message_from_proto(answer.messages_list[0]), answer.message_object_trees[0])

    def app_of(self, run: int) -> AppName:
        """Return the app of a run."""
        if run not in self._apps:
            request = GetRunRequest(node=self._node, run_id=run)
            told = run_from_proto(_asked(lambda: self._client.GetRun(request)).run)
            self._apps[run] = AppName(told.fab_id, told.fab_version)
        return self._apps[run]

    def fetch(self, arrival: Arrival) -> Message:
        """Return a message with its content; it can be fetched again until it is confirmed."""
        run, name = arrival.message.metadata.run_id, arrival.message.metadata.message_id
        pull = make_pull_object_fn_protobuf(self._client.PullObject, self._node, run)
        wanted = [tree.object_id for tree in iterate_object_tree(arrival.tree)]
        contents = _asked(lambda: pull_objects(wanted, pull, **PATIENCE))
        try:
            message = inflate_object_from_contents(name, contents)
        except Exception as error:  # noqa: BLE001 - foreign bytes may raise anything
            raise LinkError(
                f"a message cannot be read: {type(error).__name__}", reason="answer"
            ) from None
        if not isinstance(message, Message):
            raise LinkError("what came is no message", reason="answer")
        message.metadata.__dict__["_message_id"] = name
        return message

    def confirm(self, message: Message) -> None:
        """Tell the server that a message came whole: it then forgets the content."""
        confirm = make_confirm_message_received_fn_protobuf(
            self._client.ConfirmMessageReceived, self._node, message.metadata.run_id
        )
        _asked(lambda: confirm(message.metadata.message_id))

    def announce(self, answer: Message, seconds: float) -> Sending:
        """Announce a reply; again after an error: it counts once.

        Args:
            answer: The reply.
            seconds: How long it took to find.
        """
        with no_object_id_recompute():
            answer.metadata.__dict__["_message_id"] = answer.object_id
            request = PushMessagesRequest(
                node=self._node,
                messages_list=[message_to_proto(remove_content_from_message(answer))],
                message_object_trees=[get_object_tree(answer)],
                clientapp_runtime_list=[seconds],
            )
            told = _asked(lambda: self._client.PushMessages(request))
            wanted = set(told.objects_to_push)
            objects = {
                name: thing.deflate()
                for name, thing in get_all_nested_objects(answer).items()
                if name in wanted
            }
        return Sending(answer.metadata.run_id, told.session_id, objects)

    def push(self, sending: Sending) -> None:
        """Send what is left of an announced reply; again after an error.

        A reply must not be announced anew for every error: once the ServerApp has seen it,
        Flower knows no message any more that a second announcement could answer.
        """
        push = make_push_object_fn_protobuf(
            self._client.PushObject, self._node, sending.run, sending.session
        )

        def push_one(name: str, content: bytes) -> None:
            push(name, content)
            del sending.left[name]

        left = list(sending.left.items())
        _asked(lambda: push_object_contents_from_iterable(left, push_one))

    def close(self) -> None:
        """Close the connection."""
        self._client.close()


def readdressed(message: Message, node: int) -> Message:
    """Return a new message to another node that shares the content of this one."""
    copy, metadata = Message.__new__(Message), Metadata.__new__(Metadata)
    vars(metadata).update(
        vars(message.metadata), _dst_node_id=node, _message_id="", _created_at=now().timestamp()
    )
    vars(copy).update(vars(message), _metadata=metadata)
    return copy


def _asked(ask: Callable[[], Result]) -> Result:
    """Ask the server, and turn whatever goes wrong into a `LinkError`."""
    try:
        return ask()
    except httpx.HTTPStatusError as error:
        raise _refusal(error.response) from None
    except (httpx.HTTPError, OSError) as error:
        told = str(error) or type(error).__name__
        raise LinkError(f"the server cannot be reached: {told}", reason="unreachable") from None
    except ObjectPushError:
        raise LinkError("the server has this object, or waits no more", reason="session") from None
    except (ObjectPullError, ValueError) as error:
        raise LinkError(f"the transfer broke off: {error}", reason="unreachable") from None


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
    if code == httpx.codes.INTERNAL_SERVER_ERROR:  # Flower's answer about a run it has forgotten
        return LinkError("the server failed", reason="failed")
    if code > httpx.codes.INTERNAL_SERVER_ERROR or code == httpx.codes.TOO_MANY_REQUESTS:
        return LinkError(f"the server answers {code}", reason="unreachable")
    return LinkError(f"the server answers {code}: {response.text[:200]}", reason="answer")
