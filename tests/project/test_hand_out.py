"""How `make slow` hands its tests out: each once, fleets to one worker, and nobody idle."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from xdist.scheduler import LoadFileScheduling  # type: ignore[import-untyped]

from helpers.hand_out import LONG, RAY, FleetsApart, next_scope, scope_of
from helpers.pins import ROOT

CHAOS, UP, PAGE = (f"tests/processes/test_{name}.py" for name in ("chaos", "up", "page_processes"))
YEAR, EVENTS = "tests/server/test_virtual_year.py", "tests/run/test_events.py"


def test_each_worker_has_its_own_first_and_then_helps_the_other() -> None:
    scopes = [EVENTS, PAGE, UP, YEAR, CHAOS]
    handed = []
    for first in (True, False, True, False, False):
        handed.append(next_scope(scopes, first=first))
        scopes.remove(handed[-1])
    assert handed == [CHAOS, YEAR, UP, EVENTS, PAGE], "the longest first; the last is a fleet's"
    assert next_scope([EVENTS], first=True) == EVENTS


def test_the_files_about_ray_come_one_after_the_other() -> None:
    rays = {
        scope_of(f"tests/{file}::test_x[a::b]")
        for file in ("flower/test_flower_run.py", "simulations/test_ray.py")
    }
    assert rays == {RAY}
    assert scope_of("tests/server/test_virtual_year.py::test_a_year_alone") == YEAR


@pytest.mark.parametrize("name", sorted({*LONG} - {RAY}))
def test_what_is_called_long_is_there(name: str) -> None:
    assert list((ROOT / "tests").rglob(name))


class _Worker:
    """A worker of xdist's that notes what it is asked for."""

    def __init__(self) -> None:
        self.asked: list[int] = []
        self.shutting_down = False
        self.gateway = SimpleNamespace(id="a worker")

    def send_runtest_some(self, numbers: list[int]) -> None:
        self.asked += numbers

    def shutdown(self) -> None:
        self.shutting_down = True


def _begun(tests: list[str], workers: list[_Worker]) -> FleetsApart:
    options = SimpleNamespace(tx=["popen"] * len(workers), loadscopereorder=True)
    config = SimpleNamespace(option=options, getvalue=lambda name: getattr(options, name))
    found = FleetsApart(config)
    for worker in workers:
        found.add_node(worker)
        found.add_node_collection(worker, tests)
    found.schedule()
    return found


def test_a_worker_that_has_come_for_one_that_died_waits_until_it_has_its_tests() -> None:
    """Another one may die in that time: what it had is then nobody's yet."""
    tests = [f"{file}::test_it" for file in (CHAOS, UP, YEAR, EVENTS)]
    workers = [_Worker() for _ in range(4)]
    scheduling = _begun(tests, workers[:2])
    for dead, new in ((0, 2), (1, 3)):
        assert scheduling.remove_node(workers[dead])
        scheduling.add_node(workers[new])
        assert not workers[new].asked
    for late in (2, 3):
        scheduling.add_node_collection(workers[late], tests)
        scheduling.schedule()
    scheduling.mark_test_complete(workers[2], workers[2].asked[0])
    assert sorted(workers[2].asked + workers[3].asked) == [0, 1, 2, 3]


def test_a_worker_that_finds_other_tests_than_those_that_began_is_sent_away() -> None:
    tests = [f"{file}::test_it" for file in (CHAOS, UP, YEAR)]
    workers = [_Worker() for _ in range(3)]
    scheduling = _begun(tests, workers[:2])
    scheduling.remove_node(workers[0])
    scheduling.add_node(workers[2])
    scheduling.add_node_collection(workers[2], tests[1:])
    scheduling.schedule()
    assert (workers[2].asked, workers[2].shutting_down) == ([], True)


def test_what_of_xdist_is_gone_round_is_there() -> None:
    for name in ("_assign_work_unit", "_reschedule", "_split_scope", "add_node_collection"):
        assert getattr(FleetsApart, name) is not getattr(LoadFileScheduling, name)
    assert "nodes" in dir(LoadFileScheduling)
