"""Methods that keep something at home: against plain loops, and what of it leaves."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.func import functional_call

from fedhome.data.series.examples import HomeExamples
from fedhome.errors import PlanError, PluginError
from fedhome.learning.device import Device
from fedhome.learning.home_round import ends_with, private_places, train_round
from fedhome.learning.methods import method_of
from fedhome.learning.own_state import OwnState, StatesInMemory
from fedhome.learning.personalise import CheckedPersonaliser, personaliser
from fedhome.learning.plan_check import check_plan
from fedhome.methods import METHODS, Method, last_layers
from fedhome.plan.settings import PersonaliseSettings, Plan
from helpers import tiny
from helpers.plain_methods import PlainHome, Weights, flat, loss_of, mean_of

ENGINES = [("vector", "auto"), ("vector", "eager"), ("sequential", "auto")]
BODY, HEAD = ("0.weight", "0.bias"), ("2.weight", "2.bias")
Names = tuple[str, ...]
Loop = Callable[[Plan, int], tuple[Weights, list[Weights]]]
"""From a plan and a number of rounds to the fleet's model and what each home ends with."""


def plan_of(name: str, args: Mapping[str, Any] | None = None, **sections: Any) -> Plan:
    """Return a plan by a method; without momentum or clipping, as the plain loops have it."""
    train = {"epochs": 2, "batch_size": 8, "learning_rate": 0.05, "momentum": 0.0, "clip_norm": 0}
    method = {"name": name, "args": dict(args or {})}
    return tiny.plan(method=method, train=train, **sections)


def fleet() -> list[HomeExamples]:
    """Return homes of which every second one has it the other way round."""
    return [
        replace(home, y=-home.y) if place % 2 else home for place, home in enumerate(tiny.homes())
    ]


def initial(plan: Plan) -> Weights:
    learning = tiny.learning(plan)
    return {n: t.clone() for n, t in learning.tensors(learning.initial.copy()).items()}


def in_parts(own: Names, *trainings: tuple[Names, int, int]) -> Loop:
    """Return the loop of a method of which some parameters stay at home.

    Args:
        own: Those that stay.
        trainings: A round's, in their order: the parameters that move, the order of batches, and
            how many passes.
    """

    def loop(plan: Plan, rounds: int) -> tuple[Weights, list[Weights]]:
        homes = [PlainHome(plan, data) for data in fleet()]
        shared = initial(plan)
        kept = [{name: shared[name] for name in own} for _ in homes]
        for number in range(1, rounds + 1):
            ends = [{**shared, **mine} for mine in kept]
            for moved, phase, epochs in trainings:
                ends = [
                    home.descend(end, stream=number + phase, epochs=epochs, only=moved)
                    for home, end in zip(homes, ends, strict=True)
                ]
            kept = [{name: end[name] for name in own} for end in ends]
            mean = mean_of(ends, [home.count for home in homes])
            shared = {**mean, **{name: shared[name] for name in own}}
        return shared, [{**shared, **mine} for mine in kept]

    return loop


def ditto(plan: Plan, rounds: int) -> tuple[Weights, list[Weights]]:
    """Li et al.: the fleet's model as ever; each home's own is pulled towards it."""
    homes = [PlainHome(plan, data) for data in fleet()]
    shared = initial(plan)
    own = [shared for _ in homes]
    for number in range(1, rounds + 1):
        towards = shared

        def pulled(module: Any, name: str, gradient: Any, towards: Weights = towards) -> Any:
            return gradient + 0.7 * (dict(module.named_parameters())[name] - towards[name])

        ends = [home.descend(shared, stream=number, epochs=2) for home in homes]
        own = [
            home.descend(v, stream=number + (1 << 44), epochs=2, gradient=pulled)
            for home, v in zip(homes, own, strict=True)
        ]
        shared = mean_of(ends, [home.count for home in homes])
    return shared, own


