"""A home with an agent, readings that can be taken away, and a server's question to it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, RecordDict

from fedhome.clients.agent.dispatch import MessageDispatch
from fedhome.clients.agent.work import InProcess
from fedhome.clients.asked_question import AskedQuestion, model_hash, scalars_of
from fedhome.clients.home import real_home
from fedhome.clients.membership.home_folder import HomeFolder, HomeSettings
from fedhome.data.files.home_parquet import write_home
from fedhome.errors import StateError
from fedhome.fleet.entries import Anchor, home_keys
from fedhome.fleet.freshness import Freshness
from fedhome.flower.messages import (
    array_record,
    blobs_of,
    take_identity,
    with_sum_record,
)
from fedhome.plan.protocol import policy_of, terms_hash
from fedhome.plan.settings import Plan
from fedhome.questions.question_table import TRAIN
from fedhome.questions.settings import SHELL, settings_hash
from fedhome.questions.shells import shell_layout
from fedhome.questions.transfer import count_of
from fedhome.secagg import FixedPoint, Form, HomeParty, HomeState, MemoryStore
from fedhome.secagg.parameters import corrupt_among
from fedhome.secagg.shell_roster import purpose_of
from fedhome.simulations.homes import generate
from fedhome.wire.layout import Layout
from helpers.living import named
from helpers.secagg_world import Sum, World

HOME = "home-0001"
PLAN = named(
    Plan.load(
        name="tiny",
        seed=3,
        data={"homes": 5, "days": 6},
        model={"hidden": [4]},
        aggregation={"mode": "secure", "weight_cap": 64},
        train={"epochs": 1},
    )
)
SETTINGS: dict[str, Any] = {"server-round": 1}
FEWER = PLAN.change(transfer={"stages": ["random-k"], "share": 0.25})
_TIERS = [
    {"name": "hub", "width": 1.0, "share": 0.5},
    {"name": "plug", "width": 0.5, "share": 0.5},
]
SLICED = PLAN.change(
    slicing={"tiers": [{"depth": 1, **tier} for tier in _TIERS]},
    aggregation={"weights": "equal", "weight_cap": None},
)


class FullDisk(MemoryStore):
    """A store that takes some states and then no more."""

    left = 1 << 30

    def save(self, state: HomeState) -> None:
        """Keep the state, while there is room.

        Raises:
            StateError: ``disk-full``.
        """
        if not self.left:
            raise StateError("no room", reason="disk-full")
        self.left -= 1
        super().save(state)


class Home:
    """One home with an agent and readings, five others, and a server's question to it."""

    def __init__(
        self,
        folder: Path,
        work: Callable[[HomeFolder, HomeParty], Any] = InProcess,
        plan: Plan = PLAN,
    ) -> None:
        take_identity(1)
        self.plan, tier = plan, "hub" if plan.slicing.tiers else ""
        self.settings = dict(SETTINGS)
        self.sum: Sum | None = None
        self.moved = 0.0  # the model that is asked about, by how much
        self.world = World.of(5, policy=policy_of(plan), tier=tier)
        self.folder = HomeFolder(folder / HOME)
        keys, _ = home_keys(HOME, self.folder.path)
        self.readings = folder / "readings.parquet"
        write_home(next(iter(generate(homes=1, days=6, seed=3))), self.readings)
        self.folder.fill(
            HomeSettings(
                home=HOME, server="127.0.0.1:1", data=str(self.readings), worker_idle_s=60.0
            ),
            plan=plan,
            anchor=Anchor(fleet=self.world.directory.fleet, authority=self.world.authority.public),
            authorities=b"",
        )
        self.store, self._keys, self._work = FullDisk(), keys, work
        self.agent = self._agent(HomeState())
        corrupt = corrupt_among(6, plan.aggregation.corrupt)
        entries = (*self.world.directory.homes, keys.entry(tier=tier))
        issued = self.world.next_epoch(
            homes=tuple(sorted(entries, key=lambda entry: entry.home)),
            committee=6,
            corrupt=corrupt,
            threshold=(6 + corrupt) // 2 + 1,
        )
        for home in self.world.homes.values():
            home.renew(issued)
        self._issued = issued
        self._hear()
        self.refill()
        device = real_home(plan, str(self.readings), name=HOME, tier=tier).device
        self.layout = device.fleets_layout
        draw = np.random.default_rng(0)
        self.initial = draw.normal(0, 0.1, self.layout.size).astype(np.float32)

    def _agent(self, state: HomeState) -> MessageDispatch:
        lasting: Any = SimpleNamespace(keys=self._keys, state=state, save=self.store.save)
        return MessageDispatch(self.folder, lasting, self._work)

    def _hear(self) -> None:
        """Let the agent hear that its directory is the newest."""
        said = Freshness.of(self.world.directory, now=time.time())
        self.agent.renew(self._issued, said.sign(self.world.server))

    def restart(self) -> None:
        """End the agent and start another one in the same folder, which connects."""
        self.agent.close()
        self.agent = self._agent(self.store.load())
        self._hear()

    def refill(self) -> None:
        """Bring keys for the next sum."""
        self.world.now = time.time()  # the agent's clock, which is no test's
        self.world.refill()
        ring = self.world.ring().to_bytes()
        content = with_sum_record(RecordDict(), {"ring": ring})
        asked = self.agent.answer(Message(content, 7, "query.bundle"))
        self.world.pool.add(HOME, blobs_of(asked)["bundle"])

    def train(
        self,
        *,
        elements: int | None = None,
        model: Array | None = None,
        layout: Layout | None = None,
        **lies: Any,
    ) -> Message:
        """Let the server ask for training in a sum: as an honest one does, or with a lie."""
        start, plan = self.initial + np.float32(self.moved), self.plan
        layout = layout or self.layout
        start = np.resize(start, layout.size)
        summed = shell_layout(plan, layout, self.settings)
        form = Form(
            elements=count_of(plan, summed, self.settings),
            layout=bytes.fromhex(summed.hash),
            fixed=FixedPoint(16, 1.0, "linf", 1 if plan.slicing.tiers else 64),
            scalars=scalars_of(AskedQuestion(TRAIN, self.settings, start), plan),
            homes=6,
        )
        self.sum = sum_ = self.world.draw_up(
            [*self.world.homes, HOME],
            plan=terms_hash(plan),
            purpose=purpose_of("train", self.settings.get(SHELL, 0)),
            settings=settings_hash(self.settings),
            model_hash=model_hash(start),
            round=1,
            form=form,
            expires=int(self.world.now) + 600,
        )
        arrays = array_record(layout, start)
        if model is not None:
            arrays = ArrayRecord({lies.pop("key", layout.key): model})
        content = RecordDict({"arrays": arrays, "config": ConfigRecord(self.settings)})
        if "hash" in lies:
            lies["form"] = replace(form, layout=lies.pop("hash"))
        if elements is not None:
            lies["form"] = replace(form, elements=elements)
        if "scalars" in lies:
            lies["form"] = replace(form, scalars=lies.pop("scalars"))
        signed = replace(sum_.manifest, **lies).sign(self.world.server)
        content = with_sum_record(content, {"manifest": signed})
        return self.agent.answer(Message(content, 7, TRAIN))
