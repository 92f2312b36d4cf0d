"""The tables of the benchmark of secure aggregation."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from rich.table import Table

from fedhome.simulations.benchmarks.secure_runs import Ran
from fedhome.simulations.benchmarks.sum_costs import AHEAD, CLIENT, SERVER, Costs


def sum_table(costs: Costs, *, whole: bool) -> Table:
    """Return the table of one kind of sum; ``whole``: Flower's server was measured too."""
    table = Table(
        title=f"{costs.elements} numbers, {costs.homes} homes: processor ms, medians",
        title_style="",
    )
    for name in ("", "Flower's SecAgg+", "fedhome", "goal"):
        table.add_column(name, justify="right" if name else "left")
    theirs, ours = costs.flower, costs.ours
    keys = "-" if theirs is None else f"{np.median(theirs.keys_ms):.2f}"
    vector = "-" if theirs is None else f"{np.median(theirs.vector_ms):.2f}"
    served = "-" if theirs is None or theirs.server_ms is None else f"{theirs.server_ms:.0f}"
    table.add_row("home: keys and shares, ahead of a sum", keys, f"{ours['home: bundle']:.2f}", "")
    for step in CLIENT:
        table.add_row(step, "", f"{ours[step]:.2f}", "")
    goal = "10" if whole else "15"
    table.add_row("home: all of it", vector, f"{costs.client_ms:.2f}", "")
    table.add_row("  without Ed25519, X25519", "", f"{costs.client_ms - costs.keys_ms:.2f}", goal)
    for step in AHEAD:
        table.add_row(f"{step}, ahead of the sum", "", f"{ours[step]:.2f}", "")
    table.add_row("member: vote", "", f"{ours['member: vote']:.2f}", "")
    table.add_row("member: opening", "", f"{ours['member: opening']:.2f}", "")
    table.add_section()
    for step in SERVER:
        table.add_row(step, "", f"{ours[step]:.2f}", "")
    table.add_row("server: all of it", served, f"{costs.server_ms:.1f}", "50" if whole else "")
    rest = costs.server_ms - costs.server_keys_ms
    table.add_row("  without Ed25519, X25519", "", f"{rest:.1f}", "")
    table.add_section()
    alone, added = costs.mask_shares
    table.add_row("AES-256-CTR of one home's masks", "", f"{costs.raw_ms:.2f}", "")
    table.add_row("keystreams, share of its speed", "", f"{alone:.0%}", "95%")
    table.add_row("  with the additions", "", f"{added:.0%}", "")
    sent = "-" if theirs is None else f"{theirs.upload_bytes / costs.elements:.2f}"
    table.add_row("bytes of an upload a number", sent, f"{costs.upload_bytes:.2f}", "2")
    return table


def small_table(sizes: Mapping[str, float], memory: Mapping[int, float]) -> Table:
    """Return the table of bytes and memory."""
    table = Table(
        title="bytes a number; memory of the server for a sum, in vectors", title_style=""
    )
    table.add_column("what")
    table.add_column("", justify="right")
    for label, value in sizes.items():
        table.add_row(label, f"{value:.2f}")
    for homes, vectors in memory.items():
        table.add_row(f"memory with {homes} homes", f"{vectors:.1f}")
    return table


def run_table(label: str, ran: Mapping[str, Ran]) -> Table:
    """Return the table of a simulation in several modes."""
    table = Table(title=f"{label}: processor time in one thread, medians", title_style="")
    table.add_column("")
    for mode in ran:
        table.add_column(mode, justify="right")
    plain = ran["plain"]
    table.add_row("whole run, s", *(f"{one.cpu_s:.2f}" for one in ran.values()))
    table.add_row("  x plain", *(f"{one.cpu_s / plain.cpu_s:.2f}" for one in ran.values()))
    table.add_row("a round, ms", *(f"{one.round_ms:.1f}" for one in ran.values()))
    times = (f"{one.round_ms / plain.round_ms:.2f}" for one in ran.values())
    table.add_row("  x plain (goal of ideal: 1.1)", *times)
    table.add_section()
    parts = dict.fromkeys(part for one in ran.values() for part in one.parts_s)
    most = {part: max(one.parts_s.get(part, 0.0) for one in ran.values()) for part in parts}
    for part in sorted(parts, key=lambda name: -most[name]):
        table.add_row(f"{part}, s", *(f"{one.parts_s.get(part, 0.0):.3f}" for one in ran.values()))
    return table


def tests_table(ran_ms: Mapping[str, Mapping[int, float]]) -> Table:
    """Return the table of what rounds cost by how often homes test the model."""
    table = Table(title="a round in the mean: processor ms in one thread, least", title_style="")
    for name in ("rounds.evaluate_every", *ran_ms, "secure / ideal"):
        table.add_column(name, justify="right")
    first = next(iter(ran_ms["secure"]))
    for often, secure in ran_ms["secure"].items():
        times = secure / ran_ms["ideal"][often]
        cells = [f"{by_often[often]:.1f}" for by_often in ran_ms.values()]
        table.add_row(f"{often}", *cells, f"{times:.1f}")
        if often != first:
            shares = (f"{one[often] / one[first]:.2f}" for one in ran_ms.values())
            table.add_row(f"  / of {first}", *shares, "")
    return table
