"""Processes of our own: started, watched, started again, and never left behind.

A child dies with its parent, whatever happens to that: it asks the kernel for a SIGKILL at its
parent's death (Linux), and elsewhere ends when the pipe from its parent does. Nothing here
needs a graceful end: every process of ours may be killed at any moment.

``python -P -m fedhome.ops.processes PARENT MODULE ARGUMENT...`` is how a child begins (without a
parent, 0, it ends with status 78 where nobody need start it again before people acted):
``MODULE`` is one of ours, such as ``fedhome.server.daemon.front``, with a function
``main(arguments)``; whoever starts it names it, and this room knows none of them.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import BinaryIO, Self

from fedhome.errors import FedHomeError, RunError
from fedhome.guarded_code import guarded
from fedhome.ops.core_dumps import leave_no_core
from fedhome.printable import visible
from fedhome.reasons import PEOPLES, REFUSED

if sys.platform != "win32":
    import resource

_POLL_S = 0.05
_GRACE_S = 8.0
_FIRST_PAUSE_S, _LONGEST_PAUSE_S, _HEALTHY_S = 0.2, 30.0, 10.0
_PR_SET_PDEATHSIG = 1
_MOST_FILES = 1 << 16
NOBODY = "0"
"""In place of the parent's number: people or a service manager started it."""


