"""Processes of ours, forked from one that has loaded everything: a start costs no seconds.

A home's worker loads torch, two to three seconds of a core, and a test of chaos starts a hundred
processes. The fixture ``forked`` of conftest.py puts :class:`Forked` in the place of
:class:`subprocess.Popen`: what would start ``fedhome ...`` or a child of
:mod:`fedhome.ops.processes` asks the :class:`Forker` for a fork instead. It is a process as any
other: its number, its arguments in ``/proc``, its descriptors and its memory are its own, it is
killed and stopped as any other, dies with whoever started it, and starts others the same way. What
is loaded differs, and all hash texts alike, so that sets have one order everywhere:
``tests/processes/test_deployment.py`` starts all its processes for real, and what a process may
load is held by tests of its own.

``python -P -m helpers.forked NUMBER ROOM`` is who forks: at a socket, the descriptor of a number.
"""

from __future__ import annotations

import atexit
import ctypes
import fcntl
import gc
import json
import os
import select
import selectors
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from importlib import import_module
from inspect import signature
from pathlib import Path
from typing import Any, NamedTuple, NoReturn, Self

from fedhome.ops import processes

_LOADED = (
    *("fedhome.clients.agent.resident", "fedhome.clients.agent.worker"),
    *("fedhome.clients.client_app", "fedhome.clients.home", "fedhome.clients.examples_apart"),
    *("fedhome.server.daemon.supervisor", "fedhome.server.daemon.deploy"),
    *("fedhome.server.daemon.front", "fedhome.server.daemon.superlink_process"),
    *("flwr.superlink.main", "fedhome.flower.exchange_server", "fedhome.flower.indexed_state"),
    *("fedhome.cli.server", "fedhome.cli.up", "fedhome.simulations.local_fleet"),
)
_FEDHOME = str(Path(sys.executable).with_name("fedhome"))
_CHILD = [sys.executable, "-P", "-m", "fedhome.ops.processes"]
_ALONE = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")  # read at a first import
_ROOM = 4000  # bytes of arguments that /proc can show
_MOST, _MOST_DESCRIPTORS, _HIGH = 1 << 17, 64, 512
_F_SETSIG = 10
_MINDING = {"jemalloc_bg_thd"}  # threads that lock nothing across a fork: of Arrow's allocator
_TESTS = str(Path(__file__).parents[1])


class _Asked(NamedTuple):
    """A process that is to be: as it goes over the socket, beside its descriptors."""

    words: list[str]
    environment: dict[str, str]
    folder: str
    session: bool
    passed: list[int]


def _pythons(environment: dict[str, str]) -> dict[str, str]:
    """Return what Python itself reads as it starts: there a fork would differ."""
    return {name: value for name, value in environment.items() if name.startswith("PYTHON")}


