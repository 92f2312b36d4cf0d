"""A home's and a server's processes run no code that another account could put in its place.

The installed module is that of the plan which people agreed to; the other account's lies where the
process was started, or has been given to it.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from fedhome.clients import supernode
from fedhome.errors import PlanError, PluginError
from fedhome.guarded_code import check_file, guarded, is_guarded
from fedhome.ops.processes import Child
from fedhome.plan.settings import Plan
from fedhome.plugins import load
from fedhome.server.daemon.current_run import check
from fedhome.simulations import local_fleet
from helpers.client_world import PLAN, fedhome

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="accounts are POSIX's")

_STRANGER = 54_321


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, in which somebody else has put a module of an installed one's name."""
    (installed := tmp_path / "installed").mkdir()
    (installed / "wavenet.py").write_text("Net = 'installed'\n")
    monkeypatch.syspath_prepend(installed)
    (here := tmp_path / "here").mkdir()
    (here / "wavenet.py").write_text("Net = 'of another account'\n")
    monkeypatch.chdir(here)
    return here


@pytest.mark.usefixtures("here")
def test_code_of_a_home_is_what_is_installed_and_not_what_lies_in_the_current_folder() -> None:
    assert load("wavenet:Net", "model") == "of another account", "the control: in a simulation"
    with guarded():
        assert load("wavenet:Net", "model") == "installed"
    assert not is_guarded()


def test_a_plan_of_a_home_names_nothing_in_the_current_folder(here: Path, tmp_path: Path) -> None:
    (folder := tmp_path / "oak").mkdir()
    plan = folder / "plan.toml"
    plan.write_text('[model]\nname = "wavenet:Net"\n')
    assert Plan.load(plan).model.name == f"{here / 'wavenet.py'}:Net", "the control"
    with guarded():
        assert Plan.load(plan).model.name == "wavenet:Net", "it stays the plan that was agreed to"
        with pytest.raises(PluginError, match="from which a home or a server runs no code"):
            load("wavenet.py:Net", "model")
        with pytest.raises(PlanError, match="from which a home or a server runs no code"):
            Plan.load(model={"name": "wavenet.py:Net"})
        assert load(f"{here / 'wavenet.py'}:Net", "model") == "of another account", "whole paths"


@pytest.mark.long
def test_a_process_of_a_fleet_is_guarded_wherever_it_was_started(
    here: Path, tmp_path: Path
) -> None:
    log = tmp_path / "log"
    paths = [str(tmp_path / "installed"), str(Path(__file__).parents[1]), *sys.path]
    environment = {"PYTHONPATH": os.pathsep.join(paths)}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", environment["PYTHONPATH"])
        child = Child("loads", ["helpers.runs_named_code", "wavenet:Net"], log=log)
        child.start()
        assert child.process is not None
        child.process.wait(60)
        child.wait(0)
    assert log.read_text() == "installed of wavenet:Net\n"
    control = subprocess.run(
        [
            *(sys.executable, "-P", "-c"),
            "from helpers.runs_named_code import main; main(['wavenet:Net'])",
        ],
        cwd=here,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    assert control.stdout == "of another account of wavenet:Net\n"


def test_commands_on_a_homes_device_are_guarded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[bool] = []

    def looked(_: Path) -> None:
        seen.append(is_guarded())
        raise PluginError("far enough")

    monkeypatch.setattr("fedhome.cli.client.home_folder_at", looked)
    fedhome("status", tmp_path)
    assert seen == [True]
    assert not is_guarded()


def test_a_home_behind_a_stock_supernode_is_guarded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its process is begun by Flower, and not by ours."""
    seen: list[bool] = []

    def opened(_: object) -> None:
        seen.append(is_guarded())
        raise PluginError("far enough")

    monkeypatch.setattr(supernode, "open_store", opened)
    monkeypatch.setattr(supernode, "leave_no_core", lambda: None)
    place: Any = SimpleNamespace(settings=None, directory=b"there")
    with pytest.raises(PluginError, match="far enough"), supernode.home_at(place):
        pass
    assert seen == [True]
    assert not is_guarded()


@pytest.mark.parametrize("place", ["wavenet.py", "."])
def test_code_that_every_account_may_change_is_not_run(here: Path, place: str) -> None:
    (here / place).chmod(0o777)
    name = f"{here / 'wavenet.py'}:Net"
    assert load(name, "model") == "of another account", "the control: in a simulation"
    with guarded(), pytest.raises(PluginError, match="every account of this machine may write to"):
        load(name, "model")


def test_code_below_a_folder_in_which_all_may_rename_is_not_run(here: Path, tmp_path: Path) -> None:
    """Another account could change folders between the look at it and its reading."""
    name = f"{here / 'wavenet.py'}:Net"
    tmp_path.chmod(0o777)
    assert load(name, "model") == "of another account", "the control: in a simulation"
    with guarded(), pytest.raises(PluginError, match="put other code in the place of"):
        load(name, "model")
    with guarded(), pytest.raises(PluginError, match="put other code in the place of"):
        check_file(here / "taken" / "away" / "meanwhile.py")
    tmp_path.chmod(0o1777)  # as /tmp, where each account keeps what is its own
    with guarded():
        assert load(name, "model") == "of another account"


@pytest.mark.skipif(os.name != "posix" or os.geteuid() != 0, reason="only root gives files away")
@pytest.mark.parametrize("place", ["wavenet.py", "."])
def test_code_of_another_account_is_not_run_not_even_by_root(here: Path, place: str) -> None:
    os.chown(here / place, _STRANGER, _STRANGER)
    name = f"{here / 'wavenet.py'}:Net"
    assert load(name, "model") == "of another account", "the control: in a simulation"
    with guarded(), pytest.raises(PluginError, match=f"belongs to the account {_STRANGER}"):
        load(name, "model")


@pytest.mark.parametrize("begin", [local_fleet.up, lambda plan: check(plan, homes=12)])
def test_a_run_of_such_code_is_refused_before_any_process_begins(
    here: Path, begin: Callable[[Plan], object]
) -> None:
    (here / "wavenet.py").chmod(0o777)
    plan = PLAN.change(model={"name": f"{here / 'wavenet.py'}:Net"})
    with pytest.raises(PlanError, match=r"model\.name: every account of this machine may write"):
        begin(plan)
