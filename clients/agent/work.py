"""Where a home's ClientApp runs: in a process of its own, or in the agent's.

The agent starts that process for the first question that needs torch and the home's readings,
and ends it when it was idle for a while: its memory goes back, and the next one reads the
readings anew. Keys and the state of the protocol stay in the agent: the worker asks it to take
part in a sum, and hands over words that the agent masks.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Mapping
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from typing import Any, Protocol

import msgpack
import numpy as np
from flwr.app import Message
from numpy.typing import NDArray

from fedhome import secagg
from fedhome.clients.agent.own_model import OwnModelKeeper, Verdict, keep_ended
from fedhome.clients.agent.reply_pace import FOR_WORK
from fedhome.clients.agent.worker import HomeApp, answer_with, app_of, send
from fedhome.clients.failure_reason import REFUSALS, reason_of
from fedhome.clients.lean_process import LEAN
from fedhome.clients.membership.carried_tier import TierMark
from fedhome.clients.membership.home_folder import HomeFolder
from fedhome.clients.membership.method_state import SealedState
from fedhome.clients.recorded.readings_key import readings_key, store_state
from fedhome.clients.secure_sums import blobs_for
from fedhome.errors import ManifestError, SecAggError, StateError
from fedhome.flower.fleet_connection import message_bytes, message_of
from fedhome.flower.messages import APP_RAISED, blob_reply, failure
from fedhome.ops.processes import Child
from fedhome.plan.settings import Plan
from fedhome.plan.sliced_plan import is_sliced
from fedhome.questions.empty_handed import empty_words
from fedhome.questions.question_table import summed
from fedhome.reasons import in_words

_ALONE: Mapping[str, str] = {
    # For batches as small as a home's, threads cost more than they give: beside another busy
    # process, training took ten times as long with two. Libraries read it as they are loaded.
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    # Arrow's own keeps what it was given: 17 MB of 150.
    "ARROW_DEFAULT_MEMORY_POOL": "system",
}
_POLL_S = 1.0  # a process that the worker left behind could hold the pipe open
_log = logging.getLogger("fedhome.agent")


class Work(Protocol):
    """What answers the questions that are learnt for, from the home's readings."""

    @property
    def layout(self) -> str | None:
        """Hash of the layout of the home's model; None while that is not known."""

    def answer(self, message: Message) -> Message:
        """Answer a message, or raise why not."""

    @property
    def tell_waits(self) -> Callable[[str], None]:
        """Told why training waits, and nothing (``""``) when it goes on."""

    @tell_waits.setter
    def tell_waits(self, tell: Callable[[str], None]) -> None: ...

    def rest(self) -> None:
        """Free memory that was not needed for a while."""

    def close(self) -> None:
        """End it."""


