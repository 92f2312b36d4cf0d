"""The report's table of homes: what each keeps, and why; sorted by a script where one may run."""

from __future__ import annotations

import base64
import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from fedhome.run.compared_models import EXPERTS
from fedhome.server.report.number_words import NOTHING, number, signed
from fedhome.server.report.run_results import RunResults
from fedhome.server.report.tiers_table import HomeTier, home_tiers

MOST_HOMES: Final = 120
"""This many homes are listed: of more, the half that gained least and the half that gained most."""
_SMALL = 0.05  # experts with less weight are not named


@dataclass(frozen=True, kw_only=True)
class HomesList:
    """The table of homes.

    Args:
        columns: Each column's name, what it means, and the class of its cells.
        rows: A row for each home.
        left_out: Homes that are not listed.
    """

    columns: tuple[tuple[str, str, str], ...]
    rows: tuple[tuple[str, ...], ...]
    left_out: int


_COLUMNS: Final = (
    ("Home", "its name", "text"),
    ("Rows", "training rows", ""),
    ("Best alone", "score of its best model alone", ""),
    ("Which", "the way to be alone that its validation rows liked best", "text prose"),
    ("Ends with", "score of what it ends with", ""),
    ("Gain", "the difference", ""),
    ("Verdict", "whether that is more than chance", "text"),
    ("Keeps", "the experts in its mixture by weight", "text prose"),
    (
        "Own say",
        "share of its own blocks of validation rows in these weights; the rest is the fleet's",
        "",
    ),
)


_TIER_COLUMNS: Final = (
    ("Tier", "the kind of device that it has, which says what of the model it carries", "text"),
    ("kB up", "its update in a round, as float32", ""),
)
"""Beside the others, where devices carry slices."""


def homes_list(run: RunResults) -> HomesList | None:
    """Return the table of homes; None where no single home's numbers are known."""
    if run.homes is None or "alone" not in run.scores or "personalised" not in run.scores:
        return None
    own = {row["home"]: row for row in run.homes.to_pylist() if row["model"] == "personalised"}
    alone = run.scores["alone"]
    gains = {home: _gain(row, alone) for home, row in own.items()}
    ordered = sorted(own, key=lambda home: (math.isnan(gains[home]), gains[home], home))
    half = MOST_HOMES // 2
    listed = ordered if len(ordered) <= MOST_HOMES else ordered[:half] + ordered[-half:]
    tiers = home_tiers(run)
    return HomesList(
        columns=(*_COLUMNS[:1], *_TIER_COLUMNS, *_COLUMNS[1:]) if tiers else _COLUMNS,
        rows=tuple(_row(run, own[home], alone, gains[home], tiers.get(home)) for home in listed),
        left_out=len(ordered) - len(listed),
    )


def _gain(row: Mapping[str, Any], alone: Mapping[str, float]) -> float:
    score = row["score"]
    return (math.nan if score is None else score) - alone.get(row["home"], math.nan)


def _row(
    run: RunResults,
    row: Mapping[str, Any],
    alone: Mapping[str, float],
    gain: float,
    tier: HomeTier | None,
) -> tuple[str, ...]:
    score, best = row["score"], row["best"]
    return (
        row["home"],
        *(tier.cells if tier else ()),
        str(row["examples_train"]),
        number(alone.get(row["home"], math.nan)),
        best or NOTHING,
        number(math.nan if score is None else score),
        signed(gain),
        row["verdict"] or NOTHING,
        _kept(row),
        _own_say(run, row["home"]),
    )


def _kept(row: Mapping[str, Any]) -> str:
    """Return the experts of a home's mixture, the heaviest first."""
    weights = {name: row.get(f"weight_{name}") for name in EXPERTS}
    known = {name: weight for name, weight in weights.items() if weight is not None}
    if not known:
        return row["expert"] or NOTHING
    heavy = sorted(known.items(), key=lambda one: -one[1])
    return ", ".join(f"{n} {w:.0%}" for n, w in heavy if w >= _SMALL)


def _own_say(run: RunResults, home: str) -> str:
    blocks = None if run.shown is None else run.shown.blocks.get(home)
    if run.shown is None or blocks is None:
        return NOTHING
    share = blocks / (blocks + run.shown.strength) if blocks else 0.0  # without a pull, too
    return f"{share:.0%}".replace("%", " %")


def sorting_script() -> tuple[str, str]:
    """Return the script that sorts the table, and the hash by which a page's policy names it."""
    script = (Path(__file__).parent / "sorting.js").read_text(encoding="utf-8")
    digest = hashlib.sha256(script.encode()).digest()
    return script, f"'sha256-{base64.b64encode(digest).decode()}'"
