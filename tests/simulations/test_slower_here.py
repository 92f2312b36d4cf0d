"""A secure simulation says once where the library does what a processor could do faster."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import pytest
from llvmlite import binding

from fedhome.plan.settings import Plan
from fedhome.run.events import Event
from fedhome.simulations.engines.pair_streams import pair_streams_if_any
from fedhome.simulations.engines.row_names import row_names_if_any
from fedhome.simulations.engines.row_seals import row_seals_if_any
from fedhome.simulations.secure.slower_here import slower_here
from fedhome.simulations.simulate import simulate

ALL = {"aes": True, "pclmul": True, "ssse3": True, "sha": True}
HAS_ALL = all(map(binding.get_host_cpu_features().get, ALL))


@pytest.fixture(autouse=True)
def _anew(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(binding, "get_process_triple", lambda: "x86_64-unknown-linux-gnu")
    compiled = pair_streams_if_any, row_seals_if_any, row_names_if_any
    for one in compiled:
        one.cache_clear()
    yield
    for one in compiled:
        one.cache_clear()


def _has(monkeypatch: pytest.MonkeyPatch, features: dict[str, bool]) -> None:
    found = binding.get_host_cpu_features()
    found.update(features)
    monkeypatch.setattr(binding, "get_host_cpu_features", lambda: found)


def test_a_processor_that_has_all_of_it_is_not_spoken_of(monkeypatch: pytest.MonkeyPatch) -> None:
    _has(monkeypatch, ALL)
    assert slower_here() is None


@pytest.mark.skipif(not HAS_ALL, reason="this processor lacks some of it")
@pytest.mark.parametrize(
    ("lacks", "named", "parts"),
    [
        ("aes", "AES", "masks, seals of shares"),
        ("pclmul", "carry-less products", "seals of shares"),
        ("ssse3", "SSSE3", "seals of shares, names of rows"),
        ("sha", "SHA-256", "names of rows"),
    ],
)
def test_what_lacks_is_named_and_what_it_slows_down(
    monkeypatch: pytest.MonkeyPatch, lacks: str, named: str, parts: str
) -> None:
    _has(monkeypatch, ALL | {lacks: False})
    text = slower_here()
    assert text is not None
    assert text.endswith(f"no instructions of x86 for {named}, so the library makes {parts}")
    # It is said of just what is not there.
    assert ("masks" in parts) == (pair_streams_if_any(2) is None)
    assert ("seals" in parts) == (row_seals_if_any(104) is None)
    assert ("names" in parts) == (row_names_if_any() is None)


def test_another_processor_has_none_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    _has(monkeypatch, ALL)
    monkeypatch.setattr(binding, "get_process_triple", lambda: "aarch64-unknown-linux-gnu")
    text = slower_here()
    assert text is not None
    assert text.endswith("makes masks, seals of shares, names of rows")


def test_a_system_that_lets_nobody_make_machine_code_is_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refused() -> None:
        raise OSError("no")

    monkeypatch.setattr(binding, "check_jit_execution", refused)
    text = slower_here()
    assert text is not None
    assert text.endswith("this system lets no process create machine code")


@pytest.mark.parametrize(
    ("mode", "lacks", "times"), [("secure", True, 1), ("secure", False, 0), ("ideal", True, 0)]
)
def test_a_run_says_it_once_where_it_is_so(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    mode: Literal["secure", "ideal"],
    lacks: bool,
    times: int,
) -> None:
    _has(monkeypatch, ALL | {"sha": not lacks})
    told: list[Event] = []
    plan = Plan.load(data={"homes": 6, "days": 40}, rounds={"count": 2}, engine={"threads": 1})
    simulate(plan.change(aggregation={"mode": mode}), out=tmp_path / "run", on_event=told.append)
    notes = [one for one in told if one.event == "note" and "more processor time" in str(one)]
    assert len(notes) == times
