"""How `make slow` hands its tests out: each once, fleets to one worker, and nobody idle."""

from __future__ import annotations

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


def test_what_of_xdist_is_gone_round_is_there() -> None:
    assert FleetsApart._assign_work_unit is not LoadFileScheduling._assign_work_unit
    assert {"_assign_work_unit", "_split_scope", "nodes"} <= set(dir(LoadFileScheduling))
