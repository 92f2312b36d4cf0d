"""The ClientApp: what a home does when the server asks.

::

    train                 learn from the round's model, answer with the new parameters
    evaluate              score the round's model on the home's validation rows
    query                 tell the width of the home's inputs and outputs
    evaluate.trial        try to personalise it, answer with validation losses
    evaluate.outcome      personalise it as the fleet chose, score all models on the test rows
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from flwr.app import Context, Message
from flwr.clientapp import ClientApp

from clients.home import Home, find_home
from fedhome.flower import EXAMPLES, array_record, content_of, read_flat, reply
from fedhome.learning import answers
from fedhome.learning.order import Order, clip_updates


def build(find: Callable[[Context], Home]) -> ClientApp:
    """Return a ClientApp for homes that ``find`` finds.

    Args:
        find: Which home a message is for, from Flower's context.
    """
    app = ClientApp()

    @app.train()
    def train(message: Message, context: Context) -> Message:
        home = find(context)
        arrays, config = content_of(message)
        layout = home.device.learning.layout
        order, start = Order.of(config), read_flat(layout, arrays)
        trained = home.device.train(
            start,
            stream=order.round,
            epochs=home.plan.train.epochs,
            proximal_mu=order.proximal_mu,
        )
        metrics: dict[str, float | int | list[float]] = {
            EXAMPLES: min(int(home.device.counts("train")[0]), home.plan.rounds.max_examples),
            "train_loss": float(trained.losses[0]),
        }
        if order.clip_norm is not None:
            bits = clip_updates(start, trained.params, order.clip_norm)
            metrics["norm_bit"] = int(bits[0])
        return reply(message, metrics, array_record(layout, np.array(trained.params[0])))

    @app.query()
    def query(message: Message, context: Context) -> Message:
        device = find(context).device
        return reply(
            message,
            {
                EXAMPLES: 1,
                "features": device.examples.x.shape[1],
                "outputs": device.learning.task.outputs,
            },
        )

    @app.evaluate()
    def evaluate(message: Message, context: Context) -> Message:
        home = find(context)
        start = read_flat(home.device.learning.layout, content_of(message)[0])
        return reply(message, answers.row(answers.evaluate(home.device, start), 0))

    @app.evaluate("trial")
    def trial(message: Message, context: Context) -> Message:
        home = find(context)
        start = read_flat(home.device.learning.layout, content_of(message)[0])
        columns = answers.trial(home.device, start, home.personaliser, home.plan.personalise)
        return reply(message, answers.row(columns, 0))

    @app.evaluate("outcome")
    def outcome(message: Message, context: Context) -> Message:
        home = find(context)
        arrays, config = content_of(message)
        start = read_flat(home.device.learning.layout, arrays)
        columns = answers.outcome(
            home.device, start, home.personaliser, home.plan.personalise, config
        )
        return reply(message, answers.row(columns, 0))

    return app


app = build(find_home)
