"""Of every question, each setting that comes beside the manifest of a sum is held to it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from flwr.app import ConfigRecord, RecordDict

from fedhome.errors import ManifestError, UpdateError
from fedhome.flower.messages import array_record
from fedhome.plan.judged_rounds import adaptation_of
from fedhome.questions.question_table import (
    ADAPTED,
    BLEND,
    CENSUS,
    EVALUATE,
    OUTCOME,
    SHRINK,
    SUMMED,
    TRAIN,
    TRIAL,
    summed,
)
from fedhome.questions.settings import check_settings
from helpers import tiny
from helpers.cheated_fleet import HOMES, LEARNING, PLAN, Fleet

pytestmark = pytest.mark.long

_WHOLE = {**tiny.ending(homes=HOMES), "bins": 0}
ASKED: dict[str, dict[str, Any]] = {
    TRAIN: {"server-round": 2},
    EVALUATE: {"server-round": 2},
    ADAPTED: {"server-round": 2, **adaptation_of(PLAN)},
    TRIAL: {},
    BLEND: {name: _WHOLE[name] for name in ("rate", "epochs")},
    SHRINK: {name: _WHOLE[name] for name in ("rate", "epochs", "matrix", "homes")},
    OUTCOME: _WHOLE,
}
"""What an honest server sends with each question about a model."""

REFUSALS = ManifestError, UpdateError
"""Of settings that are not the manifest's, and of what is no question at all."""


def _otherwise(settings: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the settings with each one changed as little as can be, left out, or one put in."""
    yield {**settings, "tea": "green"}
    for name, value in settings.items():
        yield {key: one for key, one in settings.items() if key != name}
        if isinstance(value, list):
            yield {**settings, name: [*value[:-1], float(np.nextafter(value[-1], 9.0))]}
        elif isinstance(value, float):
            yield {**settings, name: float(np.nextafter(value, 9.0))}
            yield {**settings, name: int(value)}
        else:
            yield {**settings, name: value + 1}
            yield {**settings, name: float(value)}


def test_every_question_about_a_model_is_here() -> None:
    assert ASKED.keys() == SUMMED.keys() - {CENSUS}  # which comes with neither model nor settings


@pytest.mark.parametrize("kind", ASKED)
def test_what_a_home_is_told_beside_the_manifest_is_what_stands_in_it(kind: str) -> None:
    fleet = Fleet(kind, ASKED[kind])
    home = fleet.parts["h00"]
    content = fleet.content()
    changed = [ConfigRecord(one) for one in _otherwise(ASKED[kind])]
    assert len(changed) > len(ASKED[kind])
    nudged = fleet.start.copy()
    nudged[0] = np.nextafter(nudged[0], np.float32(9))
    asked = [RecordDict({**content, "config": one}) for one in changed]
    asked.append(RecordDict({**content, "arrays": array_record(LEARNING.layout, nudged)}))
    for one in asked:
        with pytest.raises(REFUSALS):
            fleet.ask("h00", one)
        assert home.words is None, one
    for other in ASKED.keys() - {kind}:
        with pytest.raises(REFUSALS):
            fleet.ask("h00", kind=other)
        assert home.words is None, other
    # The control: as it should be the home answers, though it has refused so much.
    check_settings(summed(kind).faults(ASKED[kind], PLAN))
    fleet.ask("h00")
    assert home.words is not None


@pytest.mark.parametrize("kind", [ADAPTED, BLEND, SHRINK, OUTCOME])
def test_control_where_settings_are_not_compared_a_home_takes_what_stands_beside(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    fleet = Fleet(kind, ASKED[kind])
    told = fleet.sum.manifest.settings
    monkeypatch.setattr("fedhome.clients.asked_question.settings_hash", lambda _: told)
    config = ConfigRecord({**ASKED[kind], "tea": "green"})
    fleet.ask("h00", RecordDict({**fleet.content(), "config": config}))
    assert fleet.parts["h00"].words is not None
