"""Every number that leaves a home is listed: what real homes send is held against the list."""

from __future__ import annotations

import ast
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pytest
from flwr.app import ConfigRecord, Context, Message, RecordDict
from typer.testing import CliRunner

from fedhome.cli import app
from fedhome.clients import client_app
from fedhome.clients.agent.resident import Agent
from fedhome.clients.agent.work import InProcess
from fedhome.clients.failure_reason import BY_KIND
from fedhome.clients.home import ClientHome
from fedhome.clients.membership.home_folder import HomeFolder
from fedhome.clients.outgoing.fields import fields_of
from fedhome.clients.outgoing.lanes import lanes_of
from fedhome.clients.outgoing.records import Record, answers, requests
from fedhome.clients.outgoing.tables import markdown, tables_of
from fedhome.clients.protocol_questions import PROTOCOL
from fedhome.errors import RunError
from fedhome.fleet.front_requests import ENROL, JOIN, LEAVE
from fedhome.fleet.state_file import FileStore
from fedhome.flower.messages import array_record, take_identity
from fedhome.ops.processes import Processes
from fedhome.plan.settings import Plan
from fedhome.questions.question_table import ADAPTED, BLEND, OUTCOME, SHRINK, SUMMED
from fedhome.reasons import AT_HOME, QUESTIONS
from fedhome.run.folder import RunFolder
from fedhome.server.daemon.current_run import DONE
from fedhome.server.rounds.judging import adaptation_of
from fedhome.simulations.homes import generate
from fedhome.simulations.local_fleet import prepare, start
from fedhome.wire.codec import Digest, Id
from fedhome.wire.codec import Message as WireMessage
from helpers import tiny
from helpers.client_world import World, fedhome, front_of, joined, owned_in, world_of
from helpers.living import tiny_plan
from helpers.patience import PATIENCE_S
from helpers.sent import content_fields, kinds_answered, listening, unlisted

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "numbers.md"
MARK = "<!-- from here on: fedhome plan numbers --markdown -->\n\n"
HOMES = 3
NODE = 7
OF_NO_ANSWER = {"corrupt", "degree", "damaged", "altered", "fork", "older", "missing", "homes"} | {
    "beyond",
    "chain",
    "clock",
    "far-ahead",
    "fleet",
    "freshness",
    "ledger",
    "packed",
    "unknown-home",
}
"""Reasons of other than answers: a directory, parameters, files of the home's own,
and what the server checks."""


def test_the_page_is_what_the_command_prints() -> None:
    printed = CliRunner().invoke(app, ["plan", "numbers", "--markdown"])
    assert printed.exit_code == 0
    _, mark, listed = PAGE.read_text("utf-8").partition(MARK)
    assert mark
    assert listed == printed.output, "fedhome plan numbers --markdown has another list"


@pytest.mark.long
@pytest.mark.parametrize(
    "sets", [(), ("aggregation.mode=plain",), ("privacy.mechanism=discrete-gaussian",)]
)
def test_a_screen_has_all_that_the_page_has(sets: tuple[str, ...], tmp_path: Path) -> None:
    plan = Plan.load(sets=[*sets, *(["privacy.epsilon=4"] if "privacy" in str(sets) else [])])
    path = tmp_path / "plan.toml"
    path.write_text(plan.to_toml())
    shown = CliRunner().invoke(app, ["plan", "numbers", str(path)], env={"COLUMNS": "400"})
    assert shown.exit_code == 0, shown.output
    flat = " ".join(shown.output.split())
    for table in tables_of(plan, 100):
        for row in table.rows:
            assert all(" ".join(cell.strip("`").split()) in flat for cell in row), row


def test_every_number_of_a_form_is_listed_with_its_meaning() -> None:
    wrapped = "strategy.wrap=differentialprivacyclientsideadaptiveclipping"
    plan = Plan.load(sets=[wrapped, "rounds.count=10", "rounds.judge_every=4"])
    listed = {one.question.name: one for one in lanes_of(plan, 1000)}
    assert set(listed) == set(SUMMED)
    config = {"server-round": 1, "bins": 80, "clipping_norm": 1.0}
    for kind, row in SUMMED.items():
        lanes = row.lanes(config, plan.personalise)
        counted = sum(lane.count or 0 for lane in listed[kind].lanes)
        assert counted == 1 + len(lanes), "the weight, and all others"  # counted by hand: 26 + 1, …
        assert all(lane.meaning for lane in listed[kind].lanes)
    assert sum(lane.count or 0 for lane in listed["query.census"].lanes) == 27  # 25 flags, and two
    assert sum(lane.count or 0 for lane in listed["train"].lanes) == 29
    assert (listed["evaluate"].times, listed["evaluate.adapted"].times) == (10, 3)
    # At two rates the fleet's model after 0 to 60 passes, and ten numbers of passes alone.
    assert sum(lane.count or 0 for lane in listed["evaluate.trial"].lanes) == 122 + 20 + 2
    # Five experts' errors with their own and each other's, seven strengths; and two each.
    assert sum(lane.count or 0 for lane in listed["evaluate.blend"].lanes) == 17
    assert sum(lane.count or 0 for lane in listed["evaluate.shrink"].lanes) == 9