def apfl(plan: Plan, rounds: int) -> tuple[Weights, list[Weights]]:
    """Deng et al.: each home's own model learns inside of a mixture, whose share it learns too."""
    homes = [PlainHome(plan, data) for data in fleet()]
    shared = initial(plan)
    own, shares = [shared for _ in homes], [torch.tensor(0.6) for _ in homes]

    def mixed(v: Weights, share: Tensor) -> Weights:
        return {name: share * v[name] + (1 - share) * shared[name] for name in v}

    for number in range(1, rounds + 1):
        ends = [home.descend(shared, stream=number, epochs=2) for home in homes]
        for place, home in enumerate(homes):
            v, share = own[place], shares[place]
            for x, y in home.batches(number + (1 << 44), 2):
                v = {name: p.detach().requires_grad_() for name, p in v.items()}
                loss = loss_of(functional_call(home.module, mixed(v, share), (x,)), y)
                slopes = torch.autograd.grad(loss, list(v.values()))
                rate = plan.train.learning_rate
                v = {n: p - rate * g for (n, p), g in zip(v.items(), slopes, strict=True)}
            own[place] = {name: p.detach() for name, p in v.items()}
            share = share.clone().requires_grad_()
            x, y = (torch.from_numpy(a[: home.count]) for a in (home.data.x, home.data.y))
            loss = loss_of(functional_call(home.module, mixed(own[place], share), (x,)), y)
            (slope,) = torch.autograd.grad(loss, share)
            shares[place] = (share - 0.2 * slope).clamp(0.01, 1).detach()
        shared = mean_of(ends, [home.count for home in homes])
    assert len({round(float(share), 3) for share in shares}) == len(homes)
    return shared, [mixed(v, share) for v, share in zip(own, shares, strict=True)]


def ifca(plan: Plan, rounds: int) -> tuple[Weights, list[Weights]]:
    """Ghosh et al.: homes learn the model that errs least; it moves by their share of the rows."""
    homes = [PlainHome(plan, data) for data in fleet()]
    total = sum(home.count for home in homes)
    first = initial(plan)
    models = [
        {n.removeprefix(p): t for n, t in first.items() if n.startswith(p)}
        for p in ("models.0.", "models.1.", "models.2.")
    ]

    def choose(home: PlainHome) -> int:
        x, y = (torch.from_numpy(a[: home.count]) for a in (home.data.x, home.data.y))
        losses = [float(loss_of(functional_call(home.module, w, (x,)), y)) for w in models]
        return losses.index(min(losses))

    def whole(choice: int) -> Weights:
        named = {f"models.{j}.{n}": t for j, w in enumerate(models) for n, t in w.items()}
        return {"choice": torch.eye(3)[choice], **named}

    chosen = set()
    for number in range(1, rounds + 1):
        choices = [choose(home) for home in homes]
        ends = [
            home.descend(models[j], stream=number, epochs=2)
            for home, j in zip(homes, choices, strict=True)
        ]
        moved = [dict(w) for w in models]
        for home, j, end in zip(homes, choices, ends, strict=True):
            for n in end:
                moved[j][n] = moved[j][n] + home.count / total * (end[n] - models[j][n])
        models = moved
        chosen |= set(choices)
    assert len(chosen) > 1
    return whole(0), [whole(choose(home)) for home in homes]


PLAIN: dict[str, tuple[Loop, dict[str, Any]]] = {
    # Arivazhagan et al.: one descent of body and head; the head stays.
    "fedper": (in_parts(HEAD, (BODY + HEAD, 0, 2)), {}),
    # Collins et al.: the head is fitted to the body, then the body to the head.
    "fedrep": (in_parts(HEAD, (HEAD, 1 << 44, 2), (BODY, 0, 2)), {}),
    # Liang et al.: the lower layers stay.
    "lg-fedavg": (in_parts(BODY, (BODY + HEAD, 0, 2)), {}),
    # Bui et al.: each home has a vector that shifts the first layer.
    "home-embedding": (in_parts(("0.bias",), (BODY + HEAD, 0, 2)), {}),
    "ditto": (ditto, {"strength": 0.7}),
    "apfl": (apfl, {"share": 0.6, "share_rate": 0.2}),
    "ifca": (ifca, {"clusters": 3}),
}
"""Each method's plain loop and its settings."""
PARTS = ("fedper", "fedrep", "lg-fedavg", "home-embedding")
"""Those of which a part of the model is private."""


