"""What an agent does with a message: keys and a member's help itself, the rest is :class:`Work`."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from flwr.app import Message, RecordDict

from fedhome import secagg
from fedhome.clients.agent.known_head import HeadKeeper
from fedhome.clients.agent.known_model import learnt, remember_model, remembered_model
from fedhome.clients.agent.unable import unable
from fedhome.clients.agent.work import Work, WorkerProcess
from fedhome.clients.failure_reason import REFUSALS, reason_of
from fedhome.clients.membership.home_folder import HomeFolder
from fedhome.clients.privacy_budget import HomeBudget
from fedhome.clients.protocol_answers import answered, asked_parts
from fedhome.errors import FedHomeError, ManifestError, SecAggError, StateError
from fedhome.fleet.state_file import FileStore
from fedhome.flower.messages import APP_RAISED, blob_reply, failure, sum_record
from fedhome.plan.protocol import policy_of
from fedhome.plan.settings import Plan
from fedhome.reasons import TOLD, word_in
from fedhome.wire.names import BUNDLE, HELP

_log = logging.getLogger("fedhome.agent")

WorkOf = Callable[[HomeFolder, secagg.HomeParty], Work]
"""How a home's work is set up, such as :class:`WorkerProcess` or :class:`InProcess`."""


def machine_of(
    home_folder: HomeFolder, store: FileStore, plan: Plan, heads: HeadKeeper
) -> secagg.HomeParty:
    """Return a home's part in secure sums, as far as its state knows the fleet.

    Args:
        home_folder: The home's folder.
        store: Its keys and state.
        plan: Its plan.
        heads: What the home knows to be newest.
    """
    return secagg.HomeParty(
        store.keys,
        home_folder.anchor.authority,
        policy=policy_of(plan),
        budget=HomeBudget.of(home_folder, plan),
        state=store.state,
        store=store,
        read_directory=heads.read_directory,
        read_manifest=heads.read_manifest,
    )


class MessageDispatch:
    """A home's answers.

    Args:
        home_folder: The home's folder.
        store: Its keys and state.
        work: What does the work that needs torch and the readings.

    Attributes:
        plan: The home's plan.
        repeated: Whether the last answer is one that was given before.
    """

    repeated = False

    def __init__(
        self, home_folder: HomeFolder, store: FileStore, work: WorkOf = WorkerProcess
    ) -> None:
        self._home_folder = home_folder
        self._last: tuple[tuple[str, str], RecordDict] | None = None
        self._troubles: dict[bool, SecAggError] = {}
        self._kept_too_long = False
        self._heads = HeadKeeper(home_folder)
        self.plan = plan = Plan.load(home_folder.plan_path)
        self._known = remembered_model(home_folder, plan)
        self._machine = machine_of(home_folder, store, plan, self._heads)
        self._work = work(home_folder, self._machine)

    @property
    def heads(self) -> HeadKeeper:
        """What the home knows to be newest."""
        return self._heads

    def renew(self, directory: bytes, freshness: bytes) -> int:
        """Take a directory that is the newest by the server's word, keep it, and return its epoch.

        Args:
            directory: As the fleet's owner signed it.
            freshness: The server's word (:mod:`fedhome.fleet.freshness`).

        Raises:
            SecAggError: One of them does not hold.
        """
        self._heads.hear(freshness)
        self._machine.renew(directory)
        if directory != self._home_folder.directory:
            self._home_folder.keep_directory(directory)
        last = self._machine.state.last
        return 0 if last is None else last[0]

    def answer(self, message: Message) -> Message:
        """Answer a message; what goes wrong becomes an error reply without private data.

        A question that comes again gets the very answer that it got: the first one was lost on
        the way, and the home could not take part in its sum a second time.
        """
        question = (message.metadata.message_type, message.content.object_id)
        self.repeated = self._last is not None and self._last[0] == question
        if self.repeated and self._last is not None:
            return Message(self._last[1], reply_to=message)
        try:
            self._heads.check()
            answer = self._answer(message)
        except Exception as error:  # noqa: BLE001 - the process must live on
            answer = failure(message, reason_of(error), APP_RAISED)
            self._note_trouble(message, answer, error)
            if isinstance(error, REFUSALS):
                return answer
        else:
            self._note_trouble(message, answer)
        if answer.has_error():
            answer = unable(message, self._machine, self.plan, self._known) or answer
        else:
            known = learnt(message, self.plan, self._known)
            if known is not None and known != self._known:
                remember_model(self._home_folder, self.plan, known)
            self._known = known
        if answer.has_content() and message.metadata.message_type != BUNDLE:
            self._last = (question, answer.content)  # each request for keys gets new ones
        return answer

    @property
    def trouble(self) -> SecAggError | None:
        """Why the home does not answer what it is asked; None if it does.

        Of two, what keeps it from learning comes first: keys and a member's help it may give all
        the same.
        """
        return self._troubles.get(False) or self._troubles.get(True)

    def _note_trouble(
        self, message: Message, answer: Message, error: Exception | None = None
    ) -> None:
        """Remember why a question is not answered: the home's people must know, in a sum too."""
        of_protocol = message.metadata.message_type in (BUNDLE, HELP)
        if not answer.has_error():
            self._troubles.pop(of_protocol, None)
        elif isinstance(error, SecAggError):
            self._troubles[of_protocol] = error
        else:
            word = word_in(answer.error.reason or "") or "unlisted"
            text = error.message if isinstance(error, FedHomeError) else TOLD[word].why
            hint = error.hint if isinstance(error, FedHomeError) else TOLD[word].remedy
            self._troubles[of_protocol] = ManifestError(text, reason=word, hint=hint)

    def tell_waits_to(self, tell: Callable[[str], None]) -> None:
        """Let somebody be told why training waits, and nothing (``""``) when it goes on."""
        self._work.tell_waits = tell

    @property
    def layout(self) -> str | None:
        """Hash of the layout of the home's model; None while that is not known."""
        return self._work.layout

    def rest(self) -> None:
        """Free memory that was not needed for a while, and erase keys whose time is over."""
        self.erase()
        self._work.rest()

    def erase(self) -> None:
        """Erase keys whose time is over; say once if the disk does not let it."""
        try:
            self._machine.forget(time.time())
        except StateError as error:
            if not self._kept_too_long:
                _log.warning("keys whose time is over cannot be erased: %s", error)
            self._kept_too_long = True
        else:
            self._kept_too_long = False

    def close(self) -> None:
        """End what does the work."""
        self._work.close()

    def _answer(self, message: Message) -> Message:
        kind = message.metadata.message_type
        if kind in (BUNDLE, HELP):
            asked = asked_parts(sum_record(message))
            return blob_reply(message, answered(asked, self._machine, now=time.time()))
        return self._work.answer(message)