@dataclass
class Child:
    """A process.

    Args:
        name: What it is called in messages.
        command: The module, and its arguments.
        log: File to which its output is appended; None: where ours goes.
        ends: Statuses with which it has ended for good; with any other, also when it was
            killed, it is started again.
        passed: Descriptors that it gets under the same numbers.
        environment: What its environment says where ours does not.
        told: Whether its standard output comes to us, for :meth:`output`, and not to the log.
    """

    name: str
    command: Sequence[str]
    log: Path | None = None
    ends: tuple[int, ...] = ()
    passed: tuple[int, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    told: bool = False
    process: subprocess.Popen[bytes] | None = None
    starts: int = 0
    _since: float = 0.0
    _pause: float = _FIRST_PAUSE_S
    _due: float = field(default=0.0)

    def start(self) -> None:
        """Start it."""
        # -P: nothing of the current folder, such as a user's queue.py, shadows what we import.
        start = [sys.executable, "-P", "-m", "fedhome.ops.processes", str(os.getpid())]
        output = _opened(self.log)
        try:
            self.process = subprocess.Popen(  # noqa: S603 - our own modules
                [*start, *self.command],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE if self.told else output,
                stderr=output,
                pass_fds=self.passed,
                env={**self.environment, **os.environ},
                start_new_session=True,  # Ctrl-C is the parent's: it decides who ends when
            )
        finally:
            if output is not None:
                output.close()
        self.starts += 1
        self._since = time.monotonic()

    def output(self) -> bytes:
        """Return all that it prints until it ends by itself."""
        assert self.process is not None
        assert self.process.stdout is not None, "told"
        with self.process.stdout:
            told = self.process.stdout.read()
        self.process.wait()
        self._close_pipe()
        return told

    @property
    def ending(self) -> str:
        """How it ended, in words: its status, or the signal that killed it."""
        assert self.process is not None
        code = self.process.returncode
        return f"signal {-code}" if code < 0 else f"status {code}"

    def look(self) -> int | None:
        """Return how it ended, if it did for good; else start it again, after a pause."""
        assert self.process is not None
        ended = self.process.poll()
        if ended is None or ended in self.ends:
            return ended
        now = time.monotonic()
        if not self._due:
            lived = now - self._since
            self._pause = (
                _FIRST_PAUSE_S if lived > _HEALTHY_S else min(2 * self._pause, _LONGEST_PAUSE_S)
            )
            self._due = now + self._pause
        elif now >= self._due:
            self._due = 0.0
            self._close_pipe()
            self.start()
        return None

    def stop(self) -> None:
        """Ask it to end."""
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()

    def wait(self, until: float) -> None:
        """Wait for its end, and kill it if that takes too long."""
        if self.process is None:
            return
        try:
            self.process.wait(max(0.0, until - time.monotonic()))
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self._close_pipe()

    def _close_pipe(self) -> None:
        if self.process is not None and self.process.stdin is not None:
            with suppress(OSError):
                self.process.stdin.close()


def _opened(log: Path | None) -> BinaryIO | None:
    """Open a log to append to; a disk that takes none is no reason not to start."""
    try:
        return None if log is None else log.open("ab")
    except OSError:
        return None


class Processes:
    """Children that are watched together; leaving the context ends all of them, in reverse.

    They must be started in the thread that lives longest: the kernel takes the end of the
    thread for the end of the parent.
    """

    def __init__(self) -> None:
        self.children: dict[str, Child] = {}

    def start(
        self, name: str, *command: str, log: Path | None = None, ends: tuple[int, ...] = ()
    ) -> Child:
        """Start a child; arguments as of :class:`Child`."""
        child = self.children[name] = Child(name, command, log=log, ends=ends)
        child.start()
        return child

    def until(self, done: Callable[[], bool], *, what: str, timeout_s: float | None = None) -> None:
        """Watch over the children until something is so.

        Raises:
            RunError: It is not so in time.
        """
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        while not done():
            for child in self.children.values():
                child.look()
            if deadline is not None and time.monotonic() > deadline:
                raise RunError(f"{what}: not within {timeout_s:.0f} s", hint=self._logs())
            time.sleep(_POLL_S)

    def wait(self, name: str) -> int:
        """Watch over the children until one of them has ended for good; return how."""
        ended: list[int] = []

        def done() -> bool:
            code = self.children[name].look()
            if code is not None:
                ended.append(code)
            return code is not None

        self.until(done, what=name)
        return ended[0]

    def close(self) -> None:
        """End all children."""
        until = time.monotonic() + _GRACE_S
        for child in reversed(self.children.values()):
            child.stop()
        for child in reversed(self.children.values()):
            child.wait(until)
        self.children.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _logs(self) -> str:
        logs = sorted({str(c.log.parent) for c in self.children.values() if c.log is not None})
        return f"the logs in {', '.join(logs)} say more" if logs else ""


def allow_many_files() -> int:
    """Let this process have as many files open, and so connections, as the system allows it.

    Returns:
        How many that are; where nobody says, as many as most systems allow.
    """
    if sys.platform == "win32":
        return _MOST_FILES
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(ValueError, OSError):  # some systems promise more than they give
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    given, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return _MOST_FILES if given == resource.RLIM_INFINITY else given


def on_stop(stop: Callable[[], None]) -> None:
    """Call something when this process is asked to end (SIGTERM, SIGHUP) or interrupted (SIGINT).

    Args:
        stop: Is called.
    """

    def asked(number: int, frame: object) -> None:
        del number, frame
        stop()

    signal.signal(signal.SIGINT, asked)
    _on_end(asked)


def end_on_sigterm() -> None:
    """Let SIGTERM unwind this process as Ctrl-C does, and SIGHUP: its terminal is gone."""

    def asked(number: int, frame: object) -> None:
        del number, frame
        raise KeyboardInterrupt

    _on_end(asked)


def _on_end(asked: Callable[[int, object], None]) -> None:
    signal.signal(signal.SIGTERM, asked)
    if sys.platform != "win32" and signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        signal.signal(signal.SIGHUP, asked)  # who started it with nohup wants it to go on


def main(arguments: Sequence[str]) -> int:
    """Begin as a child; see the module's own words."""
    parent, module, *rest = arguments
    _die_with(int(parent))
    leave_no_core()
    try:
        with guarded():
            return int(import_module(module).main(rest) or 0)
    except FedHomeError as error:
        print(f"error: {visible(str(error))}", file=sys.stderr, flush=True)  # noqa: T201 - a process's own log
        # A child's statuses are its parent's to name. What people or a service manager started must
        # not be started again and again for what only people can mend.
        peoples = parent == NOBODY and getattr(error, "reason", "") in PEOPLES
        return REFUSED if peoples else 1
    except KeyboardInterrupt:
        return 130


def _die_with(parent: int) -> None:
    if not parent:
        return
    ask_kernel = getattr(ctypes.CDLL(None), "prctl", None)
    if ask_kernel is not None:
        ask_kernel(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it died before we asked
            os._exit(1)
        return
    threading.Thread(target=_watch_pipe, daemon=True).start()


def _watch_pipe() -> None:
    with suppress(OSError):
        while os.read(0, 64):
            pass
    os._exit(1)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
