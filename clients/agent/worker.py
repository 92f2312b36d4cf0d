"""The worker: a process that learns from a home's readings, for the home's agent.

It has neither the home's keys nor its state, and frames of plain values go over the pipe, so
that neither end can make the other run anything.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import msgpack
import numpy as np
from flwr.app import Context, Message, RecordDict
from flwr.clientapp import ClientApp
from numpy.typing import NDArray

from fedhome.clients.agent.own_model import EndedRuns
from fedhome.clients.agent.training_rest import RestLimits, TrainingRest
from fedhome.clients.failure_reason import REFUSALS, reason_of
from fedhome.clients.membership.carried_tier import TierMark, carried_tier
from fedhome.clients.membership.home_folder import HomeFolder
from fedhome.clients.recorded.readings_key import FOLDER, store_state
from fedhome.errors import ManifestError, NoReadingsError, RunError, StateError
from fedhome.flower.fleet_connection import message_bytes, message_of
from fedhome.flower.lean_imports import import_lean
from fedhome.flower.messages import words_reply
from fedhome.learning.alone.lean_scikit import spare_statistics
from fedhome.learning.own_state import HomeStates, OwnState
from fedhome.ops.core_dumps import own_files_in_proc
from fedhome.ops.plain_log import log_plainly
from fedhome.plan.settings import Plan
from fedhome.secagg.form import Form

if TYPE_CHECKING:  # an agent imports this module, and needs none of these
    from fedhome.clients.asked_question import AskedQuestion
    from fedhome.clients.own_readings import ReadingsSource
    from fedhome.clients.secure_sums import SecurePart, SumParticipation
    from fedhome.wire.layout import Layout

_log = logging.getLogger("fedhome.agent")
_FIRST_TO_GO = "500"  # of 1000: where memory is short, the agent with its keys is to live on


class HomeApp(NamedTuple):
    """The ClientApp on a home's readings, and what its runs end with."""

    app: ClientApp
    runs: EndedRuns


def app_of(
    home_folder: HomeFolder,
    source: ReadingsSource,
    part: SecurePart,
    states: HomeStates,
    *,
    before_training: Callable[[], None] | None = None,
    apart: bool = False,
) -> HomeApp:
    """Return the ClientApp on a home's readings; it loads what learns.

    Args:
        home_folder: The home's folder.
        source: Where its readings are.
        part: Its part in secure sums.
        states: Where it keeps what its method learns for it alone.
        before_training: As of :class:`fedhome.learning.one_home.OneHome`.
        apart: Whether a process of its own reads them.

    Raises:
        DataError: The readings cannot be used.
        PlanError: The plan does not fit them.
        SecAggError: The directory, which says what its device carries, is none of its fleet's.
    """
    from fedhome.clients.client_app import build  # noqa: PLC0415
    from fedhome.clients.home import real_home  # noqa: PLC0415

    settings, plan = home_folder.settings, Plan.load(home_folder.plan_path)
    tier = carried_tier(home_folder, plan)
    if tier.told:
        _log.warning("%s", tier.told)
    home = real_home(
        plan,
        source,
        name=settings.home,
        participant=part,
        reading=settings.reading,
        states=states,
        tier=tier.in_use,
        before_training=before_training,
        apart=apart,
    )
    return HomeApp(build(lambda _: home), EndedRuns(home, home_folder, source))


def answer_with(app: ClientApp, message: Message) -> Message:
    """Answer a message with a ClientApp."""
    metadata = message.metadata
    context = Context(
        run_id=metadata.run_id,
        node_id=metadata.dst_node_id,
        node_config={},
        state=RecordDict(),
        run_config={},
    )
    return app(message, context)


class _AcceptedTerms(NamedTuple):
    """What the agent tells of a manifest that the home accepts."""

    form: Form
    round: int
    a_min: int


class _JoinedSum(NamedTuple):
    manifest: _AcceptedTerms


class _AgentPart:
    """The home's part in secure sums: the agent does it.

    Args:
        pipe: To the agent.
    """

    simulated = False

    def __init__(self, pipe: Connection[Any, Any]) -> None:
        self._pipe = pipe
        self._words: NDArray[Any] | None = None

    def join(self, manifest: bytes, *, question: AskedQuestion, layout: Layout) -> SumParticipation:
        """Let the agent take part in a sum.

        Raises:
            ManifestError: It refuses, and itself knows why.
        """
        from fedhome.clients.asked_question import manifest_terms  # noqa: PLC0415

        send(self._pipe, join={"data": manifest, **manifest_terms(question, layout)})
        match msgpack.unpackb(self._pipe.recv_bytes()):
            case {"form": form, "round": int(number), "fewest": int(fewest)}:
                return _JoinedSum(_AcceptedTerms(Form.from_plain(form), number, fewest))
            case _:
                raise ManifestError("the home refuses to take part", reason="refused")

    def answer(self, message: Message) -> Message:
        """Refuse: questions for keys are the agent's own.

        Raises:
            ManifestError: Always.
        """
        kind = message.metadata.message_type
        raise ManifestError(f"a worker has no keys to answer {kind!r}", reason="mode")

    def upload(self, message: Message, joined: object, words: NDArray[Any]) -> Message:
        """Keep the words for the agent, which masks them."""
        del joined
        self._words = words
        return words_reply(message, words)

    def take_words(self) -> NDArray[Any] | None:
        """Return the words for the agent, once; None if there are none."""
        words, self._words = self._words, None
        return words