@pytest.mark.long
@pytest.mark.parametrize("engine", ENGINES, ids="-".join)
@pytest.mark.parametrize("name", PLAIN)
def test_a_method_is_what_a_plain_loop_makes_of_its_paper(
    name: str, engine: tuple[str, str], tmp_path: Path
) -> None:
    loop, args = PLAIN[name]
    plan = plan_of(name, args, engine={"name": engine[0], "kernel": engine[1]})
    shared, own = loop(plan, 2)
    world = tiny.world(plan, fleet())
    rounds = tiny.run(plan, fleet(), tmp_path, on=world)
    np.testing.assert_allclose(rounds.state.flat, flat(shared), rtol=2e-4, atol=2e-5)
    for data, expected in zip(fleet(), own, strict=True):
        device = Device(tiny.learning(plan), data, plan.seed, states=world.states)
        found = ends_with(device, rounds.state.flat)
        np.testing.assert_allclose(found[0], flat(expected), rtol=2e-4, atol=2e-5)
    assert any(not np.allclose(flat(own[0]), flat(other), atol=1e-3) for other in own[1:])
    assert not np.allclose(flat(shared), flat(initial(plan)), atol=1e-3)


def plain_params(plan: Plan, params: Mapping[str, np.ndarray]) -> Mapping[str, np.ndarray]:
    """Return a home's model by the names of the plan's own."""
    return method_of(plan.method).plain(params)


def leave(device: Device, start: np.ndarray, number: int) -> np.ndarray:
    """Return what leaves a home after a round."""
    return train_round(
        device, start, number=number, epochs=2, steps=0, method=device.learning.method
    ).params[0]


@pytest.mark.parametrize("name", [name for name in PLAIN if name != "ifca"])  # keeps a choice alone
def test_the_same_question_gets_the_same_answer(name: str) -> None:
    plan = plan_of(name, PLAIN[name][1])
    device = Device(tiny.learning(plan), fleet()[0], plan.seed, states=StatesInMemory())
    start = device.learning.initial
    first = leave(device, start, 1)
    second = leave(device, first, 2)
    kept = ends_with(device, second)
    np.testing.assert_array_equal(leave(device, first, 2), second)
    np.testing.assert_array_equal(ends_with(device, second), kept)
    leave(device, second, 3)
    assert not np.array_equal(ends_with(device, second), kept)


class _Forgets(Method):
    """Forgets to return what its functions make."""

    of: str = "round"

    def private(self, names: tuple[str, ...]) -> Any:
        return None if self.of == "private" else last_layers(names, 1)

    def round(self, homes: Any) -> Any:
        return None if self.of == "round" else super().round(homes)

    def ends(self, start: Any, own: Any) -> Any:
        return None if self.of == "ends" else super().ends(start, own)

    def settle(self, cohort: Any, params: Any) -> Any:
        return None if self.of == "settle" else super().settle(cohort, params)


@pytest.mark.parametrize(
    ("of", "needed"),
    [
        ("private", "not names of parameters"),
        ("round", "not a RoundEnd"),
        ("ends", r"not parameters \[homes, numbers\]"),
        ("settle", r"not parameters \[homes, numbers\]"),
    ],
)
def test_a_method_that_forgets_to_return_is_told_what(of: str, needed: str) -> None:
    plan = tiny.plan()
    learning = tiny.learning(plan)
    learning.method = _Forgets(of=of)
    device = Device(learning, fleet()[0], plan.seed, states=StatesInMemory())
    with pytest.raises(PluginError, match=rf"_Forgets\.{of} returned nothing, {needed}"):
        ends_with(device, leave(device, learning.initial, 1))


def test_a_personaliser_that_forgets_to_return_is_told_what() -> None:
    class Forgets:
        def trial(self, cohort: Any, start: Any, settings: Any) -> None: ...

        def adapt(self, *_: Any, **how: Any) -> Any:
            return np.zeros((2, 3)) if how["epochs"] else None

    plan, learning = tiny.plan(), tiny.learning(tiny.plan())
    device = Device(learning, fleet()[0], plan.seed)
    how = CheckedPersonaliser("mine", Forgets())  # type: ignore[arg-type]
    of_home = rf"not an array \[1, {learning.initial.size}\]"
    with pytest.raises(PluginError, match=r"trial\(\) of personaliser 'mine' returned nothing"):
        how.trial(device, learning.initial, plan.personalise)
    with pytest.raises(PluginError, match=rf"adapt\(\) .* returned nothing, {of_home}"):
        how.adapt(device, learning.initial, rate=1.0, epochs=0, part="train")
    with pytest.raises(PluginError, match=rf"adapt\(\) .* returned \[2, 3\], {of_home}"):
        how.adapt(device, learning.initial, rate=1.0, epochs=1, part="train")


