"""The server's one resident process: it keeps SuperLink, front and the run in progress alive.

Each of them is a child that is started again however it ended, and that ends with this process,
also when it is killed. What has to outlive them lies in the server's folder, so a crash, a kill
or a reboot costs a run the round in flight and nothing else.

A new directory is a new beginning for the SuperLink and the run: the homes join anew and get it,
and the run goes on with those that are in it.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

from fedhome.counted import counted
from fedhome.errors import FedHomeError, RunError, StateError
from fedhome.fleet.owner_folder import DIRECTORY
from fedhome.fleet.server_secret import server_keys
from fedhome.ops import tls
from fedhome.ops.clock_steps import ClockSteps
from fedhome.ops.file_state import file_state
from fedhome.ops.listening import FREE_S, what_to_do, why_taken
from fedhome.ops.processes import Processes, end_on_sigterm
from fedhome.server.daemon.applications import FOLDER
from fedhome.server.daemon.current_run import (
    AGAIN,
    BROKEN_OFF,
    DONE,
    FAILED,
    FINISHED,
    PAUSED,
    RUNNING,
    Current,
    Runs,
)
from fedhome.server.daemon.health import PAGE, PAGE_MODULE, SERVICES, Health
from fedhome.server.daemon.interruptions import Interruptions, WhyFailed, why_failed
from fedhome.server.daemon.retention import Retention
from fedhome.server.daemon.server_folder import NO_DIRECTORY, ServerFolder
from fedhome.server.daemon.starting import Starting
from fedhome.server.daemon.timetable import Timetable
from fedhome.store import disk
from fedhome.wire.moments import length

_RUN = "run"
_READY_S = 120.0
_LOCK_S, _PAUSE_S = 1.0, 0.05
_ALL_HOMES_S = 90.0  # agents that could not connect for long try again once in a minute
_END_S = 8.0
_TRIM_S = 600.0
_AGAIN_S = 30.0  # what could not be written is tried again
_RENEW_S = 3600.0  # how often it is checked whether the certificate ends soon

Say = Callable[[str], None]


class Daemon:
    """The server of one folder.

    Args:
        server_folder: The folder.
        say: Called with what matters to whoever runs the server, a line each.
        clock: Whether this machine's clock was set; None: it is looked at.
    """

    def __init__(
        self, server_folder: ServerFolder, say: Say, *, clock: ClockSteps | None = None
    ) -> None:
        self._server_folder, self._say = server_folder, say
        self._processes = Processes()
        self._runs = Runs(server_folder)
        self._retention = Retention(server_folder, say)
        self._timetable = Timetable(server_folder, self._runs, say)
        self._files: dict[Path, tuple[int, ...]] = {}
        self._epoch, self._waiting = 0, 0
        self._at_work = ""  # the run that has a process
        self._ended: dict[str, int] = {}  # starts of a child whose end was reported
        self._trim = self._renew = self._settle_due = 0.0
        self._interruptions = Interruptions()
        self._clock = ClockSteps() if clock is None else clock
        self._starting = Starting(server_folder)

    def serve(self) -> None:
        """Serve until this process is interrupted.

        Raises:
            StateError: ``in-use``: a server runs in this folder; or a key is missing.
            RunError: An address is in use, or the server does not come up.
        """
        lock = _lock(self._server_folder)
        try:
            self._starting.begin()
            settings = self._server_folder.settings
            _wait_for_port(settings.host, settings.port)
            server_keys(self._server_folder.fleet)
            tls.mend(self._server_folder.tls)
            self._tend_certificate()
            with self._processes:
                self._start()
                self._processes.until(self._look, what="the server ended")
        finally:
            os.close(lock)

    def _start(self) -> None:
        self._say(f"starting the server in {self._server_folder.path}")
        for name, module in SERVICES.items():
            self._processes.start(name, module, str(self._server_folder.path), log=self._log(name))
        with Health(self._server_folder) as health:
            self._processes.until(
                lambda: all(health.ask()), what="the server came up", timeout_s=_READY_S
            )
        self._starting.over()
        if self._server_folder.settings.page:  # nothing waits for it, and nothing ends with it
            path = str(self._server_folder.path)
            self._processes.start(PAGE, PAGE_MODULE, path, log=self._log(PAGE))
        fleet = self._server_folder.anchor.fleet.hex()
        self._changed(self._server_folder.fleet / DIRECTORY)
        self._say(
            f"ready at {self._server_folder.card.server}, fleet {fleet}: {self._read_directory()}"
        )

    def _look(self) -> bool:
        """Do what there is to do; returns False, as the server never ends by itself."""
        for name, child in self._processes.children.items():
            ended = None if child.process is None else child.process.poll()
            if ended not in {None, *child.ends} and self._ended.get(name) != child.starts:
                self._ended[name] = child.starts
                self._say(f"{name} {_how(ended)}: it is started again")
        if self._changed(self._server_folder.fleet / DIRECTORY):
            before = self._epoch
            self._say(f"new directory: {self._read_directory()}")
            if before and self._epoch != before:
                self._begin_anew()
        self._starting.tend(self._is_back)
        if self._changed(self._server_folder.path / FOLDER):
            before, self._waiting = self._waiting, waiting(self._server_folder)
            if self._waiting > before:
                self._say(f"enrolments that wait for the owner: {self._waiting}")
        self._tend_clock()
        if terms := self._tend_certificate():
            self._say(f"new certificate, for whoever connects anew: until {terms.ends.date()}")
        self._timetable.tend()
        self._tend_run()
        if time.monotonic() > self._trim:
            self._trim = time.monotonic() + _TRIM_S
            self._retention.tend()
        return False

    def _read_directory(self) -> str:
        try:
            directory = self._server_folder.directory()
        except FedHomeError as error:
            if getattr(error, "reason", "") == NO_DIRECTORY:
                return "no directory yet, homes can enrol"
            return f"its directory cannot be used: {error.message}"
        self._epoch = directory.epoch
        return f"epoch {directory.epoch}, {counted(len(directory.names), 'home')}"

    def _begin_anew(self) -> None:
        """End the processes that use the last directory; they are started again."""
        self._starting.begin(within_s=_READY_S)
        self._end(_RUN, "link")
        self._interruptions = Interruptions()  # what was in the way may be over with it

    def _end(self, *names: str) -> None:
        """End processes; they are started again."""
        for name in names:
            if child := self._processes.children.get(name):
                self._ended[name] = child.starts
                child.stop()

    def _is_back(self) -> bool:
        """Whether the SuperLink that was ended is started again, and all answer."""
        link = self._processes.children.get("link")
        if link is None or self._ended.get("link") == link.starts:
            return False  # the old one may answer while it ends
        with Health(self._server_folder) as health:
            return all(health.ask())

    def _tend_clock(self) -> None:
        """Say that the clock was set; what a wrong one has made may be no good now."""
        step = self._clock.look()
        if not step:
            return
        which = "ahead, or this machine slept" if step > 0 else "back"
        self._say(
            f"this machine's clock was set by {length(abs(step))} {which}: homes connect while it "
            "shows their time"
        )
        self._renew = 0.0

    def _tend_certificate(self) -> tls.CertificateTerms | None:
        """Renew the certificate where few days are left; return what it says, if it is new."""
        folder = self._server_folder.tls
        try:
            if time.monotonic() > self._renew:
                self._renew = time.monotonic() + _RENEW_S
                tls.renew_if_due(folder, datetime.now(UTC))
            key, rest = (self._changed(folder / name) for name in (tls.KEY, tls.CERTIFICATE))
            if not (key or rest):
                return None
            tls.mend(folder)
            return tls.terms_of(folder)
        except StateError as error:
            if error.reason == "in-use":  # it is being renewed: check it again
                self._files.pop(folder / tls.KEY, None)
            else:
                self._say(f"the certificate: {error}")
            return None

    def _tend_run(self) -> None:
        """Ensure that a process works on the run in progress, and on no other."""
        try:
            now = self._runs.current
        except FedHomeError as error:
            if self._changed(self._runs.path):
                self._say(error.message)
            return
        if now is not None and now.again and self._interruptions.over(now.run):
            now = self._take_up(now.run)
        run = now.run if now is not None and now.state == RUNNING else ""
        child = self._processes.children.get(_RUN)
        if child is not None and self._at_work != run:
            child.stop()
            child.wait(time.monotonic() + _END_S)
            del self._processes.children[_RUN]
            self._say(f"run {self._at_work} was cancelled")
            child = None
        if child is not None and child.process is not None:
            code = child.process.poll()
            if code in child.ends and self._settle(self._at_work, code):
                del self._processes.children[_RUN]
                child.wait(time.monotonic())
        elif run and self._interruptions.over(run):
            self._work_on(run)

    def _take_up(self, run: str) -> Current | None:
        """Go on with a run that failed; None where that cannot be written down yet."""
        try:
            return self._runs.take_up(run)
        except StateError as error:
            pause = self._interruptions.full(run)
            self._say(
                f"run {run} cannot be taken up again: {error.message}; again in {pause:.0f} s"
            )
            return None

    def _work_on(self, run: str) -> None:
        folder = self._runs.folder(run)
        goes_on = folder.events_path.exists()
        self._say(f"run {run} {'goes on' if goes_on else 'begins'}")
        self._ended.pop(_RUN, None)
        self._processes.start(
            _RUN,
            "fedhome.server.daemon.deploy",
            str(self._server_folder.path),
            str(folder.path),
            str(_ALL_HOMES_S),
            "inf",
            log=self._log(_RUN),
            ends=(DONE, BROKEN_OFF, PAUSED),
        )
        self._at_work = run

    def _settle(self, run: str, code: int | None) -> bool:
        """Record how a run ended; return whether that was possible."""
        if time.monotonic() < self._settle_due:
            return False
        folder = self._runs.folder(run)
        if code == PAUSED:
            pause = self._interruptions.full(run)
            self._say(
                f"run {run} pauses: the disk of {self._server_folder.path} is full; make room, and "
                f"it goes on by itself: it is tried again in {pause:.0f} s"
            )
            return True
        why = WhyFailed() if code == DONE else why_failed(folder, self._log(_RUN))
        text = f"run {run} is finished: {folder.report_path}"
        state = FINISHED
        if code != DONE:
            state, text = FAILED, f"run {run} failed: {why.reason}"
        try:
            self._runs.end(run, state, reason=why.reason, hint=why.hint, again=why.again)
        except StateError as error:  # a full disk, most likely: homes are still to be served
            self._settle_due = time.monotonic() + _AGAIN_S
            self._say(f"{text}; but that cannot be written down: {error}")
            return False
        if why.again:
            pause = self._interruptions.failed(run)
            text += f"; it is tried again in {pause:.0f} s, unless it is cancelled"
        self._say(text)
        return True

    def _changed(self, path: Path) -> bool:
        before, self._files[path] = self._files.get(path, ()), file_state(path)
        return self._files[path] != before

    def _log(self, name: str) -> Path:
        return self._server_folder.logs / f"{name}.log"


def is_running(server_folder: ServerFolder) -> bool:
    """Whether a daemon serves a folder.

    Raises:
        StateError: That cannot be told: ``permissions``, for one, of another account's folder.
    """
    return disk.is_locked(server_folder.path)


def waiting(server_folder: ServerFolder) -> int:
    """Return how many enrolments wait for the fleet's owner."""
    return sum(1 for _ in (server_folder.path / FOLDER).glob("*.enrolment"))


