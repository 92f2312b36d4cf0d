"""A home behind Flower's stock SuperNode takes part in secure sums as any other does."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import load_ssh_private_key
from flwr.app import Context, Message, RecordDict

import fedhome
from fedhome.clients import supernode
from fedhome.clients.agent.known_head import HEAD, HeadKeeper
from fedhome.clients.client_app import app
from fedhome.clients.lean_process import LEAN
from fedhome.clients.membership.consent_record import CONSENT, ConsentRecord, plan_digest
from fedhome.clients.membership.home_folder import DIRECTORY, PLAN, HomeFolder
from fedhome.errors import RunError
from fedhome.fleet.state_file import FileStore
from fedhome.flower.messages import (
    METRICS,
    blobs_of,
    config_content,
    take_identity,
    with_sum_record,
)
from fedhome.ops.processes import Processes
from fedhome.plan.settings import Plan
from fedhome.run.folder import RunFolder
from fedhome.secagg import Directory, KeyRing, ShareKey
from fedhome.secagg.directory import Signed
from fedhome.server.daemon.newest import Newest
from fedhome.simulations.homes import generate
from fedhome.simulations.local_fleet import prepare, start
from helpers.living import assert_same_weights, named

HOMES, ROUNDS = 5, 1


@pytest.fixture(scope="module")
def plan() -> Plan:
    return named(
        Plan.load(
            name="tiny",
            seed=3,
            data={"homes": HOMES, "days": 10, "history_days": 10},
            model={"hidden": [8]},
            rounds={"count": ROUNDS, "deadline_s": 120},
            personalise={"name": "none"},
            engine={"name": "sequential"},
        )
    )


@pytest.fixture(scope="module")
def fleet(plan: Plan, tmp_path_factory: pytest.TempPathFactory) -> list[HomeFolder]:
    """Homes that agreed, and whose nodes were claimed before."""
    tables = generate(homes=HOMES, days=10, seed=plan.seed)
    server, places = prepare(tmp_path_factory.mktemp("fleet"), plan, tables)
    for place in places:
        _agree(place, plan)
        place.keep_directory(server.directory_data)
        HeadKeeper(place).take(Newest(server).statement(), server.directory())
    return places


@pytest.fixture(scope="module")
def joined(fleet: list[HomeFolder]) -> HomeFolder:
    """One of them."""
    return fleet[0]


@pytest.fixture(scope="module")
def ring(fleet: list[HomeFolder]) -> RecordDict:
    """What a question for one-time keys brings along: the members' keys of now."""
    asked = with_sum_record(RecordDict(), {"share-key": b""})
    keys = [
        ShareKey.from_bytes(blobs_of(ask(place, "query.help", asked))["share-key"])
        for place in fleet
    ]
    directory = Directory.from_bytes(Signed.from_bytes(fleet[0].directory or b"").body)
    keys.sort(key=lambda key: directory.members.index(key.member))
    return with_sum_record(RecordDict(), {"ring": KeyRing(keys=tuple(keys)).to_bytes()})


@pytest.fixture
def place(joined: HomeFolder, plan: Plan, tmp_path: Path) -> HomeFolder:
    """A copy of it, with readings of its own."""
    copy = HomeFolder(shutil.copytree(joined.path, tmp_path / "home"))
    settings = replace(copy.settings, data=str(copy.path / "readings.parquet"))
    copy.fill(settings, plan=plan, anchor=copy.anchor, authorities=copy.authorities)
    return copy


def _agree(place: HomeFolder, plan: Plan) -> None:
    ConsentRecord(plan=plan_digest(plan), text="all of it", invite="").keep(place)


def ask(place: HomeFolder, kind: str, content: RecordDict | None = None) -> Message:
    """Ask the app as a process of Flower's SuperNode does."""
    context = Context(
        run_id=1,
        node_id=7,
        node_config={"home": str(place.path)},
        state=RecordDict(),
        run_config={"plan": "", "out": ""},
    )
    take_identity(1)
    return app(Message(content or config_content({}), 7, kind), context)


@pytest.mark.long
def test_each_answer_opens_the_home_and_lets_it_go(
    place: HomeFolder, ring: RecordDict, plan: Plan
) -> None:
    told = ask(place, "query").content[METRICS]
    # As the run's log says of this plan, and a column for each input that may be missing.
    assert told["features"] == 23 + len(plan.data.indicators or ())
    bundles = [blobs_of(ask(place, "query.bundle", ring))["bundle"] for _ in range(2)]
    assert bundles[0] != bundles[1]
    with FileStore.open(place.path, home=place.settings.home) as store:
        assert store.state.serial == 2  # no key is given twice, whatever process gave it