@pytest.mark.parametrize("name", PARTS)
def test_at_private_places_leaves_what_came(name: str) -> None:
    plan = plan_of(name, PLAIN[name][1])
    device = Device(tiny.learning(plan), fleet()[0], plan.seed, states=StatesInMemory())
    learning, start = device.learning, device.learning.initial
    places = private_places(learning.method, learning.layout)
    left = leave(device, start, 1)
    assert places.any()
    assert left[places].tobytes() == start[places].tobytes()
    assert (left[~places] != start[~places]).any()
    own = ends_with(device, start)[0]
    assert (own[places] != start[places]).any()


def test_a_head_that_is_fine_tuned_is_what_a_plain_loop_makes_of_it() -> None:
    plan, how = plan_of("fedavg"), personaliser("fine-tune-head")
    for data in fleet():
        device, home = Device(tiny.learning(plan), data, plan.seed), PlainHome(plan, data)
        start, expected, losses = device.learning.initial, initial(plan), []
        path = []
        for epoch, shares in enumerate(([1.0], [0.2, 0.8], [1 / 15, 4 / 15, 10 / 15])):
            expected = home.descend(expected, stream=(2 << 40) + epoch, epochs=1, only=HEAD)
            path.append(flat(expected))
            mean = np.average(path, axis=0, weights=shares).astype(np.float32)
            losses.append(device.evaluate(mean, "validation").losses)
        found = how.adapt(device, start, rate=1.0, epochs=3, part="train")
        np.testing.assert_allclose(found[0], mean, rtol=2e-4, atol=2e-5)
        assert {n for n, t in initial(plan).items() if not t.equal(expected[n])} == set(HEAD)
        tried = how.trial(device, start, PersonaliseSettings(epochs=3, rates=(1.0,)))
        before = device.evaluate(start, "validation").losses
        factors = [loss / before for loss in [before, *losses]]
        np.testing.assert_allclose(tried[0, 0], np.concatenate(factors), rtol=1e-3)


def test_a_model_without_a_shift_in_its_first_layer_has_no_embedding() -> None:
    assert METHODS["home-embedding"]().private(("0.weight", "0.bias", "2.weight")) == {"0.bias"}
    with pytest.raises(PluginError, match="the model's first layer, which has no bias"):
        METHODS["home-embedding"]().private(("0.weight", "2.weight", "2.bias"))


@pytest.mark.parametrize(
    ("train", "why"),
    [
        ({"optimiser": "adam", "momentum": 0.0}, "train.optimiser = sgd alone"),
        ({"weight_decay": 0.1}, "train.weight_decay = 0 alone"),
    ],
)
def test_a_mixture_learns_by_steps_that_grow_with_the_gradient(
    train: dict[str, Any], why: str
) -> None:
    plan = plan_of("apfl").change(train=train)
    for look in (check_plan, tiny.learning):
        with pytest.raises(PlanError, match=f"the method apfl trains by {why}: set that"):
            look(plan)


def test_passes_for_the_head_alone_are_a_setting() -> None:
    plan = plan_of("fedrep", {"head_epochs": 5})
    loop = in_parts(HEAD, (HEAD, 1 << 44, 5), (BODY, 0, 2))
    (shared, own), data = loop(plan, 1), fleet()[0]
    device = Device(tiny.learning(plan), data, plan.seed, states=StatesInMemory())
    leave(device, device.learning.initial, 1)
    found = ends_with(device, flat(shared))
    np.testing.assert_allclose(found[0], flat(own[0]), rtol=2e-4, atol=2e-5)


