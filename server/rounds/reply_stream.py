"""Replies to a question, over any grid, as they come."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator
from typing import Protocol, cast

from flwr.app import Message
from flwr.serverapp import Grid

_POLL_S, _WAIT_S = 0.1, 1.0  # between polls of a grid; and where it can wait for a reply


class Closing(Protocol):
    """A grid that knows when a question is to be closed."""

    def closes(self, names: Collection[str], enough: int) -> bool:
        """Whether nobody is to be waited for any more; see :class:`.punctuality.Punctuality`."""

    def close(self, names: Collection[str], *, over: bool) -> None:
        """Take note that nobody is: the question is over, or enough have answered it."""


def replies_of(
    grid: Grid, messages: list[Message], timeout_s: float | None, *, enough: int | None = None
) -> Iterator[tuple[int, Message]]:
    """Send messages over any grid; yield replies as they come, so that none has to be kept.

    A grid in this process yields them itself; Flower's is polled until the
    deadline. Replies are matched to the message that they answer: Flower's error reply for a dead
    node comes from another one.

    Args:
        grid: How messages travel.
        messages: What is asked.
        timeout_s: How long replies are waited for, at most.
        enough: How many useful replies there must be for the grid to close the question earlier;
            None: all are waited for.

    Yields:
        The index in ``messages`` of what a reply answers, and the reply; each index once.
    """
    if not messages:
        return
    stream = getattr(grid, "stream", None)
    if stream is not None:
        names, replies = stream(messages)
    else:
        names = list(grid.push_messages(messages))
        replies = _pull(grid, names, timeout_s, enough)
    indices = {name: index for index, name in enumerate(names)}
    for reply in replies:
        index = indices.pop(reply.metadata.reply_to_message_id, None)
        if index is not None:
            yield index, reply


def _pull(
    grid: Grid, names: list[str], timeout_s: float | None, enough: int | None
) -> Iterator[Message]:
    closing = cast("Closing", grid) if hasattr(grid, "closes") else None
    waiting = set(names)
    deadline = float("inf") if timeout_s is None else time.monotonic() + timeout_s
    over = False
    try:
        while waiting:
            replies = list(grid.pull_messages(sorted(waiting)))
            for reply in replies:
                waiting.discard(reply.metadata.reply_to_message_id)
                yield reply
            early = enough is not None and closing is not None and closing.closes(names, enough)
            if waiting and (early or time.monotonic() > deadline):
                break
            if waiting and not replies:
                wait_with(grid, min(_WAIT_S, max(deadline - time.monotonic(), _POLL_S)))
        over = True
    finally:
        if closing is not None:
            closing.close(names, over=over)


def wait_with(grid: Grid, seconds: float) -> None:
    """Wait until a grid may have another reply, or some time: little if the grid cannot wait."""
    wait = getattr(grid, "wait", None)
    if wait is None:
        time.sleep(min(seconds, _POLL_S))
    else:
        wait(seconds)
