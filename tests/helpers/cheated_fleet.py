"""Six real homes, and a server that asks them what it likes.

Each home is a ClientHome on data of its own with its part in the protocol; the server holds the
fleet's true server key and signs what it likes.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from flwr.app import ConfigRecord, Context, Message, RecordDict
from numpy.typing import NDArray

from fedhome.clients import client_app
from fedhome.clients.asked_question import AskedQuestion, model_hash, scalars_of
from fedhome.clients.home import ClientHome
from fedhome.clients.secure_sums import Participant
from fedhome.flower.messages import array_record, blobs_of, take_identity, with_sum_record
from fedhome.learning.own_state import StatesInMemory
from fedhome.plan.protocol import policy_of, terms_hash
from fedhome.plan.settings import Plan
from fedhome.privacy.noise import Noise
from fedhome.questions import private_sums
from fedhome.questions.question_table import TRAIN, summed
from fedhome.questions.settings import settings_hash
from fedhome.questions.transfer import count_of
from fedhome.secagg import FixedPoint, Form, Total
from helpers import tiny
from helpers.secagg_world import NOW, Sum, World

HOMES = 6
ROWS = (23, 6, 7)
PLAN = tiny.plan(
    aggregation={"mode": "secure"},
    data={"homes": None},
    rounds={"count": 3},
    personalise={"name": "fine-tune"},
)
LEARNING = tiny.learning(PLAN)
TRAINED: dict[str, Any] = {"server-round": 2}


class Listening(Participant):
    """A home's part in the protocol that remembers what it was to mask."""

    words: NDArray[Any] | None = None

    def upload(self, message: Message, joined: Any, words: NDArray[Any]) -> Message:
        """Remember the words, then mask them."""
        self.words = words.copy()
        return super().upload(message, joined, words)


class Fleet:
    """Six homes, and a server that asks them what it likes.

    Args:
        kind: What it asks.
        settings: With which settings.
        start: About which model.
        beside: A fleet that was asked something before: these are its homes.
        rows: Of each home its rows to learn from, for validation and for the test.
        fixed: How updates become whole numbers; None: as of sixteen bits, and a clip of one.
        plan: The homes' plan.
        noise: That homes are to add, whatever their plan says.
    """

    def __init__(
        self,
        kind: str = TRAIN,
        settings: Mapping[str, Any] = TRAINED,
        start: NDArray[np.float32] | None = None,
        beside: Fleet | None = None,
        *,
        rows: Sequence[tuple[int, int, int]] = (ROWS,) * HOMES,
        fixed: FixedPoint | None = None,
        plan: Plan = PLAN,
        noise: Noise | None = None,
    ) -> None:
        take_identity(1)
        self.kind, self.settings = kind, dict(settings)
        self.start = LEARNING.initial if start is None else start
        if beside is None:
            self.world = World.of(HOMES, policy=policy_of(plan))
            self.parts = {
                name: Listening(machine, clock=lambda: NOW)
                for name, machine in self.world.homes.items()
            }
            self.homes = {
                name: ClientHome.of(
                    plan,
                    tiny.home(name, its),
                    mode="secure",
                    participant=part,
                    real=True,
                    states=StatesInMemory(),
                )
                for (name, part), its in zip(self.parts.items(), rows, strict=True)
            }
        else:
            self.world, self.parts, self.homes = beside.world, beside.parts, beside.homes
            self.world.refill()
        asked = AskedQuestion(kind, self.settings, self.start)
        row = summed(kind)
        form = Form(
            elements=count_of(plan, LEARNING.layout, self.settings) if row.update else 0,
            layout=bytes.fromhex(LEARNING.layout.hash),
            fixed=fixed or FixedPoint(16, 1.0, "linf", 64 if row.weighted else 1),
            scalars=scalars_of(asked, plan),
            homes=HOMES,
        )
        if noise is not None:
            fewer = private_sums.scalars_of(kind, form.scalars, form.fixed.bits)
            form = replace(form, scalars=fewer, noise=noise)
        self.sum: Sum = self.world.draw_up(
            purpose=kind.rpartition(".")[2],
            plan=terms_hash(plan),
            settings=settings_hash(self.settings),
            model_hash=model_hash(self.start),
            round=2,
            form=form,
        )

    def content(self) -> RecordDict:
        """Return what an honest server sends."""
        arrays = array_record(LEARNING.layout, self.start)
        content = RecordDict({"arrays": arrays, "config": ConfigRecord(self.settings)})
        return with_sum_record(content, {"manifest": self.sum.signed})

    def ask(self, home: str, content: RecordDict | None = None, kind: str | None = None) -> Message:
        """Let a home answer.

        Raises:
            FedHomeError: It refuses.
        """
        app = client_app.build(lambda _: self.homes[home])
        message = Message(content or self.content(), 7, kind or self.kind)
        context = Context(1, 7, {}, RecordDict(), {})
        answer = app(message, context)
        assert isinstance(answer, Message)
        return answer

    def open(self, *, without: Collection[str] = ()) -> Total:
        """Let homes answer and members open the sum, and return what it amounts to."""
        for home in self.world.homes.keys() - set(without):
            self.sum.aggregator.receive(home, blobs_of(self.ask(home))["upload"])
        self.sum.answer()
        opened = self.sum.open()
        return self.sum.manifest.form.decode(opened.words, HOMES - len(without))