def test_what_a_plan_never_asks_is_not_listed() -> None:
    plan = Plan.load(sets=["rounds.judge_every=0"])
    assert [one.question.name for one in lanes_of(plan, 1000)] == [
        name for name in SUMMED if name != ADAPTED
    ]


def test_with_noise_each_number_but_the_weight_has_it() -> None:
    plan = Plan.load(sets=["privacy.mechanism=discrete-gaussian", "privacy.epsilon=4"])
    listed = list(lanes_of(plan, 1000))
    assert [one.question.name for one in listed] == ["train", "evaluate", "evaluate.outcome"]
    assert {lane.noisy for one in listed for lane in one.lanes if lane.name != "weight"} == {True}


def test_a_message_that_does_not_say_what_its_fields_are_is_refused() -> None:
    class Silent(WireMessage, label="silent", most=64):
        """Says what one of two is.

        Args:
            home: Its name.
        """

        home: Id
        other: Digest

    with pytest.raises(RunError, match="does not say what other are"):
        fields_of(dataclass(frozen=True, kw_only=True)(Silent))


@contextmanager
def _running(agent: Agent) -> Iterator[None]:
    thread = threading.Thread(target=agent.run)
    thread.start()
    try:
        yield
    finally:
        agent.stop()
        thread.join(PATIENCE_S)


def _listed(plan: Plan) -> list[Record]:
    return [*requests(), *answers(plan)]


@pytest.mark.long
@pytest.mark.filterwarnings("ignore:GitWildMatchPattern:DeprecationWarning")
def test_all_that_a_real_home_sends_in_a_run_is_listed(tmp_path: Path) -> None:
    plan = tiny_plan(HOMES, 1, min_cohort=HOMES).change(rounds={"judge_every": 1})
    tables = generate(homes=HOMES, days=plan.data.days, seed=plan.seed)
    server, homes = prepare(tmp_path, plan, tables)
    folder = RunFolder.create(tmp_path / "run", name="run")
    folder.write_plan(plan.to_toml())
    with Processes() as processes, listening() as sent:
        start(processes, server, homes[1:])
        with FileStore.open(homes[0].path, home=homes[0].settings.home) as store:
            agent = Agent(homes[0], store, InProcess)
            with _running(agent):
                run = processes.start(
                    "run",
                    "fedhome.server.daemon.deploy",
                    str(server.path),
                    str(folder.path),
                    "60",
                    log=tmp_path / "run.log",
                    ends=(DONE,),
                )
                processes.until(lambda: run.look() is not None, what="the run", timeout_s=200)
    ours = [one for one in sent if one.path != "/health"]
    asked = {name for name, row in {**SUMMED, **PROTOCOL}.items() if row.asker == "server"}
    assert kinds_answered(ours) == asked
    assert unlisted(ours, _listed(plan)) == set()
    for record, field in (("query", "features"), ("a sum", "upload.vector"), (JOIN, "release")):
        less = [_without(one, field) if one.name == record else one for one in _listed(plan)]
        assert unlisted(ours, less) == {(record, field)}, "the control: one field more than listed"


def _without(record: Record, field: str) -> Record:
    return replace(record, fields={k: v for k, v in record.fields.items() if k != field})


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    with owned_in(tmp_path) as owned, front_of(owned[1]):
        device = tmp_path / "device"
        device.mkdir()
        yield world_of(owned, device, monkeypatch)


@pytest.mark.long
def test_all_that_a_home_sends_to_join_and_to_leave_is_listed(world: World) -> None:
    with listening() as sent:
        place: HomeFolder = joined(world)
        fedhome("leave", place.path, answer="y\n")
    assert [one.path for one in sent] == [ENROL, LEAVE]
    assert unlisted(sent, requests()) == set()
    assert unlisted(sent, answers(Plan.load())) != set(), "the control: without them in the list"


