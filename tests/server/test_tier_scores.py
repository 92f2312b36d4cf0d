"""What a release tells of its slices' scores: when it is published, and of which tiers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from flwr.app import Message

from fedhome.flower.messages import EXAMPLES, array_record, content_of, read_flat, reply
from fedhome.plan.settings import Plan
from fedhome.registry import Registry
from fedhome.run.events import EventLog
from fedhome.run.folder import RunFolder
from fedhome.server.daemon.publishing import MODELS, Publisher
from fedhome.server.report.tier_scores import release_scores
from fedhome.server.rounds import run_plan as module
from helpers import tiny
from helpers.home_rows import home_row
from helpers.registry_world import FLEET, SERVER

TIERS = [
    {"name": "sensor", "width": 0.25, "depth": 1, "share": 0.5},
    {"name": "hub", "width": 1.0, "depth": 1, "share": 0.5},
]
HOMES = {"sensor": 5, "hub": 4}
"""Homes of each tier: as many as a sum takes at least, and one fewer."""


def _plan(**changes: Any) -> Plan:
    return tiny.plan(slicing={"tiers": TIERS}, rounds={"count": 1}).change(**changes)


def _rows() -> list[dict[str, Any]]:
    return [
        home_row(f"{tier}-{number}", model, number / 8 + more)
        for model, more in (("global", 0.0), ("tuned", 0.5))
        for tier, count in HOMES.items()
        for number in range(count)
    ]


def _run(plan: Plan, folder: Path) -> Registry:
    """Run a plan's rounds over homes in the clear, and return what was published."""
    learning = tiny.learning(plan)

    def answer(message: Message, _: int) -> Message:
        if message.metadata.message_type != "train":
            return reply(message, {EXAMPLES: 1, "loss": 0.5, "score": 0.5})
        flat = read_flat(learning.layout, content_of(message)[0])
        return reply(message, {EXAMPLES: 1}, array_record(learning.layout, flat + 1))

    run, homes = RunFolder.create(folder / "run"), sum(HOMES.values())
    run.write_plan(plan.to_toml())
    with EventLog(run.events_path) as log:
        log.append("fleet-ready", homes=homes, score="skill")
        for tier, count in HOMES.items():
            names = [f"{tier}-{number}" for number in range(count)]
            log.append("tier-carried", tier=tier, homes=count, names=names, text="")
        module.run_plan(
            plan,
            grid=tiny.FakeGrid(homes, answer),
            learning=learning,
            homes=homes,
            folder=run,
            log=log,
            name_of=lambda node: f"home-{node}",
            publisher=Publisher(folder / MODELS, fleet=FLEET, keys=SERVER, run=run, log=log),
        )
    return Registry.open(folder / MODELS)


def test_in_the_clear_a_release_waits_for_what_homes_say_of_their_slices(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def said(**_: Any) -> list[dict[str, Any]]:
        assert Registry.open(tmp_path / MODELS).releases() == ()
        return _rows()

    monkeypatch.setattr(module, "personalise", said)
    plan = _plan(personalise={"name": "fine-tune"})
    (told,) = _run(plan, tmp_path).find("latest").manifest.scores
    (sensor,) = told.tiers  # and no hub: a home of four would be told by three others' scores
    assert (told.score, sensor.tier, sensor.homes) == ("skill", "sensor", 5)
    assert (sensor.score, sensor.tuned) == (0.25, (0.75,))
    assert release_scores(RunFolder(tmp_path / "run")) == (told,)


@pytest.mark.parametrize(
    "changes", [{}, {"personalise": {"name": "fine-tune"}, "slicing": {"tiers": []}}]
)
def test_a_release_that_will_have_no_scores_waits_for_none(
    changes: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def said(**_: Any) -> list[dict[str, Any]]:
        assert len(Registry.open(tmp_path / MODELS).releases()) == 1
        return []

    monkeypatch.setattr(module, "personalise", said)
    assert _run(_plan(**changes), tmp_path).find("latest").manifest.scores == ()
