"""A home's ledger outlives it, adds up, and stops it at its people's ceiling."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from fedhome.errors import PrivacyBudgetError, StateError
from fedhome.privacy import privacy_ledger
from fedhome.privacy.accounting import cost_within, epsilon_of
from fedhome.privacy.privacy_ledger import EARLIER, FILE, PrivacyLedger
from fedhome.store import disk

RUN, NEXT = b"r" * 16, b"n" * 16
WITHIN = {"ceiling": 8.0, "delta": 1e-5}


def test_costs_add_up_over_runs_and_restarts(tmp_path: Path) -> None:
    for run, cost in ((RUN, 0.25), (RUN, 0.125), (NEXT, 0.5)):
        PrivacyLedger(tmp_path).spend(run, cost, **WITHIN)  # a new process each time
    ledger = PrivacyLedger(tmp_path)
    assert [(entry.run, entry.sums, entry.rho) for entry in ledger.runs] == [
        (RUN, 2, 0.375),
        (NEXT, 1, 0.5),
    ]
    assert ledger.rho == 0.875


def test_a_tiny_cost_is_rounded_up(tmp_path: Path) -> None:
    ledger = PrivacyLedger(tmp_path)
    for _ in range(3):
        ledger.spend(RUN, 1e-30, **WITHIN)
    assert ledger.rho == 3 / 2**40


def test_at_the_ceiling_nothing_more_is_spent(tmp_path: Path) -> None:
    rho = cost_within(8.0, 1e-5)
    ledger = PrivacyLedger(tmp_path)
    ledger.spend(RUN, 0.9 * rho, **WITHIN)
    before = (tmp_path / FILE).read_bytes()
    with pytest.raises(PrivacyBudgetError, match=r"epsilon of 8\.92") as refused:
        ledger.spend(NEXT, 0.3 * rho, **WITHIN)
    assert refused.value.reason == "budget"
    assert (tmp_path / FILE).read_bytes() == before
    ledger.spend(NEXT, 0.1 * rho - 1e-9, **WITHIN)
    assert epsilon_of(ledger.rho, 1e-5) == pytest.approx(8.0)
    ledger.spend(NEXT, 0.1 * rho, ceiling=9.0, delta=1e-5)  # its people raised it


@pytest.mark.parametrize("cost", [math.inf, math.nan, -1.0])
def test_a_cost_without_a_bound_is_refused(cost: float, tmp_path: Path) -> None:
    with pytest.raises(PrivacyBudgetError) as refused:
        PrivacyLedger(tmp_path).spend(RUN, cost, **WITHIN)
    assert refused.value.reason == "noise"
    assert not (tmp_path / FILE).exists()


def test_what_cannot_be_written_is_not_spent_in_memory_either(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger = PrivacyLedger(tmp_path)
    ledger.spend(RUN, 0.25, **WITHIN)

    def full(path: Path, data: bytes) -> None:
        raise StateError(f"{path}: no room for {len(data)} bytes", reason="disk-full")

    monkeypatch.setattr(disk, "put", full)
    with pytest.raises(StateError):
        ledger.spend(RUN, 0.25, **WITHIN)
    assert ledger.rho == 0.25


def test_a_damaged_ledger_is_no_empty_one(tmp_path: Path) -> None:
    PrivacyLedger(tmp_path).spend(RUN, 0.25, **WITHIN)
    path = tmp_path / FILE
    sound = path.read_bytes()
    for place in range(0, len(sound), 7):
        path.write_bytes(sound[:place] + bytes([sound[place] ^ 1]) + sound[place + 1 :])
        with pytest.raises(StateError) as refused:
            PrivacyLedger(tmp_path)
        assert refused.value.reason == "damaged"
    for other in (b"", sound[:-1], sound + b"\0"):
        path.write_bytes(other)
        with pytest.raises(StateError):
            PrivacyLedger(tmp_path)
    path.write_bytes(sound)
    assert PrivacyLedger(tmp_path).rho == 0.25


def test_a_server_that_names_ever_new_runs_fills_no_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(privacy_ledger, "_MOST_RUNS", 3)
    ledger = PrivacyLedger(tmp_path)
    for number in range(1, 8):
        ledger.spend(bytes([number]) * 16, 2.0**-number, **WITHIN)
    read = PrivacyLedger(tmp_path)
    assert [(entry.run[0], entry.sums) for entry in read.runs] == [(0, 5), (6, 1), (7, 1)]
    assert read.rho == sum(2.0**-number for number in range(1, 8))


def test_a_server_that_names_a_run_as_the_earlier_ones_are_named_is_counted_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What ledgers did: of two entries of one name the later one counted alone."""
    monkeypatch.setattr(privacy_ledger, "_MOST_RUNS", 3)
    ledger = PrivacyLedger(tmp_path)
    runs = [RUN, b"1" * 16, EARLIER, b"2" * 16, b"3" * 16, b"4" * 16]
    names = []
    for number, run in enumerate(runs, start=1):
        ledger.spend(run, 2.0**-number, **WITHIN)
        names.append([entry.run for entry in ledger.runs])
        assert ledger.rho == sum(2.0**-n for n in range(1, number + 1))
    assert names[3] == [EARLIER, EARLIER, b"2" * 16], "the control: there are two of one name"
    assert PrivacyLedger(tmp_path).rho == ledger.rho


def test_a_ceiling_that_is_no_number_lets_nothing_through(tmp_path: Path) -> None:
    with pytest.raises(PrivacyBudgetError):
        PrivacyLedger(tmp_path).spend(RUN, 0.1, ceiling=math.nan, delta=1e-5)