class Forked(subprocess.Popen):  # type: ignore[type-arg]
    """As :class:`subprocess.Popen`, for all callers; what is not ours is started as ever."""

    address = ""
    """Of the forker's socket."""
    pythons: dict[str, str]
    """What Python read as the forker started."""
    _ended: socket.socket | None = None

    def _execute_child(self, *given: Any, **named: Any) -> None:
        start = super()._execute_child  # type: ignore[misc]
        told = signature(start).bind(*given, **named).arguments
        words = told["args"]
        words = [] if isinstance(words, str | bytes | Path) else [os.fsdecode(w) for w in words]
        environment = dict(os.environ if told["env"] is None else told["env"])
        ours = words[: len(_CHILD)] == _CHILD or words[:1] == [_FEDHOME]
        if not ours or told["preexec_fn"] or _pythons(environment) != self.pythons:
            start(*given, **named)
            return
        passed = sorted(map(int, told["pass_fds"]))
        asked = _Asked(
            words,
            environment,
            folder=os.fsdecode(told["cwd"] or Path.cwd()),
            session=bool(told["start_new_session"]),
            passed=passed,
        )
        streams = [told[name] for name in ("p2cread", "c2pwrite", "errwrite")]
        streams = [own if number == -1 else number for own, number in enumerate(streams)]
        self._ended, theirs = socket.socketpair()
        self._ended.settimeout(0)
        with theirs, socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as forker:
            forker.connect(self.address)
            numbers = [theirs.fileno(), *streams, *passed]
            socket.send_fds(forker, [json.dumps(asked).encode()], numbers)
            answer = forker.recv(64)
        if not answer:
            raise RuntimeError("who forks the processes of these tests could not, or is gone")
        self.pid = int(answer)
        self._child_created = True
        pipes = ("p2cread", "p2cwrite", "c2pread", "c2pwrite", "errread", "errwrite")
        self._close_pipe_fds(*(told[name] for name in pipes))  # type: ignore[attr-defined]

    def _status(self) -> int | None:
        """Return the status that the system gave the forker; None: the process runs."""
        assert self._ended is not None
        try:
            told = self._ended.recv(64)
        except BlockingIOError:
            return None
        self._ended.close()
        return int(told) if told else int(signal.SIGKILL)  # the forker is gone, at a session's end

    def _try_wait(self, wait_flags: int) -> tuple[int, int]:
        if self._ended is None:
            return super()._try_wait(wait_flags)  # type: ignore[misc,no-any-return]
        if not wait_flags & os.WNOHANG:
            select.select([self._ended], [], [])
        status = self._status()
        return (0, 0) if status is None else (self.pid, status)

    def _internal_poll(self, *given: Any, **named: Any) -> int | None:
        if self._ended is None:
            return super()._internal_poll(*given, **named)  # type: ignore[misc,no-any-return]
        if self.returncode is None and self._waitpid_lock.acquire(blocking=False):  # type: ignore[attr-defined]
            try:
                if self.returncode is None and (status := self._status()) is not None:
                    self._handle_exitstatus(status)  # type: ignore[attr-defined]
            finally:
                self._waitpid_lock.release()  # type: ignore[attr-defined]
        return self.returncode


