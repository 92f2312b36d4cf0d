"""A run of an app over Flower's grid, with this process as its ServerApp.

A home announces a reply and sends its content afterwards. Flower's own grid waits for each
content in turn and for nothing else meanwhile; here, content on its way is polled, so that no
home holds up another, however slow its line is.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

import httpx
from flwr.app import Error, Message
from flwr.app.message import make_message
from flwr.app.message.message import remove_content_from_message
from flwr.common.constant import SubStatus
from flwr.common.serde import message_from_proto, message_to_proto, run_from_proto
from flwr.proto.message_pb2 import ConfirmMessageReceivedRequest
from flwr.proto.message_pb2 import Message as MessageProto
from flwr.proto.runtime_pb2 import (
    AcquireTaskRequest,
    PullAppMessagesRequest,
    PullAppMessagesResponse,
    PullTaskInputRequest,
    PushAppMessagesRequest,
    PushAppMessagesResponse,
    PushTaskOutputRequest,
    SendTaskHeartbeatRequest,
)
from flwr.serverapp import Grid
from flwr.supercore.constant import TaskType
from flwr.supercore.heartbeat import HeartbeatSender
from flwr.supercore.inflatable.inflatable_object import (
    InflatableObject,
    get_all_nested_objects,
    get_object_tree,
    no_object_id_recompute,
)
from flwr.supercore.inflatable.inflatable_protobuf_utils import (
    make_pull_object_fn_protobuf,
    make_push_object_fn_protobuf,
)
from flwr.supercore.inflatable.inflatable_utils import (
    ObjectPullError,
    ObjectUnavailableError,
    push_objects,
)
from flwr.supercore.interceptors import (
    RuntimeVersionHttpInterceptor,
    SuperExecAuthHttpInterceptor,
)
from flwr.supercore.retry.retry_invoker import RetryInvoker, exponential
from flwr.supercore.runtime import RuntimeHttpClient
from flwr.supercore.task_identity import TaskIdentity
from flwr.superlink.grid import HttpGrid
from google.protobuf.wrappers_pb2 import BytesValue, UInt64Value

from fedhome.errors import RunError, UpdateError
from fedhome.flower.held_replies import most_of
from fedhome.flower.messages import APP_RAISED, LOST, identify
from fedhome.flower.superlink import HOST, LINK, Control, through_socket
from fedhome.flower.unfolded import parts_of, unfold
from fedhome.wire.exchange import (
    ASK,
    CHANGES,
    HOLD_S,
    REPLIES,
    Changes,
    Questions,
    QuestionsReceipt,
    ReplyDelivery,
    ReplyRequest,
    room_for,
)

_START_S = 60.0  # how long a SuperLink is waited for
_POLL_S = 0.2
_FORGET_S = 300.0  # Flower itself gives a transfer up after 180 s of silence
_FIRST_LOOK_S, _LOOK_AGAIN_S, _LONGEST_LOOK_S = 0.02, 0.05, 0.5
_ALL_S = 2.0  # between two looks at all messages that have no answer
_AT_ONCE = 200  # messages that are sent in one request
_UNREADABLE = "malformed"
_ACQUIRE = "/flwr.proto.Runtime/AcquireTask"


class _IncomingReply:
    """A reply that was announced, and what has arrived of its content.

    What it consists of, its objects say: what was announced may be another's word for it.

    Args:
        proto: The reply, without its content.
        most: Bytes that it may have.
    """

    def __init__(self, proto: MessageProto, most: int) -> None:
        self.name: str = proto.metadata.message_id
        self.reply_to: str = proto.metadata.reply_to_message_id
        self._proto, self._most = proto, most
        self._missing = [self.name]
        self._contents: dict[str, bytes] = {}
        self._due, self._wait_s = 0.0, _FIRST_LOOK_S
        self.since = time.monotonic()

    def look(self, pull: Callable[[str], bytes]) -> Message | None:
        """Return the reply, if all of it is there; an error reply, if it will never be."""
        if time.monotonic() < self._due:
            return None
        try:
            while self._missing:
                content = pull(self._missing[-1])
                self._contents[self._missing.pop()] = content
                new = set(parts_of(content)).difference(self._contents, self._missing)
                self._missing += sorted(new)
        except ObjectUnavailableError:
            self._due = time.monotonic() + self._wait_s
            self._wait_s = min(2 * self._wait_s, _LONGEST_LOOK_S)
            return None
        except ObjectPullError as error:
            return self._failed(LOST, f"the reply did not come whole: {error}")
        except UpdateError:
            return self._failed(APP_RAISED, _UNREADABLE)
        return self.assemble(self._contents)

    def assemble(self, contents: Mapping[str, bytes]) -> Message:
        """Return the reply, all of whose objects are there; an error reply, if it is no such."""
        try:
            message = unfold(self.name, contents, most=self._most)
        except UpdateError:
            return self._failed(APP_RAISED, _UNREADABLE)
        identify(message, self.name)
        return message

    def _failed(self, code: int, why: str) -> Message:
        metadata = message_from_proto(self._proto).metadata
        return make_message(metadata=metadata, error=Error(code, why))


class RunGrid(HttpGrid):
    """Flower's grid over nodes, which waits for no reply that is still on its way.

    The first request that does not reach the SuperLink raises `httpx.HTTPError`: Flower's own
    retries wait for a SuperLink that has forgotten the run, and raise SIGINT.

    Args:
        folder: The folder of the SuperLink's socket.
        token: Proves that the run is this process's.
    """

    def __init__(self, folder: Path, token: str) -> None:
        super().__init__(HOST, insecure=True, token=token)
        self._folder = folder
        self._retry_invoker = _impatient()
        self._incoming: dict[str, _IncomingReply] = {}
        self._change_count = 0
        self._asked_all = -math.inf
        self._most = most_of(0)

    def _connect(self) -> None:
        """Connect, to the socket."""
        super()._connect()
        assert self._client is not None
        through_socket(self._client, self._folder)

    @property
    def client(self) -> RuntimeHttpClient:
        """The connection to the SuperLink."""
        return self._runtime_client

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        """Send messages to nodes; return Flower's name of each, empty where it refuses one."""
        sent, names, told = list(messages), list[str](), dict[str, int]()
        with no_object_id_recompute():
            for message in sent:
                identify(message, message.object_id)
            for first in range(0, len(sent), _AT_ONCE):
                names += self._ask(sent[first : first + _AT_ONCE], told)
        return names

    def _ask(self, messages: list[Message], told: dict[str, int]) -> list[str]:
        """Send some messages with what fits; the rest of their objects goes one by one.

        Args:
            messages: The messages, with their names.
            told: Bytes of the objects that the SuperLink has got since, by name; those that follow
                are added.
        """
        parts = [get_all_nested_objects(message) for message in messages]
        objects: dict[str, InflatableObject] = {}
        for some in parts:
            objects |= some
        push = PushAppMessagesRequest(
            messages_list=[message_to_proto(remove_content_from_message(one)) for one in messages],
            message_object_trees=[get_object_tree(one) for one in messages],
        )
        contents = {name: one.deflate() for name, one in objects.items() if name not in told}
        first = room_for(contents)
        questions = Questions(
            push=push.SerializeToString(), names=tuple(first), objects=tuple(first.values())
        )
        receipt = QuestionsReceipt.from_bytes(self._exchange(ASK, questions.to_bytes()))
        pushed = PushAppMessagesResponse.FromString(receipt.pushed)
        told |= {name: len(content) for name, content in contents.items()}
        largest = max(sum(told[name] for name in some) for some in parts)
        self._most = max(self._most, most_of(largest))
        rest = set(pushed.objects_to_push) - set(receipt.names)
        if rest:
            push_object = make_push_object_fn_protobuf(
                self.client.PushObject, self.node, self.run.run_id, pushed.session_id
            )
            push_objects(objects, push_object, object_ids_to_push=rest)
        return list(pushed.message_ids)

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        """Return the replies that are there, whole."""
        ids = set(message_ids)
        replies: list[Message] = []
        unannounced = ids - {one.reply_to for one in self._incoming.values()}
        if unannounced:
            replies += self._announced(unannounced)
        self._forget(ids)
        run = self.run.run_id
        pull = make_pull_object_fn_protobuf(self.client.PullObject, self.node, run)
        for incoming in [one for one in self._incoming.values() if one.reply_to in ids]:
            message = incoming.look(pull)
            if message is None:
                continue
            del self._incoming[incoming.name]
            replies.append(message)
            if not (message.has_error() and message.error.code == LOST):
                self.client.ConfirmMessageReceived(
                    ConfirmMessageReceivedRequest(
                        node=self.node, run_id=run, message_object_id=incoming.name
                    )
                )
        return replies

    def _announced(self, ids: set[str]) -> Iterator[Message]:
        """Yield the replies to messages that came whole; those on their way are noted."""
        now_s = time.monotonic()
        everything = now_s - self._asked_all >= _ALL_S
        if everything:  # homes that are away since, and messages that are too old
            self._asked_all = now_s
        pull = PullAppMessagesRequest(message_ids=sorted(ids)).SerializeToString()
        request = ReplyRequest(pull=pull, all=int(everything))
        delivery = ReplyDelivery.from_bytes(self._exchange(REPLIES, request.to_bytes()))
        pulled = PullAppMessagesResponse.FromString(delivery.pulled)
        contents = dict(zip(delivery.names, delivery.objects, strict=True))
        for proto in pulled.messages_list:
            incoming = _IncomingReply(proto, self._most)
            if incoming.name in delivery.whole:
                yield incoming.assemble(contents)
            else:
                self._incoming[incoming.name] = incoming

    def _exchange(self, path: str, data: bytes) -> bytes:
        """Post one of our own messages, and return the response."""
        response = self.client._unary_unary(  # noqa: SLF001 - Flower has no words for it
            path=path, rpc_method=path, request=BytesValue(value=data), response_type=BytesValue
        )
        value: bytes = response.value
        return value

    def wait(self, seconds: float) -> None:
        """Return when homes have sent anything since the last call, or after some time.

        Args:
            seconds: How long, at most.
        """
        if self._incoming:  # what is on its way is polled meanwhile
            seconds = min(seconds, _LOOK_AGAIN_S)
        changes = Changes(seen=self._change_count, wait_ms=round(1000 * min(seconds, HOLD_S)))
        response = self.client._unary_unary(  # noqa: SLF001 - Flower has no words for it
            path=CHANGES,
            rpc_method=CHANGES,
            request=BytesValue(value=changes.to_bytes()),
            response_type=UInt64Value,
        )
        self._change_count = response.value

    def _forget(self, ids: set[str]) -> None:
        """Forget replies that nobody waits for any longer."""
        oldest = time.monotonic() - _FORGET_S
        for one in list(self._incoming.values()):
            if one.reply_to not in ids and one.since < oldest:
                del self._incoming[one.name]


