"""What we use of Flower beside its public names is listed, stands in one room, and is unchanged.

Public is what Flower documents and exports (``__all__``) in one of `flower_lock.PUBLIC`, imported
by that path: ``flwr.app``, ``flwr.client`` and ``flwr.clientapp`` with their ``mod``,
``flwr.server`` with its ``strategy`` and ``workflow``, ``flwr.serverapp`` with its ``strategy`` and
``exception``, and ``flwr.simulation``; and of an object of such a class, the attributes without an
underscore. All else is not: other modules (``flwr.common``, ``flwr.proto``, ``flwr.supercore``…)
whatever their ``__all__`` says, the same class by another path, names with an underscore, and what
the SuperLink calls its paths, its remote methods and its middleware.

What is not public is used in ``fedhome/flower/`` alone, and in
``simulations/benchmarks/flower_*.py``, which measure Flower's inside; wherever it is used, it is in
the lock. Tests may look inside as they like: they fail by themselves.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from flwr.app import ArrayRecord, Message, MetricRecord, RecordDict
from flwr.serverapp.strategy import FedAvg
from flwr.supercore.object_store.in_memory_object_store import InMemoryObjectStore
from flwr.superlink.federation.noop_federation_manager import NoOpFederationManager

from fedhome.flower.indexed_state import IndexedLinkState
from fedhome.flower.messages import take_identity
from fedhome.flower.run_grid import RunGrid
from helpers import flower_lock
from helpers.flower_lock import (
    Texts,
    differences,
    held,
    installed,
    locked,
    pinned,
    what_is_used,
)
from helpers.flower_uses import Uses, files, uses_of

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def ours() -> list[Uses]:
    return list(files())


@pytest.fixture(scope="module")
def told(ours: list[Uses]) -> Texts:
    return what_is_used(ours)


def test_what_is_used_is_as_the_lock_has_it(told: Texts) -> None:
    assert installed() in held(), "make lock"
    assert differences(locked(installed()), told) == [], "make lock"


def test_the_lock_holds_the_releases_that_the_pin_takes() -> None:
    assert held() == pinned()


def test_what_is_not_public_is_used_in_its_room_alone(ours: list[Uses]) -> None:
    elsewhere = [uses for uses in ours if not (uses.in_the_room or uses.measures)]
    names = {
        (uses.path, flower_lock.key_of(name))
        for uses, name, _ in flower_lock.names_used(elsewhere)
        if not flower_lock.public(name)
    }
    others = {
        (uses.path, key)
        for find in (flower_lock.privates_used, flower_lock.words_used)
        for uses, key, _ in find(ours)
        if uses in elsewhere
    }
    assert names | others == set()


@pytest.mark.parametrize(
    ("source", "added"),
    [
        ("from flwr.app import Message, Context", set()),
        ("from flwr.serverapp import strategy as s\ns.Krum", set()),
        ('"""Of flwr.common, and of _error."""', set()),
        ("class Own:\n    def f(self): return self._error", set()),
        ("import os\nos._addr", set()),
        ("from flwr.common.constant import Status", {"flwr.common.constant.Status"}),
        (
            "from flwr.common.constant import Status as S\nS.PENDING",
            {"flwr.common.constant.Status", "flwr.common.constant.Status.PENDING"},
        ),
        ("def f():\n    from flwr.common import now", {"flwr.common.now"}),
        (
            "import flwr.common.serde as s\ns.error_to_proto",
            {"flwr.common.serde", "flwr.common.serde.error_to_proto"},
        ),
        (
            "import flwr.app\nflwr.app.error.Error",
            {"flwr.app.error", "flwr.app.error.Error", "flwr.app.error.Error.__init__"},
        ),
        (
            "from flwr.serverapp import strategy as s\ns.strategy_utils.config_to_str",
            {
                "flwr.serverapp.strategy.strategy_utils",
                "flwr.serverapp.strategy.strategy_utils.config_to_str",
            },
        ),
        ("from flwr.no import such", {"flwr.no.such"}),
        ("load('flwr.supercore.utils')", {"flwr.supercore.utils"}),
        ("m.__dict__['_error']", {"flwr.app.message.message.Message._error"}),
        ("m._error", {"flwr.app.message.message.Message._error"}),
        ("vars(m).update(_error=None)", {"flwr.app.message.message.Message._error"}),
        ("getattr(grid, '_addr')", {"flwr.superlink.grid.http_grid.HttpGrid._addr"}),
        (
            "class A(RunGrid): ...\nclass B(A):\n    def f(self): return self._addr",
            {"flwr.superlink.grid.http_grid.HttpGrid._addr"},
        ),
        ("from flwr.app import Message\nm.some._thing", {"unknown._thing"}),
        ("post('/v1/fleet/register-node')", {"/v1/fleet/register-node"}),
        ("[f'/v1/fleet/{x}' for x in ('register-node',)]", {"/v1/fleet/register-node"}),
        ("protected = {'/flwr.proto.Runtime/Nothing'}", {"/flwr.proto.Runtime/Nothing"}),
        ("idle = {'SomeMiddleware'}", {"middleware SomeMiddleware"}),
    ],
)
def test_a_new_use_is_found(ours: list[Uses], told: Texts, source: str, added: set[str]) -> None:
    now = what_is_used([*ours, uses_of(source, "server/new.py")])
    assert now.keys() - told.keys() == added


def test_a_line_says_what_a_thing_is(told: Texts) -> None:
    assert {
        "flwr.common.constant.ErrorCode.NODE_UNAVAILABLE": "5",
        "flwr.supercore.date.now": "() -> datetime.datetime",
        "flwr.supercore.constant.TaskType.SERVER_APP": "'flwr-serverapp'",
        "flwr.proto.fleet_pb2.ActivateNodeRequest.heartbeat_interval": "double = 2",
        "flwr.proto.fleet_pb2.PullMessagesResponse.messages_list": "repeated Message = 2",
        "flwr.superlink.grid.HttpGrid.run": "property -> Run",
        "flwr.superlink.grid.http_grid.HttpGrid._retry_invoker": "attribute",
        "flwr.supercore.run.Run.create_empty": "classmethod (cls, run_id: int) -> 'Run'",
        "flwr.supercore.task_identity.TaskIdentity.run_id": "property -> int",
        "/v1/fleet/get-run": "post",
    }.items() <= told.items()


def test_private_attributes_are_those_of_real_objects(told: Texts, tmp_path: Path) -> None:
    take_identity(1)
    message = Message(RecordDict(), dst_node_id=2, message_type="train")
    grid = RunGrid(tmp_path, "token")
    try:
        state = IndexedLinkState(NoOpFederationManager(), InMemoryObjectStore())
        content = RecordDict({"metrics": MetricRecord(), "arrays": ArrayRecord()})
        records = [content, *content.values(), content.array_records]
        having = [message, message.metadata, *records, FedAvg(), grid, grid.client, state]
        private = {key.rpartition(".")[::2] for key in told if "._" in key and "__" not in key}
        assert private
        for kind, name in private:
            those = [
                one
                for one in having
                for of in type(one).__mro__
                if f"{of.__module__}.{of.__qualname__}" == kind
            ]
            assert those, kind
            for one in those:
                assert name in {*vars(one), *dir(one)}
    finally:
        grid.close()


def test_releases_share_what_they_agree_on(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(flower_lock, "LOCK", tmp_path / "lock.json")
    monkeypatch.setattr(flower_lock, "pinned", lambda: ["1.9", "1.10"])

    def written(release: str, **lines: str) -> None:
        monkeypatch.setattr(flower_lock, "installed", lambda: release)
        flower_lock.write(lines)

    written("1.10", f="(a)", g="(b)")
    written("1.9", f="(a)", g="()", h="1")
    assert held() == ["1.9", "1.10"]
    assert locked("1.9") == {"f": "(a)", "g": "()", "h": "1"}
    assert locked("1.10") == {"f": "(a)", "g": "(b)"}
    assert differences(locked("1.9"), locked("1.10")) == ["- g: ()", "+ g: (b)", "- h: 1"]
    text = (tmp_path / "lock.json").read_text()
    written("1.10", f="(a)", g="(b)")
    assert (tmp_path / "lock.json").read_text() == text
    assert text.count("(a)") == 1
    monkeypatch.setattr(flower_lock, "pinned", lambda: ["1.10", "1.11"])
    written("1.11", f="(a, c)", g="(b)")
    assert held() == ["1.10", "1.11"]
    assert locked("1.11") == {"f": "(a, c)", "g": "(b)"}