class WorkerProcess:
    """The ClientApp in a process of its own.

    It must be used from the thread that lives longest; see :mod:`fedhome.ops.processes`.

    Args:
        home_folder: The home's folder.
        machine: The home's part in secure sums.
        clock: Seconds, for how long the process was idle, or took.

    Attributes:
        tell_waits: Told why training waits, and nothing (``""``) when it goes on.
    """

    def __init__(
        self,
        home_folder: HomeFolder,
        machine: secagg.HomeParty,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._home_folder, self._machine, self._clock = home_folder, machine, clock
        self._own_model = OwnModelKeeper(home_folder)
        self._state = SealedState(home_folder.path, home_folder.settings.home)
        self._idle_s = home_folder.settings.worker_idle_s
        # Whatever takes longer is late for its round anyway; a process may hang for ever.
        plan = Plan.load(home_folder.plan_path)
        rounds, self._sliced = plan.rounds, is_sliced(plan)
        self._patience_s = FOR_WORK * rounds.reply_after_s or rounds.deadline_s
        self._running: _RunningWorker | None = None
        self._joined: secagg.JoinedSum | None = None
        self._refusal: SecAggError | None = None
        self._used = 0.0
        self.layout: str | None = None
        self.tell_waits: Callable[[str], None] = _log_no_more

    @property
    def process(self) -> int | None:
        """Number of the process; None while there is none."""
        return None if self._running is None else self._running.number

    def answer(self, message: Message) -> Message:
        """Let the worker answer a message; start it first where there is none.

        Raises:
            SecAggError: The home refuses to take part.
        """
        try:
            return self._ask_worker(message)
        except SecAggError:
            raise
        except (EOFError, OSError, ValueError) as error:
            how = "it cannot be started" if self._running is None else self._running.close()
            if isinstance(error, TimeoutError):
                how = f"it took longer than the {self._patience_s:g} s it may take"
            self._running = None
            _log.error("the worker is lost: %s, %s", type(error).__name__, how)
            return self._failed(message, "worker")
        except BaseException:
            self.close()  # nobody knows what it would send next
            raise
        finally:
            self._joined, self._used = None, self._clock()

    def rest(self) -> None:
        """End the worker when it was idle for as long as the settings say."""
        running = self._running
        if running is not None and (running.ended or self._clock() - self._used >= self._idle_s):
            self.close()
            _log.info("the worker was idle and has ended")

    def close(self) -> None:
        """End the worker; it holds nothing that must be saved."""
        if self._running is not None:
            self._running.close()
            self._running = None

    def _started(self) -> _RunningWorker:
        """Return the worker that runs; start it where there is none."""
        if self._running is not None and self._running.ended:
            self.close()
        if self._running is None:
            self._running = _RunningWorker(self._home_folder, self._clock)
            _log.info("a worker was started")
        return self._running

    def _ask_worker(self, message: Message) -> Message:
        running = self._started()
        self._refusal = None
        running.late = self._clock() + self._patience_s
        running.send_frame(message=message_bytes(message))
        while True:
            match running.receive():
                case {"join": dict(terms)} if self._joined is None:
                    update = summed(message.metadata.message_type).update
                    self._join(running, terms, of_shell=self._sliced and update)
                case {"waits": str(told)}:
                    self.tell_waits(told)
                case {"state": bytes(state)}:
                    self._answer_state(running, state)
                case {"readings": True}:
                    self._answer_key(running)
                case {"ended": True}:
                    running.send_frame(kept=self._own_model.kept)
                case {"own": bytes(model), "told": str(told)}:
                    self._own_model.take(Verdict(model, told))
                case {"words": str(dtype)} if self._joined is not None:
                    words = np.frombuffer(bytearray(running.frame()), dtype)
                    return self._upload(message, words)
                case {"reply": bytes(data)}:
                    return Message(message_of(data).content, reply_to=message)
                case {"failed": str(reason), "refused": bool(refused)}:
                    if refused:
                        raise self._refusal or ManifestError(in_words(reason), reason=reason)
                    return self._failed(message, reason)
                case _:
                    raise ValueError  # what came is no answer

    def _answer_state(self, running: _RunningWorker, state: bytes) -> None:
        """Keep what the home's method has learnt for it, and tell the worker what is kept."""
        try:
            if state:
                self._state.write_bytes(state)
            running.send_frame(state=state or self._state.read_bytes())
        except StateError as error:
            _log.error("the home does not learn: %s", error)
            running.send_frame(unable=error.reason)

    def _answer_key(self, running: _RunningWorker) -> None:
        """Give the worker the key of the home's readings, and no other."""
        try:
            running.send_frame(key=readings_key(self._home_folder.path))
        except StateError as error:
            _log.error("the home does not learn: %s", error)
            running.send_frame(unable=error.reason)

    def _join(self, running: _RunningWorker, terms: dict[str, Any], *, of_shell: bool) -> None:
        """Take part in a sum that the worker was asked for, and tell it."""
        try:
            self._joined = self._machine.join(now=time.time(), **terms)
        except SecAggError as error:
            self._refusal = error
            running.send_frame(refused=error.message)
        else:
            if not of_shell:
                self.layout = terms["layout"].hex()
            manifest = self._joined.manifest
            running.send_frame(
                form=manifest.form.to_plain(), round=manifest.round, fewest=manifest.a_min
            )

    def _failed(self, message: Message, reason: str) -> Message:
        if self._joined is None:
            return failure(message, reason)
        # What fails from here on is told to nobody.
        return self._upload(message, empty_words(self._joined.manifest.form))

    def _upload(self, message: Message, words: NDArray[Any]) -> Message:
        joined, self._joined = self._joined, None
        assert joined is not None, "a home uploads to a sum that it has joined"
        sent = blobs_for(self._machine, joined.upload(words), now=time.time())
        return blob_reply(message, sent)


def _log_no_more(told: str) -> None:
    """Leave it at what the worker itself has logged."""
    del told


class _RunningWorker:
    """A worker's process and the pipe to it.

    Args:
        home_folder: The home's folder.
        clock: Seconds.

    Attributes:
        late: When nothing is waited for any more.

    Raises:
        OSError: It cannot be started.
    """

    def __init__(self, home_folder: HomeFolder, clock: Callable[[], float]) -> None:
        self.late, self._clock = math.inf, clock
        self._pipe: Connection[Any, Any]
        self._pipe, theirs = Pipe()
        number = theirs.fileno()
        command = (LEAN, "fedhome.clients.agent.worker", str(home_folder.path), str(number))
        self._child = Child("worker", command, passed=(number,), environment=_ALONE)
        try:
            with theirs:
                self._child.start()
        except BaseException:
            self._pipe.close()
            raise
        assert self._child.process is not None
        self._process = self._child.process
        self.number = self._process.pid

    @property
    def ended(self) -> bool:
        """Whether the process has ended."""
        return self._process.poll() is not None

    def send_frame(self, **what: object) -> None:
        """Send a frame."""
        send(self._pipe, **what)

    def receive(self) -> Any:
        """Receive a frame.

        Raises:
            EOFError: The process ended.
            TimeoutError: It does not answer.
        """
        return msgpack.unpackb(self.frame())

    def frame(self) -> bytes:
        """Receive a frame as it came."""
        while not self._pipe.poll(_POLL_S):
            if self.ended and not self._pipe.poll():
                raise EOFError
            if self._clock() > self.late:
                raise TimeoutError
        return self._pipe.recv_bytes()

    def close(self) -> str:
        """End the process, and say how it ended."""
        self._pipe.close()
        self._child.wait(0.0)
        return self._child.ending


class InProcess:
    """The ClientApp in the agent's own process, for many light agents in one: torch stays.

    Args:
        home_folder: The home's folder.
        machine: The home's part in secure sums.
    """

    layout: str | None = None

    def __init__(self, home_folder: HomeFolder, machine: secagg.HomeParty) -> None:
        self._home_folder, self._machine = home_folder, machine
        self._loaded: HomeApp | None = None
        self._readings: object = None
        self._tier = TierMark(home_folder)
        self._run = 0
        self.tell_waits: Callable[[str], None] = _log_no_more  # many on one machine wait for none

    def answer(self, message: Message) -> Message:
        """Answer a message, or raise why not; what is wrong at home is no refusal of a question."""
        try:
            home = self._home(message.metadata.run_id)
        except REFUSALS as error:
            return failure(message, reason_of(error), APP_RAISED)
        answer = answer_with(home.app, message)
        keep_ended(home.runs, OwnModelKeeper(self._home_folder), run=message.metadata.run_id)
        return answer

    def rest(self) -> None:
        """Keep everything."""

    def close(self) -> None:
        """Keep everything."""

    def _home(self, run: int) -> HomeApp:
        """Return the home on its readings; a new run has those that came since."""
        readings = store_state(self._home_folder.path)
        other = run != self._run and readings != self._readings
        if self._tier.changed or self._loaded is None or other:
            self._loaded = None  # if it cannot be read now, the next question tries anew
            self._loaded, self._readings = self._read(), readings
        self._run = run
        return self._loaded

    def _read(self) -> HomeApp:
        from fedhome.clients.own_readings import source_of  # noqa: PLC0415 - loads arrow
        from fedhome.clients.secure_sums import Participant  # noqa: PLC0415 - as in app_of

        states = SealedState(self._home_folder.path, self._home_folder.settings.home)
        source = source_of(self._home_folder)
        return app_of(self._home_folder, source, Participant(self._machine), states)
