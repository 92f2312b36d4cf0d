"""Every fault of a plan in one go: of its settings, of what fits together, and of its names."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import fedhome
from fedhome.errors import PlanError
from fedhome.learning.personalise import PERSONALISERS
from fedhome.learning.plan_check import checked_plan
from fedhome.plan import short_names
from fedhome.server.strategies import STRATEGIES, WRAPPERS

_NAMES = {
    "task": {"kind": "regresion"},
    "model": {"name": "mlq"},
    "train": {"optimiser": "sgdd"},
    "method": {"name": "fedprx"},
    "personalise": {"name": "fine-tone"},
    "strategy": {"name": "fedagv", "wrap": "dp"},
}
_SETTINGS = [
    "task.kind",
    "model.name",
    "train.optimiser",
    "method.name",
    "personalise.name",
    "strategy.name",
    "strategy.wrap",
]


def test_names_are_those_of_the_objects() -> None:
    assert set(short_names.STRATEGIES) == set(STRATEGIES)
    assert set(short_names.WRAPPERS) == set(WRAPPERS)
    assert set(short_names.PERSONALISERS) == {*PERSONALISERS, "none"}


@pytest.mark.parametrize(
    ("rounds", "also"),
    [({"most_pause_s": 1}, "below the first pause"), ({"most_pause_s": 0}, "greater than 0")],
    ids=["what does not fit", "a wrong value"],
)
def test_unknown_names_are_told_beside_the_other_faults(rounds: dict[str, int], also: str) -> None:
    with pytest.raises(PlanError) as caught:
        checked_plan({**_NAMES, "rounds": rounds})
    first, *names = caught.value.faults
    assert also in first
    assert [fault.partition(":")[0] for fault in names] == _SETTINGS
    assert all(" is unknown" in fault for fault in names)


def test_names_that_are_no_text_are_told_once() -> None:
    with pytest.raises(PlanError) as caught:
        checked_plan({"strategy": {"name": 3}, "method": 4, "model": {"name": "mlq"}})
    assert len(caught.value.faults) == 3


def test_a_wrong_entry_does_not_also_make_its_list_too_short() -> None:
    with pytest.raises(PlanError) as caught:
        checked_plan({"personalise": {"rates": ["x"]}})
    (fault,) = caught.value.faults
    assert fault.startswith("personalise.rates.0: input should be a valid number")
    with pytest.raises(PlanError, match="at least 1 item"):
        checked_plan({"personalise": {"rates": []}})


def test_what_is_known_holds() -> None:
    known = {"name": "FedAdam", "wrap": "DP-server-fixed"}
    assert checked_plan({"strategy": known}).strategy.wrap == "DP-server-fixed"
    assert checked_plan({"strategy": {"name": "mine.py:Own"}}).strategy.name == "mine.py:Own"


def test_a_simulation_from_python_looks_before_it_makes_a_folder(tmp_path: Path) -> None:
    sets = ["strategy.name=fedagv", "personalise.name=fine-tone"]
    with pytest.raises(PlanError) as caught:
        fedhome.simulate(sets=sets, out=tmp_path / "run")
    assert len(caught.value.faults) == 2
    assert not (tmp_path / "run").exists()


def test_a_look_at_a_plan_loads_neither_torch_nor_flower() -> None:
    code = (
        "import sys; from fedhome.learning.plan_check import checked_plan; checked_plan({}); "
        "print([name for name in ('torch', 'flwr') if name in sys.modules])"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout == "[]\n"
