"""What stays of ``fedhome client predict --watch``: it waits for changes, and lets others look.

A look reads tables and a sealed model, and takes a hundred megabytes; so it is a process of its
own, which ends. What stays here has nothing but the last prediction, and grows by nothing.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from threading import Event
from time import monotonic
from typing import Any, Final

from fedhome.clients.changes import WatchedPaths
from fedhome.ops.processes import Child, on_stop
from fedhome.printable import visible

POLL_S: Final = 0.5
"""Seconds between two looks for changes, and for a signal, whose handler ends no wait."""

Look = Callable[[], Mapping[str, Any]]
"""Predicts once.

It returns ``line`` to print and ``lasting``, by which a prediction differs from the one before; or
``fault``, ``hint`` and ``passing``, whether other readings can mend it. Beside them ``files``,
``folders`` and their ``state`` before it has read them, as of :class:`WatchedPaths`. Of each
prediction it has ``predictions``, as plain values, and ``of_now``, from when until when it is one
of now: Unix times in s, or None where readings have no times.
"""


class PredictionWatch:
    """Looks when something has changed, and says what is new.

    Args:
        look: Predicts once.
        every_s: Seconds from one look to the next, at least; after a fault, at most.
        say: Prints a line.
        complain: Prints a line on standard error.
    """

    def __init__(
        self,
        look: Look,
        *,
        every_s: float,
        say: Callable[[str], None],
        complain: Callable[[str], None],
    ) -> None:
        self._look, self._every_s, self._say, self._complain = look, every_s, say, complain
        self._paths = WatchedPaths(files=(), folders=())
        self._state: list[Any] | None = None
        self._lasting: Any = None
        self._fault, self._first, self._due = "", True, 0.0

    def tend(self, now_s: float) -> int | None:
        """Look, if it is time to and there is a reason to; return the status to end with.

        Args:
            now_s: Seconds of a clock that is never set.
        """
        if now_s < self._due:
            return None
        if not self._fault and self._state is not None and self._paths.state() == self._state:
            return None
        found, first = self._look(), self._first
        self._first, self._due = False, now_s + self._every_s
        if "state" in found:
            self._paths = WatchedPaths(files=tuple(found["files"]), folders=tuple(found["folders"]))
            self._state = found["state"]
        if "fault" in found:
            return self._told(found, first=first)
        self._fault = ""
        if found["lasting"] != self._lasting:
            self._lasting = found["lasting"]
            self._say(found["line"])
        return None

    def _told(self, found: Mapping[str, Any], *, first: bool) -> int | None:
        fault, hint = found["fault"], found["hint"]
        if first and not found["passing"]:
            self._complain(f"error: {fault}")
            if hint:
                self._complain(f"hint:  {hint}")
            return 1
        if fault != self._fault:
            self._fault = fault
            again = f"it looks again every {self._every_s:g} s"
            self._complain("; ".join(filter(None, (fault, hint, again))))
        return None


def by_process(command: Sequence[str], running: list[Child]) -> Look:
    """Return a look by a process of its own.

    Args:
        command: The module, and its arguments; it prints what a look returns, as JSON.
        running: Has the process while there is one.
    """

    def look() -> Mapping[str, Any]:
        child = Child("the look", command, told=True)
        running.append(child)
        try:
            child.start()
            told = child.output()
        except OSError as error:
            return _lost(f"cannot be started: {error}")
        finally:
            running.remove(child)
        try:
            found: Mapping[str, Any] = json.loads(told)
        except ValueError:
            return _lost(f"ended with {child.ending}")
        return found

    return look


def _lost(how: str) -> Mapping[str, Any]:
    return {
        "fault": f"the process that predicts {how}",
        "hint": "is there enough memory? `fedhome client predict` without --watch says more",
        "passing": True,
    }


def main(arguments: Sequence[str]) -> int:
    """Watch until SIGINT or SIGTERM.

    Args:
        arguments: Seconds from look to look; the broker to which predictions go, as
            :func:`fedhome.clients.broker.published_predictions.published` reads it, or nothing;
            and the command of a look.
    """
    every_s, broker, *command = arguments
    stop, running = Event(), list[Child]()

    def asked() -> None:
        stop.set()
        for child in running:
            child.stop()

    on_stop(asked)
    look = by_process(command, running)
    if not broker:
        return _watched(look, float(every_s), stop)
    from fedhome.clients.broker.published_predictions import published  # noqa: PLC0415 - memory

    with published(broker, every_s=float(every_s), say=_complain) as told:
        return _watched(told.heard(look), float(every_s), stop, told.check)


def _watched(
    look: Look, every_s: float, stop: Event, check: Callable[[], None] = lambda: None
) -> int:
    watch = PredictionWatch(
        look,
        every_s=every_s,
        say=lambda line: print(line, flush=True),  # noqa: T201 - what was asked for
        complain=_complain,
    )
    try:
        while not stop.is_set():
            check()
            ended = watch.tend(monotonic())
            if ended is not None and not stop.is_set():
                return ended
            stop.wait(POLL_S)
    except BrokenPipeError:  # nobody reads any more
        with suppress(OSError):
            os.dup2(os.open(Path(os.devnull), os.O_WRONLY), sys.stdout.fileno())
        return 1
    return 0


def _complain(line: str) -> None:
    print(visible(line), file=sys.stderr, flush=True)  # noqa: T201 - it goes on, and people read it
