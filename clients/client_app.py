"""The ClientApp: what a home does when the server asks.

Whatever may be asked is a row of :data:`fedhome.questions.question_table.SUMMED`, where homes
train or measure, or of :data:`fedhome.clients.protocol_questions.PROTOCOL`. What a home learns and
measures leaves it in a secure sum (:mod:`fedhome.clients.secure_sums`), or, where its plan says
that nothing has to be kept from the server, as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from flwr.app import Context, Message
from flwr.clientapp import ClientApp
from numpy.typing import NDArray

from fedhome.clients import context_keys, supernode
from fedhome.clients.agent.own_model import EndedRuns, OwnModelKeeper, keep_ended
from fedhome.clients.asked_question import AskedQuestion
from fedhome.clients.failure_reason import reason_of
from fedhome.clients.home import ClientHome, find_home
from fedhome.clients.protocol_questions import PROTOCOL
from fedhome.clients.secure_sums import add, empty_handed, requested_sum_of
from fedhome.errors import (
    DirectoryError,
    EngineError,
    FedHomeError,
    ManifestError,
    PluginError,
    UpdateError,
)
from fedhome.flower.messages import EXAMPLES, array_record, content_of, failure, reply
from fedhome.plan.protocol import policy_of
from fedhome.plan.sliced_plan import is_sliced
from fedhome.questions.contributions import NOT_FINITE
from fedhome.questions.empty_handed import settled
from fedhome.questions.question import Question
from fedhome.questions.question_table import SUMMED, SummedQuestion
from fedhome.questions.responses import Columns, QuestionContext, row
from fedhome.questions.settings import check_inputs, check_settings
from fedhome.questions.shells import shell_places
from fedhome.questions.transfer import encoded
from fedhome.wire.names import BUNDLE, DIRECTORY, ENROL, HELP, SHAPE

Handler = Callable[[ClientHome, Message, Context], Message]


def build(find: Callable[[Context], ClientHome]) -> ClientApp:
    """Return a ClientApp for homes that ``find`` finds.

    Args:
        find: Which home a message is for, from Flower's context.
    """
    return _app_with(lambda handler: _bound(find, handler))


def _app_with(bind: Callable[[Handler], Callable[[Message, Context], Message]]) -> ClientApp:
    app = ClientApp()
    for kind, handler in handlers().items():
        category, _, action = kind.partition(".")
        register = {"train": app.train, "evaluate": app.evaluate, "query": app.query}[category]
        register(action or "default")(bind(handler))
    return app


def _bound(
    find: Callable[[Context], ClientHome], handler: Handler
) -> Callable[[Message, Context], Message]:
    def answer(message: Message, context: Context) -> Message:
        return handler(find(context), message, context)

    return answer


def respond(question: SummedQuestion, home: ClientHome, message: Message) -> Message:
    """Respond to a question: in a sum, or as it is where the home's plan is plain.

    From where the home has joined a sum, nothing that goes wrong at home is told to the server:
    the home then adds zeros, and a flag of it to the sum.

    Raises:
        ManifestError: The home takes no part in the sum, or answers in sums alone.
        UpdateError: The message's settings cannot be; in the clear, what was learnt too.
    """
    layout = home.device.fleets_layout
    asked, places = AskedQuestion.of(message, layout), None
    if home.mode != "plain" and question.update and is_sliced(home.plan):
        check_settings(question.faults(asked.settings, home.plan))
        places = _places_of_shell(home, asked)  # before it joins: nothing is masked of another's
    requested_sum = requested_sum_of(
        message, asked, home.mode, home.participant, layout=layout, plan=home.plan
    )
    if requested_sum is None and not question.in_the_clear:
        raise ManifestError(f"{question.name!r} is answered in a sum alone", reason="mode")
    if requested_sum is None:
        columns, params = _response(question, home, asked)[:2]
        record = None if params is None else array_record(layout, np.array(params[0]))
        return reply(message, row(columns, 0), record)
    try:
        columns, params, context = _response(question, home, asked)
        update = None if params is None or asked.start is None else params - asked.start
        if update is not None and asked.start is not None:
            update = encoded(
                home.plan,
                update,
                start=asked.start,
                settings=asked.settings,
                homes=home.device.homes,
                states=home.device.states,
            )
        terms = question.terms(columns, update, context)
        update, terms = settled(update, terms)
        if update is not None and places is not None:
            update = update[:, places]
    except Exception as error:
        if home.real:
            reason_of(error)  # for the home's own log: the server is not told
        elif isinstance(error, EngineError | PluginError) or not isinstance(error, FedHomeError):
            raise  # whose code it is sits in front of this simulation
        return empty_handed(
            message,
            requested_sum,
            home.participant,
            home=home.device.homes[0],
            seed=home.plan.seed,
        )
    if home.real and terms.values[0, -1]:
        reason_of(UpdateError(NOT_FINITE))
    return add(
        message,
        requested_sum,
        home.participant,
        home=home.device.homes[0],
        seed=home.plan.seed,
        terms=terms,
        update=update,
    )


def _places_of_shell(home: ClientHome, asked: AskedQuestion) -> NDArray[np.int64]:
    """Return which numbers of the model a home of a sliced plan is to add up.

    Raises:
        ManifestError: Its device does not have them.
    """
    places = shell_places(home.plan, home.device.fleets_layout, asked.settings)
    carries = (home.device.rounds or home.device).carries
    if carries is None or not np.isin(places, carries.places).all():
        raise ManifestError(
            "this home was asked to add up a part of the model that its device does not carry",
            reason="form",
            hint="home and server must run the same plan",
        )
    return places


def _response(
    question: SummedQuestion, home: ClientHome, asked: AskedQuestion
) -> tuple[Columns, NDArray[np.float32] | None, QuestionContext]:
    start = np.zeros(0, np.float32) if asked.start is None else asked.start
    personaliser = home.personaliser if question.personal else None
    score = home.device.learning.task.score
    context = QuestionContext(home.plan, asked.settings, score, personaliser, home.settled)
    return (*question.respond(home.device, start, context), context)


def shape(home: ClientHome, message: Message, context: Context) -> Message:
    """Tell the width of the home's inputs and outputs: the plan's, not the home's, secrets.

    Raises:
        ManifestError: ``inputs``: the home's plan gives them another meaning.
    """
    del context
    check_inputs(content_of(message)[1], home.plan)
    device = home.device
    widths = {"features": device.examples.x.shape[1], "outputs": device.learning.task.outputs}
    return reply(message, {EXAMPLES: 1, **widths})


def enrol(home: ClientHome, message: Message, context: Context) -> Message:
    """Make keys, and tell the public ones."""
    return context_keys.enrol(message, context, home.device.homes[0])


def directory(home: ClientHome, message: Message, context: Context) -> Message:
    """Take the fleet's directory."""
    return context_keys.take_directory(message, context, policy_of(home.plan))


