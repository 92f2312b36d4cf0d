"""The ClientApp: what a home does when the server asks.

::

    train                 learn from the round's model, answer with what it learnt
    evaluate              score the round's model on the home's validation rows
    query                 tell the width of the home's inputs and outputs
    query.census          count the home's examples, by powers of two
    evaluate.trial        try to personalise the model, measure validation losses
    evaluate.outcome      personalise it as the fleet chose, score all models on the test rows
    query.enrol           a simulated home under `flwr run`: make keys, tell the public ones
    query.directory       the same: take the fleet's directory
    query.bundle          give one-time keys for the next secure sum
    query.help            as a member of the committee, help to open a sum

What a home learns and measures leaves it in a secure sum (:mod:`fedhome.clients.secure_sums`), or,
where its plan says that nothing has to be kept from the server, as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from flwr.app import Context, Message
from flwr.clientapp import ClientApp
from numpy.typing import NDArray

from fedhome.clients import context_keys, supernode
from fedhome.clients.home import Home, find_home
from fedhome.clients.secure_sums import Wanted, add, tried_by, wanted
from fedhome.errors import DirectoryError, ManifestError
from fedhome.flower.messages import EXAMPLES, array_record, content_of, failure, read_flat, reply
from fedhome.plan.protocol import policy_of
from fedhome.questions import contributions, responses
from fedhome.questions.contributions import Terms
from fedhome.questions.responses import Columns
from fedhome.questions.train_config import TrainConfig

Handler = Callable[[Home, Message, Context], Message]


def build(find: Callable[[Context], Home]) -> ClientApp:
    """Return a ClientApp for homes that ``find`` finds.

    Args:
        find: Which home a message is for, from Flower's context.
    """
    return _built(lambda handler: _answering(find, handler))


def _built(answering: Callable[[Handler], Callable[[Message, Context], Message]]) -> ClientApp:
    app = ClientApp()
    for kind, handler in HANDLERS.items():
        category, _, action = kind.partition(".")
        register = {"train": app.train, "evaluate": app.evaluate, "query": app.query}[category]
        register(action or "default")(answering(handler))
    return app


def _answering(
    find: Callable[[Context], Home], handler: Handler
) -> Callable[[Message, Context], Message]:
    def answer(message: Message, context: Context) -> Message:
        return handler(find(context), message, context)

    return answer


def train(home: Home, message: Message, context: Context) -> Message:
    """Learn from the round's model."""
    del context
    arrays, config = content_of(message)
    layout = home.device.learning.layout
    settings, start = TrainConfig.of(config), read_flat(layout, arrays)
    method = settings.method(home.device.learning.method)
    summed = _wanted(home, message, start)
    trained = home.device.train(
        start,
        stream=settings.round,
        epochs=home.plan.train.epochs,
        method=method,
    )
    weights = np.minimum(home.device.counts("train"), home.plan.rounds.max_examples)
    bits = settings.clipping.shorten(start, trained.params)
    if summed is not None:
        update = trained.params - start
        terms = contributions.train_terms(
            update,
            losses=trained.losses,
            weights=weights,
            bits=bits,
            size_in=home.plan.aggregation.clip_in,
        )
        return _add(home, message, summed, terms, update)
    metrics: dict[str, float | int | list[float]] = {
        EXAMPLES: int(weights[0]),
        "train_loss": float(trained.losses[0]),
    }
    metrics |= responses.row(settings.clipping.columns(bits), 0)
    return reply(message, metrics, array_record(layout, np.array(trained.params[0])))


def evaluate(home: Home, message: Message, context: Context) -> Message:
    """Score the round's model on the home's validation rows."""
    del context
    return _measure(home, message, lambda start: responses.evaluate(home.device, start))


def trial(home: Home, message: Message, context: Context) -> Message:
    """Try to personalise the model."""
    del context
    settings = home.plan.personalise
    return _measure(
        home,
        message,
        lambda start: responses.trial(home.device, start, home.personaliser, settings),
    )