def _unlisted_of_a_plain_home(kind: str) -> set[str]:
    """Return what a home of a plain plan answers that is in no list."""
    take_identity(1)
    clips = {"wrap": "differentialprivacyclientsideadaptiveclipping"}
    rounds = {"judge_every": 1}
    plan = tiny.plan(personalise={"name": "fine-tune"}, strategy=clips, rounds=rounds)
    home = ClientHome.of(plan, tiny.home("oak", (23, 6, 7)), mode="plain", real=True)
    answering = client_app.build(lambda _: home)
    learning = home.device.learning
    settings: dict[str, Any] = {"server-round": 1, "clipping_norm": 1.0}
    if kind in {BLEND, SHRINK, OUTCOME}:
        settings = tiny.ending()
    if kind == ADAPTED:
        settings |= adaptation_of(plan)
    arrays = array_record(learning.layout, learning.initial)
    content = RecordDict({"arrays": arrays, "config": ConfigRecord(settings)})
    answer = answering(Message(content, NODE, kind), Context(1, NODE, {}, RecordDict(), {}))
    assert answer.has_content(), answer.error
    (record,) = [one for one in answers(plan) if one.name == kind]
    said = set(content_fields(answer.content))
    return {one for one in said if not any(fnmatchcase(one, key) for key in record.fields)}


@pytest.mark.long
@pytest.mark.parametrize("kind", [name for name, row in SUMMED.items() if row.in_the_clear])
def test_all_that_a_home_of_a_plain_plan_answers_is_listed(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert _unlisted_of_a_plain_home(kind) == set()
    row = client_app.row
    monkeypatch.setattr(client_app, "row", lambda *one: {**row(*one), "kwh": 4.2})
    assert _unlisted_of_a_plain_home(kind) == {"kwh"}, "the control: a number more"


def _reasons(source: str) -> set[str]:
    """Return the short words with which some source refuses."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.keyword) and node.arg == "reason":
            found |= {n.value for n in ast.walk(node.value) if isinstance(n, ast.Constant)}
        if isinstance(node, ast.For) and ast.unparse(node.target).startswith("(reason,"):
            rows = [row for row in ast.walk(node.iter) if isinstance(row, ast.Tuple)]
            firsts = [row.elts[0] for row in rows if row.elts]
            found |= {one.value for one in firsts if isinstance(one, ast.Constant)}
        if isinstance(node, ast.Yield) and isinstance(node.value, ast.Tuple):
            found |= {n.value for n in node.value.elts[:1] if isinstance(n, ast.Constant)}
    return {word for word in found if isinstance(word, str) and word}


def _home_runs() -> list[Path]:
    """Return the files of all that a home runs when it is asked."""
    folders = ("secagg", "questions", "wire", "privacy")
    files = [path for name in folders for path in sorted((ROOT / "fedhome" / name).glob("*.py"))]
    at_server = {"aggregator.py", "pool.py", "opening.py", "parameters.py", "checking.py"}
    return [
        *(path for path in files if path.name not in at_server),
        *(ROOT / "clients" / f"{name}.py" for name in ("client_app", "secure_sums", "sum_checks")),
        ROOT / "clients" / "privacy_budget.py",
        ROOT / "clients" / "agent" / "known_head.py",
        ROOT / "fedhome" / "fleet" / "freshness.py",
    ]


def test_every_reason_to_refuse_is_listed() -> None:
    found = set().union(*(_reasons(path.read_text("utf-8")) for path in _home_runs()))
    assert found - set(QUESTIONS) - OF_NO_ANSWER == set(), "list it in fedhome/reasons.py"
    of_kinds = {word for _, word in BY_KIND}
    assert set(QUESTIONS) - found - of_kinds == set(), "nobody refuses so any more"
    assert of_kinds <= {*QUESTIONS, *AT_HOME}
    new = 'raise ManifestError("no", reason="its readings")'
    assert _reasons(new) == {"its readings"}, "the control: one that is not listed is found"


def test_what_is_listed_of_a_plan_follows_it() -> None:
    few, many = (markdown(list(tables_of(Plan.load(), homes))) for homes in (10, 1000))
    assert ("baseline-0 … " in few, "baseline-0 … baseline-79" in many) == (False, True)
    capped = markdown(list(tables_of(Plan.load(sets=["aggregation.weight_cap=1"]), 10)))
    assert ("query.census" in few, "query.census" in capped) == (True, False)