def test_only_what_a_home_chose_moves_and_a_new_home_chooses_too() -> None:
    plan = plan_of("ifca", {"clusters": 3}).change(train={"weight_decay": 0.01, "clip_norm": 5.0})
    device = Device(tiny.learning(plan), fleet()[0], plan.seed, states=StatesInMemory())
    learning, start = device.learning, device.learning.initial.copy()
    names, sizes = learning.layout.names, learning.layout.sizes
    of_model = np.concatenate(
        [
            np.full(size, int(name.split(".")[1]) if name != "choice" else -1)
            for name, size in zip(names, sizes, strict=True)
        ]
    )
    losses = []
    for model in range(3):
        tried = start.copy()
        tried[of_model == -1] = np.eye(3)[model]
        losses.append(device.evaluate(tried, "train").losses[0])
    best = int(np.argmin(losses))
    np.testing.assert_array_equal(ends_with(device, start)[0][of_model == -1], np.eye(3)[best])
    left = leave(device, start, 1)
    assert set(of_model[left != start]) == {best}
    for model in range(3):  # the others may say anything: nothing of it reaches the chosen one
        if model != best:
            start[of_model == model] = np.nan
    again = leave(device, start, 2)
    np.testing.assert_array_equal(
        again[of_model == best], leave(device, start, 2)[of_model == best]
    )
    assert np.isfinite(again[of_model == best]).all()
    own = plain_params(plan, learning.layout.unflatten(ends_with(device, left)[0]))
    assert list(own) == list(BODY + HEAD)
    for name, values in own.items():
        expected = learning.layout.unflatten(left)[f"models.{best}.{name}"]
        np.testing.assert_array_equal(values, expected)


@pytest.mark.parametrize(
    ("sections", "why"),
    [
        ({"personalise": {"name": "knn-per"}}, "knows one model"),
        ({"personalise": {"name": "fine-tune-head"}}, "set personalise.name = fine-tune"),
    ],
)
def test_what_takes_several_models_for_one_is_refused(sections: dict[str, Any], why: str) -> None:
    with pytest.raises(PlanError, match=why):
        check_plan(plan_of("ifca").change(**sections))


def test_a_home_whose_numbers_are_not_finite_keeps_what_it_had() -> None:
    plan = plan_of("fedper")
    device = Device(tiny.learning(plan), fleet()[0], plan.seed, states=StatesInMemory())
    start = device.learning.initial
    leave(device, start, 1)
    kept = ends_with(device, start)
    broken = start.copy()
    broken[0] = np.nan
    assert not np.isfinite(leave(device, broken, 2)).all()
    np.testing.assert_array_equal(ends_with(device, start), kept)


def test_what_another_method_kept_is_told_and_not_used(caplog: pytest.LogCaptureFixture) -> None:
    data, states = fleet()[0], StatesInMemory()
    one, two = plan_of("fedper"), plan_of("fedavg")
    device = Device(tiny.learning(one), data, one.seed, states=states)
    leave(device, device.learning.initial, 1)
    changed = one.change(model={"hidden": [6]})
    other = Device(tiny.learning(changed), data, one.seed, states=states)
    np.testing.assert_array_equal(
        ends_with(other, other.learning.initial)[0], other.learning.initial
    )
    assert "belongs to another method or model" in caplog.text
    plain = Device(tiny.learning(two), data, two.seed)
    assert ends_with(plain, plain.learning.initial) is plain.learning.initial


def test_states_come_through_bytes_and_checkpoints() -> None:
    state = OwnState(
        of=bytes(range(32)),
        asked=bytes(32),
        arrays={"a": np.array([1.5, -2.0], np.float32), "b": np.zeros(0, np.float32)},
        before={"a": np.array([0.5, 3.0], np.float32)},
    )
    again = OwnState.from_bytes(state.to_bytes())
    assert (again.of, again.asked) == (state.of, state.asked)
    for mine, theirs in ((again.arrays, state.arrays), (again.before, state.before)):
        assert mine.keys() == theirs.keys()
        assert all(np.array_equal(mine[name], theirs[name]) for name in mine)
    states, other = StatesInMemory(), StatesInMemory()
    states.write("one", state)
    states.write("two", state)
    other.recall(*states.remember())
    found = other.read("two")
    assert found is not None
    assert found.arrays["a"].tolist() == [1.5, -2.0]
    assert StatesInMemory().remember() == ({}, {})
