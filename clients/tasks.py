"""What an agent does with a message: light work itself, the rest with the installed ClientApp."""

from __future__ import annotations

import time
from functools import cached_property

from flwr.app import Context, Message, RecordDict
from flwr.clientapp import ClientApp

from clients.place import Place
from fedhome import secagg
from fedhome.aggregation import policy_of
from fedhome.errors import FedHomeError, UpdateError
from fedhome.flower import APP_RAISED, blob_reply, failure, sum_of
from fedhome.plan import Plan
from fedhome.secagg.store import FileStore

_BUNDLE, _HELP = "query.bundle", "query.help"  # as in clients.secure, which needs torch


class Tasks:
    """A home's answers.

    Args:
        place: The home's folder.
        store: Its keys and state.
    """

    def __init__(self, place: Place, store: FileStore) -> None:
        self._place = place
        self._plan = Plan.load(place.plan_path)
        self._last: tuple[tuple[str, str], RecordDict] | None = None
        self._machine = secagg.Home(
            store.keys,
            place.anchor.authority,
            policy=policy_of(self._plan),
            state=store.state,
            store=store,
        )

    def renew(self, directory: bytes) -> None:
        """Take a directory, and keep it.

        Raises:
            SecAggError: It does not hold.
        """
        self._machine.renew(directory)
        if directory != self._place.directory:
            self._place.keep_directory(directory)

    def answer(self, message: Message) -> Message:
        """Answer a message; what goes wrong becomes an error reply without private data.

        A question that comes again gets the very answer that it got: the first one was lost on
        the way, and the home could not take part in its sum a second time.
        """
        question = (message.metadata.message_type, message.content.object_id)
        if self._last is not None and self._last[0] == question:
            return Message(self._last[1], reply_to=message)
        try:
            answer = self._answer(message)
        except FedHomeError as error:
            return failure(message, str(error), APP_RAISED)
        except Exception as error:  # noqa: BLE001 - the process must live on
            return failure(message, f"the app failed: {type(error).__name__}", APP_RAISED)
        if message.metadata.message_type != _BUNDLE:  # keys are new each time that they are asked
            self._last = (question, answer.content)
        return answer

    def _answer(self, message: Message) -> Message:
        kind = message.metadata.message_type
        if kind == _BUNDLE:
            return blob_reply(message, {"bundle": self._machine.bundle()})
        if kind == _HELP:
            told = sum_of(message)
            request = None if told is None else told.get("request")
            if not isinstance(request, bytes):
                raise UpdateError("a member was asked for its help without saying with what")
            answer = self._machine.answer(request, now=time.time())
            return blob_reply(message, {"answer": answer})
        metadata = message.metadata
        context = Context(
            run_id=metadata.run_id,
            node_id=metadata.dst_node_id,
            node_config={},
            state=RecordDict(),
            run_config={},
        )
        return self._app(message, context)

    @cached_property
    def _app(self) -> ClientApp:
        """The ClientApp, on this home's data; loads torch."""
        from clients.app import build  # noqa: PLC0415
        from clients.home import real_home  # noqa: PLC0415
        from clients.secure import Participant  # noqa: PLC0415

        home = real_home(
            self._plan,
            self._place.settings.data,
            name=self._place.settings.home,
            participant=Participant(self._machine),
        )
        return build(lambda _: home)
