"""The benchmark of secure aggregation measures what it says; how fast that is, no test asks."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from fedhome.secagg import Aggregator, masks
from fedhome.simulations.benchmarks import flower_secagg, primitives, secagg_speed
from fedhome.simulations.benchmarks.flower_secagg import flower_costs
from fedhome.simulations.benchmarks.one_sum import SumFleet, add_up, form_of, server_memory
from fedhome.simulations.benchmarks.secure_runs import compare, run
from fedhome.simulations.benchmarks.sum_budget import SumBudget, budget_of, budget_table
from fedhome.simulations.benchmarks.sum_costs import CLIENT, SERVER, costs
from fedhome.simulations.benchmarks.workloads import S
from fedhome.simulations.engines.batches import Rows
from fedhome.simulations.engines.kernels import FusedKernel
from fedhome.simulations.simulate import simulate

pytestmark = pytest.mark.long


def test_a_sum_is_whole_and_its_steps_are_all_there() -> None:
    fleet = SumFleet(6)
    found = add_up(fleet, form_of(40), absent=1)
    calls = {step: len(spent) for step, spent in found.clock.ms.items()}
    quorum = fleet.directory.threshold
    assert calls["home: join"] == 6
    assert calls["home: encode"] == calls["home: upload"] == calls["server: receive"] == 5
    assert calls["member: vote"] == calls["server: openings"] == quorum
    assert {*CLIENT, *SERVER} <= set(calls)
    assert found.upload_bytes > 2 * 40
    assert found.peak_bytes == 0  # nobody asked


def test_a_sum_that_is_not_exact_ends_the_benchmark(monkeypatch: pytest.MonkeyPatch) -> None:
    honest = Aggregator.open

    def one_more(aggregator: Aggregator, **settings: Any) -> Any:
        opened = honest(aggregator, **settings)
        opened.words[-1] += 1
        return opened

    monkeypatch.setattr(Aggregator, "open", one_more)
    with pytest.raises(RuntimeError, match="not what the homes added up"):
        add_up(SumFleet(5), form_of(8), absent=0)


def test_costs_are_the_sum_of_their_steps() -> None:
    found = costs(50, 6, repeat=2, runs=1, flower=None)
    assert found.client_ms == pytest.approx(sum(found.ours[step] for step in CLIENT))
    assert found.server_ms == pytest.approx(sum(found.ours[step] for step in SERVER))
    assert all(found.ours[step] > 0 for step in (*CLIENT, *SERVER))


def test_a_budget_counts_what_the_protocol_asks_of_each_party() -> None:
    found = budget_of(70_000, 10, repeat=1)
    quorum = SumFleet(10).directory.threshold
    home, member, server = (found.counts[party] for party in ("home", "member", "server"))
    assert home["X25519 agreement"] == 9
    assert server["X25519 agreement"] == 9  # of the absent home with the nine that are there
    assert home["keystream of a vector"] == 10
    assert server["keystream of a vector"] == 9 + 9
    assert server["addition of a vector"] == 9 + 9 + 9
    assert server["signature checked"] == 9 + 2 * quorum
    assert member["signature made"] == 2
    assert member["share opened (AES-GCM)"] == 0  # it opened them as it checked them, ahead
    assert all(us > 0 for us in found.us.values())
    assert budget_table(found).row_count == len(found.us) + 3


def test_the_floor_is_counts_times_what_each_takes_alone() -> None:
    counts = {"home": {"a": 2.0, "b": 10.0}, "server": {"a": 0.0, "b": 5.0}}
    found = SumBudget(elements=1, homes=2, us={"a": 1500.0, "b": 100.0}, counts=counts, spent_ms={})
    assert found.floor_ms("home") == pytest.approx(4.0)
    assert found.floor_ms("server") == pytest.approx(0.5)


def test_the_servers_memory_does_not_grow_with_the_homes() -> None:
    few, many = server_memory(300_000, (5, 15)).values()
    assert 1 < few < 10
    assert many < 1.1 * few


def test_flowers_clients_and_server_run_their_own_code() -> None:
    found = flower_costs(30, 5, absent=1, threshold=0.6)
    assert len(found.keys_ms) == 5
    assert len(found.vector_ms) == 4
    assert found.server_ms is not None
    assert found.server_ms > 0
    assert 8 * 31 < found.upload_bytes < 8 * 31 + 512  # int64, the weight among them
    alone = flower_costs(30, 5, absent=1, threshold=0.6, one_sends=True)
    assert alone.server_ms is None
    assert len(alone.vector_ms) == 1


def test_another_mean_of_flowers_ends_the_benchmark(monkeypatch: pytest.MonkeyPatch) -> None:
    right = flower_secagg.parameters_to_ndarrays
    monkeypatch.setattr(
        flower_secagg,
        "parameters_to_ndarrays",
        lambda told: [array + 2e-4 for array in right(told)],
    )
    with pytest.raises(RuntimeError, match="another mean"):
        flower_costs(30, 5, absent=1, threshold=0.6)


def test_masks_without_additions_add_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(primitives.os, "urandom", bytes)
    vector, expected = np.zeros((2, 1000), np.uint16)
    alone, added = primitives.mask_shares(vector, 4, 1)
    masks.add_masks(expected, [bytes(32)] * 3, [bytes(32)] * 2)
    np.testing.assert_array_equal(vector, expected)  # once, not twice
    assert expected.any()
    assert alone > 0
    assert added > 0


@pytest.mark.usefixtures("no_report")
def test_parts_of_a_simulation_add_up(monkeypatch: pytest.MonkeyPatch) -> None:
    tiny = replace(S, rows=12, clients=6, batch_size=8)
    monkeypatch.setattr("fedhome.simulations.benchmarks.workloads.S", tiny)
    plan = tiny.plan(clients=6, rounds=3)
    found = compare(plan, ("plain", "ideal"), 1)
    for one in found.values():
        assert sum(one.parts_s.values()) == pytest.approx(one.cpu_s)
        assert one.parts_s["training"] > 0
    assert "ideal: rounding and adding" not in found["plain"].parts_s
    assert found["ideal"].parts_s["ideal: rounding and adding"] > 0
    secure = run(plan, "secure")
    for part in ("homes: joining", "members: openings", "server: opening the sum"):
        assert secure.parts_s[part] > 0


def test_bytes_of_a_number() -> None:
    assert list(secagg_speed.upload_bytes().values()) == [2.0, pytest.approx(8 / 3), 4.0]


@pytest.mark.slow
@pytest.mark.usefixtures("no_report")
def test_figures_are_written_as_json(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(secagg_speed, "QUICK", replace(secagg_speed.QUICK, homes=(6, 8)))
    app = typer.Typer()
    app.command()(secagg_speed.secagg)
    path = tmp_path / "figures.json"
    arguments = ["--quick", "--repeat", "1", "--json", str(path)]
    done = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    told = json.loads(path.read_text(encoding="utf-8"))
    assert told["complete graph"]["flower"]["upload_bytes"] > 8
    assert told["long vector"]["flower"]["server_ms"] is None
    assert set(told["default scenario"]) == {"plain", "ideal", "secure"}
    assert "server: all of it" in done.output


@pytest.mark.long
@pytest.mark.usefixtures("no_report")
def test_rounds_with_and_without_a_test_are_compared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = replace(secagg_speed.QUICK, homes=(6, 8), rounds=3)
    monkeypatch.setattr(secagg_speed, "QUICK", small)
    app = typer.Typer()
    app.command()(secagg_speed.secagg)
    path = tmp_path / "figures.json"
    arguments = ["--quick", "--tests", "--repeat", "1", "--json", str(path)]
    done = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    told = json.loads(path.read_text(encoding="utf-8"))["tests"]
    assert {mode: set(of_mode) for mode, of_mode in told.items()} == {
        "ideal": {"1", "5"},
        "secure": {"1", "5"},
    }
    assert min(told["secure"]["1"], told["ideal"]["1"]) > 0
    assert "secure / ideal" in done.output


@pytest.mark.usefixtures("no_report")
def test_ideal_sums_train_no_more_than_plain_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What homes gained is counted in a sum, and looked at once more: it is computed once."""
    trained: list[int] = []  # homes, by run
    train, train_sum = FusedKernel.train, FusedKernel.train_sum

    def counting(kernel: FusedKernel, params: Any, fleet: Any, rows: Rows, **named: Any) -> Any:
        trained[-1] += len(rows.counts)
        return train(kernel, params, fleet, rows, **named)

    def counting_sums(
        kernel: FusedKernel, start: Any, shares: Any, fleet: Any, rows: Rows, **named: Any
    ) -> Any:
        trained[-1] += len(rows.counts)
        return train_sum(kernel, start, shares, fleet, rows, **named)

    monkeypatch.setattr(FusedKernel, "train", counting)
    monkeypatch.setattr(FusedKernel, "train_sum", counting_sums)
    plan = secagg_speed._default(8, 2)
    homes = []
    for mode in ("plain", "ideal"):
        trained.append(0)
        found = simulate(plan.change(aggregation={"mode": mode}), out=tmp_path / mode)
        homes.append(found.homes)
    assert trained[0] == trained[1] > 0
    assert homes[0].num_rows == homes[1].num_rows
