"""Runs that go on from each other, and what homes say of two models of theirs on the same rows.

Homes' rows are others each day, and a loss of today says little beside one of last month. Rounds of
one run are asked about within hours. So a chain of runs has a *level*: each run adds by how much
homes' loss changed between its rounds, and nothing for the nights between two runs, in which the
model stayed and the rows changed. ::

    chain.json   in a run's folder: the first run of its chain, and the level at which it begins
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from fedhome.errors import FedHomeError, RunError
from fedhome.run.folder import RunFolder
from fedhome.run.written_whole import write_atomically
from fedhome.server.rounds import checkpoint
from fedhome.store import disk
from fedhome.wire.layout import Layout

CHAIN = "chain.json"


@dataclass(frozen=True, kw_only=True)
class ChainPlace:
    """Where in a chain a run begins.

    Args:
        first: Name of the chain's first run.
        level: Homes' loss there, held against the chain's first round; None: nobody knows.
    """

    first: str
    level: float | None

    def after(self, rows: Sequence[dict[str, Any]], number: int) -> float | None:
        """Return the level after a round; None: homes did not say what is needed.

        Args:
            rows: Rows of the run's table of rounds.
            number: The round's.
        """
        losses = {row["round"]: row["validation_loss"] for row in rows}
        begin, end = (rows[0]["validation_loss"], losses.get(number)) if rows else (None, None)
        if self.level is None or begin is None or end is None:
            return None
        return self.level + float(end) - float(begin)


def place_of(run: RunFolder, tell: Callable[[str], None]) -> ChainPlace:
    """Return where a run begins: in a chain of its own, unless it goes on from another one.

    Args:
        run: The run.
        tell: Called with a sentence where what is written there cannot be used.
    """
    path, followed = run.path / CHAIN, run.read_follows()
    unknown = ChainPlace(first=followed or run.path.name, level=None)
    if not path.exists():
        return unknown if followed else replace(unknown, level=0.0)
    try:
        with disk.errors_of(path):
            table = json.loads(disk.read(path))
        level = None if table["level"] is None else float(table["level"])
        return ChainPlace(first=str(table["first"]), level=level)
    except (FedHomeError, ValueError, KeyError, TypeError):
        tell(f"{path} cannot be used: how {run.path.name} compares with other runs is not known")
        return unknown


def last_after(runs: Path, run: str, tell: Callable[[str], None], *, but: str = "") -> RunFolder:
    """Return the last of the runs that went on from a run's model, or from theirs; else that run.

    Args:
        runs: Where the folders of runs lie.
        run: Name of the run.
        tell: As of `place_of`.
        but: Name of one that does not count.
    """
    first = place_of(RunFolder(runs / run), tell).first
    others = [RunFolder(path) for path in runs.iterdir() if path.name != but]
    following = [one for one in others if one.follows_path.exists()]
    following.sort(key=lambda one: one.follows_path.stat().st_mtime_ns)
    chain = [one for one in following if place_of(one, tell).first == first]
    return chain[-1] if chain else RunFolder(runs / run)


def go_on(run: RunFolder, last: RunFolder, layout: Layout, tell: Callable[[str], None]) -> None:
    """Write where a run begins that goes on from another one's end.

    Args:
        run: The run.
        last: The one before it.
        layout: Layout of their model.
        tell: Called with a sentence where what is kept of the other one cannot be used.

    Raises:
        RunError: It cannot be written.
    """
    begin, level = place_of(last, tell), None
    try:
        if (ended := checkpoint.load(last, layout)) is not None:
            level = begin.after(ended.rows, ended.round)
        elif last.read_start() is not None:
            level = begin.level  # it was cut off in its first round: the model stayed
    except RunError as error:
        tell(f"what {last.path.name} ended with: {error.message}")
    table = {"first": begin.first, "level": level}
    write_atomically(run.path / CHAIN, json.dumps(table).encode())


def change_between(
    made_by: RunFolder,
    made_in: int,
    run: RunFolder,
    *,
    rows: Sequence[dict[str, Any]],
    number: int,
    layout: Layout,
    tell: Callable[[str], None],
) -> float | None:
    """Return by how much homes' loss changed from one model of a chain to another.

    The first round of a run stands for the model that it began with, about which homes answer no
    second time: it is one step away.

    Args:
        made_by: The run that made the earlier model.
        made_in: The round of it that did.
        run: The run that made the later one.
        rows: Rows of its table of rounds.
        number: The round of it that did.
        layout: Layout of both.
        tell: Called with a sentence where what is kept of a run cannot be used.

    Returns:
        Below 0 where the later one is better; None where that is not known: they are of two chains,
        homes did not say it, or a run has but its first round.

    Raises:
        RunError: What is kept of a run is damaged.
    """
    before, now = place_of(made_by, tell), place_of(run, tell)
    if before.first != now.first or not rows or number <= rows[0]["round"]:
        return None
    if (ended := checkpoint.load(made_by, layout)) is None:
        return None
    earlier, later = before.after(ended.rows, made_in), now.after(rows, number)
    return None if earlier is None or later is None else later - earlier