def protocol(home: ClientHome, message: Message, context: Context) -> Message:
    """Give one-time keys, or a member's vote or shares."""
    del context
    if home.participant is None:
        raise ManifestError("this home has no part in secure sums", reason="mode")
    return home.participant.answer(message)


_PROTOCOL: Mapping[str, Handler] = {
    SHAPE: shape,
    BUNDLE: protocol,
    HELP: protocol,
    ENROL: enrol,
    DIRECTORY: directory,
}


def handler_of(question: Question) -> Handler:
    """Return what answers a question, for whoever its row says may ask."""

    def answer(home: ClientHome, message: Message, context: Context) -> Message:
        if question.asker == "simulation":
            _check_simulated(context)
        if isinstance(question, SummedQuestion):
            return respond(question, home, message)
        return _PROTOCOL[question.name](home, message, context)

    return answer


def handlers() -> Mapping[str, Handler]:
    """Return what answers each question that the tables name, by the type of its messages."""
    return {name: handler_of(question) for name, question in {**SUMMED, **PROTOCOL}.items()}


def _check_simulated(context: Context) -> None:
    """Refuse what a simulation alone may ask: a real home does not enrol with whom it meets first.

    Raises:
        DirectoryError: This is a real one.
    """
    if "partition-id" not in context.node_config:
        raise DirectoryError(
            "a real home takes its fleet's keys from its owner, not from a server",
            reason="enrolment",
            hint='set aggregation.mode = "plain" where nothing has to be kept from the server',
        )


def _behind_node(handler: Handler) -> Callable[[Message, Context], Message]:
    """Answer for whatever home is behind a Flower node."""
    simple = _bound(find_home, handler)

    def answer(message: Message, context: Context) -> Message:
        from fedhome.clients.own_readings import source_of  # noqa: PLC0415 - arrow

        home_folder = supernode.home_folder_of(context)
        if home_folder is None:
            return simple(message, context)
        try:
            with supernode.home_at(home_folder) as home:
                answer = handler(home, message, context)
                runs = EndedRuns(home, home_folder, source_of(home_folder))
                keep_ended(runs, OwnModelKeeper(home_folder), run=message.metadata.run_id)
                return answer
        except Exception as error:  # noqa: BLE001 - Flower would tell the server all of it
            return failure(message, supernode.reason_for(error))

    return answer


app = _app_with(_behind_node)
