"""How the SuperLink handles the requests of the server's own processes: many of Flower's in one.

A run would take a request of Flower's web application for each object of each message, and those
cost ten times what they carry. Here it takes Flower's own handlers, one after the other.
"""

from __future__ import annotations

from fastapi import Request
from flwr.common.constant import SUPERLINK_NODE_ID
from flwr.proto.message_pb2 import (
    ConfirmMessageReceivedRequest,
    PullObjectRequest,
    PushObjectRequest,
)
from flwr.proto.node_pb2 import Node
from flwr.proto.runtime_pb2 import (
    PullAppMessagesRequest,
    PullAppMessagesResponse,
    PushAppMessagesRequest,
)
from flwr.proto.task_pb2 import Task
from flwr.supercore.constant import TASK_TOKEN_HEADER, NodeStatus
from flwr.supercore.dependencies.task import authenticate_task
from flwr.superlink.dependencies.linkstate import get_linkstate
from flwr.superlink.servicer.runtime import runtime_handlers

from fedhome.errors import UpdateError
from fedhome.flower.held_replies import MOST_HEAD
from fedhome.flower.indexed_state import IndexedLinkState
from fedhome.flower.unfolded import parts_of
from fedhome.wire.exchange import (
    ABSENT,
    AWAY,
    GONE,
    MOST_AT_ONCE,
    MOST_OBJECTS,
    MOST_PULLED,
    ONLINE,
    NodeQuery,
    NodeStates,
    Questions,
    QuestionsReceipt,
    ReplyDelivery,
)

_AT_ONCE = 30  # replies that are looked at together
_ROOM = MOST_PULLED - _AT_ONCE * (MOST_HEAD + 256)  # what they have at most, with their dates
_SERVER = Node(node_id=SUPERLINK_NODE_ID)
_STATES = {
    NodeStatus.REGISTERED: AWAY,
    NodeStatus.OFFLINE: AWAY,
    NodeStatus.ONLINE: ONLINE,
    NodeStatus.UNREGISTERED: GONE,
}


def task_of(request: Request) -> Task:
    """Let Flower check that a request comes from the process that has a run's task.

    Raises:
        FlowerError: It does not.
    """
    token = request.headers.get(TASK_TOKEN_HEADER)
    return authenticate_task(request, token, get_linkstate(request))


def accept_questions(
    state: IndexedLinkState, task: Task, push: PushAppMessagesRequest, questions: Questions
) -> tuple[QuestionsReceipt, set[str]]:
    """Accept a run's messages: their announcement, and those of their objects that are here.

    Returns:
        The receipt; and the names of the objects of the messages that have yet to arrive.
    """
    pushed = runtime_handlers.push_messages(push, state, task)
    missing, names = set(pushed.objects_to_push), []
    for name, content in zip(questions.names, questions.objects, strict=True):
        if name not in missing:
            continue
        one = PushObjectRequest(
            node=_SERVER,
            run_id=task.run_id,
            session_id=pushed.session_id,
            object_id=name,
            object_content=content,
        )
        if runtime_handlers.push_object(one, state, task).stored:
            names.append(name)
            missing.discard(name)
    return QuestionsReceipt(pushed=pushed.SerializeToString(), names=tuple(names)), missing


def gather_replies(
    state: IndexedLinkState, task: Task, pull: PullAppMessagesRequest
) -> tuple[ReplyDelivery, list[str]]:
    """Return the replies that are there, with all objects of those that are whole and fit.

    Returns:
        The delivery; and the questions that were not looked at, as there is no room for more.
    """
    pulled, left, size = PullAppMessagesResponse(), list(pull.message_ids), 0
    while left and size <= _ROOM:
        some = PullAppMessagesRequest(message_ids=left[:_AT_ONCE])
        del left[:_AT_ONCE]
        replies = runtime_handlers.pull_messages(some, state, task).messages_list
        pulled.messages_list.extend(replies)  # and no trees: their objects say what they consist of
        size += sum(one.ByteSize() for one in replies)
    contents: dict[str, bytes] = {}
    whole, room = [], MOST_AT_ONCE
    for message in pulled.messages_list:
        name = message.metadata.message_id
        found = _objects_of(name, state, task, room=room, most=MOST_OBJECTS - len(contents))
        if found is not None:
            room -= sum(map(len, found.values()))
            contents |= found
            whole.append(name)
            runtime_handlers.confirm_message_received(
                ConfirmMessageReceivedRequest(
                    node=_SERVER, run_id=task.run_id, message_object_id=name
                ),
                state,
                task,
            )
    delivery = ReplyDelivery(
        pulled=pulled.SerializeToString(),
        whole=tuple(whole),
        names=tuple(contents),
        objects=tuple(contents.values()),
    )
    return delivery, left


def _objects_of(
    name: str, state: IndexedLinkState, task: Task, *, room: int, most: int
) -> dict[str, bytes] | None:
    """Return a reply's objects by name; None where one is not there yet, or they do not fit.

    Args:
        name: The reply's.
        state: Flower's.
        task: The run's.
        room: Bytes for them.
        most: How many there may be.
    """
    found: dict[str, bytes] = {}
    missing = [name]
    while missing:
        one = missing.pop()
        if one in found:
            continue
        request = PullObjectRequest(node=_SERVER, run_id=task.run_id, object_id=one)
        response = runtime_handlers.pull_object(request, state, task)
        room -= len(response.object_content)
        if not response.object_available or room < 0 or len(found) == most:
            return None
        found[one] = response.object_content
        try:
            missing += parts_of(response.object_content)
        except UpdateError:  # the run is told so by what reads it
            return None
    return found


def node_states(state: IndexedLinkState, query: NodeQuery) -> NodeStates:
    """Return number and state of the nodes with some keys."""
    nodes, states = [], []
    with state.lock:
        for key in query.keys:
            number = state.node_public_key_to_node_id.get(key, 0)
            info = list(state.get_node_info(node_ids=[number])) if number else []
            nodes.append(number)
            states.append(_STATES[info[0].status] if info else ABSENT)
    return NodeStates(nodes=tuple(nodes), states=tuple(states))