@pytest.mark.long
def test_a_home_that_does_not_know_what_is_newest_does_not_answer(place: HomeFolder) -> None:
    (place.path / HEAD).unlink()  # and the server, which it asks, is away
    assert ask(place, "query").error.reason == "stale"


def _left(place: HomeFolder) -> None:
    place.left = True


def _paused(place: HomeFolder) -> None:
    place.paused = True


def _no_consent(place: HomeFolder) -> None:
    (place.path / CONSENT).unlink()


def _another_plan(place: HomeFolder) -> None:
    (place.path / PLAN).write_text(Plan.load(seed=4).to_toml())


def _never_claimed(place: HomeFolder) -> None:
    (place.path / DIRECTORY).unlink()


@pytest.mark.long
@pytest.mark.parametrize("change", [_left, _paused, _no_consent, _another_plan, _never_claimed])
def test_a_home_that_takes_no_part_says_no_more_than_that(
    place: HomeFolder, change: Callable[[HomeFolder], None]
) -> None:
    change(place)
    answer = ask(place, "query.bundle")
    assert answer.error.reason == "no-part"


def test_a_home_whose_agent_runs_gives_nothing(place: HomeFolder) -> None:
    with FileStore.open(place.path, home=place.settings.home) as store:
        answer = ask(place, "query.bundle")
        assert answer.error.reason == "no-part"
        assert store.state.serial == 0


def test_readings_that_cannot_be_used_are_not_described(place: HomeFolder) -> None:
    Path(place.settings.data).write_bytes(b"no table")
    answer = ask(place, "query")
    assert answer.error.reason == "readings"


def test_the_node_is_the_one_that_was_claimed(
    place: HomeFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    run: list[tuple[list[str], dict[str, str]]] = []
    monkeypatch.setattr(os, "execve", lambda _, words, env: run.append((words, env)))
    monkeypatch.setattr(supernode, "claim", HomeFolder.node_key)
    supernode.main([str(place.path)])
    ((words, environment),) = run
    told = dict(zip(words[1::2], words[2::2], strict=True))
    key = load_ssh_private_key(Path(told["--auth-supernode-private-key"]).read_bytes(), None)
    assert key.private_numbers() == place.node_key().private.private_numbers()
    assert told["--superlink"] == place.settings.server
    assert told["--node-config"] == f'home="{place.path}"'
    assert environment["FLWR_HOME"].startswith(str(place.path))


@pytest.mark.parametrize("name", ['a"b', "a'b", "a\\b", "a\nb", "a b", "häuser"])
def test_folders_that_flower_cannot_be_told(tmp_path: Path, name: str, place: HomeFolder) -> None:
    folder = place.path.rename(tmp_path / name)
    fine = nullcontext() if name in {"a b", "häuser"} else pytest.raises(RunError, match="rename")
    with fine:
        words = supernode.command(HomeFolder(folder), "/dev/fd/3")
        assert f'home="{folder}"' in words


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_run_gives_what_a_simulation_gives(plan: Plan, tmp_path: Path) -> None:
    simulated = fedhome.simulate(plan, out=tmp_path / "simulated").folder
    tables = generate(homes=HOMES, days=10, seed=plan.seed)
    server, places = prepare(tmp_path / "deployment", plan, tables)
    stock, *others = places
    _agree(stock, plan)
    run = RunFolder.create(tmp_path / "run", name=plan.name)
    run.write_plan(plan.to_toml())
    with Processes() as processes:
        start(processes, server, others)
        folder = str(stock.path)
        log = server.logs / "stock.log"
        processes.start("stock", LEAN, "fedhome.clients.supernode", folder, log=log)
        deploy = ("fedhome.server.daemon.deploy", str(server.path), str(run.path), "120")
        processes.start("run", *deploy, log=server.logs / "run.log", ends=(0, 1))
        assert processes.wait("run") == 0, (server.logs / "run.log").read_text()
    assert run.finished
    answered = run.read_rounds().column("homes_answered").to_pylist()
    assert answered == [HOMES] * ROUNDS, (server.logs / "stock.log").read_text()
    assert_same_weights(run, simulated)
