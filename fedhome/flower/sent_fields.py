"""What a home's requests by Flower's fleet API hold besides the answers in them, field by field.

Held to what a real home sends by tests/clients/test_outgoing.py: a field that is not named here
makes it fail.
"""

from __future__ import annotations

from collections.abc import Mapping

from flwr.common.constant import TIMESTAMP_HEADER
from flwr.supercore.constant import FLEET_HTTP_PUBLIC_KEY_HEADER, FLEET_HTTP_SIGNATURE_HEADER

HEADERS: Mapping[str, str] = {
    "host": "the server's address",
    "user-agent": "name and version of the HTTP library",
    "accept": "what every client of that library says",
    "accept-encoding": "the same",
    "connection": "the same",
    "content-type": "the kind of body",
    "content-length": "the size of the body, in bytes",
    FLEET_HTTP_PUBLIC_KEY_HEADER.lower(): "the public key of the home's connection (its node)",
    TIMESTAMP_HEADER.lower(): "the time of the request, by the home's clock",
    FLEET_HTTP_SIGNATURE_HEADER.lower(): "the signature of that time by that key",
}
"""Heads of requests."""

_NODE = {"node.node_id": "number of the node, as the server gave it"}
_RUN = {"run_id": "number of the run, as the server gave it"}
_OBJECT = {"object_id": "name of a piece of a message: the hash of its content"}

REQUESTS: Mapping[str, tuple[str, Mapping[str, str]]] = {
    "/v1/fleet/activate-node": (
        "when it connects",
        {
            "public_key": "the public key of the node",
            "heartbeat_interval": "how often it will give a sign of life, s (always the same)",
        },
    ),
    "/v1/fleet/send-node-heartbeat": (
        "when it has asked and sent nothing for 10 s, as while it works on a long answer",
        {**_NODE, "heartbeat_interval": "as above"},
    ),
    "/v1/fleet/deactivate-node": (
        "when it is paused, stopped or leaves",
        {"node_id": "number of the node"},
    ),
    "/v1/fleet/get-run": ("once for each run, where no question brought it", {**_NODE, **_RUN}),
    "/v1/fleet/pull-object": (
        "for each piece of a question that is too large to come at once",
        {**_NODE, **_RUN, **_OBJECT},
    ),
    "/v1/fleet/push-object": (
        "for each piece of an answer that is too large to go at once",
        {
            **_NODE,
            **_RUN,
            **_OBJECT,
            "object_content": "the piece of the answer",
            "session_id": "number of the upload, as the server gave it",
        },
    ),
}
"""Requests by their paths: when each is sent, and what each field is."""

LOOK: Mapping[str, str] = {f"pull.{name}": text for name, text in _NODE.items()}
"""Flower's part of a request for the next question."""

_MESSAGE = "push.messages_list.metadata"
ANSWER: Mapping[str, str] = {
    **{f"push.{name}": text for name, text in _NODE.items()},
    f"{_MESSAGE}.run_id": "number of the run, from the question",
    f"{_MESSAGE}.message_id": "name of the answer: the hash of its content",
    f"{_MESSAGE}.src_node_id": "number of the node",
    f"{_MESSAGE}.dst_node_id": "number of the server",
    f"{_MESSAGE}.dst_task_id": "number of the run's task, from the question",
    f"{_MESSAGE}.reply_to_message_id": "name of the question",
    f"{_MESSAGE}.message_type": "type of the question",
    f"{_MESSAGE}.ttl": "how long the answer holds: what is left of the question's time, s",
    f"{_MESSAGE}.created_at": "when the answer was made, by the home's clock",
    "push.messages_list.error.code": "where it refuses or fails: that it does",
    "push.messages_list.error.reason": "and why: one word (below)",
    "push.message_object_trees.*": "names of the answer's pieces: hashes of their content",
}
"""Flower's part of an answer: all but its content."""