class Forker:
    """Who forks, for a session of tests; it loads while the first one that asks waits."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory()
        address = f"{self._folder.name}/socket"
        path = os.pathsep.join(filter(None, [_TESTS, os.environ.get("PYTHONPATH")]))
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as door:
            door.bind(address)
            door.listen(128)
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "helpers.forked", str(door.fileno()), _ROOM * "x"],
                stdin=subprocess.PIPE,
                pass_fds=[door.fileno()],
                env={**os.environ, **_ALONE, "PYTHONPATH": path},
                start_new_session=True,
            )
        pythons = _pythons(dict(os.environ))
        ours = {"address": address, "pythons": pythons}
        self.popen: type[Forked] = type("Forked", (Forked,), ours)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate()  # its input ends
        self._folder.cleanup()


class _Start(NamedTuple):
    """What a fork is to be, in the fork."""

    asked: _Asked
    streams: list[int]
    passed: list[int]
    address: str


def _serve(door: socket.socket) -> _Start | None:
    """Fork whatever is asked for until our input ends; return in each fork, with what it is."""
    address = door.getsockname()
    selector = selectors.DefaultSelector()
    selector.register(door, selectors.EVENT_READ)
    selector.register(0, selectors.EVENT_READ)
    while True:
        for key, _ in selector.select():
            if key.fileobj == 0:
                return None
            if key.fileobj is door:  # who asks may be stopped, or killed, before it says for what
                selector.register(door.accept()[0], selectors.EVENT_READ)
                continue
            selector.unregister(key.fileobj)
            if key.data is not None:  # a process has ended
                number, ended = key.data
                os.close(key.fd)
                with socket.socket(fileno=ended) as whom:
                    _told(whom, os.waitpid(number, 0)[1])
                continue
            with key.fileobj as asking:  # type: ignore[union-attr]
                data, numbers, *_ = socket.recv_fds(asking, _MOST, _MOST_DESCRIPTORS)
                if not data:
                    continue
                number = os.fork()
                if not number:
                    asked = _Asked(*json.loads(data))
                    return _Start(asked, numbers[1:4], numbers[4:], address)
                _told(asking, number)
            for received in numbers[1:]:
                os.close(received)
            selector.register(os.pidfd_open(number), selectors.EVENT_READ, (number, numbers[0]))


def _told(whom: socket.socket, number: int) -> None:
    try:
        whom.send(str(number).encode())
    except OSError:
        return  # who asked is gone


def _take_descriptors(start: _Start) -> None:
    """Have the descriptors that a start would give, and no others."""
    high = [fcntl.fcntl(n, fcntl.F_DUPFD_CLOEXEC, _HIGH) for n in start.streams + start.passed]
    os.closerange(3, _HIGH)
    for number, own in zip(high, [0, 1, 2, *start.asked.passed], strict=True):
        os.dup2(number, own)
        os.close(number)


def _show(words: list[str]) -> None:
    """Have these arguments in ``/proc``, where those of the forker were."""
    fields = Path("/proc/self/stat").read_text().rsplit(")", 1)[1].split()
    begin, end = int(fields[45]), int(fields[46])
    shown = b"\0".join(map(os.fsencode, words))
    assert len(shown) < end - begin, "room for arguments"
    ctypes.memset(begin, 0, end - begin)
    ctypes.memmove(begin, shown, len(shown))


def _die_with_input(parent: int) -> None:
    """Be killed when the pipe of our input is closed: at the end of whoever started us."""
    del parent
    fcntl.fcntl(0, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(0, _F_SETSIG, signal.SIGKILL)
    fcntl.fcntl(0, fcntl.F_SETFL, fcntl.fcntl(0, fcntl.F_GETFL) | os.O_ASYNC)
    if select.select([0], [], [], 0)[0]:  # it was closed before we asked
        os._exit(1)


def _become(start: _Start) -> NoReturn:
    """Be the process that was asked for, to its end."""
    asked = start.asked
    _take_descriptors(start)
    if asked.session:
        os.setsid()
    os.environ.clear()
    os.environ.update(_SET_AS_LOADED | asked.environment)
    time.tzset()
    os.chdir(asked.folder)
    Forked.address, Forked.pythons = start.address, _pythons(asked.environment)
    code = 0
    try:
        if asked.words[0] == _FEDHOME:
            _show([sys.executable, *asked.words])
            sys.argv = asked.words
            import_module("fedhome.__main__").main()
        else:
            _show(asked.words)
            sys.argv = ["-m", *asked.words[len(_CHILD) :]]
            code = processes.main(sys.argv[1:])
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else 0 if ended.code is None else 1
        if isinstance(ended.code, str):
            sys.stderr.write(f"{ended.code}\n")
    except BaseException:  # noqa: BLE001 - as Python ends
        sys.excepthook(*sys.exc_info())  # type: ignore[arg-type]
        code = 1
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            code = code or 120  # as Python ends where nobody reads
    os._exit(code)


_SET_AS_LOADED: dict[str, str] = {}


def _main(number: int) -> None:
    """Load everything, and fork until our input ends."""
    sys.path.remove(_TESTS)
    before = set(os.environ)
    for module in _LOADED:
        import_module(module)
    _SET_AS_LOADED.update({k: v for k, v in os.environ.items() if k not in before})
    processes._die_with = _die_with_input
    subprocess.Popen = Forked  # type: ignore[misc]
    gc.collect()
    gc.freeze()  # what is loaded is looked through by no fork
    tasks = [task for task in Path("/proc/self/task").iterdir() if task.name != str(os.getpid())]
    others = {(task / "comm").read_text().strip() for task in tasks}
    assert others <= _MINDING, f"a fork has none of these threads, but what they locked: {others}"
    with socket.socket(fileno=number) as door:
        start = _serve(door)
    if start is not None:
        gc.collect()  # who waited for a fork beside this one: closed now, not when others use them
        _become(start)


if __name__ == "__main__":
    _main(int(sys.argv[1]))