@contextmanager
def run_grid(folder: Path, secret: bytes, app: bytes) -> Iterator[Grid]:
    """Open a run of an app, with this process as its ServerApp, and give its grid.

    Runs that were open before are ended. The run is finished when the context ends. A SuperLink
    that ends takes the run with it, since its state is in memory; so the first request that does
    not reach it raises, and whoever called begins anew.

    Args:
        folder: The folder of the SuperLink's socket.
        secret: The SuperLink's.
        app: The app's bundle.

    Raises:
        RunError: The SuperLink gives the run to somebody else.
        httpx.HTTPError: The SuperLink is away, here or in any method of the grid.
    """
    control = Control(folder)
    try:
        _retry_until_up(control.stop_runs)
        run = control.start_run(app)
    finally:
        control.close()
    grid = RunGrid(folder, _token(folder, secret, run))
    client = grid.client
    heart = HeartbeatSender(partial(_beat, client))
    response = client.PullTaskInput(PullTaskInputRequest())
    TaskIdentity.task_id, TaskIdentity.run_id = response.task_id, response.run.run_id
    TaskIdentity.node_id = response.context.node_id
    grid.set_run(run_from_proto(response.run))
    status, details = SubStatus.FAILED, "the server's process ended"
    heart.start()
    try:
        yield grid
        status, details = SubStatus.COMPLETED, ""
    finally:
        if heart.is_running:
            heart.stop()
        with suppress(httpx.HTTPError):
            client.PushTaskOutput(PushTaskOutputRequest(sub_status=status, details=details))
        grid.close()


