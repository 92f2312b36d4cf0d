"""What benchmarks over sets share: a set's plan and homes, and files with a line for each run."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from fedhome.data.table import HomeTable
from fedhome.plan.overrides import merge, parse_set
from fedhome.plan.settings import Plan
from fedhome.simulations.benchmarks.learning_sets import SETS, LearningSet


def plan_of_set(one: LearningSet, sets: Sequence[str], **changes: Any) -> Plan:
    """Return the plan of a set's run.

    Args:
        one: The set.
        sets: Settings that are changed, as ``section.key=value``.
        changes: The seed, and sections that go before the set's own settings.
    """
    merge(changes, one.plan)
    for setting in sets:
        merge(changes, parse_set(setting))
    return Plan.parse(changes)


def tables_of_set(one: LearningSet, folder: Path) -> list[HomeTable] | None:
    """Return a set's homes; None where its plan makes them.

    Args:
        one: The set.
        folder: Where the real homes' subfolders are.
    """
    return None if one.read is None else one.read(folder / one.folder)


def sets_there(names: Collection[str], folder: Path | None) -> Iterator[LearningSet]:
    """Yield the sets of these names whose homes are there, and say which are left out.

    Args:
        names: Their names.
        folder: Where the real homes' subfolders are, if anywhere.
    """
    for one in SETS:
        if one.name not in names:
            continue
        if one.read is None or (folder is not None and (folder / one.folder).exists()):
            yield one
        else:
            print(f"{one.name}: left out, since --data has no folder {one.folder}")


def lines(path: Path) -> Iterator[dict[str, Any]]:
    """Yield what was measured already."""
    if path.exists():
        yield from map(json.loads, path.read_text(encoding="utf-8").splitlines())


def add_line(path: Path, measured: Mapping[str, Any]) -> None:
    """Write what was measured behind the rest."""
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(measured) + "\n")
