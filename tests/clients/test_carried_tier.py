"""Which slice a home's device carries, how that changes, and which model is in use meanwhile."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgpack
import numpy as np
import pytest

from fedhome.clients.agent import work
from fedhome.clients.agent.own_model import EndedRuns, OwnModelKeeper, keep_ended
from fedhome.clients.home import ClientHome, real_home
from fedhome.clients.kept_model import own_or_fleets
from fedhome.clients.membership.carried_tier import CarriedTier, TierMark, carried_tier
from fedhome.clients.membership.home_folder import HomeFolder
from fedhome.clients.membership.own_models import OwnModels
from fedhome.clients.own_readings import source_of
from fedhome.errors import PlanError, RunError, WireError
from fedhome.fleet.entries import Anchor
from fedhome.learning.bands import Reach
from fedhome.learning.fitted import Perceptron, Seasonal
from fedhome.learning.personalise.home_end import HomeEnd
from fedhome.models.cut_slices import FinishedModel
from fedhome.personal.model import PersonalModel
from fedhome.personal.models_file import ModelsFile
from fedhome.personal.own_slice import slices_in
from fedhome.plan.settings import Plan
from fedhome.plan.sliced_plan import check_tier
from fedhome.registry import ModelPayload, ReleaseManifest
from fedhome.registry.release import NONE, Origin, ReleaseTier
from fedhome.secagg import Authority, Directory, HomeKeys
from helpers.client_world import fedhome, refused
from helpers.fetched_release import fetched
from helpers.kept_home import HOME, NUMBERS, kept_home
from helpers.registry_world import FLEET as SHELF_FLEET
from helpers.registry_world import ORIGIN, draft

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="secret files need POSIX locks")

AUTHORITY, FLEET = Authority.create(), bytes(16)
SLICED = NUMBERS.change(
    model={"hidden": [8, 8]},
    slicing={
        "tiers": [
            {"name": "sensor", "width": 0.25, "depth": 1, "share": 0.3},
            {"name": "plug", "width": 0.5, "depth": 2, "share": 0.3},
            {"name": "hub", "width": 1.0, "depth": 2, "share": 0.4},
        ]
    },
)
UNITS = {"sensor": (2,), "plug": (4, 4), "hub": (8, 8)}


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> HomeFolder:
    monkeypatch.setenv("COLUMNS", "200")
    found = kept_home(tmp_path, SLICED)
    found.fill(
        found.settings,
        plan=SLICED,
        anchor=Anchor(fleet=FLEET, authority=AUTHORITY.public),
        authorities=b"",
    )
    return found


def _says(place: HomeFolder, own: str = "", signed: str | None = None) -> None:
    """Let a home's settings and its owner's directory say what its device carries."""
    place.change_settings(replace(place.settings, tier=own))
    if signed is None:
        return
    homes = [HomeKeys.create(HOME).entry(tier=signed)]
    homes += [HomeKeys.create(f"other-{n}").entry() for n in range(4)]
    directory = Directory(
        fleet=FLEET,
        epoch=1,
        seed=bytes(32),
        server=bytes(32),
        committee=5,
        corrupt=1,
        threshold=4,
        homes=tuple(sorted(homes, key=lambda entry: entry.home)),
    )
    place.keep_directory(AUTHORITY.issue(directory))


def _carried(place: HomeFolder) -> CarriedTier:
    return carried_tier(place, SLICED)


@pytest.mark.parametrize(
    ("own", "signed", "in_use"),
    [
        ("hub", None, "hub"),  # it has no directory yet
        ("", "plug", "plug"),
        ("hub", "plug", "plug"),
        ("sensor", "hub", "sensor"),
        ("plug", "plug", "plug"),
        ("hub", "", "sensor"),  # none is signed: it counts as the smallest
        ("", "of-another-plan", "sensor"),
        ("of-another-plan", "hub", "sensor"),
        ("", None, "sensor"),
    ],
)
def test_it_carries_the_smaller_of_what_its_people_and_its_owner_say(
    place: HomeFolder, own: str, signed: str | None, in_use: str
) -> None:
    _says(place, own, signed)
    carried = _carried(place)
    assert carried.in_use == in_use
    differ = own != "" and signed is not None and own != signed
    assert bool(carried.told) == differ
    assert f"what tier {in_use} has" in fedhome("status", place.path).output


def test_a_plan_without_slices_has_no_tiers(place: HomeFolder) -> None:
    _says(place, "hub")
    assert carried_tier(place, NUMBERS) == CarriedTier(own="hub", signed=None, in_use="")
    with pytest.raises(PlanError, match="carry the whole model"):
        check_tier(NUMBERS, "hub")


def test_less_is_carried_at_once_and_more_once_the_owner_has_signed(place: HomeFolder) -> None:
    _says(place, "plug", "plug")
    mark = TierMark(place)
    assert not mark.changed  # the first look
    less = fedhome("tier", place.path, "sensor")
    assert less.output.startswith(f"{HOME} carries what tier sensor has")
    assert mark.changed
    assert not mark.changed
    more = fedhome("tier", place.path, "hub")
    assert more.output.startswith(f"{HOME} carries what tier plug has")
    assert f"tell the owner `fedhome fleet tier {HOME} hub`" in more.output
    assert mark.changed
    _says(place, "hub", "hub")
    assert mark.changed
    assert _carried(place).in_use == "hub"
    error = refused(fedhome("tier", place.path, "lamp"), PlanError, "there is no tier 'lamp'")
    assert "sensor (width 0.25, depth 1), plug (width 0.5, depth 2)" in error.message
    assert _carried(place).in_use == "hub"


def test_what_could_not_be_read_anew_is_no_reason_to_train_the_former_slice(
    place: HomeFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []

    def app_of(home_folder: HomeFolder, *_: object) -> str:
        read.append(_carried(home_folder).in_use)
        if len(read) == 2:
            raise RunError("its readings are away")
        return read[-1]

    monkeypatch.setattr(work, "app_of", app_of)
    here: Any = work.InProcess(place, object())  # type: ignore[arg-type]
    _says(place, "hub", "hub")
    assert here._home(run=1) == "hub"
    fedhome("tier", place.path, "sensor")
    with pytest.raises(RunError, match="away"):
        here._home(run=1)
    assert here._home(run=1) == "sensor"


def _home(place: HomeFolder) -> ClientHome:
    tier = _carried(place).in_use
    return real_home(SLICED, source_of(place), name=HOME, tier=tier)


def _release(place: HomeFolder, origin: Origin) -> ModelPayload:
    layout = _home(place).device.fleets_layout
    flat = np.random.default_rng(1).normal(size=layout.size).astype(np.float32)
    model = ModelPayload(layout, flat)
    fetched(place, model, origin)
    return model


@pytest.mark.parametrize("tier", UNITS)
def test_before_its_first_run_a_home_predicts_by_its_slice_of_the_release(
    place: HomeFolder, tier: str
) -> None:
    _says(place, tier, tier)
    release = _release(place, replace(ORIGIN, slices=(slices_in(SLICED),)))
    model = own_or_fleets(place)
    network = model.experts["global"]
    assert isinstance(network, Perceptron)
    cut = FinishedModel.of_run(SLICED, release.parameters).cut(UNITS[tier])
    assert [*network.layers] == [*cut]
    assert all(np.array_equal(network.layers[name], cut[name]) for name in cut)
    device = _home(place).device
    examples = device.examples
    own = device.own_part(release.flat)
    raw = device.predict(own, "test")[:, 0] * examples.unit + examples.middle
    said = model.predict(place.settings.data)
    test = np.isin(said["time"].cast("int64").to_numpy(), examples.time_s[examples.rows("test")])
    np.testing.assert_allclose(said["value"].to_numpy()[test], raw, rtol=1e-4, atol=1e-4)
    assert "expected" in fedhome("predict", place.path).output


def _by_rule(rule: str) -> Plan:
    tiers = SLICED.model_dump()["slicing"]["tiers"]
    for tier in tiers:
        tier["share"] = 0.5
        if rule == "depthfl":
            tier["width"] = 1.0
        else:
            tier["depth"] = 2
    return SLICED.change(slicing={"rule": rule, "tiers": tiers[::2]})


@pytest.mark.parametrize("rule", ["heterofl", "depthfl", "fedrolex"])
def test_a_home_takes_its_slice_as_the_plans_rule_lays_it(place: HomeFolder, rule: str) -> None:
    plan = _by_rule(rule)
    place.fill(place.settings, plan=plan, anchor=place.anchor, authorities=b"")
    _says(place, "sensor", "sensor")
    device = real_home(plan, source_of(place), name=HOME, tier="sensor").device
    layout = device.fleets_layout
    flat = np.random.default_rng(1).normal(size=layout.size).astype(np.float32)
    fetched(place, ModelPayload(layout, flat), replace(ORIGIN, slices=(slices_in(plan),)))
    network = own_or_fleets(place).experts["global"]
    assert isinstance(network, Perceptron)
    own = np.concatenate([values.ravel() for values in network.layers.values()])
    np.testing.assert_allclose(own, device.own_part(flat), rtol=1e-6)


def test_a_release_of_single_weights_is_refused_with_what_to_wait_for(place: HomeFolder) -> None:
    plan = _by_rule("fiarse")
    place.fill(place.settings, plan=plan, anchor=place.anchor, authorities=b"")
    _says(place, "sensor", "sensor")
    layout = real_home(plan, source_of(place), name=HOME).device.fleets_layout
    fetched(place, ModelPayload(layout, np.ones(layout.size, np.float32)))
    with pytest.raises(RunError, match="predicts nothing by itself") as caught:
        own_or_fleets(place)
    assert "has taken part in a run to its end" in caught.value.hint


def test_a_release_that_says_no_slices_is_taken_by_its_shape(place: HomeFolder) -> None:
    _says(place, "plug", "plug")
    _release(place, ORIGIN)
    assert own_or_fleets(place).run == "release 1"


def test_a_release_of_other_slices_than_the_plans_is_refused(place: HomeFolder) -> None:
    _says(place, "plug", "plug")
    tiers = SLICED.model_dump()["slicing"]["tiers"]
    tiers[0]["width"] = 0.375  # of the same layout: exits are where they were
    other = SLICED.change(slicing={"tiers": tiers})
    _release(place, replace(ORIGIN, slices=(slices_in(other),)))
    with pytest.raises(RunError, match="trained in the slices sensor 3, plug 4-4, hub 8-8, by"):
        own_or_fleets(place)


def test_a_release_of_another_layout_is_refused(place: HomeFolder) -> None:
    _says(place, "plug", "plug")
    release = _release(place, ORIGIN)
    whole = SLICED.change(model={"hidden": [9, 8]})
    place.fill(place.settings, plan=whole, anchor=place.anchor, authorities=b"")
    assert release.layout.size
    with pytest.raises(RunError, match="no model of this home's plan"):
        own_or_fleets(place)


def test_a_release_without_slices_is_the_bytes_that_it_was() -> None:
    plain = ReleaseManifest.of(draft(1), fleet=SHELF_FLEET, number=1, previous=NONE)
    sliced = replace(plain, slices=(slices_in(SLICED),))
    for one in (plain, sliced):
        assert ReleaseManifest.from_bytes(one.to_bytes()) == one
    said = msgpack.unpackb(sliced.to_bytes())
    assert msgpack.unpackb(plain.to_bytes()) == said[:-1]
    assert said[-1][0][2:] == ["nested", [_tier_plain(t) for t in slices_in(SLICED).tiers]]
    with pytest.raises(WireError, match="not in its one form"):
        ReleaseManifest.from_bytes(msgpack.packb([*said[:-1], []]))


def _tier_plain(tier: ReleaseTier) -> list[Any]:
    return list(msgpack.unpackb(tier.to_bytes()))


def _ends(place: HomeFolder, bias: float, run: int) -> None:
    """Let the home end a run with a network of its slice that always says the same."""
    home = _home(place)
    flat = np.zeros(home.device.learning.layout.size, np.float32)
    flat[-1] = bias
    home.device.memory.setdefault("ended", {})[HOME] = HomeEnd(
        weights={"tuned": 1.0},
        models={"tuned": flat},
        naive=Seasonal(),
        by=Reach(np.full(4, -1.0), np.full(4, 1.0)),
    )
    keep_ended(EndedRuns(home, place, source_of(place)), OwnModelKeeper(place), run=run)


def _kept(place: HomeFolder) -> tuple[PersonalModel, list[int]]:
    data = OwnModels(place.path, HOME).read()
    assert data is not None
    model = ModelsFile(data)[HOME]
    network = model.experts["tuned"]
    assert isinstance(network, Perceptron)
    units = [len(one) for name, one in network.layers.items() if name.endswith("bias")]
    return model, units[:-1]


def test_a_home_keeps_its_model_until_a_run_has_made_one_of_the_new_slice(
    place: HomeFolder, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    _says(place, "hub", "hub")
    _ends(place, 0.0, run=1)
    assert _kept(place)[1] == [8, 8]
    _says(place, "sensor", "hub")
    assert _kept(place)[1] == [8, 8]
    assert own_or_fleets(place).run == "run 1 of tiny"
    _ends(place, 3.0, run=2)  # a poor one: but the device carries no larger
    assert _kept(place)[1] == [2]
    assert "the one before is of a larger slice than its device carries now" in caplog.text
    _says(place, "hub", "hub")
    _ends(place, 6.0, run=3)  # poorer still: nothing makes it take that
    assert _kept(place)[0].run == "run 2 of tiny"
    _ends(place, 0.0, run=4)
    assert _kept(place)[1] == [8, 8]