def _token(folder: Path, secret: bytes, run: int) -> str:
    """Take the task of a run, as Flower's SuperExec would, and return what proves it."""
    client = RuntimeHttpClient(
        LINK,
        interceptors=[
            RuntimeVersionHttpInterceptor(component_name="fedhome"),
            SuperExecAuthHttpInterceptor(master_secret=secret, protected_methods={_ACQUIRE}),
        ],
        retry_invoker=_impatient(),
    )
    through_socket(client, folder)
    try:
        response = client.AcquireTask(
            AcquireTaskRequest(supported_task_types=[TaskType.SERVER_APP])
        )
    finally:
        client.close()
    if not response.token or response.task.run_id != run:
        raise RunError(
            "the SuperLink has given this run to another process",
            hint="one server process at a time: end the other one",
        )
    token: str = response.token
    return token


def _retry_until_up(call: Callable[[], None]) -> None:
    """Call a SuperLink that may be starting, until it responds."""
    deadline = time.monotonic() + _START_S
    while True:
        try:
            return call()
        except httpx.TransportError:
            if time.monotonic() > deadline:
                raise
        time.sleep(_POLL_S)


def _impatient() -> RetryInvoker:
    """Return what retries after a timeout, and after nothing else."""
    return RetryInvoker(
        wait_gen_factory=lambda: exponential(max_delay=2),
        recoverable_exceptions=httpx.TimeoutException,
        max_tries=5,
        max_time=None,
    )


def _beat(client: RuntimeHttpClient) -> bool:
    """Tell the SuperLink that this process is alive; an error shows where the grid is used."""
    with suppress(httpx.HTTPError):
        client.SendTaskHeartbeat(SendTaskHeartbeatRequest())
    return True