class _AgentStates:
    """What the home's method keeps: the agent has the key to it.

    Args:
        pipe: To the agent.
    """

    def __init__(self, pipe: Connection[Any, Any]) -> None:
        self._pipe = pipe

    def read(self, home: str) -> OwnState | None:
        """Return what the home keeps; None: nothing yet.

        Raises:
            StateError: The agent cannot read it.
        """
        del home  # a worker is of one home
        data = self._asked(b"")
        return OwnState.from_bytes(data) if data else None

    def write(self, home: str, state: OwnState) -> None:
        """Keep it in place of what was; it is on disk when this returns.

        Raises:
            StateError: The agent cannot keep it.
        """
        del home
        self._asked(state.to_bytes())

    def _asked(self, state: bytes) -> bytes:
        """Let the agent keep this, if it is anything; return what it keeps then."""
        send(self._pipe, state=state)
        match msgpack.unpackb(self._pipe.recv_bytes()):
            case {"state": bytes(data)}:
                return data
            case {"unable": str(reason)}:
                raise StateError(
                    "what the home's method keeps cannot be read or written; its log says why",
                    reason=reason,
                )
            case _:
                raise ValueError("what came is no answer")


class _Readings:
    """Where the home's readings are, and whether there are others than at the last look.

    Args:
        pipe: To the agent, which has the key to a store of them.
        home_folder: The home's folder.
    """

    def __init__(self, pipe: Connection[Any, Any], home_folder: HomeFolder) -> None:
        self._pipe, self._home_folder = pipe, home_folder
        self._looked: object = None

    @property
    def changed(self) -> bool:
        """Whether the home has got a store since the last look, or another state of it."""
        return store_state(self._home_folder.path) != self._looked

    def source(self) -> ReadingsSource:
        """Return where the readings are.

        Raises:
            NoReadingsError: There are none yet.
            StateError: The agent cannot read the key.
        """
        from fedhome.clients.recorded.reading_store import ReadingStore  # noqa: PLC0415

        self._looked = store_state(self._home_folder.path)
        settings = self._home_folder.settings
        if self._looked is None and not settings.data:
            raise NoReadingsError(f"{settings.home} has no readings yet")
        if self._looked is None:
            return Path(settings.data)
        send(self._pipe, readings=True)
        match msgpack.unpackb(self._pipe.recv_bytes()):
            case {"key": bytes(key)}:
                return ReadingStore(self._home_folder.path / FOLDER, settings.home, key)
            case {"unable": str(reason)}:
                raise StateError(
                    "the key of the home's readings cannot be read; its log says why",
                    reason=reason,
                )
            case _:
                raise ValueError("what came is no answer")


def serve(pipe: Connection[Any, Any], home_folder: HomeFolder) -> None:
    """Answer the agent's questions until the pipe ends.

    Args:
        pipe: To the agent.
        home_folder: The home's folder; its keys and state are left alone.

    Raises:
        EOFError: The agent is gone.
        OSError: The same.
    """
    part, readings = _AgentPart(pipe), _Readings(pipe, home_folder)
    home: HomeApp | None = None
    rest: TrainingRest | None = None
    tier = TierMark(home_folder)
    run = 0
    while True:
        question, begun = msgpack.unpackb(pipe.recv_bytes()), False
        try:
            message = message_of(question["message"])
            # A run's rounds are all of the same readings; a new directory may say another tier.
            other = message.metadata.run_id != run and readings.changed
            if tier.changed or home is None or other:
                home = None
                rest = _rest_of(home_folder, pipe)
                home = app_of(
                    home_folder,
                    readings.source(),
                    part,
                    _AgentStates(pipe),
                    before_training=rest.wait,
                    apart=True,
                )
            run = message.metadata.run_id
            if rest is not None:
                rest.begin_question()
            begun = True  # what was wrong before that is wrong at home, whatever is asked
            answer = answer_with(home.app, message)
        except Exception as error:  # noqa: BLE001 - whatever it is, the agent must know
            part.take_words()
            send(pipe, failed=reason_of(error), refused=begun and isinstance(error, REFUSALS))
            continue
        if home.runs.ended():
            send(pipe, ended=True)
            kept = bytes(msgpack.unpackb(pipe.recv_bytes())["kept"])
            verdict = home.runs.verdict(kept, run=message.metadata.run_id)
            send(pipe, own=verdict.model, told=verdict.told)
        words = part.take_words()
        if words is None:
            send(pipe, reply=message_bytes(answer))
        else:
            send(pipe, words=words.dtype.str)
            pipe.send_bytes(np.ascontiguousarray(words).tobytes())


def _rest_of(home_folder: HomeFolder, pipe: Connection[Any, Any]) -> TrainingRest:
    limits = RestLimits.of(home_folder.settings, Plan.load(home_folder.plan_path))
    return TrainingRest(limits, lambda told: send(pipe, waits=told))


def send(pipe: Connection[Any, Any], **what: object) -> None:
    """Send a frame of plain values."""
    pipe.send_bytes(msgpack.packb(what))


def main(arguments: Sequence[str]) -> int:
    """Be a worker: the home's ``folder``, and the descriptor of the pipe to its agent."""
    log_plainly("fedhome.agent")
    with suppress(OSError), own_files_in_proc():
        Path("/proc/self/oom_score_adj").write_text(_FIRST_TO_GO, encoding="ascii")
    home_folder = HomeFolder(Path(arguments[0]))
    with suppress(OSError, RunError):  # settings that cannot be read are told with a question
        os.nice(home_folder.settings.worker_nice)
    import_lean("fedhome.clients.client_app")
    spare_statistics()
    with Connection(int(arguments[1])) as pipe, suppress(EOFError, OSError):
        serve(pipe, home_folder)
    return 0
