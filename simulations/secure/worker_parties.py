"""Worker processes that hold the machines of a secure simulation's homes: all cores mask.

Each worker is a fresh interpreter that loads neither torch nor Flower; whatever the caller's
program is, it is not run again in it. A worker ends with the pipe to this process, however this
process ends; it writes nothing, and its homes' keys end with it.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from multiprocessing import Pipe
from multiprocessing.connection import Connection, wait
from typing import Any, NamedTuple

from fedhome.errors import EngineError, FedHomeError, SecAggError
from fedhome.simulations.secure.parties import LocalParties, Parties, PartyKeys

_START = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]); "
    "from fedhome.simulations.secure.worker_parties import serve; "
    "serve(int(sys.argv[2]), int(sys.argv[3]))"
)
_ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
_DIE_WITH_PARENT = 1  # PR_SET_PDEATHSIG of Linux's prctl
_FEWEST = 32  # homes; fewer have masked in the time that a worker takes to start
_HOMES_EACH = 8  # each worker checks all signatures of a sum: what three homes' masks cost


class _Question(NamedTuple):
    name: str
    positions: list[int]
    common: Mapping[str, Any] | None
    own: list[tuple[Any, ...]] | None


class _Answer(NamedTuple):
    value: Any


class _Refusal(NamedTuple):
    """An error of a home, in parts: exceptions with keywords do not survive pickling."""

    kind: type[FedHomeError]
    message: str
    known: dict[str, str]

    @classmethod
    def of(cls, error: FedHomeError) -> _Refusal:
        known = {"hint": error.hint}
        if isinstance(error, SecAggError):
            known["reason"] = error.reason
        return cls(type(error), error.message, known)

    @property
    def value(self) -> FedHomeError:
        return self.kind(self.message, **self.known)


class _Failure(NamedTuple):
    """What went wrong in a worker itself."""

    what: str


class _Done(NamedTuple):
    """No more answers come."""


class _Worker:
    """One process, and the pipe to it."""

    def __init__(self) -> None:
        self.pipe, theirs = Pipe()
        self.busy = False
        with theirs:
            self._process = subprocess.Popen(  # noqa: S603 - this interpreter, our own module
                [
                    sys.executable,
                    "-Pc",  # nothing of the current folder, unless this process would import it
                    _START,
                    json.dumps([folder for folder in sys.path if isinstance(folder, str)]),
                    str(theirs.fileno()),
                    str(os.getpid()),
                ],
                stdin=subprocess.DEVNULL,
                pass_fds=(theirs.fileno(),),
                env=os.environ | _ONE_THREAD,
                process_group=0,  # Ctrl-C is for this process, which ends the workers
            )
        self.pid = self._process.pid

    def send(self, what: object) -> None:
        try:
            self.pipe.send(what)
        except OSError:
            raise self._lost() from None

    def receive(self) -> Any:
        try:
            return self.pipe.recv()
        except (EOFError, OSError):
            raise self._lost() from None

    def ask(self, question: _Question) -> None:
        self.send(question)
        self.busy = True

    def settle(self) -> None:
        """Read what an earlier question left unread."""
        while self.busy:
            self.busy = not isinstance(self.receive(), _Done)

    def close(self) -> None:
        self.pipe.close()
        self._process.kill()  # it holds nothing that must be saved
        self._process.wait()

    def _lost(self) -> EngineError:
        self._process.kill()
        return EngineError(
            f"a process with the keys of simulated homes ended: {_ending(self._process.wait())}",
            hint="go on with the run: `fedhome simulate --resume RUN`; if memory was short, set "
            "engine.threads to a lower number",
        )


class WorkerParties(Parties):
    """Machines in worker processes: home ``n`` is in worker ``n`` modulo their number.

    Args:
        count: How many processes.
    """

    def __init__(self, count: int) -> None:
        if not sys.executable:
            raise EngineError(
                "this Python does not know its own program, so no worker can be started",
                hint="set engine.threads to 1",
            )
        self.workers: list[_Worker] = []
        self._question_number = 0
        try:
            while len(self.workers) < count:
                self.workers.append(_Worker())
        except OSError as error:
            self.close()
            raise EngineError(
                f"no worker process can be started: {error}", hint="set engine.threads to 1"
            ) from None

    def populate(self, names: Sequence[str], enrolment: PartyKeys) -> None:
        """Let each worker make its homes.

        Args:
            names: Names of all homes.
            enrolment: What the homes know of the fleet before they have a directory.
        """
        for number, worker in enumerate(self.workers):
            share = range(number, len(names), len(self.workers))
            worker.send(({position: names[position] for position in share}, enrolment))

    def ask(
        self,
        question: str,
        positions: Sequence[int],
        common: Mapping[str, Any] | None = None,
        own: Sequence[tuple[Any, ...]] | None = None,
    ) -> Iterator[Any]:
        """Ask all workers at once; yield answers in the order of the homes.

        Raises:
            EngineError: A worker ended or failed.
        """
        self._question_number += 1
        question_number, rows = self._question_number, self._rows(positions)
        for worker in self.workers:
            worker.settle()
        for number, some in rows.items():
            self.workers[number].ask(
                _Question(
                    question,
                    [positions[row] for row in some],
                    common,
                    None if own is None else [own[row] for row in some],
                )
            )
        workers = [self.workers[number] for number in rows]
        for answer in self._responses(workers, list(rows.values())):
            yield answer
            assert question_number == self._question_number, (
                "a response was read after the next question"
            )

    def _rows(self, positions: Sequence[int]) -> dict[int, list[int]]:
        """Return the rows of ``positions`` that each worker holds, by worker."""
        rows: dict[int, list[int]] = {}
        for row, position in enumerate(positions):
            rows.setdefault(position % len(self.workers), []).append(row)
        return rows

    @staticmethod
    def _responses(workers: list[_Worker], rows: list[list[int]]) -> Iterator[Any]:
        waiting: dict[Any, tuple[_Worker, Iterator[int]]] = {
            worker.pipe: (worker, iter(some)) for worker, some in zip(workers, rows, strict=True)
        }
        ready: dict[int, Any] = {}
        next_row = 0
        while waiting:
            for pipe in wait(list(waiting)):
                worker, order = waiting[pipe]
                message = worker.receive()
                if isinstance(message, _Done):
                    worker.busy = False
                    del waiting[pipe]
                elif isinstance(message, _Failure):
                    raise EngineError(
                        f"the machine of a simulated home failed: {message.what}",
                        hint="this is a fault of fedhome's: please report it with the plan",
                    )
                else:
                    ready[next(order)] = message.value
            while next_row in ready:
                yield ready.pop(next_row)
                next_row += 1

    def close(self) -> None:
        """End all workers."""
        for worker in self.workers:
            worker.close()
        self.workers.clear()


def worker_count(homes: int, cores: int) -> int:
    """Return how many workers this many homes keep busy; 0: this process alone is faster."""
    count = min(cores, homes // _HOMES_EACH)
    return count if homes >= _FEWEST and count > 1 else 0


def serve(descriptor: int, parent: int) -> None:
    """Be a worker: answer questions until the pipe ends.

    Args:
        descriptor: Of the pipe.
        parent: Number of the process at its other end.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with suppress(AttributeError, OSError):  # only Linux has it; elsewhere the pipe's end must do
        ctypes.CDLL(None).prctl(_DIE_WITH_PARENT, signal.SIGKILL)
    pipe: Connection[Any, Any] = Connection(descriptor)
    with pipe, suppress(EOFError, OSError):  # the other end is gone: so are we
        if os.getppid() == parent:
            names, enrolment = pipe.recv()
            _answer(pipe, LocalParties(names, enrolment))


def _answer(pipe: Connection[Any, Any], parties: LocalParties) -> None:
    while True:
        question = pipe.recv()
        try:
            for answer in parties.ask(*question):
                known = isinstance(answer, FedHomeError)
                pipe.send(_Refusal.of(answer) if known else _Answer(answer))
        except (EOFError, OSError):
            raise
        except Exception as error:  # noqa: BLE001 - whatever it is, the other end must know
            pipe.send(_Failure(f"{type(error).__name__}: {error}"))
        pipe.send(_Done())


def _ending(code: int) -> str:
    return f"signal {-code}" if code < 0 else f"exit code {code}"
