"""The plans that come with fedhome, and where a plan lies that is called by its name."""

from __future__ import annotations

from pathlib import Path

from fedhome.errors import PlanError
from fedhome.spelling import did_you_mean

DEFAULT = "default"
"""What the plan without a single setting is called."""

SCENARIOS = Path(__file__).parent / "scenarios"
"""The folder of the scenarios that come along."""


def plan_file(name: Path | str | None) -> Path | None:
    """Return the file of a plan; None for the plan without a single setting.

    Args:
        name: A TOML file or a scenario; ``default`` or None: no setting at all.

    Raises:
        PlanError: There is neither.
    """
    if name is None:
        return None
    path = Path(name)
    if path.is_file():
        return path
    if str(name) == DEFAULT:
        return None
    scenario = SCENARIOS / f"{name}.toml"
    if scenario.is_file():
        return scenario
    known = sorted([DEFAULT, *(file.stem for file in SCENARIOS.glob("*.toml"))])
    files = [str(file) for file in path.parent.glob("*.toml")]
    raise PlanError(
        [f"there is no such file or scenario{did_you_mean(str(name), [*known, *files])}"],
        where=str(name),
        hint=f"the scenarios are: {', '.join(known)}",
    )
