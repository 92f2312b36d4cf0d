"""Each home's own model of a simulation, kept in the run's folder."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from fedhome.learning.cohort import Cohort
from fedhome.learning.personalise.home_end import MOST_KEPT, home_end
from fedhome.personal.built import personal_model
from fedhome.personal.model import PersonalModel
from fedhome.personal.models_file import to_bytes
from fedhome.personal.stored_models import MODELS
from fedhome.plan.settings import Plan
from fedhome.run.folder import RunFolder
from fedhome.run.results import scores
from fedhome.run.written_whole import write_atomically
from fedhome.simulations.engines.world import World
from fedhome.simulations.gather import FoundHomes

MOST_BYTES: Final = 256 << 20
"""A run's file of models is about as large at most, whatever its network has of parameters."""
_SCORED = ("personalised", "baseline")


def keep_models(
    world: World, found: FoundHomes, cohorts: Sequence[Cohort], folder: RunFolder
) -> None:
    """Write the models of a run's homes into its folder, and say where there are none.

    Args:
        world: The simulated homes.
        found: The same, as they were read.
        cohorts: Those who were asked, after the run's end.
        folder: The run's folder.
    """
    if world.how is None:
        return  # the plan personalises nothing
    if not cohorts:
        world.notice(
            f"no home's own model is kept: the engine {world.plan.engine.name!r} has homes in "
            "other processes; with engine.name = 'vector' they are"
        )
        return
    plan = found.schema.named_in(world.plan)
    models: list[PersonalModel] = []
    size = 0
    for model in _models(world, found, cohorts, plan, run=folder.path.name, scored=folder):
        size += sum(a.nbytes for one in model.experts.values() for a in one.arrays().values())
        if models and size > MOST_BYTES:
            break
        models.append(model)
    if not models:
        world.notice(
            f"no home's own model is kept: {world.plan.personalise.name!r} ends in no mixture"
        )
        return
    if len(models) < len(world.held):
        world.notice(
            f"the own models of {len(models)} of {len(world.held)} homes are kept, the first "
            f"{MOST_KEPT} and {MOST_BYTES >> 20} MB at most: they fill memory and disk"
        )
    write_atomically(folder.path / MODELS, to_bytes(models))


def _models(
    world: World,
    found: FoundHomes,
    cohorts: Sequence[Cohort],
    plan: Plan,
    *,
    run: str,
    scored: RunFolder,
) -> Iterator[PersonalModel]:
    by_model = scores(scored.read_homes()) if scored.homes_path.exists() else {}
    homes = zip(world.gathered.homes, found.tables, strict=True)
    for (home, table), cohort in zip(homes, _cohort_of_each(world, cohorts), strict=True):
        if (end := home_end(cohort, home.home)) is None:
            continue
        yield personal_model(
            end,
            plan=plan,
            learning=cohort.learning,
            examples=home,
            time_zone=table.time_zone,
            rules=table.rules,
            reading=found.gathered.own.get(home.home, {}),
            run=run,
            scores={
                name: by_model[name][home.home]
                for name in _SCORED
                if home.home in by_model.get(name, {})
            },
        )


def _cohort_of_each(world: World, cohorts: Sequence[Cohort]) -> Sequence[Cohort]:
    by_home = {home: cohort for cohort in cohorts for home in cohort.homes}
    return [by_home[home] for home in world.held]
