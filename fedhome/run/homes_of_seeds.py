"""Tables of homes of several runs, in which one name stands for one home."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa

from fedhome.run.folder import RunFolder

_MADE = "synthetic"
"""The source whose homes the seed draws: ``home-0001`` of another seed is another home."""


def homes_differ(run: RunFolder) -> bool:
    """Tell whether a run's homes were drawn by its seed, so that no other seed has them.

    Raises:
        RunError: The plan cannot be read.
    """
    if not run.plan_path.exists():
        return False
    data = run.read_plan().get("data")
    return isinstance(data, dict) and data.get("source") == _MADE


def homes_of(runs: Sequence[RunFolder]) -> list[pa.Table]:
    """Return the tables of homes of several runs of one plan, of those that have one.

    A real home has one name in all of them. Of synthetic homes each seed has its own, so a name is
    told with its seed: their mean over seeds would be that of strangers, and less uneven than they.

    Raises:
        RunError: A plan or a table cannot be read.
    """
    found = []
    for run in runs:
        if not run.homes_path.exists():
            continue
        table = run.read_homes()
        if len(runs) > 1 and homes_differ(run):
            at, field = table.schema.get_field_index("home"), table.schema.field("home")
            seed = run.read_plan().get("seed")
            names = [f"{home}, seed {seed}" for home in table["home"].to_pylist()]
            table = table.set_column(at, field, pa.array(names, field.type))
        found.append(table)
    return found