def _lock(server_folder: ServerFolder) -> int:
    """Lock a server's folder; a process that only checks the lock holds it for a moment."""
    server_folder.settings  # noqa: B018 - there is a server in it
    try:
        return disk.lock(server_folder.path, wait_s=_LOCK_S)
    except StateError as error:
        if error.reason != "in-use":
            raise
        raise StateError(
            f"a server runs in {server_folder.path} already",
            reason="in-use",
            hint=f"`fedhome server status {server_folder.path}` says how it is",
        ) from None


def _wait_for_port(host: str, port: int) -> None:
    """Wait until nobody listens at an address; what a killed server left there ends at once."""
    end = time.monotonic() + FREE_S
    while why := why_taken(host, port):
        if time.monotonic() > end:
            raise RunError(
                f"the server cannot listen at {host}:{port}: {why}",
                hint=what_to_do(why),
            )
        time.sleep(_PAUSE_S)


def _how(status: int | None) -> str:
    if status is not None and status < 0:
        return f"was killed ({signal.Signals(-status).name})"
    return "was cut off" if status == AGAIN else f"ended with status {status}"


def main(arguments: Sequence[str]) -> int:
    """Serve a folder until SIGTERM or Ctrl-C."""
    end_on_sigterm()
    try:
        Daemon(ServerFolder(Path(arguments[0])), _print).serve()
    except KeyboardInterrupt:
        _print("stopped")
    return 0


def _print(line: str) -> None:
    print(line, flush=True)  # noqa: T201 - a terminal, or the journal