def outcome(home: Home, message: Message, context: Context) -> Message:
    """Personalise the model as the fleet chose, and score all models on the test rows."""
    del context
    settings, config = home.plan.personalise, content_of(message)[1]
    return _measure(
        home,
        message,
        lambda start: responses.outcome(home.device, start, home.personaliser, settings, config),
    )


def query(home: Home, message: Message, context: Context) -> Message:
    """Tell the width of the home's inputs and outputs: the plan's, not the home's, secrets."""
    del context
    device = home.device
    shape = {"features": device.examples.x.shape[1], "outputs": device.learning.task.outputs}
    return reply(message, {EXAMPLES: 1, **shape})


def census(home: Home, message: Message, context: Context) -> Message:
    """Count the home's examples, by powers of two."""
    del context
    summed = _wanted(home, message, None)
    if summed is None:
        raise ManifestError("a census is taken in a sum alone", reason="mode")
    return _add(home, message, summed, contributions.census_terms(home.counts), None)


def enrolment(home: Home, message: Message, context: Context) -> Message:
    """Make keys, and tell the public ones."""
    return context_keys.enrol(message, context, _simulated_name(home, context))


def directory(home: Home, message: Message, context: Context) -> Message:
    """Take the fleet's directory."""
    _simulated_name(home, context)
    return context_keys.take_directory(message, context, policy_of(home.plan))


def protocol(home: Home, message: Message, context: Context) -> Message:
    """Give one-time keys, or a member's vote or shares."""
    del context
    if home.participant is None:
        raise ManifestError("this home has no part in secure sums", reason="mode")
    return home.participant.answer(message)


HANDLERS: Mapping[str, Handler] = {
    "train": train,
    "evaluate": evaluate,
    "evaluate.trial": trial,
    "evaluate.outcome": outcome,
    "query": query,
    "query.census": census,
    "query.enrol": enrolment,
    "query.directory": directory,
    "query.bundle": protocol,
    "query.help": protocol,
}


def _measure(
    home: Home, message: Message, ask: Callable[[NDArray[np.float32]], Columns]
) -> Message:
    """Answer with what a home measured of the parameters that came."""
    start = read_flat(home.device.learning.layout, content_of(message)[0])
    summed = _wanted(home, message, start)
    columns = ask(start)
    if summed is None:
        return reply(message, responses.row(columns, 0))
    score = home.device.learning.task.score
    return _add(
        home,
        message,
        summed,
        contributions.terms_of(message.metadata.message_type, columns, score),
        None,
    )


def _wanted(home: Home, message: Message, start: NDArray[np.float32] | None) -> Wanted | None:
    return wanted(
        message,
        home.mode,
        home.participant,
        start=start,
        layout=home.device.learning.layout,
        tried=tried_by(home.plan.personalise),
    )


def _add(
    home: Home,
    message: Message,
    summed: Wanted,
    terms: Terms,
    update: NDArray[np.float32] | None,
) -> Message:
    return add(
        message,
        summed,
        home.participant,
        home=home.device.homes[0],
        seed=home.plan.seed,
        terms=terms,
        update=update,
    )


def _simulated_name(home: Home, context: Context) -> str:
    """Return a simulated home's name; a real one does not enrol with whom it meets first.

    Raises:
        DirectoryError: It is a real one.
    """
    if "partition-id" not in context.node_config:
        raise DirectoryError(
            "a real home takes its fleet's keys from its owner, not from a server",
            reason="enrolment",
            hint='set aggregation.mode = "plain" where nothing has to be kept from the server',
        )
    return home.device.homes[0]


def _behind_node(handler: Handler) -> Callable[[Message, Context], Message]:
    """Answer for whatever home is behind a Flower node."""
    simple = _answering(find_home, handler)

    def answer(message: Message, context: Context) -> Message:
        place = supernode.place_of(context)
        if place is None:
            return simple(message, context)
        try:
            with supernode.home_at(place) as home:
                return handler(home, message, context)
        except Exception as error:  # noqa: BLE001 - Flower would tell the server all of it
            return failure(message, supernode.reason_for(error))

    return answer


app = _built(_behind_node)
