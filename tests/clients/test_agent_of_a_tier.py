"""An agent that carries a slice trains that alone, and another one once it carries another."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from flwr.app import ConfigRecord, Message, RecordDict
from numpy.typing import NDArray

from fedhome.clients.agent.work import InProcess, Work, WorkerProcess
from fedhome.clients.home import real_home
from fedhome.clients.membership.home_folder import HomeFolder
from fedhome.flower.fleet_connection import message_bytes, message_of
from fedhome.flower.messages import array_record, content_of, read_flat, take_identity
from fedhome.models.slicing import SlicedShape
from fedhome.questions.shells import shape_of
from helpers.kept_home import HOME, NUMBERS, kept_home

pytestmark = [
    pytest.mark.skipif(sys.platform == "win32", reason="secret files need POSIX locks"),
    pytest.mark.long,
]

SLICED = NUMBERS.change(
    model={"hidden": [8, 8]},
    train={"epochs": 1},
    slicing={
        "tiers": [
            {"name": "sensor", "width": 0.25, "depth": 1, "share": 0.5},
            {"name": "hub", "width": 1.0, "depth": 2, "share": 0.5},
        ]
    },
)
WorkOf = Callable[[HomeFolder], Work]


class _NoKeys:
    """A machine that is asked for nothing: the plan is plain."""


@pytest.fixture
def place(tmp_path: Path) -> HomeFolder:
    return kept_home(tmp_path, SLICED)


@pytest.fixture(
    params=[pytest.param("in its own process", marks=pytest.mark.slow), "in the agent's"]
)
def work_of(request: pytest.FixtureRequest) -> Iterator[WorkOf]:
    kind = WorkerProcess if request.param == "in its own process" else InProcess
    with ExitStack() as open_:

        def made(place: HomeFolder) -> Work:
            work: Work = kind(place, _NoKeys())  # type: ignore[arg-type]
            open_.callback(work.close)
            return work

        yield made


def _carries(place: HomeFolder, tier: str) -> None:
    place.change_settings(replace(place.settings, tier=tier))


def _asked(start: NDArray[np.float32], place: HomeFolder) -> Message:
    layout = real_home(SLICED, place.settings.data, name=HOME).device.fleets_layout
    content = RecordDict(
        {
            "arrays": array_record(layout, start),
            "config": ConfigRecord({"server-round": 1}),
        }
    )
    take_identity(1)
    return message_of(message_bytes(Message(content, dst_node_id=5, message_type="train")))


def test_it_trains_what_it_carries_from_the_next_question_on(
    place: HomeFolder, work_of: WorkOf
) -> None:
    device = real_home(SLICED, place.settings.data, name=HOME).device
    layout = device.fleets_layout
    shape: SlicedShape = shape_of(SLICED, layout)
    start = np.random.default_rng(2).normal(size=layout.size).astype(np.float32) / 10
    work = work_of(place)

    def changed(tier: str) -> list[int]:
        _carries(place, tier)
        arrays, _ = content_of(work.answer(_asked(start, place)))
        return np.flatnonzero(read_flat(layout, arrays) != start).tolist()

    everywhere, small = set(range(layout.size)), set(shape.carried(0).tolist())
    for tier, part in (("hub", everywhere), ("sensor", small), ("hub", everywhere)):
        found = set(changed(tier))
        assert found <= part
        assert len(found) > 0.8 * len(part)  # a unit that is off all the time learns nothing
