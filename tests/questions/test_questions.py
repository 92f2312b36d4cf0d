"""The table of questions: a new question is one row and one function, in every engine and sum."""

from __future__ import annotations

import subprocess
import sys
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import cast

import numpy as np
import pytest
from flwr.app import ConfigRecord, Context, Message, RecordDict

from fedhome.clients import client_app
from fedhome.clients.home import ClientHome
from fedhome.clients.membership.consent import Invitation, consent_text
from fedhome.clients.protocol_questions import PROTOCOL
from fedhome.errors import DirectoryError, UpdateError
from fedhome.flower.messages import array_record, take_identity
from fedhome.questions import question_table
from fedhome.questions.contributions import Terms
from fedhome.questions.question import ConsentWords
from fedhome.questions.question_table import SUMMED, SummedQuestion, summed
from fedhome.questions.responses import Response
from fedhome.run.events import EventLog
from fedhome.secagg.scalars import Scalar
from fedhome.simulations.engines.by_name import ENGINES
from fedhome.simulations.secure.secure_fleet import SecureFleet, secure_grid
from helpers import tiny

ASKED = (*SUMMED.values(), *PROTOCOL.values())
COUNTS = ((23, 6, 7), (9, 4, 5), (41, 5, 4), (16, 7, 6), (30, 6, 5), (12, 5, 5), (27, 4, 6))
SPREAD = SummedQuestion(
    name="evaluate.spread",
    often="run",
    scalars=lambda config, tried: (Scalar("spread", 0.0, 64.0, weighted=False),),  # noqa: ARG005
    respond=lambda cohort, start, given: Response(  # noqa: ARG005
        {"num-examples": cohort.counts("test"), "spread": cohort.counts("train") / 4.0}
    ),
    terms=lambda columns, update, given: Terms(  # noqa: ARG005
        np.ones(len(columns["spread"]), np.int64), columns["spread"][:, None]
    ),
    consent=ConsentWords(
        when="when somebody is curious",
        plain="a quarter of its rows",
        numbers={"spread": "a quarter of its rows"},
    ),
)


def test_the_names_are_the_rows_own_and_stand_once() -> None:
    assert all(name == row.name for name, row in {**SUMMED, **PROTOCOL}.items())
    assert not set(SUMMED) & set(PROTOCOL)
    assert set(client_app.handlers()) == set(SUMMED) | set(PROTOCOL)


@pytest.mark.parametrize("name", [row.name for row in ASKED if row.asker == "simulation"])
def test_a_real_home_does_nothing_that_a_simulation_alone_may_ask(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[Message] = []
    monkeypatch.setitem(
        vars(client_app)["_PROTOCOL"], name, lambda _home, message, _context: done.append(message)
    )
    take_identity(1)
    ask, home = client_app.handlers()[name], cast("ClientHome", None)
    message = Message(RecordDict(), dst_node_id=7, message_type=name)
    for place in ({}, {"home": "kitchen"}):
        with pytest.raises(DirectoryError) as refused:
            ask(home, message, Context(1, 7, dict(place), RecordDict(), {}))
        assert refused.value.reason == "enrolment"
    assert done == []
    ask(home, message, Context(1, 7, {"partition-id": 0}, RecordDict(), {}))
    assert done == [message]


def test_an_unknown_question_is_refused() -> None:
    with pytest.raises(UpdateError, match="'train-faster'"):
        summed("train-faster")


@pytest.mark.long
@pytest.mark.parametrize("mode", ["ideal", "secure"])
@pytest.mark.parametrize("engine", ["vector", "sequential"])
def test_a_new_question_is_one_row_and_one_function(
    engine: str, mode: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(question_table.SUMMED, SPREAD.name, SPREAD)
    plan = tiny.plan(aggregation={"mode": mode}, data={"homes": None}, engine={"name": engine})
    world = replace(tiny.world(plan, tiny.homes(COUNTS)), mode=mode)
    if mode == "secure":
        world = replace(world, secure=SecureFleet(world.names, plan))
    learning = world.learning
    content = RecordDict(
        {
            "arrays": array_record(learning.layout, learning.initial),
            "config": ConfigRecord({"server-round": 1}),
        }
    )
    with (
        closing(world),
        ENGINES[engine](world) as grid,
        EventLog(tmp_path / "events.jsonl") as log,
    ):
        summed_up = secure_grid(
            grid, plan=plan, layout=learning.layout, log=log, fleet=world.secure
        )
        asked = [Message(content, node, SPREAD.name) for node in grid.get_node_ids()]
        (answer,) = summed_up.send_and_receive(asked)
    assert not answer.has_error(), answer.error
    (metrics,) = answer.content.metric_records.values()
    rows = sum(train for train, _, _ in COUNTS)
    assert metrics["spread"] == pytest.approx(rows / 4, abs=len(COUNTS) * 64 / 2**16)


def test_people_are_told_of_a_new_question(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(question_table.SUMMED, SPREAD.name, SPREAD)
    for mode in ("secure", "plain"):
        asked = Invitation(
            home="oak",
            fleet=bytes(16),
            server="hub:9443",
            plan=tiny.plan(aggregation={"mode": mode}, data={"homes": None}),
        )
        text = " ".join(consent_text(asked).split())
        assert "* when somebody is curious: a quarter of its rows." in text


@pytest.mark.long
def test_the_table_needs_no_torch() -> None:
    program = "import sys, fedhome.questions.question_table; print('torch' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "False"
