"""What an agent does with a message: keys and a member's help itself, the rest is :class:`Work`."""

from __future__ import annotations

import time
from collections.abc import Callable

from flwr.app import Message, RecordDict

from fedhome import secagg
from fedhome.clients.agent.unable import unable
from fedhome.clients.agent.work import Work, WorkerProcess
from fedhome.clients.failure_reason import REFUSALS, reason_of
from fedhome.clients.membership.home_folder import HomeFolder
from fedhome.clients.privacy_budget import HomeBudget
from fedhome.errors import StateError, UpdateError
from fedhome.fleet.state_file import FileStore
from fedhome.flower.messages import APP_RAISED, blob_reply, failure, sum_record
from fedhome.plan.protocol import policy_of
from fedhome.plan.settings import Plan

BUNDLE, HELP = "query.bundle", "query.help"  # as in fedhome.clients.secure_sums, which needs torch

WorkOf = Callable[[HomeFolder, secagg.HomeParty], Work]
"""How a home's work is set up, such as :class:`WorkerProcess` or :class:`InProcess`."""


class MessageDispatch:
    """A home's answers.

    Args:
        home_folder: The home's folder.
        store: Its keys and state.
        work: What does the work that needs torch and the readings.

    Attributes:
        plan: The home's plan.
        trouble: What the disk says against keeping the state that the last question asked for;
            None if nothing.
    """

    def __init__(
        self, home_folder: HomeFolder, store: FileStore, work: WorkOf = WorkerProcess
    ) -> None:
        self._home_folder = home_folder
        self._last: tuple[tuple[str, str], RecordDict] | None = None
        self.trouble: StateError | None = None
        self.plan = plan = Plan.load(home_folder.plan_path)
        self._machine = secagg.HomeParty(
            store.keys,
            home_folder.anchor.authority,
            policy=policy_of(plan),
            budget=HomeBudget.of(home_folder, plan),
            state=store.state,
            store=store,
        )
        self._work = work(home_folder, self._machine)

    def renew(self, directory: bytes) -> int:
        """Take a directory, keep it, and return its epoch.

        Raises:
            SecAggError: It does not hold.
        """
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
        if self._last is not None and self._last[0] == question:
            return Message(self._last[1], reply_to=message)
        self.trouble = None
        try:
            answer = self._answer(message)
        except Exception as error:  # noqa: BLE001 - the process must live on
            self.trouble = error if isinstance(error, StateError) else None
            answer = failure(message, reason_of(error), APP_RAISED)
            if isinstance(error, REFUSALS):
                return answer
        if answer.has_error():
            answer = unable(message, self._machine) or answer
        if answer.has_content() and message.metadata.message_type != BUNDLE:
            self._last = (question, answer.content)  # each request for keys gets new ones
        return answer

    @property
    def layout(self) -> str | None:
        """Hash of the layout of the home's model; None while that is not known."""
        return self._work.layout

    def rest(self) -> None:
        """Free memory that was not needed for a while."""
        self._work.rest()

    def close(self) -> None:
        """End what does the work."""
        self._work.close()

    def _answer(self, message: Message) -> Message:
        kind = message.metadata.message_type
        if kind == BUNDLE:
            return blob_reply(message, {"bundle": self._machine.bundle()})
        if kind == HELP:
            record = sum_record(message)
            request = None if record is None else record.get("request")
            if not isinstance(request, bytes):
                raise UpdateError("a member was asked for its help without saying with what")
            answer = self._machine.answer(request, now=time.time())
            return blob_reply(message, {"answer": answer})
        return self._work.answer(message)
